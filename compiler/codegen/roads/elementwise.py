"""Kernels without a reduction: vectors along the contiguous index, threads over the rest."""

from __future__ import annotations

from ..kernel import Kernel
from ..schedule import Schedule
from ..target import Target
from . import analysis


def schedule(kernel: Kernel, target: Target) -> Schedule:
    """Loops in the order of the output, its contiguous index in vectors where that is possible."""
    order = tuple(analysis.by_output(kernel))
    vector = next((name for name in reversed(order) if _suits(kernel, name)), None)
    found = Schedule(order)
    if vector is not None:
        lanes = analysis.lanes_for(kernel, vector, target)
        size = kernel.size(vector).constant
        vectors = 4 if size is None else max(min(4, size // lanes), 1)
        found = Schedule(order, vector=vector, lanes=lanes, tiles={vector: vectors})
    return analysis.on_threads(kernel, found, target)


def _suits(kernel: Kernel, name: str) -> bool:
    """Whether the output and most reads are contiguous along an index."""
    if analysis.output_stride(kernel, name) != 1 or not analysis.can_vectorise(kernel, name):
        return False
    steps = [analysis.stride(kernel, read, name) for read in kernel.reads()]
    return all(step in (0, 1) for step in steps) or sum(step in (0, 1) for step in steps) > len(steps) / 2
