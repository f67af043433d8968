"""Winograd's algorithm: for which equations, with which tiles, in which order.

A tile of m outputs along each window axis takes `(m + r - 1)/m` products per output and
axis in place of r.  What is saved must pay for the transforms and for reading the
transformed weights, which are `((m + r - 1)/r)` times larger per axis.  All candidates are
counted in cycles of one core's vector unit, with the caches of the machine and a few constants
for what it does in a cycle.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from ....dsl.equations import Equation
from ....dsl.integers import Integer
from .. import machine
from ..kernel import Kernel
from ..schedule import Road
from ..target import Target
from ..winograd import THREADS, Roles, WeightTransform, Winograd
from .analysis import estimate

_TILES = {2: (3,), 3: (2, 4), 5: (2,)}
"""Sizes of tiles by the size of the window: those whose matrices keep rounding errors small."""

_ROWS = {32: {2: 14, 1: 27}, 16: {2: 5, 1: 11}}
"""The most rows of a register tile, by the number of registers and of vectors of columns."""

_EFFICIENCY = 0.8  # of the product's share of the vector units' peak
_TRANSFORM = 6.0  # cycles for each point and vector of a tile, loads and stores included
_SHARE_OF_LAST = 0.5  # of a cache that other programs use too
_FROM_SECOND, _FROM_THIRD, _FROM_MEMORY = 32.0, 12.0, 6.0  # bytes a cycle and core
_WORTH_WHILE = 0.9  # of the direct computation's cost


def road(kernel: Kernel) -> Road:
    """A kernel's algorithm in words."""
    spec = kernel.algorithm
    if isinstance(spec, WeightTransform):
        return Road("winograd weights", details=f"panels of {spec.width}")
    assert isinstance(spec, Winograd)
    sizes = [kernel.reduction[p].size.constant for _, p in spec.windows]
    tile = " x ".join(f"F({m}, {r})" for m, r in zip(spec.tiles, sizes, strict=True))
    share = "each thread its own" if spec.private else "shared by all threads"
    return Road("winograd", details=f"{tile}, {spec.chunk} tiles at a time, {share}")


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
    cores: int
    second_cache: int
    last_cache: int

    def direct(self) -> float:
        """Cycles of the sum as it stands."""
        products = math.prod(self.filters) * self.inputs * self.outputs
        positions = math.prod(self.maps) * self.others
        return max(self.multiplying(positions * products), self.reading(4 * products))

    def multiplying(self, products: float) -> float:
        """Cycles of multiplications and additions on all cores, two vectors of them at a time."""
        return products / (2 * self.lanes * _EFFICIENCY * self.cores)

    def reading(self, size: float, times: float = 1) -> float:
        """Cycles in which all cores read so many bytes, from memory the first time, each core all of it later."""
        near, far = size <= self.second_cache / 2, size > self.last_cache
        speed = _FROM_SECOND if near else _FROM_MEMORY if far else _FROM_THIRD
        return size / (_FROM_MEMORY * self.cores) + (times - 1) * size / speed


@dataclass(frozen=True)
class _Candidate:
    """Tiles, chunk, register tile and order, with the cycles they are expected to take."""

    cost: float
    tiles: tuple[int, ...]
    chunk: int
    rows: int
    columns: int
    private: bool


def choose(equation: Equation, roles: Roles, target: Target, *, forced: bool = False) -> Winograd | None:
    """The best way, or None if there is none or, unless `forced`, computing the equation directly is cheaper."""
    sizes = {axis.name: estimate(axis.size, 1) for axis in (*equation.domain, *equation.reduction)}
    outputs = [axis.name for axis in equation.domain]
    summed = [axis.name for axis in equation.reduction]
    sliding = dict(roles.windows)
    described = machine.of(target)
    problem = _Problem(
        maps=tuple(sizes[x] for x in sliding),
        filters=tuple(sizes[p] for p in sliding.values()),
        others=math.prod(sizes[name] for name in outputs if name != roles.free and name not in sliding),
        inputs=sizes[roles.contracted],
        outputs=sizes[roles.free],
        lanes=target.lanes(32),
        registers=target.registers,
        cores=target.cores,
        second_cache=described.l2_bytes,
        last_cache=max(int(_SHARE_OF_LAST * described.l3_bytes), described.l2_bytes),
    )
    if not forced and (problem.inputs < problem.lanes or target.registers < 32):
        return None
    best = min(_candidates(problem), key=lambda found: found.cost, default=None)
    if best is None or not (forced or best.cost <= _WORTH_WHILE * problem.direct()):
        return None
    return Winograd(
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
    inputs, outputs, cores = problem.inputs, problem.outputs, problem.cores
    per_tile = 4 * points * (inputs + outputs)
    room = 3 * problem.second_cache // 4 if private else problem.last_cache
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
    moving = 2 * per_tile * count / cores / (_FROM_SECOND if private and size <= problem.second_cache else _FROM_THIRD)
    transforming = _TRANSFORM * points * count * (inputs + outputs) / problem.lanes / cores
    cost = max(multiplying, reading) + 0.3 * min(multiplying, reading) + transforming + moving
    if private and chunks < cores:
        cost *= cores / chunks
    return _Candidate(cost, tiles, chunk, rows, columns, private)
