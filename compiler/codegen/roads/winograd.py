"""Winograd's algorithm: for which equations, with which tiles, in which order.

A tile of m outputs along each window axis takes `(m + r - 1)/m` products per output and
axis in place of r.  What is saved must pay for the transforms and for reading the
transformed weights, which are `((m + r - 1)/r)` times larger per axis.  All candidates are
counted in cycles of one core's vector unit, with the caches of the machine and what it does in a
cycle.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ....dsl.equations import Equation
from ....dsl.integers import Integer
from .. import machine
from ..kernel import Kernel
from ..machine import Machine
from ..schedule import Road
from ..target import Target
from ..winograd import THREADS, Roles, WeightTransform, Winograd
from .analysis import estimate
from .costs import ARITHMETIC, MEMORY, SECOND, THIRD, Estimate, known

_TILES = {2: (3,), 3: (2, 4), 5: (2,)}
"""Sizes of tiles by the size of the window: those whose matrices keep rounding errors small."""

_ROWS = {32: {2: 14, 1: 27}, 16: {2: 5, 1: 11}}
"""The most rows of a register tile, by the number of registers and of vectors of columns."""

_EFFICIENCY = 0.8  # of the product's share of the vector units' peak
_TRANSFORM = 6.0  # cycles for each point and vector of a tile, loads and stores included
_BARRIERS = 3  # launches of a chunk that all threads share: two transforms and a product


def road(kernel: Kernel) -> Road:
    """A kernel's algorithm in words."""
    spec = kernel.algorithm
    if isinstance(spec, WeightTransform):
        return Road("winograd weights", details=f"panels of {spec.width}")
    assert isinstance(spec, Winograd)
    return Road("winograd", details=words(spec, [kernel.reduction[p].size for _, p in spec.windows]))


def words(spec: Winograd, filters: Sequence[Integer]) -> str:
    """Tiles and order in words, for windows of these sizes."""
    tile = " x ".join(f"F({m}, {r})" for m, r in zip(spec.tiles, filters, strict=True))
    share = "each thread its own" if spec.private else "shared by all threads"
    return f"{tile}, {spec.chunk} tiles at a time, {share}"


@dataclass(frozen=True)
class _Problem:
    """The sizes of an equation: outputs and window places along each window axis, and the channels."""

    maps: tuple[int, ...]
    filters: tuple[int, ...]
    others: int
    inputs: int
    outputs: int
    lanes: int
    registers: int
    machine: Machine

    def multiplying(self, products: float) -> float:
        """Cycles of multiply-adds on all cores, as many vectors of them at a time as there are units."""
        return products / (self.machine.fma_ports * self.lanes * _EFFICIENCY * self.machine.cores)

    def reading(self, size: float, times: float = 1) -> float:
        """Cycles in which all cores read so many bytes, from memory the first time, each core all of it later."""
        found = self.machine
        near, far = size <= found.l2_bytes / 2, size > found.shared_l3_bytes
        speed = found.l2_bytes_per_cycle if near else found.memory_bytes_per_cycle if far else found.l3_bytes_per_cycle
        return size / (found.memory_bytes_per_cycle * found.cores) + (times - 1) * size / speed


@dataclass(frozen=True)
class _Candidate:
    """Tiles, chunk, register tile and order, with the cycles that its parts are expected to take."""

    cost: float
    parts: Mapping[str, float]
    tiles: tuple[int, ...]
    chunk: int
    rows: int
    columns: int
    private: bool
    launches: int


def refusal(equation: Equation, roles: Roles, target: Target) -> str:
    """Why the algorithm cannot be used at all though indices have the right roles; "" if it can."""
    sizes = {axis.name: estimate(axis.size, 1) for axis in (*equation.domain, *equation.reduction)}
    filters = [sizes[p] for _, p in roles.windows]
    if any(r not in _TILES for r in filters):
        return f"there are no tiles for a window of {' x '.join(map(str, filters))} (only for 2, 3 and 5)"
    if any(min(_TILES[sizes[p]]) > sizes[x] for x, p in roles.windows):
        return "the image is smaller than a tile"
    if sizes[roles.free] % target.lanes(32):
        return f"{sizes[roles.free]} outputs along {roles.free} are no multiple of {target.lanes(32)}"
    return ""


