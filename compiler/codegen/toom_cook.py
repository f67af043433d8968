"""Short convolutions with fewer multiplications: the matrices of Toom and Cook, used by Winograd.

`m` neighbouring outputs of a window of `r` need `m + r - 1` inputs.  With

    y = Aᵀ ((G g) ∘ (Bᵀ d))

they take `m + r - 1` multiplications instead of `m r`: both the window g and the inputs d are
evaluated at as many points as there are products (the last at infinity), multiplied point by
point and interpolated.  Construction by the transposition of polynomial multiplication (Lavin
and Gray, "Fast algorithms for convolutional neural networks", 2016; Barabasz et al., "Error
analysis and improving the accuracy of Winograd convolution", 2020, on the choice of points).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

Row = tuple[Fraction, ...]
Matrix = tuple[Row, ...]

_POINTS = {
    1: ("0",),
    2: ("0", "1"),
    3: ("0", "1", "-1"),
    4: ("0", "1", "-1", "2"),
    5: ("0", "2/3", "-2/3", "3/2", "-3/2"),
    6: ("0", "1", "-1", "1/2", "-1/2", "2"),
    7: ("0", "1", "-1", "1/2", "-1/2", "2", "-2"),
}
"""Finite points of evaluation by how many there are.

Opposite points share their sums, inverse ones keep rounding errors small.  The five that tiles of
4 outputs and windows of 3 need round less than {0, ±1, ±2} and {0, ±1, 1/2, -2} do.
"""


@dataclass(frozen=True)
class Transforms:
    """`outputs` = Aᵀ [m, n], `window` = G [n, r] and `inputs` = Bᵀ [n, n], with n = m + r - 1."""

    outputs: Matrix
    window: Matrix
    inputs: Matrix


@lru_cache(maxsize=64)
def transforms(m: int, r: int) -> Transforms:
    """The matrices of F(m, r): `m` outputs of a window of `r` places, exact."""
    count = m + r - 1
    if count - 1 not in _POINTS:
        raise ValueError(f"F({m}, {r}) would need {count} points")
    points = tuple(map(Fraction, _POINTS[count - 1]))
    outputs = [[point**power for point in points] + [Fraction(power == m - 1)] for power in range(m)]
    window, inputs = [], []
    for position, point in enumerate(points):
        others = [*points[:position], *points[position + 1 :]]
        scale = Fraction(1)
        for other in others:
            scale *= point - other
        window.append([point**power / scale for power in range(r)])
        inputs.append([*_expanded(others), Fraction(0)])
    window.append([Fraction(power == r - 1) for power in range(r)])
    inputs.append(_expanded(points))
    return Transforms(_matrix(outputs), _matrix(window), _matrix(inputs))


def _expanded(roots: Sequence[Fraction]) -> list[Fraction]:
    """The coefficients of the product of `x - root`, the constant one first."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *coefficients]
        coefficients = [high - root * low for high, low in zip(shifted, [*coefficients, Fraction(0)], strict=True)]
    return coefficients


def _matrix(rows: Sequence[Sequence[Fraction]]) -> Matrix:
    return tuple(map(tuple, rows))
