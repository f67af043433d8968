"""Sums of products and other reductions in which operands are used again and again.

A convolution or a matrix product computes a tile of its output in registers; which index takes
which part of it follows from the strides.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from ....dsl.equations import Read
from ....dsl.integers import Integer
from .. import machine
from ..cache import fingerprint
from ..kernel import Kernel
from ..schedule import Road, Schedule
from ..target import Target
from . import analysis, operands
from .reduction_parts import in_parts
from .register_tiles import WORTH_THREADS, Candidate, Tiles, stepped, window

TILED, STREAMING = "matrix", "vector-matrix"
"""Names of roads: results in registers, whatever their sum is called (see `windows.kind`), and in the first cache."""

_WORTH_A_VARIANT = 0.8  # of the cost that a second schedule must stay below
_FEW = 2  # elements of an open axis from which on a tile along it pays, since its rest is cut into tiles too
_STAYS = 1 / 3  # of the first cache: operands that stay there whatever the order
_INDEPENDENT = 8  # sums beside which it does not matter how long a unit takes for one addition
_MOST_ROADS = 12  # alternatives of a kernel


def road(kernel: Kernel, target: Target) -> Road | None:
    """The cheapest register tile, or None if there is nothing to gain by one."""
    return next(roads(kernel, target), None)


def roads(kernel: Kernel, target: Target) -> Iterator[Road]:
    """Register tiles, the cheapest first; none if there is nothing to gain by them.

    Where a size is known only at run time (the batch), each has two schedules perhaps: a tile
    along that axis if it is long enough for one, and what suits a batch of one.  Where nearly all
    time goes into reading one operand, the first road reads it row by row (see `streaming`).
    """
    many, best = _best(kernel, target)
    if many is None:
        return
    axis = next(((n, t) for n, t in many.tiles if kernel.size(n).constant is None and t > 1), None)
    pays = axis is not None and many.cost < _WORTH_A_VARIANT * best[0].cost
    first = [(kernel.size(axis[0]) - _FEW, _schedule(kernel, target, many))] if axis is not None and pays else []
    streaming = next((found for found in best if _streamed(kernel, found)), None)
    streams = streaming is not None and _streams(kernel, best[0], target)
    if streaming is not None and streams:
        yield Road(STREAMING, (*first, (None, _rows(kernel, streaming, target))))
    for few in best:
        yield Road(TILED, (*first, (None, _schedule(kernel, target, few))))
    if streaming is not None and not streams:
        yield Road(STREAMING, ((None, _rows(kernel, streaming, target)),))


def _best(kernel: Kernel, target: Target) -> tuple[Candidate | None, tuple[Candidate, ...]]:
    """The cheapest tile if open axes are long, and the cheapest ones if they are short; none if there are none."""
    key = fingerprint(kernel, target)
    if key not in _known:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        useful = kernel.combiner not in ("argmax", "argmin") and operands.reuses(kernel)
        found = list(Tiles(kernel, target).candidates()) if useful else []
        many = min(found, key=lambda candidate: candidate.cost, default=None)
        _known[key] = many, tuple(heapq.nsmallest(_MOST_ROADS, found, key=Candidate.expected))
    return _known[key]


_known: dict[str, tuple[Candidate | None, tuple[Candidate, ...]]] = {}
_MOST_KNOWN = 1 << 12
"""Kernels whose tiles this process remembers: the choice of roads and that of packings ask for them several times."""


def cost(kernel: Kernel, target: Target, schedule: Schedule, lengths: Mapping[str, int]) -> float:
    """Vector operations for each output element and reduction step of a register tile, axes being so long.

    What caches add is not counted.
    """
    vector = str(schedule.vector)
    short = kernel.size(vector).constant is None and lengths[vector] < schedule.lanes
    lanes = 1 if short else schedule.lanes  # too few: one after the other
    vectors = {name: lanes if name == vector else 1 for name in schedule.tiles}
    fitting = {name: min(tile, max(lengths[name] // vectors[name], 1)) for name, tile in schedule.tiles.items()}
    found = Tiles(kernel, target, lengths).one(vector, lanes, fitting)
    return math.inf if found is None else found.cost


def _schedule(kernel: Kernel, target: Target, found: Candidate) -> Schedule:
    order = _order(kernel, found, target)
    reduction = analysis.by_reads(kernel)
    if found.vector in reduction:
        reduction = (*(name for name in reduction if name != found.vector), found.vector)
    written, slid = _written_out(kernel, found)
    schedule = Schedule(order, reduction, found.vector, found.lanes, dict(found.tiles), written_out=written, slid=slid)
    many = math.prod(schedule.tiles.values()) >= _INDEPENDENT
    schedule = replace(schedule, multiplied=many and analysis.leaves_multipliers_idle(kernel, target))
    schedule = analysis.on_threads(kernel, schedule, target, WORTH_THREADS)
    return in_parts(kernel, schedule, target)


def _written_out(kernel: Kernel, found: Candidate) -> tuple[int, Integer | None]:
    """How many of the innermost reduction indices to write out, and the offset at which a window among them slides."""
    inside = stepped(kernel, found.vector, found.lanes)
    written = window(kernel, inside)
    slid = _slid(kernel, found, written[0]) if written is not None else None
    return inside + (slid is not None), slid


def _slid(kernel: Kernel, found: Candidate, index: str) -> Integer | None:
    """The offset of what neighbours in the register tile read at the next place of the window, if there is such."""
    for read in operands.body_reads(kernel):
        step = analysis.stride(kernel, read, index)
        if step and any(n > 1 and analysis.stride(kernel, read, t) == step for t, n in found.tiles):
            return read.subscripts[0]
    return None


def _rows(kernel: Kernel, found: Candidate, target: Target) -> Schedule:
    """The schedule that reads an operand row by row."""
    stretch = min(max(analysis.estimate(kernel.size(found.vector)) // (2 * target.cores), 256), 1024) // 64 * 64
    schedule = _schedule(kernel, target, found)
    return replace(schedule, stretch=stretch, parallel=1, order=(found.vector, *_without(schedule.order, found.vector)))


def _without(names: Iterable[str], name: str) -> tuple[str, ...]:
    return tuple(other for other in names if other != name)


def _streamed(kernel: Kernel, found: Candidate) -> list[Read]:
    """Operands that have all that is summed and the index of the vectors, along which their rows run."""
    if found.vector in {axis.name for axis in kernel.reduction} or kernel.guard is not None:
        return []
    if found.lanes > analysis.estimate(kernel.size(found.vector)):
        return []
    needed = {found.vector, *(axis.name for axis in kernel.reduction)}
    return [
        read
        for read in operands.body_reads(kernel)
        if {i for s in read.subscripts for i in s.indices()} == needed
        and analysis.stride(kernel, read, found.vector) == 1
        and analysis.widest(kernel) <= 64
    ]


def _streams(kernel: Kernel, found: Candidate, target: Target) -> bool:
    """Whether nearly all the time goes into reading one large operand whose rows run along the vectors."""
    others = [axis for axis in kernel.domain if axis.name != found.vector]
    return all(operands.may_be_few(axis.size) for axis in others) and any(
        operands.is_large(kernel, read, target) for read in _streamed(kernel, found)
    )


def _order(kernel: Kernel, best: Candidate, target: Target) -> tuple[str, ...]:
    """Outermost the tiled index whose operand depends on the fewest others: that operand stays in cache.

    What walks through the same operands as the vectors do, as panels of packed weights do,
    belongs to them.
    """
    reads = operands.dependence(kernel)
    outputs = {axis.name for axis in kernel.domain}
    by_output = analysis.by_output(kernel)

    def used_by(name: str) -> frozenset[int]:
        return frozenset(position for position, used in enumerate(reads) if name in used)

    panels = [n for n in by_output if n not in dict(best.tiles) and used_by(n) == used_by(best.vector)]
    panels = panels if len(used_by(best.vector)) < len(reads) and best.vector in outputs else []
    counted = {name for name in outputs.difference(panels) if _turns(kernel, best, name) > 1}
    tiled = [name for name, _ in best.tiles if name in outputs]

    def company(name: str) -> int:
        return min((len(used & counted) for used in reads if name in used), default=len(counted))

    innermost = [name for name in tiled if company(name) == max(map(company, tiled))][-1:] if len(tiled) > 1 else []
    first = [name for name in tiled if name not in innermost and company(name) < len(counted)]
    first = [name for name in first if _fills_cache(kernel, name, target)]
    if not first:
        return tuple(by_output)
    if best.vector not in first:
        panels = []
    middle = [name for name in by_output if name not in (*panels, *first, *innermost)]
    return (*panels, *first, *middle, *innermost)


def _turns(kernel: Kernel, best: Candidate, name: str) -> int:
    """About how many register tiles there are along an index."""
    extent = dict(best.tiles).get(name, 1) * (best.lanes if name == best.vector else 1)
    return -(-analysis.estimate(kernel.size(name)) // extent)


def _fills_cache(kernel: Kernel, name: str, target: Target) -> bool:
    """Whether all operands that depend on an index are too large to stay in the first cache."""
    found = [read for read in operands.body_reads(kernel) if any(name in s.indices() for s in read.subscripts)]
    stays = _STAYS * machine.of(target).l1_bytes
    return all(operands.ELEMENT * analysis.estimate(kernel.tensors[read.tensor].count) > stays for read in found)