def choices(
    equation: Equation, roles: Roles, target: Target, sizes: Mapping[str, int]
) -> list[tuple[Winograd, Estimate]]:
    """The ways that there are, the cheapest first; `sizes` are those of symbols (see `costs.known`)."""
    lengths = {axis.name: known(axis.size, sizes) for axis in (*equation.domain, *equation.reduction)}
    outputs = [axis.name for axis in equation.domain]
    summed = [axis.name for axis in equation.reduction]
    sliding = dict(roles.windows)
    described = machine.of(target)
    problem = _Problem(
        maps=tuple(lengths[x] for x in sliding),
        filters=tuple(lengths[p] for p in sliding.values()),
        others=math.prod(lengths[name] for name in outputs if name != roles.free and name not in sliding),
        inputs=lengths[roles.contracted],
        outputs=lengths[roles.free],
        lanes=target.lanes(32),
        registers=target.registers,
        machine=described,
    )
    flops = 2.0 * math.prod(lengths.values())
    found = []
    for best in sorted(_candidates(problem), key=lambda found: found.cost):
        spec = Winograd(
            windows=tuple((outputs.index(x), summed.index(p)) for x, p in roles.windows),
            contracted=summed.index(roles.contracted),
            free=outputs.index(roles.free),
            tiles=best.tiles,
            chunk=best.chunk,
            rows=best.rows,
            width=best.columns * problem.lanes,
            lanes=problem.lanes,
            private=best.private,
            threads=Integer.atom(THREADS),
        )
        parts = {name: described.seconds(cycles, problem.lanes) for name, cycles in best.parts.items()}
        found.append((spec, Estimate(parts, flops, best.launches * described.launch_seconds)))
    return found


def suits(equation: Equation, roles: Roles, target: Target) -> bool:
    """Whether the algorithm may pay: channels that fill vectors."""
    sizes = {axis.name: estimate(axis.size, 1) for axis in equation.reduction}
    return 1 < target.lanes(32) <= sizes[roles.contracted]


def _candidates(problem: _Problem) -> Iterator[_Candidate]:
    """Every tile and order, each with the register tile that suits it."""
    for tiles in itertools.product(*(_TILES.get(r, ()) for r in problem.filters)):
        if any(m > size for m, size in zip(tiles, problem.maps, strict=True)):
            continue
        points = math.prod(m + r - 1 for m, r in zip(tiles, problem.filters, strict=True))
        count = math.prod(-(-size // m) for size, m in zip(problem.maps, tiles, strict=True)) * problem.others
        for columns, most_rows in _ROWS[problem.registers].items():
            if problem.outputs % (columns * problem.lanes):
                continue
            for private in (False, True):
                yield _scored(problem, tiles, points, count, columns, most_rows, private)


def _scored(
    problem: _Problem, tiles: tuple[int, ...], points: int, count: int, columns: int, most_rows: int, private: bool
) -> _Candidate:
    inputs, outputs, found = problem.inputs, problem.outputs, problem.machine
    cores = found.cores
    per_tile = 4 * points * (inputs + outputs)
    room = 3 * found.l2_bytes // 4 if private else found.shared_l3_bytes
    # Each core should have several chunks, or the last ones leave cores idle.
    most = max(min(room // per_tile, -(-count // (4 * cores)) if private else count), 1)
    groups = -(-most // most_rows)
    rows = -(-most // groups)
    chunk = groups * rows
    chunks = -(-count // chunk)
    waste = chunks * chunk / count
    # Reading weights from afar is hidden by the arithmetic only in part; a few rows leave loads as the limit.
    slow = max(1.0, (rows + columns) / (rows * columns), 8 / (rows * columns))
    multiplying = problem.multiplying(points * count * waste * inputs * outputs) * slow
    times = -(-chunks // cores) if private else chunks
    reading = problem.reading(4 * points * inputs * outputs, times)
    size = per_tile * chunk
    near = private and size <= found.l2_bytes
    moving = 2 * per_tile * count / cores / (found.l2_bytes_per_cycle if near else found.l3_bytes_per_cycle)
    transforming = _TRANSFORM * points * count * (inputs + outputs) / problem.lanes / cores
    idle = cores / chunks if private and chunks < cores else 1.0
    cost = (max(multiplying, reading) + 0.3 * min(multiplying, reading) + transforming + moving) * idle
    parts = {
        ARITHMETIC: (multiplying + transforming) * idle,
        MEMORY: reading * idle,
        SECOND if near else THIRD: moving * idle,
    }
    launches = 1 if private else _BARRIERS * chunks
    return _Candidate(cost, parts, tiles, chunk, rows, columns, private, launches)
