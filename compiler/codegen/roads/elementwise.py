"""Kernels without a reduction: vectors along the contiguous index, threads over the rest.

A transposition has no such index: it reads a line of memory at once and writes its elements into as
many lines, which stay in the first cache until they are full.
"""

from __future__ import annotations

from ..kernel import Kernel, has_gather
from ..schedule import Schedule
from ..target import Target
from . import analysis

_LINE = 16  # elements
_FAR = 1 << 14  # elements of an operand that the first cache does not hold


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
    elif (turned := _turned(kernel, order)) is not None:
        found = Schedule((*(name for name in order if name not in turned), *turned), tiles={turned[0]: _LINE})
    return analysis.on_threads(kernel, found, target)


def _turned(kernel: Kernel, order: tuple[str, ...]) -> tuple[str, str] | None:
    """Two indices, along one of which a large operand is contiguous and along the other the output."""
    inner = next((name for name in order if analysis.output_stride(kernel, name) == 1), None)
    for read in kernel.reads():
        if inner is None or has_gather(read) or analysis.estimate(kernel.tensors[read.tensor].count) < _FAR:
            continue
        for name in order:
            long = all((kernel.size(side).constant or _LINE) >= _LINE for side in (name, inner))
            if name != inner and long and analysis.stride(kernel, read, name) == 1:
                return name, inner
    return None


def _suits(kernel: Kernel, name: str) -> bool:
    """Whether the output and most reads are contiguous along an index."""
    if analysis.output_stride(kernel, name) != 1 or not analysis.can_vectorise(kernel, name):
        return False
    steps = [analysis.stride(kernel, read, name) for read in kernel.reads()]
    return all(step in (0, 1) for step in steps) or sum(step in (0, 1) for step in steps) > len(steps) / 2
