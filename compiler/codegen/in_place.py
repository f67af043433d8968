"""Which results may be written over an operand that is not needed any more.

A kernel that reads an operand only at the very element that it is about to write can write
it there: a residual sum over its shortcut, an activation over its argument.  It must not
look at any element after writing it, so none may be computed twice.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ...dsl.equations import Read, walk
from ...dsl.integers import Index, Symbol
from .actions import Launch
from .kernel import Kernel, Stored
from .objects import KernelSource
from .schedule import Road, cut
from .storage import BYTES
from .winograd import Winograd


def overwritten(
    launch: Launch, source: KernelSource, buffers: Mapping[str, Stored], ending: Collection[str]
) -> str | None:
    """The first of the `ending` operands of a launch that its result may be written over, or None.

    `source` is the launch's kernel with the road that it takes, and `buffers` are all buffers by name.
    """
    result = buffers[launch.result]
    if launch.result in launch.operands or not _writes_once(source.kernel, source.road):
        return None
    for operand in dict.fromkeys(launch.operands):
        stored = buffers[operand]
        same = BYTES[stored.dtype] == BYTES[result.dtype] and stored.count == result.count
        if operand in ending and same:
            homes = zip(source.kernel.tensors, launch.operands, strict=True)
            if _reads_as_it_writes(source.kernel, {tensor for tensor, home in homes if home == operand}):
                return operand
    return None


def _reads_as_it_writes(kernel: Kernel, tensors: Collection[str]) -> bool:
    """Whether some tensors are read, but only where the element lies that is computed from them."""
    reads = [read for read in kernel.reads() if read.tensor in tensors]
    if kernel.algorithm is not None and any(isinstance(n, Read) and n.tensor in tensors for n in walk(kernel.body)):
        return False  # an algorithm reads its data for many elements before it writes the first
    return bool(reads) and all(read.subscripts == (kernel.offset,) for read in reads)


def _writes_once(kernel: Kernel, road: Road) -> bool:
    """Whether no element of the output is computed more than once."""
    if road.name == "scatter":
        return False  # every element is set to 0 first
    if not all(isinstance(atom, Index | Symbol) for atom in kernel.offset.atoms()):
        return False  # the last panel of weights may reach back over outputs of the one before
    if isinstance(kernel.algorithm, Winograd):
        size = kernel.domain[kernel.algorithm.free].size.constant
        return size is not None and size % kernel.algorithm.lanes == 0
    return bool(road.variants) and all(
        cut(axis.size, tile, lanes) == cut(axis.size, tile, lanes, overlap=False)
        for _, schedule in road.variants
        for axis in kernel.domain
        for tile, lanes in [(schedule.tiles.get(axis.name, 1), schedule.lanes if axis.name == schedule.vector else 1)]
    )
