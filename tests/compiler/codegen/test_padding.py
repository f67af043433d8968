"""Paddings that cost no copy: their source is computed inside of them and the border is filled, against NumPy."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import majuscule
from majuscule.compiler.codegen.padding import Padding
from majuscule.dsl.equations import Literal
from majuscule.dsl.integers import Index, Integer

Array = numpy.ndarray[Any, Any]
BATCHES = (1, 3)


def roads(module: majuscule.Module) -> list[str]:
    return [entry["road"] for entry in module._manifest["steps"]]


def numbers(*shape: int) -> Array:
    return numpy.random.default_rng(sum(shape)).standard_normal(shape, numpy.float32)


@given(
    sizes=st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 20)),
    margins=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=3, max_size=3),
)
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
def test_margins_of_any_width(sizes: tuple[int, int, int], margins: list[tuple[int, int]]) -> None:
    (h, w, c), (p, q, r) = sizes, margins
    text = f"""Given L[{h}, {w}, {c}]
A[b,x,y,i] = exp(L[b,x,y,i])
P = pad(A, x: {p}, y: {q}, i: {r})
R[b,x,y,i] = 2*P[b,x,y,i]
S[b,x] = sum[Y,I](P[b,x,Y,I])
"""
    module = majuscule.compile(text, cache=False)
    for batch in BATCHES:
        x = numbers(batch, h, w, c)
        expected = numpy.pad(numpy.exp(x.astype(float)), [(0, 0), p, q, r])
        found = module(x)
        numpy.testing.assert_allclose(found.R, 2 * expected, rtol=1e-5)
        numpy.testing.assert_allclose(found.S, expected.sum((2, 3)), rtol=1e-4, atol=1e-4)


@given(margins=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=4))
@settings(max_examples=200, deadline=None)
def test_borders_are_filled_once_and_nothing_inside(margins: list[tuple[int, int, int]]) -> None:
    inside, outside, before = (
        tuple(map(Integer.of, sizes))
        for sizes in zip(*((size, low + size + high, low) for size, low, high in margins), strict=True)
    )
    found = Padding("L", inside, outside, before, Literal(0.0, "float32"))
    filled = numpy.zeros([low + size + high for size, low, high in margins], int)
    for border in found.borders():
        sizes = [axis.size.constant or 0 for axis in border.domain]
        for places in itertools.product(*map(range, sizes)):
            at = {Index(axis.name): place for axis, place in zip(border.domain, places, strict=True)}
            filled.reshape(-1)[border.offset.substitute(at).constant] += 1
    assert not filled[tuple(slice(low, low + size) for size, low, _ in margins)].any()
    assert filled.sum() == filled.size - math.prod(size for size, _, _ in margins)
    assert filled.max() <= 1


def test_what_only_a_padding_reads_is_computed_inside() -> None:
    module = majuscule.compile("""Given L[14, 10, 32]
A = relu(Conv(L, filters 64, width 1))
R = Conv(A, filters 32, width 3, stride 2, pad 1)
""")
    assert [road.partition(":")[0] for road in roads(module)] == ["matrix", "border", "direct"]
    weights = module.weights
    for batch in BATCHES:
        x = numbers(batch, 14, 10, 32)
        a = numpy.maximum(x.astype(float) @ weights["A.Conv.W"][0, 0] + weights["A.Conv.B"], 0)
        p = numpy.pad(a, [(0, 0), (1, 1), (1, 1), (0, 0)])
        windows = numpy.lib.stride_tricks.sliding_window_view(p, (3, 3), (1, 2))[:, ::2, ::2]
        expected = numpy.tensordot(windows, weights["R.W"].astype(float), ([4, 5, 3], [0, 1, 2])) + weights["R.B"]
        assert abs(module(x) - expected).max() <= 1e-5 * abs(expected).max()


@pytest.mark.parametrize(
    "more",
    [
        "R[b,j] = sum[X](P[b,X,j])\nS[b,j] = sum[X](A[b,X,j])",  # what is inside has another reader
        "R[b,x,j] = P[b,x,j]\nA",  # and is an output
    ],
)
def test_what_others_need_is_copied(more: str) -> None:
    text = "Given L[6, 4]\nA[b,x,j] = exp(L[b,x,j])\nP = pad(A, x: 2)\n"
    if more.endswith("\nA"):
        text = "Given L[6, 4]\nA[b,x,j] = exp(L[b,x,j])\nP = pad(A, x: 2)\nR[b,x,j] = P[b,x,j]\noutput A, R"
    else:
        text += more
    module = majuscule.compile(text)
    assert "border" not in roads(module)
    x = numbers(2, 6, 4)
    a = numpy.exp(x)
    found = module(x)
    padded = numpy.pad(a, [(0, 0), (2, 2), (0, 0)])
    numpy.testing.assert_allclose(found.R, padded if found.R.ndim == 3 else padded.sum(1), rtol=1e-5)
