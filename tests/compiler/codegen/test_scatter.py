"""Sums of which each term belongs to one element, compiled, against NumPy's `add.at`."""

from __future__ import annotations

import numpy
import pytest

import majuscule
from majuscule.compiler.codegen.compiled import compile_graph
from majuscule.compiler.codegen.target import Target
from majuscule.compiler.graph import Graph
from majuscule.compiler.pipeline import optimize
from majuscule.runtime.host import cpu_features

RNG = numpy.random.default_rng(0)


def notes(text: str) -> str:
    """How the kernels of a program work, in words."""
    graph = optimize(Graph.from_program(majuscule.check(text).require()), fold_weights=True)
    return "\n".join(
        note.text for note in compile_graph(graph, target=Target.named("cpu", present=cpu_features())).notes
    )


@pytest.mark.parametrize("features", [1, 5, 16, 40])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_terms_go_where_a_tensor_says(features: int, dtype: str) -> None:
    text = f"""
Given k[T]: int64, x[T, {features}]: {dtype}
s[n in 0..7, j]: {dtype} = sum[b, t]({{ x[b,t,j] if k[b,t] == n ; 0 otherwise }})
"""
    assert "scatter" in notes(text)
    k, x = RNG.integers(-1, 9, (3, 6)), RNG.normal(size=(3, 6, features)).astype(dtype)  # -1, 7, 8 belong nowhere
    expected = numpy.zeros((10, features))
    numpy.add.at(expected, k, x.astype("float64"))
    numpy.testing.assert_allclose(majuscule.compile(text)(k, x), expected[:7], rtol=1e-5, atol=1e-5)


def test_an_epilogue_and_conditions() -> None:
    text = """
Given k[T]: int64, x[T, 20]
param W[7, 20]
s[n in 0..7, j] = sum[b, t]({ x[b,t,j] * x[b,t,0] if k[b,t] == n + 2 and x[b,t,1] > 0 ; 0 otherwise })
y[n,j] = W[n,j] - 0.5 * s[n,j]
"""
    assert "scatter" in notes(text)
    k, x = RNG.integers(2, 9, (3, 6)), RNG.normal(size=(3, 6, 20)).astype("float32")
    W = RNG.normal(size=(7, 20)).astype("float32")
    expected = numpy.zeros((7, 20))
    numpy.add.at(expected, k - 2, (x * x[:, :, :1] * (x[:, :, 1:2] > 0)).astype("float64"))
    module = majuscule.compile(text, weights={"W": W})
    for _ in range(2):  # nothing is left over from the call before
        numpy.testing.assert_allclose(module(k, x), W - 0.5 * expected, rtol=1e-5, atol=1e-5)


def test_elements_without_an_axis_that_all_terms_have() -> None:
    text = "Given k[T]: int64, x[T]\ns[n in 0..5] = sum[b, t]({ x[b,t] if k[b,t] == n ; 0 otherwise })\n"
    assert "scatter" in notes(text)
    k, x = RNG.integers(0, 5, (4, 9)), RNG.normal(size=(4, 9)).astype("float32")
    expected = numpy.zeros(5)
    numpy.add.at(expected, k, x.astype("float64"))
    numpy.testing.assert_allclose(majuscule.compile(text)(k, x), expected, rtol=1e-5, atol=1e-5)


def test_a_sample_of_its_own_for_each_scatter() -> None:
    text = "Given k[T]: int64, x[T, 3]\ns[b, n in 0..5, j] = sum[t]({ x[b,t,j] if k[b,t] == n ; 0 otherwise })\n"
    assert "scatter" in notes(text)
    k, x = RNG.integers(0, 5, (4, 9)), RNG.normal(size=(4, 9, 3)).astype("float32")
    expected = numpy.zeros((4, 5, 3))
    for sample in range(4):
        numpy.add.at(expected[sample], k[sample], x[sample].astype("float64"))
    numpy.testing.assert_allclose(majuscule.compile(text)(k, x), expected, rtol=1e-5, atol=1e-5)


def test_half_precision_is_summed_in_registers() -> None:
    text = """
Given k[T]: int64, x[T, 8]: float16
s[n in 0..3, j]: float16 = sum[b, t]({ x[b,t,j] if k[b,t] == n ; 0 otherwise })
"""
    assert "scatter" not in notes(text)
    k, x = numpy.zeros((1, 3000), int), numpy.ones((1, 3000, 8), "float16")
    numpy.testing.assert_array_equal(majuscule.compile(text)(k, x)[0], numpy.full(8, 3000, "float16"))
