"""Weights laid out as the register tile of a contraction walks through them.

A tile reads a few vectors along one output index and then goes on to the next step of the
reduction.  Where that index is long, every step is a jump of a whole row: a new page, the
same few sets of the cache.  Weights that are known when a module is loaded are therefore
copied once into panels, [outputs / width, reduction, width], and the kernel reads them
from there one after the other.  Where the width does not divide the outputs, the last panel
reaches back over columns of the one before.  Nothing else about the kernel changes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from ...dsl.equations import Axis, Expression, Read, substitute_indices, transform
from ...dsl.integers import ZERO, Index, Integer
from .kernel import Kernel, Stored, canonical, has_gather
from .roads import analysis, contraction, operands
from .schedule import Schedule
from .target import Target

_WORTH_PACKING = 1 << 13  # elements; fewer stay in the first cache as they are
_WASTE = 0.05  # the share of columns computed twice that the size of the register tile is worth


@dataclass(frozen=True)
class Packing:
    """A kernel that reads panels called `name` in place of `source`, and the kernel that makes them.

    Panels have `width` columns; all `widths` would do.
    """

    kernel: Kernel
    source: str
    name: str
    panels: Stored
    copy: Kernel
    width: int
    widths: tuple[int, ...] = ()


def pack(kernel: Kernel, target: Target, fixed: Collection[str], wanted: int | None = None) -> Packing | None:
    """The kernel with one of its `fixed` operands in panels, or None if that gains nothing.

    Panels have the `wanted` number of columns where that can be, else what the register tile likes.
    """
    if kernel.combiner != "sum" or kernel.guard is not None:
        return None
    alike, _ = canonical(kernel)  # equal kernels have equal roads, which are looked for once
    road = contraction.road(alike, target)
    if road is None:
        return None
    axes = (*kernel.domain, *kernel.reduction)
    schedule = road.variants[-1][1]
    vector = None if schedule.vector is None else axes[int(schedule.vector.removeprefix("i"))].name
    if vector is None or vector not in {axis.name for axis in kernel.domain}:
        return None
    size = kernel.size(vector).constant
    if size is None or schedule.lanes == 1:
        return None
    width = _width(kernel, schedule, size)
    possible = _widths(schedule.lanes, size)
    width = wanted if wanted in possible else width
    for read in operands.body_reads(kernel):
        if read.tensor in fixed and not has_gather(read) and _suits(kernel, read, vector):
            grouped = size % schedule.lanes == 0 and any(
                axis.name in read.subscripts[0].indices() for axis in kernel.domain if axis.name != vector
            )
            if width is not None or grouped:
                return replace(_packed(kernel, read, vector, size, width or size), widths=tuple(possible))
    return None


def _width(kernel: Kernel, schedule: Schedule, size: int) -> int | None:
    """Columns of a panel, those of the register tile if they do; None if all columns are one panel."""
    lanes = schedule.lanes
    tile = schedule.tiles.get(schedule.vector or "", 1)
    matrix = len(kernel.domain) == 2
    if schedule.stretch or (matrix and any(axis.size.constant is None for axis in kernel.domain)):
        tile = 2  # leaves registers for many samples

    def cost(width: int) -> tuple[int, int, float]:
        waste = -(-size // width) * -(-width // lanes) * lanes / size
        return round(waste / _WASTE), abs(tile * lanes - width), waste

    return min(_widths(lanes, size), key=cost, default=None)


def _widths(lanes: int, size: int) -> list[int]:
    """The columns that a panel may have: whole vectors, or a divisor of all columns."""
    found = range(lanes, min(4 * lanes + 1, size))
    return [width for width in found if size % width == 0 or width % lanes == 0]


def _suits(kernel: Kernel, read: Read, vector: str) -> bool:
    """Whether a read goes through a large operand in rows along the vectors, longer than a panel is wide."""
    names = read.subscripts[0].indices() if read.subscripts else set()
    known = all(kernel.size(name).constant is not None for name in names if name in _own_indices(kernel))
    return (
        known
        and names <= _own_indices(kernel)
        and analysis.stride(kernel, read, vector) == 1
        and any(axis.name in names for axis in kernel.reduction)
        and analysis.estimate(kernel.tensors[read.tensor].count) >= _WORTH_PACKING
    )


def _own_indices(kernel: Kernel) -> set[str]:
    """Names of the kernel's own indices."""
    return {axis.name for axis in (*kernel.domain, *kernel.reduction)}


def _packed(kernel: Kernel, read: Read, vector: str, size: int, width: int) -> Packing:
    """The kernel over panels of `width` of the `size` columns; of rows in the order of its loops if that is all."""
    number = -(-size // width)
    parts = [Axis(f"{vector} panel", Integer.of(number)), Axis(vector, Integer.of(width))][-min(number, 2) :]
    panel = Integer.index(parts[0].name) if number > 1 else ZERO
    place = panel * width + Integer.index(vector)
    if size % width:  # only of the last panel the quotient is 1
        place -= panel // (number - 1) * (number * width - size)
    names = read.subscripts[0].indices()
    rows = [axis for axis in (*kernel.domain, *kernel.reduction) if axis.name in names and axis.name != vector]
    address = panel
    for axis in rows:
        address = address * axis.size + Integer.index(axis.name)
    address = address * width + Integer.index(vector)
    count = Integer.of(number * width)
    for axis in rows:
        count = count * axis.size
    panels = Stored((count,), kernel.tensors[read.tensor].dtype)
    sizes = ", ".join(map(str, (*rows, Axis(vector, Integer.of(size)))))
    name = f"{read.tensor} in panels of {width} ({read.subscripts[0]}; {sizes})"

    def node(found: Expression) -> Expression | None:
        return Read(name, (address,), read.dtype) if found == moved else None

    def rewritten(expression: Expression) -> Expression:
        return substitute_indices(expression, {vector: place})

    moved = rewritten(read)
    body = transform(rewritten(kernel.body), node)
    domain = tuple(part for axis in kernel.domain for part in (parts if axis.name == vector else (axis,)))
    result = replace(
        kernel,
        domain=domain,
        body=body,
        stages=tuple(replace(stage, value=rewritten(stage.value)) for stage in kernel.stages),
        offset=kernel.offset.substitute({Index(vector): place}),
    )
    stored = {**kernel.tensors, name: panels}
    used = dict.fromkeys(found.tensor for found in result.reads())
    result = replace(result, tensors={tensor: stored[tensor] for tensor in used})
    copy = Kernel(
        domain=(*parts[:-1], *rows, parts[-1]),
        reduction=(),
        combiner=None,
        body=moved,
        guard=None,
        dtype=panels.dtype,
        accumulator="",
        stages=(),
        offset=address,
        output=panels,
        tensors={read.tensor: kernel.tensors[read.tensor]},
        ranges={},
    )
    return Packing(result, read.tensor, name, panels, copy, width)
