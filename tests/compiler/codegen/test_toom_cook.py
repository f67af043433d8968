"""The matrices of Toom and Cook: exact in fractions, accurate in float32."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from majuscule.compiler.codegen import toom_cook
from majuscule.compiler.codegen.toom_cook import Matrix, transforms

Array = numpy.ndarray[Any, Any]

SUPPORTED = [(m, r) for m in range(1, 9) for r in range(1, 9) if 2 <= m + r - 1 <= 8]


def applied(matrix: Matrix, vector: Sequence[Fraction]) -> list[Fraction]:
    return [sum((c * v for c, v in zip(row, vector, strict=True)), Fraction(0)) for row in matrix]


def tiled(m: int, r: int, data: Sequence[Fraction], window: Sequence[Fraction]) -> list[Fraction]:
    """The outputs of one tile, by the matrices."""
    found = transforms(m, r)
    products = [a * b for a, b in zip(applied(found.window, window), applied(found.inputs, data), strict=True)]
    return applied(found.outputs, products)


def unit(size: int, place: int) -> list[Fraction]:
    return [Fraction(position == place) for position in range(size)]


@pytest.mark.parametrize(("m", "r"), SUPPORTED)
def test_a_tile_is_the_sliding_sum(m: int, r: int) -> None:
    # Both sides are bilinear, so they are equal if they agree on all pairs of unit vectors.
    for place in range(m + r - 1):
        for at in range(r):
            expected = [Fraction(k + at == place) for k in range(m)]
            assert tiled(m, r, unit(m + r - 1, place), unit(r, at)) == expected


@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_a_tile_is_the_sliding_sum_of_any_numbers(data: st.DataObject) -> None:
    m, r = data.draw(st.sampled_from(SUPPORTED))
    values = st.fractions(-9, 9, max_denominator=9)
    inputs = data.draw(st.lists(values, min_size=m + r - 1, max_size=m + r - 1))
    window = data.draw(st.lists(values, min_size=r, max_size=r))
    assert tiled(m, r, inputs, window) == [sum(inputs[k + p] * window[p] for p in range(r)) for k in range(m)]


@pytest.mark.parametrize(("m", "r"), SUPPORTED)
def test_there_are_as_many_products_as_inputs(m: int, r: int) -> None:
    found, n = transforms(m, r), m + r - 1
    shapes = [(len(matrix), {len(row) for row in matrix}) for matrix in (found.outputs, found.window, found.inputs)]
    assert shapes == [(m, {n}), (n, {r}), (n, {n})]


@pytest.mark.parametrize(("m", "r"), [(1, 1), (6, 5), (9, 1), (1, 9), (8, 3)])
def test_sizes_without_points_are_refused(m: int, r: int) -> None:
    with pytest.raises(ValueError, match=rf"F\({m}, {r}\) would need {m + r - 1} points"):
        transforms(m, r)


def plane(matrix: Matrix, values: Array, dtype: str) -> Array:
    """A matrix applied to the first two axes, in the precision of `dtype`."""
    array = numpy.array(matrix, float).astype(dtype)
    half = numpy.tensordot(array, values.astype(dtype), 1)
    return numpy.tensordot(array, half, ([1], [1])).swapaxes(0, 1)


def rounded(m: int, r: int, seed: int) -> tuple[Array, Array]:
    """Tiles [m, m, 64, 32] of a sum over 256 channels, by the matrices in float32 and directly in float64."""
    numbers = numpy.random.default_rng(seed)
    channels, filters, tiles, n = 256, 32, 64, m + r - 1
    data = numbers.standard_normal((n, n, tiles, channels)).astype("float32")
    window = numbers.standard_normal((r, r, channels, filters)).astype("float32")
    found = transforms(m, r)
    weights = plane(found.window, window, "float64").astype("float32")
    products = plane(found.inputs, data, "float32") @ weights
    result = plane(found.outputs, products, "float32")
    expected = numpy.zeros((m, m, tiles, filters))
    for p in range(r):
        for q in range(r):
            expected += data[p : p + m, q : q + m].astype(float) @ window[p, q].astype(float)
    return result, expected


@pytest.mark.parametrize(("m", "r", "most"), [(4, 3, 5e-6), (2, 3, 1e-6), (3, 2, 1.5e-6), (2, 5, 5e-6)])
@pytest.mark.parametrize("seed", [0, 1])
def test_rounding_in_float32_stays_small_at_256_channels(m: int, r: int, most: float, seed: int) -> None:
    result, expected = rounded(m, r, seed)
    assert result.dtype == numpy.float32
    assert abs(result - expected).max() < most * abs(expected).max()


@pytest.mark.parametrize("others", [("0", "1", "-1", "2", "-2"), ("0", "1", "-1", "1/2", "-2")])
def test_the_points_round_less_than_the_usual_ones(others: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    def error() -> float:
        pairs = [rounded(4, 3, seed) for seed in range(2)]
        return float(sum(((result - expected) ** 2).mean() for result, expected in pairs))

    chosen = error()
    monkeypatch.setitem(toom_cook._POINTS, 5, others)
    transforms.cache_clear()
    usual = error()
    transforms.cache_clear()
    assert chosen < 0.7 * usual  # of the squares
