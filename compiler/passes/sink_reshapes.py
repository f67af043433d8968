"""Move reshapes that join axes behind the element-wise equations that follow them.

The channels of a grouped convolution are computed as (group, channel of the group) and read
as one axis afterwards.  Normalisation and activation in between are the same on either
side of that reshape; before it they can be computed where the convolution leaves its
results.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...dsl.equations import (
    Axis,
    Equation,
    Expression,
    Operation,
    Read,
    Reshape,
    Shape,
    equation_reads,
    substitute_indices,
    transform,
)
from ...dsl.integers import ONE, ZERO, Integer
from ..graph import Graph, Note
from ..rewriting import is_identity, new_name, plain


def sink_reshapes(graph: Graph) -> Graph:
    """The graph with every element-wise equation that alone reads a reshape of an equation moved before it."""
    operations: dict[str, Operation] = dict(graph.operations())
    notes: list[Note] = []
    for name in graph:
        equation = operations[name]
        if not isinstance(equation, Equation) or equation.combiner is not None or equation.guard is not None:
            continue
        for read in equation_reads(equation):
            reshape = operations[read.tensor]
            if not isinstance(reshape, Reshape) or not _alone(graph, name, read, reshape):
                continue
            if reshape.shape != equation.shape:  # only a part of it is read
                continue
            source = operations[reshape.source]
            parts = _joined(source.shape, reshape.shape) if isinstance(source, Equation) else None
            same = [found for found in equation_reads(equation) if found.tensor == read.tensor]
            if parts is None or not all(is_identity(found.subscripts, equation.domain) for found in same):
                continue
            before = new_name(f"{name}.parts", operations)
            operations[before] = _moved(equation, read.tensor, reshape.source, parts)
            operations[name] = Reshape(before, equation.shape, equation.dtype)
            notes.append(Note("sink_reshapes", name, f"is computed before the axes of {reshape.source} are joined"))
            break
    return graph.replace(operations, tuple(notes)) if notes else graph


def _alone(graph: Graph, name: str, read: Read, reshape: Reshape) -> bool:
    """Whether nothing but one element-wise equation needs a reshape and what is reshaped."""
    if read.tensor in graph.roots or reshape.source in graph.roots or graph.consumers(read.tensor) != [name]:
        return False
    users = graph.consumers(reshape.source) if reshape.source in graph else [read.tensor]
    return users == [read.tensor]


def _joined(parts: Shape, whole: Shape) -> list[list[Integer]] | None:
    """The axes of `parts` that make up each axis of `whole`, or None if these are not joined axes."""
    left, found = list(parts), []
    for size in whole:
        group: list[Integer] = []
        product = ONE
        while left and (not group or product != size):
            group.append(left.pop(0))
            product = product * group[-1]
        if product != size:
            return None
        found.append(group)
    return None if left else found


def _moved(equation: Equation, reshape: str, source: str, parts: Sequence[Sequence[Integer]]) -> Equation:
    """The equation over the parts of its axes, reading what is reshaped."""
    domain: list[Axis] = []
    places: dict[str, Integer] = {}
    taken = {axis.name for axis in equation.domain}
    for axis, sizes in zip(equation.domain, parts, strict=True):
        names = [axis.name]
        if len(sizes) > 1:
            names = [new_name(f"{axis.name}{position}", taken) for position in range(len(sizes))]
            taken.update(names)
        place = ZERO
        for name, size in zip(names, sizes, strict=True):
            domain.append(Axis(name, size))
            place = place * size + plain(name)
        places[axis.name] = place
    subscripts = tuple(plain(axis.name) for axis in domain)

    def node(found: Expression) -> Expression | None:
        return Read(source, subscripts, found.dtype) if isinstance(found, Read) and found.tensor == reshape else None

    body = transform(equation.body, node)
    moved = substitute_indices(body, {name: place for name, place in places.items() if place != plain(name)})
    return Equation(tuple(domain), moved, equation.dtype)
