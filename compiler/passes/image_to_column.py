"""Image to column: what windows see is copied into the rows of a matrix, which is then multiplied.

    S[b,x,y,j] = sum over p, q, i of  D[b, x+p, y+q, i] * W[p,q,i,j]

becomes, as on the slides,

    S.columns[b,x,y, p,q,i] = D[b, x+p, y+q, i]
    S[b,x,y,j] = sum over p, q, i of  S.columns[b,x,y, p,q,i] * W[p,q,i,j]

and the second equation is a matrix product over the fused axes (b,x,y), (p,q,i) and j.  Any
reduction with one operand that is read through windows has this form: any number of axes, any
stride or dilation, groups (`g` is in the rows and in the output), padding and guards.  The copy
takes memory and time, so only equations that are named are rewritten; who names them knows
the machine.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ...dsl.equations import FLOATS, Apply, Axis, Equation, Expression, Literal, Read, reads, walk
from ..graph import Graph, Note
from ..rewriting import exchange, new_name, plain
from ..windows import windowed


def image_to_column(graph: Graph, names: Collection[str]) -> Graph:
    """The graph with the named equations computed by image to column, those that can be (see `columns`)."""
    operations = graph.operations()
    notes: list[Note] = []
    for name in names:
        operation = operations[name]
        copy = new_name(f"{name}.columns", operations)
        found = columns(operation, copy) if isinstance(operation, Equation) else None
        if found is not None:
            operations[copy], operations[name] = found
            axes = ", ".join(f"{axis.name} {axis.size}" for axis in found[0].domain)
            notes.append(Note("image_to_column", name, f"multiplies {copy}[{axes}], what its windows see, as a matrix"))
    return graph.replace(operations, tuple(notes)) if notes else graph


def columns(equation: Equation, name: str) -> tuple[Equation, Equation] | None:
    """The equation that copies what the window sees to tensor `name`, and the one that reads it there.

    None if there is no window or more than one operand has one, or if what the window sees is
    computed in a dtype that storing it would round.
    """
    found = windowed(equation)
    if found is None or not _kept_by_storing(found.data):
        return None
    domain = (
        *(axis for axis in equation.domain if axis.name in found.domain),
        *_as_read(equation, found.data, found.reduction),
    )
    data = found.data
    if equation.guard is not None:  # what it leaves out may lie outside of the operand
        data = Apply("select", (equation.guard, data, Literal(_zero(data.dtype), data.dtype)), data.dtype)
    read = Read(name, tuple(plain(axis.name) for axis in domain), data.dtype)
    order = {axis.name: place for place, axis in enumerate(domain)}
    summed = equation.reduction
    if equation.combiner not in ("argmax", "argmin"):  # they give places in the order of the reduction
        summed = tuple(sorted(summed, key=lambda axis: order.get(axis.name, -1)))
    product = replace(equation, body=exchange(equation.body, found.data, read), reduction=summed)
    return Equation(domain, data, data.dtype), product


def _as_read(equation: Equation, data: Expression, names: Collection[str]) -> list[Axis]:
    """The reduction's axes of the data, those last that move least in memory."""
    subscripts = [subscript for read in reads(data) for subscript in read.subscripts]

    def last(axis: Axis) -> int:
        return max((k for k, subscript in enumerate(subscripts) if axis.name in subscript.indices()), default=-1)

    return sorted((axis for axis in equation.reduction if axis.name in names), key=last)


def _kept_by_storing(data: Expression) -> bool:
    """Whether a value is the same after it was stored: reduced floats only if they are not computed."""
    if data.dtype not in FLOATS or data.dtype in ("float32", "float64"):
        return True
    return all(node.operation == "select" or node.dtype == "bool" for node in walk(data) if isinstance(node, Apply))


def _zero(dtype: str) -> float | int | bool:
    return 0.0 if dtype in FLOATS else False if dtype == "bool" else 0
