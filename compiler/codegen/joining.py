"""Vectors that run over two output indices where the inner one is shorter than a vector.

In a grouped convolution with 4 channels a group, the output is contiguous along (group,
channel), 32 of them in 8 groups, say, but neighbours along a channel end after 4.  Here
both become one index v: the channel is `v % 4` and the group `v // 4`, so the output and
the weights are read along v one after the other, and the inputs in steps, each number
for the 4 lanes of its group.  `Steps` says where those numbers are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ...dsl.equations import Axis, Expression, Read, substitute_indices
from ...dsl.integers import FloorDiv, Index, Integer, bounds, is_nonnegative
from .kernel import Kernel, has_gather, step
from .target import Target


@dataclass(frozen=True)
class Steps:
    """A read at `width * (v // lanes) + fine + …` for vectors along v.

    `fine` are the indices that choose among the `width` numbers of a step; the other indices
    move by multiples of `width`, so the numbers for all lanes of a vector lie together.
    """

    width: int
    lanes: int
    fine: frozenset[str]

    def span(self, lanes: int) -> int:
        """How many numbers the steps of a vector cover."""
        return self.width * lanes // self.lanes

    def places(self, lanes: int, first: int) -> list[int]:
        """Where in the span each lane finds its number, number `first` of its step."""
        return [lane // self.lanes * self.width + first for lane in range(lanes)]


def steps(kernel: Kernel, read: Read, vector: str, lanes: int) -> Steps | None:
    """How a read moves along a vector, if it does so in steps that it may read whole."""
    size = kernel.size(vector).constant
    if has_gather(read) or not read.subscripts or size is None or size % lanes:
        return None
    offset = read.subscripts[0]
    floors = [(m, c) for m, c in offset.terms if any(vector in Integer.atom(atom).indices() for atom in m)]
    if len(floors) != 1 or len(floors[0][0]) != 1:
        return None
    (atom,), width = floors[0]
    if not isinstance(atom, FloorDiv) or atom.numerator != Integer.index(vector):
        return None
    each = atom.denominator.constant
    if each is None or lanes % each or not 0 < width <= each:
        return None
    fine: set[str] = set()
    furthest = offset.offset % width
    for monomial, coefficient in offset.terms:
        if monomial and coefficient % width:
            name = monomial[0].name if len(monomial) == 1 and isinstance(monomial[0], Index) else ""
            extent = kernel.size(name).constant if name in {axis.name for axis in kernel.reduction} else None
            if extent is None or coefficient < 0:
                return None
            fine.add(name)
            furthest += coefficient * (extent - 1)
    if furthest >= width:
        return None
    start = offset.substitute({Index(name): 0 for name in fine}) - offset.offset % width
    limits = bounds(start, kernel.all_ranges())
    if limits is None or not is_nonnegative(limits[0]):
        return None
    if not is_nonnegative(kernel.tensors[read.tensor].count - width - limits[1]):
        return None
    return Steps(width, each, frozenset(fine))


def join_lanes(kernel: Kernel, target: Target) -> Kernel:
    """The kernel with an output index that is shorter than a vector joined with the one around it, if that helps."""
    if kernel.combiner != "sum" or kernel.guard is not None:
        return kernel
    lanes = target.lanes(32)
    for inner in kernel.domain:
        short = inner.size.constant
        if short is None or short >= lanes or lanes % short or step(kernel.offset, inner.name) != 1:
            continue
        for outer in kernel.domain:
            long = outer.size.constant
            if long is None or long * short % lanes or step(kernel.offset, outer.name) != short:
                continue
            joined = _joined(kernel, outer.name, inner.name, short)
            if all(_reads_well(joined, read, f"{outer.name}{inner.name}", lanes) for read in joined.reads()):
                return joined
    return kernel


def _reads_well(kernel: Kernel, read: Read, vector: str, lanes: int) -> bool:
    """Whether neighbours along a vector are read next to each other, in steps, or not at all."""
    if not read.subscripts:
        return True
    return not has_gather(read) and (
        step(read.subscripts[0], vector) in (0, 1) or steps(kernel, read, vector, lanes) is not None
    )


def _joined(kernel: Kernel, outer: str, inner: str, size: int) -> Kernel:
    """The kernel with `outer` and `inner`, which has a size, as one index."""
    name = f"{outer}{inner}"
    place = Integer.index(name)
    values: Mapping[str, Integer] = {outer: place // size, inner: place - place // size * size}

    def rewritten(expression: Expression) -> Expression:
        return substitute_indices(expression, values)

    domain = []
    for axis in kernel.domain:
        if axis.name == inner:
            domain.append(Axis(name, kernel.size(outer) * size))
        elif axis.name != outer:
            domain.append(axis)
    return replace(
        kernel,
        domain=tuple(domain),
        body=rewritten(kernel.body),
        stages=tuple(replace(stage, value=rewritten(stage.value)) for stage in kernel.stages),
        offset=kernel.offset.substitute({Index(index): value for index, value in values.items()}),
    )
