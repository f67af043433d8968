"""Reductions in parts, all of whose operands stay in the second cache.

Where every operand moves with the outermost reduction indices (the weights' gradient, a sum over
all positions of all samples), each register tile would read all of them from afar.  In parts, a task
computes all its tiles over one part of the reduction before it goes on to the next.
"""

from __future__ import annotations

import math
from dataclasses import replace

from ....dsl.integers import FloorDiv
from .. import machine
from ..kernel import Kernel, has_gather
from ..schedule import Schedule, cut
from ..target import Target
from . import analysis, operands

_SAMPLES = 8  # of a batch, where it matters how far apart its uses are
_SHORTEST_PART = 24  # steps of a reduction in which the sums of a register tile are worth reading and writing


def in_parts(kernel: Kernel, schedule: Schedule, target: Target) -> Schedule:
    """The schedule with its reduction in parts, or as it is if that gains nothing."""
    count, length = parts_of(kernel, target)
    tiled = [name for name, tile in schedule.tiles.items() if tile > 1]
    if (
        not (count or length)
        or schedule.vector not in schedule.order
        or not set(tiled) <= set(schedule.order)
        or not tiled
    ):
        return schedule

    def tasks(name: str) -> int:
        lanes = schedule.lanes if name == schedule.vector else 1
        return sum(analysis.estimate(piece.trips) for piece in cut(kernel.size(name), schedule.tiles[name], lanes))

    outer = max(tiled, key=tasks)
    order = (outer, *(name for name in schedule.order if name != outer))
    return replace(schedule, order=order, parallel=min(schedule.parallel, 1), parts=count, part=length)


def parts_of(kernel: Kernel, target: Target) -> tuple[int, int]:
    """How to go through a reduction part by part: see `parts` and `part` of a schedule; zeros if that gains nothing."""
    reads = operands.body_reads(kernel)
    order = analysis.by_reads(kernel)
    sizes = {axis.name: analysis.estimate(axis.size, _SAMPLES) for axis in kernel.reduction}
    if kernel.guard is not None or kernel.stages or kernel.combiner != "sum" or any(map(has_gather, reads)):
        return 0, 0
    if kernel.output.dtype != kernel.accumulator or all(axis.size.constant is not None for axis in kernel.reduction):
        return 0, 0  # what is not summed over samples is short enough
    if any(isinstance(atom, FloorDiv) for atom in kernel.offset.atoms()):
        return 0, 0  # some columns are computed twice, which may not be added twice
    amount = sum(4 * analysis.estimate(kernel.tensors[read.tensor].count, _SAMPLES) for read in reads)
    if amount < 4 * math.prod(analysis.estimate(axis.size, _SAMPLES) for axis in kernel.domain):
        return 0, 0  # the sums between parts would cost more than the operands
    near = machine.of(target).l2_bytes // 2
    for count, name in enumerate(order):
        inner = math.prod(sizes[other] for other in order[count + 1 :])
        if amount <= near or sizes[name] * inner < 2 * _SHORTEST_PART:
            return count, 0
        if any(not read.subscripts or name not in read.subscripts[0].indices() for read in reads):
            return 0, 0
        amount //= sizes[name]
        length = near // max(amount, 1)
        if length > 1 or inner < _SHORTEST_PART:
            return count, max(length, -(-_SHORTEST_PART // inner))
    return 0, 0
