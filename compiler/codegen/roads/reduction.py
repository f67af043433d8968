"""Reductions without reuse (pooling, sums along an axis, argmax): bound by what they read.

Vectors run along an output index that is contiguous in the operands, or else along the
reduction index that is, and several are in flight to hide the latency of the additions.
"""

from __future__ import annotations

from ..kernel import Kernel
from ..schedule import Schedule
from ..target import Target
from . import analysis


def schedule(kernel: Kernel, target: Target) -> Schedule:
    """Vectors along the output if that is contiguous, else along the reduction, else none."""
    order = tuple(analysis.by_output(kernel))
    found = _along_output(kernel, target, order) or _along_reduction(kernel, target, order)
    found = found or Schedule(order, analysis.by_reads(kernel))
    return analysis.on_threads(kernel, found, target)


def _along_output(kernel: Kernel, target: Target, order: tuple[str, ...]) -> Schedule | None:
    for name in reversed(order):
        steps = [analysis.stride(kernel, read, name) for read in kernel.reads()]
        if all(step in (0, 1) for step in steps) and 1 in steps and analysis.can_vectorise(kernel, name):
            lanes = analysis.lanes_along(kernel, name, target)
            if lanes == 1:
                continue
            size = kernel.size(name).constant
            tile = min(4, (size or 4 * lanes) // lanes)
            alone = len(order) == 1
            if alone and size is not None:  # leave something for each core
                tile = max(1, min(tile, size // lanes // target.cores))
            return Schedule(order, analysis.by_reads(kernel), name, lanes, {name: max(tile, 1)})
    return None


def _along_reduction(kernel: Kernel, target: Target, order: tuple[str, ...]) -> Schedule | None:
    if kernel.combiner in ("argmax", "argmin"):
        return None
    for name in reversed(analysis.by_reads(kernel)):
        steps = [analysis.stride(kernel, read, name) for read in kernel.reads()]
        size = kernel.size(name).constant
        lanes = analysis.lanes_for(kernel, name, target)
        if not all(step in (0, 1) for step in steps) or 1 not in steps or not analysis.can_vectorise(kernel, name):
            continue
        if lanes > 1 and (size is None or size >= 2 * lanes):
            rest = tuple(other for other in analysis.by_reads(kernel) if other != name)
            return Schedule(order, (*rest, name), name, lanes)
    return None
