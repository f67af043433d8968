"""Winograd's algorithm for sums over whole maps at a few offsets: for which equations, with which tiles.

A tile of r places takes `m + r - 1` products per axis for m offsets in place of `m r`.  What is saved must pay
for the transforms, for moving the transformed tiles once out and in, and for the sums of all points, which are
`((m + r - 1)/m)` times larger per axis than what comes out and are read and written again for each chunk.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

from ....dsl.equations import Equation
from ....dsl.integers import Integer
from .. import machine
from ..correlation import Correlation, CorrelationRoles
from ..kernel import Kernel
from ..machine import Machine
from ..schedule import Road
from ..target import Target
from .analysis import estimate
from .costs import ARITHMETIC, MEMORY, THIRD, Estimate, known

_TILES = {2: (3,), 3: (4, 2), 5: (2,)}
"""Sizes of tiles by the number of offsets: those whose matrices keep rounding errors small."""

_ROWS = {32: ((4, 6), (2, 13), (1, 27)), 16: ((2, 5), (1, 11))}
"""Vectors of columns and the most rows of a register tile, by the number of registers."""

_EFFICIENCY = 0.8  # of the products' share of the vector units' peak
_TRANSFORM = 6.0  # cycles for each point and vector of a tile, loads and stores included
_LAUNCHES = 2  # of a chunk


def road(kernel: Kernel) -> Road:
    """A kernel's algorithm in words."""
    spec = kernel.algorithm
    assert isinstance(spec, Correlation)
    return Road("winograd", details=words(spec, [kernel.domain[p].size for p, _ in spec.windows]))


def words(spec: Correlation, offsets: Sequence[Integer]) -> str:
    """Tiles and order in words, for so many offsets along each window axis."""
    tile = " x ".join(f"F({m}, {r})" for r, m in zip(spec.tiles, offsets, strict=True))
    return f"sums of {tile}, {spec.chunk} tiles at a time"


def refusal(equation: Equation, roles: CorrelationRoles, target: Target) -> str:
    """Why the algorithm cannot be used at all though indices have the right roles; "" if it can."""
    sizes = {axis.name: estimate(axis.size, 1) for axis in (*equation.domain, *equation.reduction)}
    offsets = [sizes[p] for p, _ in roles.windows]
    if any(m not in _TILES for m in offsets):
        return f"there are no tiles for {' x '.join(map(str, offsets))} offsets (only for 2, 3 and 5)"
    if sizes[roles.column] % target.lanes(32):
        return f"{sizes[roles.column]} results along {roles.column} are no multiple of {target.lanes(32)}"
    return ""


def suits(equation: Equation, roles: CorrelationRoles, target: Target) -> bool:
    """Whether the algorithm may pay: rows that fill vectors."""
    sizes = {axis.name: estimate(axis.size, 1) for axis in equation.domain}
    return 1 < target.lanes(32) <= sizes[roles.row]


def choices(
    equation: Equation, roles: CorrelationRoles, target: Target, sizes: Mapping[str, int]
) -> list[tuple[Correlation, Estimate]]:
    """The ways that there are, the cheapest first; `sizes` are those of symbols (see `costs.known`)."""
    lengths = {axis.name: known(axis.size, sizes) for axis in (*equation.domain, *equation.reduction)}
    flops = 2.0 * math.prod(lengths.values())
    found = [
        (spec, _estimate(spec, equation, roles, lengths, machine.of(target), flops))
        for spec in _specs(equation, roles, target, lengths)
    ]
    return sorted(found, key=lambda pair: pair[1].seconds)


def _specs(
    equation: Equation, roles: CorrelationRoles, target: Target, lengths: Mapping[str, int]
) -> Iterator[Correlation]:
    outputs, summed = ([axis.name for axis in axes] for axes in (equation.domain, equation.reduction))
    lanes, rows, columns = target.lanes(32), lengths[roles.row], lengths[roles.column]
    width, most = next(pair for pair in _ROWS[target.registers] if columns % (pair[0] * lanes) == 0)
    for tiles in itertools.product(*(_TILES[lengths[p]] for p, _ in roles.windows)):
        points = math.prod(lengths[p] + r - 1 for (p, _), r in zip(roles.windows, tiles, strict=True))
        whole = math.prod(-(-lengths[x] // r) for (_, x), r in zip(roles.windows, tiles, strict=True))
        # Sums that leave the cache anyway should do so seldom.
        room = max(machine.of(target).shared_l3_bytes // 2, 4 * points * rows * columns)
        yield Correlation(
            windows=tuple((outputs.index(p), summed.index(x)) for p, x in roles.windows),
            samples=tuple(map(summed.index, roles.samples)),
            row=outputs.index(roles.row),
            column=outputs.index(roles.column),
            tiles=tiles,
            chunk=max(room // (4 * points * (rows + columns)), min(whole, 16)),
            rows=min(most, rows),
            columns=width,
            lanes=lanes,
        )


def _estimate(
    spec: Correlation,
    equation: Equation,
    roles: CorrelationRoles,
    lengths: Mapping[str, int],
    found: Machine,
    flops: float,
) -> Estimate:
    rows, columns = lengths[roles.row], lengths[roles.column]
    points = math.prod(spec.points(tuple(lengths[p] for p, _ in roles.windows)))
    tiles = math.prod(-(-lengths[x] // r) for (_, x), r in zip(roles.windows, spec.tiles, strict=True))
    tiles *= math.prod(lengths[name] for name in roles.samples)
    chunks = -(-tiles // spec.chunk)
    share = found.cores * spec.lanes
    slow = max(1.0, (spec.rows + spec.columns) / (spec.rows * spec.columns), 8 / (spec.rows * spec.columns))
    multiplying = slow * points * tiles * rows * columns / (found.fma_ports * share * _EFFICIENCY)
    transforming = _TRANSFORM * points * (tiles * (rows + columns) + rows * columns) / share
    moving = 4.0 * points * 2 * tiles * (rows + columns) / (found.l3_bytes_per_cycle * found.cores)
    sums = 4.0 * points * rows * columns
    near = sums <= found.shared_l3_bytes / 2
    adding = 2 * chunks * sums / found.cores / (found.l3_bytes_per_cycle if near else found.memory_bytes_per_cycle)
    parts = {ARITHMETIC: multiplying + transforming, THIRD: moving, MEMORY: adding}
    seconds = {name: found.seconds(cycles, spec.lanes) for name, cycles in parts.items()}
    return Estimate(seconds, flops, (_LAUNCHES * chunks + 1) * found.launch_seconds)
