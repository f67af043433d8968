"""What Winograd's algorithm needs to know of a sum over whole maps at a few offsets: its roles, its tiles.

The gradient of a convolution's weights is such a sum,

    S[p, q, i, j] = sum over b, x, y of  D[b, x+p, y+q, i] * G[b, x, y, j].

The maps are cut into tiles of r places along each window axis.  What a tile adds to the m offsets is what
a window of r places gives at m places, so it takes `m + r - 1` products per axis between transforms of the
tile's D and G (see `toom_cook`).  They are summed over all tiles, a matrix product for each of these points,
and only the sum is transformed back.  Only how indices are used counts, as in `winograd`.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...dsl.equations import Equation, Expression, reads
from .winograd import factors, indices, slides


@dataclass(frozen=True)
class CorrelationRoles:
    """An equation's indices by what they do; `windows` are pairs (output index: offset, summed index: place)."""

    data: Expression
    other: Expression
    windows: tuple[tuple[str, str], ...]
    samples: tuple[str, ...]
    row: str
    column: str


@dataclass(frozen=True)
class Correlation:
    """How an equation is computed by tiles, in terms of positions in its kernel's domain and reduction.

    `tiles` are the places of a tile along each window axis.  `chunk` tiles are transformed together and then
    multiplied, `rows` times `columns` vectors of results at a time.
    """

    windows: tuple[tuple[int, int], ...]
    samples: tuple[int, ...]
    row: int
    column: int
    tiles: tuple[int, ...]
    chunk: int
    rows: int
    columns: int
    lanes: int

    def points(self, offsets: tuple[int, ...]) -> tuple[int, ...]:
        """Products along each window axis, for so many offsets."""
        return tuple(m + r - 1 for m, r in zip(offsets, self.tiles, strict=True))


def correlation_roles(equation: Equation) -> CorrelationRoles | None:
    """The roles of an equation's indices, or None if it is not of the form above."""
    for data, other in factors(equation):
        roles = _roles(equation, data, other)
        if roles is not None:
            return roles
    return None


def _roles(equation: Equation, data: Expression, other: Expression) -> CorrelationRoles | None:
    if any(read.dtype != "float32" for read in (*reads(data), *reads(other))):
        return None
    outputs = [axis.name for axis in equation.domain]
    sizes = {axis.name: axis.size for axis in (*equation.domain, *equation.reduction)}
    used, with_other = indices(data), indices(other)
    windows, samples = [], []
    for name in (axis.name for axis in equation.reduction):
        offset = next((x for x in outputs if x not in with_other and slides(data, x, name)), None)
        if offset is not None and name in with_other:
            windows.append((offset, name))
        else:
            samples.append(name)
    offsets = {offset for offset, _ in windows}
    rows = [x for x in outputs if x not in offsets and x not in with_other and x in used]
    columns = [x for x in outputs if x not in used and x in with_other]
    if not 1 <= len(windows) <= 3 or len(offsets) < len(windows) or len(rows) != 1 or len(columns) != 1:
        return None
    known = [*(name for pair in windows for name in pair), *rows, *columns]
    if len(outputs) != len(windows) + 2 or any(sizes[name].constant is None for name in known):
        return None
    return CorrelationRoles(data, other, tuple(windows), tuple(samples), rows[0], columns[0])
