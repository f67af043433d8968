"""What the axes of a program's tensors are: places, over which windows slide, or channels.

Goes once through a program, operands first.  An axis is a place as soon as an equation reads along
it through a window, and stays one; it is made of channels where an equation takes it from a weight
alone.  Neither is known of the axes of an input before something happens to them.  An axis that is
several fused into one, row by row, is the list of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

from ..dsl.equations import Axis, Carry, Equation, Partial, Program, Read, Recurrence, Reshape, Shape, equation_reads
from ..dsl.integers import Atom, Index, Integer
from .dependence import data_free
from .graph import Graph

PLACE, PHASE, CHANNEL, SPLIT, UNKNOWN = "place", "phase", "channel", "split", "unknown"
"""A `PHASE` is a place within a step of places, as in a transposed convolution; `SPLIT` are part of the channels."""


@dataclass(frozen=True)
class Part:
    """An axis, or one that was fused with others: its size (None: known at run time), and what it is."""

    size: int | None
    kind: str


def collapsed(parts: tuple[Part, ...]) -> Part:
    """Parts as one axis: phases of places are places; several places are a sequence, of unknown kind."""
    kinds = [part.kind for part in parts if part.size != 1] or [parts[0].kind]
    sizes = [part.size for part in parts if part.size is not None]
    size = math.prod(sizes) if len(sizes) == len(parts) else None
    if len(kinds) == 1:
        return Part(size, kinds[0])
    if set(kinds) <= {CHANNEL, SPLIT}:
        return Part(size, CHANNEL)
    return Part(size, PLACE if kinds[0] == PLACE and set(kinds[1:]) <= {PHASE, CHANNEL, SPLIT} else UNKNOWN)


Axes = tuple[tuple[Part, ...], ...]
"""For each axis of a tensor its parts, one unless axes were fused."""


def axis_kinds(program: Program, free: Set[str] | None = None) -> dict[str, Axes]:
    """The axes of every tensor, and of every step of a recurrence; `free` are the names that depend on no data."""
    if free is None:
        free = data_free(Graph.from_program(program), changing=True)
    found: dict[str, Axes] = {}
    for name, operation in program.operations.items():
        if isinstance(operation, Equation):
            found[name] = _of_equation(operation, found, free)
        elif isinstance(operation, Recurrence):
            for carried in operation.carried:
                found[carried.name] = _unknown(carried.shape)
            for step in operation.steps:
                axes = _of_equation(step.equation, found, free)
                found[step.name] = axes if step.target is None else _written(step.equation, step.target, axes)
        elif isinstance(operation, Carry):
            recurrence = program.operations[operation.recurrence]
            assert isinstance(recurrence, Recurrence)
            found[name] = found[recurrence.carried[operation.position].name]
        elif isinstance(operation, Reshape):
            source = program.tensor(operation.source).shape
            found[name] = _reshaped(source, operation.shape, found[operation.source])
        elif isinstance(operation, Partial):
            found[name] = _joined(operation, found)
        else:
            found[name] = _unknown(operation.shape)
    return found


def is_fused(subscript: Integer, sizes: Mapping[str, int | None]) -> bool:
    """Whether a subscript is several indices fused into one axis, row by row: `j + J*h` for `(h,j)`."""
    step = 1
    for coefficient, name in sorted((term[1], _index_of(term[0])) for term in subscript.terms):
        size = sizes.get(name)
        if coefficient != step or size is None:
            return False
        step *= size
    return True


def outer_first(subscript: Integer) -> list[str]:
    """The indices of a subscript, the one with the largest step first; those in floor divisions come last."""
    steps = {_index_of(monomial): step for monomial, step in subscript.terms}
    return sorted(sorted(subscript.indices()), key=lambda name: -abs(steps.get(name, 0)))


def _index_of(monomial: tuple[Atom, ...]) -> str:
    return monomial[0].name if len(monomial) == 1 and isinstance(monomial[0], Index) else ""


def _unknown(shape: Shape) -> Axes:
    return tuple((Part(size.constant, UNKNOWN),) for size in shape)


def _of_equation(equation: Equation, found: Mapping[str, Axes], free: Set[str]) -> Axes:
    reads = list(dict.fromkeys(equation_reads(equation)))
    return tuple(_axis(axis, equation, reads, found, free) for axis in equation.domain)


def _axis(
    axis: Axis, equation: Equation, reads: Iterable[Read], found: Mapping[str, Axes], free: Set[str]
) -> tuple[Part, ...]:
    """What an output axis is by the reads in which its index stands."""
    index, size = axis.name, axis.size.constant
    reduction = {summed.name for summed in equation.reduction}
    weights = [s for read in reads if read.tensor in free for s in read.subscripts if index in s.indices()]
    if any(subscript.indices() & reduction for subscript in weights):
        return (Part(size, PHASE),)  # every so many places of a window
    kinds: list[tuple[Part, ...]] = []
    for read in reads:
        for parts, subscript in zip(found[read.tensor], read.subscripts, strict=True):
            if read.tensor in free or index not in subscript.indices():
                continue
            kind = _moved(parts, size, subscript.plain_index == index)
            if len(subscript.indices()) > 1 and not subscript.indices() & reduction:
                if not is_fused(subscript, equation_sizes(equation)):
                    return (Part(size, PLACE),)  # a window that is laid out: `x + Δx`
                split = collapsed(parts).kind
                return (Part(size, SPLIT if split == CHANNEL else split),)
            if subscript.indices() & reduction and {part.kind for part in parts} != {CHANNEL}:
                is_group = weights and is_fused(subscript, equation_sizes(equation))
                return (Part(size, CHANNEL if is_group else PLACE),)
            kinds.append(kind)
    if not kinds:
        return (Part(size, CHANNEL if weights else UNKNOWN),)
    return next((parts for parts in kinds if all(part.kind != UNKNOWN for part in parts)), kinds[0])


def equation_sizes(equation: Equation) -> dict[str, int | None]:
    """The sizes of an equation's indices; None for one that is known at run time only."""
    return {axis.name: axis.size.constant for axis in (*equation.domain, *equation.reduction)}


