"""What roads ask of a kernel: strides, sizes, which loops to spread over threads."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

from ....dsl.equations import Apply, Read, walk
from ....dsl.integers import Element, FloorDiv, Integer, is_nonnegative
from ... import rewriting
from ..expressions import Lowering
from ..kernel import Kernel, has_gather, row_major, step
from ..schedule import Schedule, cut
from ..storage import BYTES, PARTLY, working_dtype
from ..target import Target

TYPICAL = 64
"""What a size that is known only at run time is taken for where tiles are chosen."""

_WORTH_THREADS = 1 << 15
_DIVIDING = ("floordiv", "mod", "div")  # by an unused lane is by 0
_BY_ADDITION = {"add", "sub", "max", "min"}  # what units for additions do


def estimate(size: Integer, unknown: int = TYPICAL) -> int:
    """A size as a number, with a guess for what is known only at run time."""
    return rewriting.estimate(size, unknown)


def stride(kernel: Kernel, read: Read, index: str) -> int | None:
    """How far apart in memory neighbours along an index are; None where that varies or is unknown."""
    offset = (
        read.subscripts[0] if not has_gather(read) else row_major(read.subscripts, kernel.tensors[read.tensor].shape)
    )
    return step(offset, index)


def output_stride(kernel: Kernel, index: str) -> int | None:
    """The stride of an index in the output."""
    return step(kernel.offset, index)


def can_vectorise(kernel: Kernel, index: str) -> bool:
    """Whether values along an index can be computed in the lanes of a vector."""
    return Lowering(kernel, {}, {}, None).vectorises(index) and all(
        not any(isinstance(atom, Element) and index in Integer.atom(atom).indices() for atom in s.atoms())
        for read in kernel.reads()
        for s in read.subscripts
    )


def widest(kernel: Kernel) -> int:
    """Bits of the widest float or integer that the kernel computes with."""
    dtypes = [kernel.accumulator if kernel.combiner else kernel.dtype, *(stage.dtype for stage in kernel.stages)]
    dtypes += [stored.dtype for stored in kernel.tensors.values()]
    return max(8 * BYTES[working_dtype(dtype)] if dtype != "bool" else 8 for dtype in dtypes)


def lanes_for(kernel: Kernel, index: str, target: Target) -> int:
    """The largest power of two that fits the index and the vectors of the machine."""
    lanes = target.lanes(max(widest(kernel), 32))
    size = kernel.size(index)
    while size.constant is not None and lanes > size.constant:
        lanes //= 2
    return lanes


def lanes_along(kernel: Kernel, index: str, target: Target) -> int:
    """The same for an output index, or the next power of two above a size, where one vector can take all of it."""
    lanes = lanes_for(kernel, index, target)
    size = kernel.size(index).constant
    if size is None or size == lanes or 2 * lanes > target.lanes(max(widest(kernel), 32)) or size < 3:
        return lanes
    return 2 * lanes if size < 2 * lanes and _takes_part(kernel, index, target) else lanes


def _takes_part(kernel: Kernel, index: str, target: Target) -> bool:
    """Whether vectors along an output index may have lanes that are not used, and read as zeros."""
    if not target.masks_lanes or kernel.algorithm is not None or output_stride(kernel, index) != 1:
        return False
    dtypes = {kernel.output.dtype, *(stored.dtype for stored in kernel.tensors.values())}
    return (
        dtypes <= PARTLY
        and all(
            stride(kernel, read, index) in (0, 1) and not has_gather(read) and kernel.in_range(read)
            for read in kernel.reads()
        )
        and not any(
            isinstance(node, Apply) and node.operation in _DIVIDING and working_dtype(node.dtype) == "int64"
            for expression in kernel.expressions()
            for node in walk(expression)
        )
    )


def work(kernel: Kernel, unknown: int = 8) -> int:
    """About how many times the body is evaluated."""
    sizes = [estimate(axis.size, unknown) for axis in (*kernel.domain, *kernel.reduction)]
    return reduce(int.__mul__, sizes, 1)


def by_output(kernel: Kernel) -> list[str]:
    """Output indices from the largest stride in the output to the smallest, where it varies its larger part."""
    position = {axis.name: i for i, axis in enumerate(kernel.domain)}
    offset = Integer(tuple((m, c) for m, c in kernel.offset.terms if not any(isinstance(atom, FloorDiv) for atom in m)))

    def key(name: str) -> tuple[int, int]:
        by = offset.coefficient(name)
        return -(estimate(by) if by is not None and by.terms else 0), position[name]

    return sorted(position, key=key)


def by_reads(kernel: Kernel) -> tuple[str, ...]:
    """Reduction indices so that the innermost moves least in memory."""
    if kernel.combiner in ("argmax", "argmin"):
        return tuple(axis.name for axis in kernel.reduction)

    def key(name: str) -> int:
        steps = [read.subscripts[0].coefficient(name) for read in kernel.reads() if not has_gather(read)]
        return -min((estimate(step) for step in steps if step is not None and step.terms), default=0)

    return tuple(sorted((axis.name for axis in kernel.reduction), key=key))


def leaves_multipliers_idle(kernel: Kernel, target: Target) -> bool:
    """Whether a sum is faster by multiply-adds of its terms and 1.

    Many CPUs add in some units and multiply and add in others.  Terms that additions make, and that are
    not products themselves, leave the latter without work.
    """
    term = kernel.body
    while isinstance(term, Apply) and term.operation == "neg":
        term = term.arguments[0]
    if kernel.combiner != "sum" or not kernel.accumulator.startswith("float") or not target.multiplies_and_adds:
        return False
    if isinstance(term, Apply) and term.operation == "mul":
        return False
    made = {node.operation for node in walk(term) if isinstance(node, Apply) and node.dtype == kernel.accumulator}
    return not made.isdisjoint(_BY_ADDITION)


def on_threads(kernel: Kernel, schedule: Schedule, target: Target, least: int = _WORTH_THREADS) -> Schedule:
    """The schedule with its outermost loops on threads: enough of them for balance, none for little work.

    From how many evaluations of the body on that pays is `least`.  Where a call may have fewer, the
    schedule says from which size on threads are used.
    """
    if work(kernel) < least or target.cores == 1:
        return schedule
    amount = reduce(Integer.__mul__, (axis.size for axis in (*kernel.domain, *kernel.reduction)), Integer.of(1))
    enough = amount - least
    parallel = _spread(kernel, schedule, target)
    return replace(schedule, parallel=parallel, threads_from=None if is_nonnegative(enough) else enough)


def _spread(kernel: Kernel, schedule: Schedule, target: Target) -> int:
    """How many of the outermost loops make enough tasks."""
    wanted, tasks = max(4 * target.cores, 16), 1
    for depth, name in enumerate(schedule.order):
        if tasks >= wanted:
            return depth
        lanes = schedule.lanes if name == schedule.vector else 1
        pieces = cut(kernel.size(name), schedule.tiles.get(name, 1), lanes)
        tasks *= max(sum(estimate(piece.trips, 1) if piece.trips.terms else 0 for piece in pieces), 1)
    return len(schedule.order)
