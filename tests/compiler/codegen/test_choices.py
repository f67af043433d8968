"""Choices inside arithmetic and chains of functions, as programs write them."""

from __future__ import annotations

import time

import numpy
import pytest

import majuscule


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("choice", ["max({}, {})", "{{ {} if 0 < {} ; 0 otherwise }}", "min({0}, 0.5*{0} + {1})"])
def test_a_choice_may_be_a_factor_of_a_value_that_is_used_twice(dtype: str, choice: str) -> None:
    chosen = choice.format("A[b,i,j]", "B[b,j]")
    text = f"""Given A[40, 17]: {dtype}
Given B[17]: {dtype}
Given C[40]: {dtype}
z[b,i,j] = C[b,i] * {chosen}
y[b,i,j] = max(z[b,i,j], 0.5*z[b,i,j]*z[b,i,j])
"""
    numbers = numpy.random.default_rng(0)
    a, b, c = (numbers.integers(-3, 4, shape).astype(numpy.float32) for shape in ((2, 40, 17), (2, 1, 17), (2, 40, 1)))
    meaning = {
        "max": numpy.maximum(a, b), "{{ ": numpy.where(b > 0, a, 0), "min": numpy.minimum(a, 0.5 * a + b),
    }[choice[:3]]  # fmt: skip
    z = c * meaning
    found = majuscule.compile(text)(a, b[:, 0], c[:, :, 0])
    tolerance = {"bfloat16": 2.0**-8, "float16": 2.0**-11}.get(dtype, 0)
    numpy.testing.assert_allclose(found.astype(float), numpy.maximum(z, 0.5 * z * z), rtol=2 * tolerance)


def test_the_time_to_compile_does_not_explode_with_the_length_of_a_chain() -> None:
    text = """Given x[40]
y[b,i] = exp(-exp(-exp(-exp(-abs(x[b,i])))))
z[b,i] = max(y[b,i], 0.5*max(y[b,i]*y[b,i], 0.3*max(y[b,i], 0.2*tanh(σ(y[b,i])))))
"""
    x = numpy.random.default_rng(0).normal(size=(3, 40)).astype(numpy.float32)
    start = time.process_time()
    module = majuscule.compile(text)
    # under half a second; what happened before had no end
    assert time.process_time() - start < 20
    y = numpy.exp(-numpy.exp(-numpy.exp(-numpy.exp(-abs(x.astype(float))))))
    inner = numpy.maximum(y, 0.2 * numpy.tanh(1 / (1 + numpy.exp(-y))))
    numpy.testing.assert_allclose(module(x), numpy.maximum(y, 0.5 * numpy.maximum(y * y, 0.3 * inner)), rtol=1e-5)
