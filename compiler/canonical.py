"""Operations with the names taken out, so that equal ones are equal values.

`canonical` renames indices by position and keeps the operands: two operations with one
canonical form compute the same tensor.  `anonymous` renames the operands too: two
operations with one anonymous form (and operands of equal shapes) need only one kernel.
"""

from __future__ import annotations

from dataclasses import replace

from ..dsl.equations import (
    Axis,
    Equation,
    Expression,
    Operation,
    Partial,
    Piece,
    Recurrence,
    operands,
    rename_reads,
    substitute_indices,
)
from ..dsl.integers import Atom, Index, Integer, IntegerLike
from .rewriting import map_expressions, plain, rename_operands


def canonical(operation: Operation) -> Operation:
    """The operation with domain indices `i0, i1, …`, reduction indices `r0, r1, …` and time `t`."""
    if isinstance(operation, Equation):
        return _equation(operation, {})
    if isinstance(operation, Partial):
        return replace(operation, pieces=tuple(_piece(piece) for piece in operation.pieces))
    if isinstance(operation, Recurrence):
        return _recurrence(operation)
    return operation


def anonymous(operation: Operation) -> tuple[Operation, tuple[str, ...]]:
    """The canonical form with operands `$0, $1, …`, and what they are called in the graph."""
    names = operands(operation)
    return rename_operands(canonical(operation), {name: f"${i}" for i, name in enumerate(names)}), names


def _equation(equation: Equation, outer: dict[str, Integer]) -> Equation:
    names = {axis.name: f"i{k}" for k, axis in enumerate(equation.domain)}
    names |= {axis.name: f"r{k}" for k, axis in enumerate(equation.reduction)}
    values = outer | {old: plain(new) for old, new in names.items()}

    def rename(expression: Expression) -> Expression:
        return substitute_indices(expression, values)

    return replace(
        map_expressions(equation, rename),
        domain=tuple(Axis(names[axis.name], axis.size) for axis in equation.domain),
        reduction=tuple(Axis(names[axis.name], axis.size) for axis in equation.reduction),
    )


def _piece(piece: Piece) -> Piece:
    names = {axis.name: f"i{k}" for k, axis in enumerate(piece.domain)}
    values: dict[Atom, IntegerLike] = {Index(old): plain(new) for old, new in names.items()}
    return Piece(
        piece.source,
        tuple(Axis(names[axis.name], axis.size) for axis in piece.domain),
        tuple(subscript.substitute(values) for subscript in piece.target),
    )


def _recurrence(loop: Recurrence) -> Recurrence:
    names = {carried.name: f"%{k}" for k, carried in enumerate(loop.carried)}
    for step in loop.steps:
        names.setdefault(step.name, f"%{len(names)}")
    time = {loop.index: plain("t")}
    steps = []
    for step in loop.steps:
        values: dict[Atom, IntegerLike] = {
            Index(axis.name): plain(f"i{k}") for k, axis in enumerate(step.equation.domain)
        }
        values[Index(loop.index)] = plain("t")
        target = None if step.target is None else tuple(subscript.substitute(values) for subscript in step.target)
        equation = map_expressions(_equation(step.equation, time), lambda found: rename_reads(found, names))
        steps.append(replace(step, name=names[step.name], equation=equation, target=target))
    carried = tuple(
        replace(c, name=names[c.name], starts=tuple(_piece(start) for start in c.starts)) for c in loop.carried
    )
    return replace(loop, index="t", carried=carried, steps=tuple(steps))
