"""Short convolutions with fewer multiplications: the matrices of Toom and Cook, used by Winograd.

`m` neighbouring outputs of a window of `r` need `m + r - 1` inputs.  With

    y = Aᵀ ((G g) ∘ (Bᵀ d))

they take `m + r - 1` multiplications instead of `m r`: both the window g and the inputs d are
evaluated at as many points as there are products (the last at infinity), multiplied point by
point and interpolated.  Construction by the transposition of polynomial multiplication (Lavin
and Gray, "Fast algorithms for convolutional neural networks", 2016; Barabasz et al., "Error
analysis and improving the accuracy of Winograd convolution", 2020, whose choice of points
`POINTS` follows).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

Row = tuple[Fraction, ...]
Matrix = tuple[Row, ...]

POINTS: tuple[Fraction, ...] = tuple(map(Fraction, ("0", "1", "-1", "1/2", "-2", "-1/2", "2")))
"""Points of evaluation, taken from the front; small ones and their inverses keep rounding errors small."""


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
    if not 2 <= count <= len(POINTS) + 1:
        raise ValueError(f"F({m}, {r}) would need {count} points")
    points = POINTS[: count - 1]
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
