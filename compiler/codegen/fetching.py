"""Asking for memory before it is needed.

Hardware fetches ahead along a stream of addresses, but it starts anew at every page and does
not know that the stream is read again and again before it goes on.  A kernel knows: while
its register tiles use one part of an operand, such as a panel of packed weights, it asks for
the part after it, a little in every step of the reduction, so that nothing waits for memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import BufferLoad, IntImm, Var

from ...dsl.equations import Read
from ...dsl.integers import ZERO, Index, Integer
from .kernel import Kernel, has_gather, step
from .statements import Block
from .storage import BYTES

LINE = 64  # bytes that memory gives at once
_READ, _SECOND_CACHE, _DATA = 0, 2, 1  # LLVM's numbers
_WORTH_FETCHING = 1 << 16  # elements of an operand that the second cache may not hold


@dataclass(frozen=True)
class Part:
    """The `span` elements of an operand from `start` on, which are needed when `index` of the output moves on.

    `panels` are parts one after the other, for one element of the index each.
    """

    read: Read
    start: Integer
    span: int
    index: str
    panels: bool


def next_part(
    kernel: Kernel, order: Sequence[str], extents: Mapping[str, int], trips: Mapping[str, Integer]
) -> Part | None:
    """The next part of the largest operand that is read in parts, each without gaps.

    `order` are the output indices from the outermost loop to the innermost, `extents` how many
    elements along each belong to a register tile, and `trips` how many tiles there are.
    """
    sizes = {axis.name: axis.size.constant or 0 for axis in (*kernel.domain, *kernel.reduction)}
    reduction = {axis.name for axis in kernel.reduction}
    found: list[tuple[int, Part]] = []
    for read in kernel.reads():
        if has_gather(read) or not read.subscripts:
            continue
        offset = read.subscripts[0]
        used = offset.indices()
        moving = [name for name in order if name in used and trips[name].constant != 1]
        if not moving or not used & reduction:
            continue
        for depth, name in reversed(list(enumerate(moving, 1))):
            inside = used & sizes.keys() - set(moving[:depth])
            lengths = {n: sizes[n] for n in inside} | {n: extents.get(n, 1) for n in moving[:depth]}
            span, by = _without_gaps(offset, lengths), step(offset, name)
            if span and by is not None:
                start = offset.substitute(dict.fromkeys(map(Index, inside), ZERO)) + by * lengths[name]
                extent = span * math.prod(trips[n].constant or 1 for n in moving[:depth])
                panels = name == moving[-1] and lengths[name] == 1 and by == span
                found.append((extent, Part(read, start, span, name, panels)))
                break
    extent, part = max(found, key=lambda pair: pair[0], default=(0, None))
    return part if extent >= _WORTH_FETCHING else None


def _without_gaps(offset: Integer, lengths: Mapping[str, int]) -> int:
    """How many elements indices of these lengths reach, if all in a row; else 0."""
    span = 1
    for by, length in sorted((step(offset, name) or 0, length) for name, length in lengths.items() if length > 1):
        if by != span:
            return 0
        span *= length
    return span


def fetch(block: Block, array: Var, place: Expr, count: int, dtype: str) -> None:
    """Have `count` elements from a place on brought into the second cache.

    Where nothing is, as after the end of an array, nothing happens.
    """
    for ahead in range(0, count, LINE // BYTES[dtype]):
        address = tirx.address_of(BufferLoad(array, [place + ahead if ahead else place]))
        hints = (IntImm("int32", value) for value in (_READ, _SECOND_CACHE, _DATA))
        block.append(tirx.Evaluate(tirx.call_llvm_intrin("void", "llvm.prefetch", address, *hints)))