def _moved(parts: tuple[Part, ...], size: int | None, whole: bool) -> tuple[Part, ...]:
    """The parts of an axis that is read as it is, or shifted, cut or scaled."""
    if whole and (size is None or math.prod(part.size or 0 for part in parts) == size):
        return parts
    return (Part(size, collapsed(parts).kind),)


def _written(equation: Equation, target: tuple[Integer, ...], axes: Axes) -> Axes:
    """The axes of a carried tensor by the step that writes to it; the time's is nothing else."""
    places = {axis.name: number for number, axis in enumerate(equation.domain)}
    return tuple(
        axes[places[name]] if (name := subscript.plain_index) in places and name is not None else (Part(None, UNKNOWN),)
        for subscript in target
    )


def _joined(partial: Partial, found: Mapping[str, Axes]) -> Axes:
    """The axes of what is put together: each as in the first piece that tells."""
    axes: list[tuple[Part, ...]] = []
    for number, size in enumerate(partial.shape):
        kinds: list[tuple[Part, ...]] = []
        for piece in partial.pieces:
            for axis, index in enumerate(piece.domain):
                subscript = piece.target[number]
                if subscript.indices() == {index.name} and piece.source in found:
                    whole = subscript.plain_index == index.name
                    kinds.append(_moved(found[piece.source][axis], size.constant, whole))
        known = [parts for parts in kinds if all(part.kind != UNKNOWN for part in parts)]
        axes.append((known or kinds or [(Part(size.constant, UNKNOWN),)])[0])
    return tuple(axes)


def _reshaped(source: Shape, shape: Shape, axes: Axes) -> Axes:
    """The axes of the same elements under another shape: fused, or cut, where they can be followed."""
    spans = _spans(source)
    found: list[tuple[Part, ...]] = []
    for size, (low, high) in zip(shape, _spans(shape), strict=True):
        inside = [parts for parts, (first, last) in zip(axes, spans, strict=True) if _between(low, first, last, high)]
        around = [parts for parts, (first, last) in zip(axes, spans, strict=True) if _between(first, low, high, last)]
        whole = math.prod(part.size or 0 for parts in inside for part in parts)
        if size.constant is None:
            found.append(next((parts for parts in around if len(parts) == 1), (Part(None, UNKNOWN),)))
        elif inside and whole == size.constant:
            long = [parts for parts in inside if collapsed(parts).size != 1] or inside[:1]
            found.append(long[0] if len(long) == 1 else tuple(map(collapsed, inside)))
        else:
            kinds = {part.kind for parts in around for part in parts}
            found.append((Part(size.constant, kinds.pop() if len(kinds) == 1 else UNKNOWN),))
    return tuple(found)


def pieces_of_axis(source: Shape, shape: Shape) -> list[tuple[list[int], bool]]:
    """For each axis of a tensor the axes within it under another shape, and whether these are all of it."""
    found = []
    spans = _spans(shape)
    for size, (first, last) in zip(source, _spans(source), strict=True):
        inside = [n for n, (low, high) in enumerate(spans) if _between(first, low, high, last)]
        found.append((inside, bool(inside) and math.prod(shape[n].constant or 0 for n in inside) == size.constant))
    return found


def _spans(shape: Shape) -> list[tuple[int | None, int | None]]:
    """For each axis the steps between its elements and between its whole turns, in elements; None: at run time."""
    spans: list[tuple[int | None, int | None]] = []
    step: int | None = 1
    for size in reversed(shape):
        turn = None if step is None or size.constant is None else step * size.constant
        spans.append((step, turn))
        step = turn
    return spans[::-1]


def _between(low: int | None, first: int | None, last: int | None, high: int | None) -> bool:
    """Whether a span (first, last) lies within (low, high); what is known at run time only is larger than all."""
    ends = [math.inf if end is None else end for end in (low, first, last, high)]
    return ends == sorted(ends) and ends[0] != math.inf
