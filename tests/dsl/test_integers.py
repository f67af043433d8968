"""Bounds of integer expressions, against all values of their indices."""

from __future__ import annotations

import itertools

import pytest

from majuscule.dsl.integers import Index, Integer, bounds

X, J = Integer.index("i"), Integer.index("j")


@pytest.mark.parametrize("sizes", [(1, 1), (4, 9), (7, 3), (32, 32), (13, 2)])
@pytest.mark.parametrize(
    "expression",
    [
        3 * X - 2 * J + 1,
        X - X // 4 * 4,
        16 * X + J - 5 * (X // 6),
        -7 * X + 21 * ((X + 2) // 3) + J,
        X // 2 - X // 3,
        X // 5 + J,
    ],
    ids=str,
)
def test_bounds_are_exact(expression: Integer, sizes: tuple[int, int]) -> None:
    def value(i: int, j: int) -> int:
        found = expression.substitute({Index("i"): i, Index("j"): j}).constant
        assert found is not None
        return found

    values = [value(i, j) for i, j in itertools.product(*map(range, sizes))]
    ranges = {name: (Integer(()), Integer.of(size)) for name, size in zip("ij", sizes, strict=True)}
    assert bounds(expression, ranges) == (Integer.of(min(values)), Integer.of(max(values)))
