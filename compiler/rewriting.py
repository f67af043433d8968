"""Helpers that passes share: operands under other names, reads at identity, sizes and costs of expressions."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace

from ..dsl.equations import (
    INTEGERS,
    Apply,
    Axis,
    Carried,
    Carry,
    Equation,
    Expression,
    Literal,
    Number,
    Operation,
    Partial,
    Read,
    Recurrence,
    Reshape,
    Shape,
    children,
    element_count,
    rename_reads,
    transform,
    walk,
)
from ..dsl.integers import ONE, ZERO, Element, Index, Integer, Range, Symbol

TRANSCENDENTAL = ("exp", "log", "sqrt", "tanh", "sigmoid", "erf", "sin", "cos", "pow", "div", "floordiv", "mod")
"""Operations that cost many times as much as an addition."""


def rename_operands(operation: Operation, names: Mapping[str, str]) -> Operation:
    """The operation with operands of other names; names inside a recurrence are its own."""
    if not names:
        return operation
    if isinstance(operation, Equation):
        return map_expressions(operation, lambda expression: rename_reads(expression, names))
    if isinstance(operation, Partial):
        pieces = tuple(replace(piece, source=names.get(piece.source, piece.source)) for piece in operation.pieces)
        return replace(operation, pieces=pieces)
    if isinstance(operation, Reshape):
        return replace(operation, source=names.get(operation.source, operation.source))
    if isinstance(operation, Carry):
        return replace(operation, recurrence=names.get(operation.recurrence, operation.recurrence))
    if isinstance(operation, Recurrence):
        inner = {carried.name for carried in operation.carried} | {step.name for step in operation.steps}
        outer = {old: new for old, new in names.items() if old not in inner}
        renamed = map_steps(operation, lambda step: map_expressions(step, lambda found: rename_reads(found, outer)))
        return replace(renamed, carried=tuple(_rename_starts(carried, names) for carried in operation.carried))
    return operation


def _rename_starts(carried: Carried, names: Mapping[str, str]) -> Carried:
    starts = tuple(replace(start, source=names.get(start.source, start.source)) for start in carried.starts)
    return replace(carried, starts=starts)


def map_expressions(equation: Equation, function: Callable[[Expression], Expression]) -> Equation:
    """The equation with `function` applied to its body and its guard."""
    guard = None if equation.guard is None else function(equation.guard)
    return replace(equation, body=function(equation.body), guard=guard)


def map_steps(recurrence: Recurrence, function: Callable[[Equation], Equation]) -> Recurrence:
    """The recurrence with `function` applied to the equation of every step."""
    steps = tuple(replace(step, equation=function(step.equation)) for step in recurrence.steps)
    return replace(recurrence, steps=steps)


def exchange(expression: Expression, part: Expression, value: Expression) -> Expression:
    """Replace every occurrence of one part of an expression."""
    return transform(expression, lambda node: value if node == part else None)


def indices_of(expression: Expression) -> set[str]:
    """Names of the indices on which an expression depends."""
    found: set[str] = set()
    for node in walk(expression):
        for integer in node.subscripts if isinstance(node, Read) else (node.value,) if isinstance(node, Number) else ():
            found |= integer.indices()
    return found


def new_name(wanted: str, taken: Container[str]) -> str:
    """`wanted`, or that with a number after it if it is taken."""
    name, number = wanted, 2
    while name in taken:
        name, number = f"{wanted}{number}", number + 1
    return name


def is_identity(subscripts: Sequence[Integer], domain: Sequence[Axis]) -> bool:
    """Whether the subscripts are the domain's indices in their order (0 where an axis has size 1)."""
    return len(subscripts) == len(domain) and all(
        subscript.plain_index == axis.name or (subscript == ZERO and axis.size == ONE)
        for subscript, axis in zip(subscripts, domain, strict=True)
    )


def has_shape(domain: Sequence[Axis], shape: Shape) -> bool:
    """Whether the axes have these sizes."""
    return tuple(axis.size for axis in domain) == shape


def ranges_of(*axes: Axis) -> dict[str, Range]:
    """The interval of each index, for `dsl.integers.bounds`."""
    return {axis.name: (ZERO, axis.size) for axis in axes}


def points(equation: Equation) -> Integer:
    """How often the body is evaluated: the points of domain and reduction together."""
    return element_count(equation.shape) * element_count(tuple(axis.size for axis in equation.reduction))


def estimate(size: Integer, unknown: int) -> int:
    """A size as a number, with a guess for what is known only at run time."""
    symbols = {atom.name: max(atom.minimum, unknown) for atom in size.atoms() if isinstance(atom, Symbol)}
    try:
        return max(size.evaluate(symbols), 1)
    except (KeyError, ZeroDivisionError):
        return unknown


def cost(expression: Expression) -> int:
    """A rough price of one evaluation in additions; reads, literals and casts are free."""
    if not isinstance(expression, Apply):
        return 0
    own = 0 if expression.operation in ("cast", "neg") else 16 if expression.operation in TRANSCENDENTAL else 1
    return own + sum(cost(argument) for argument in expression.arguments)


def plain(name: str) -> Integer:
    """The subscript that is an index alone."""
    return Integer.atom(Index(name))


def conjuncts(condition: Expression) -> list[Expression]:
    """The conditions that `and` joins."""
    if isinstance(condition, Apply) and condition.operation == "and":
        return [part for argument in children(condition) for part in conjuncts(argument)]
    return [condition]


def as_integer(expression: Expression) -> Integer | None:
    """A whole number that may stand in a subscript."""
    if isinstance(expression, Number) and expression.dtype in INTEGERS:
        return expression.value
    if isinstance(expression, Literal) and expression.dtype in INTEGERS:
        return Integer.of(int(expression.value))
    if isinstance(expression, Read) and expression.dtype in INTEGERS:
        return Integer.atom(Element(expression))
    return None
