"""First values of parameters and state: initialisers written in the language.

`param W[F,F,I,J] ~ xavier` calls the function `xavier`; its parameters `fan_in` and
`fan_out` are supplied here.  `fan_in` is the number of terms that are summed with the
parameter in the equation that reads it first (the N of the slides' ±sqrt(3/N)), `fan_out`
the number of its elements over that of the channels it contracts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from . import syntax
from .builder import Builder
from .diagnostics import error
from .equations import Constant, Equation, Operation, Partial, Place, Random, Recurrence, Reshape, Shape, equation_reads
from .integers import Integer
from .lowering import Lowering
from .names import free_form, index_name, is_capital
from .ranges import undetermined
from .session import Session
from .terms import Term
from .translate import Translator
from .values import FunctionValue, Scope

DEFAULT = "xavier"


@dataclass(frozen=True, slots=True)
class PendingInitial:
    """A declaration whose first value is made once all sizes are known."""

    name: str
    shape: Shape
    dtype: str
    statement: syntax.Param | syntax.StateDeclaration
    scope: Scope
    call: Place | None = None
    """The call in the main program that led to it."""


def add_initials(elaborator: Session, pending: Iterable[PendingInitial]) -> None:
    """Add the equations for all first values to the program's initializers."""
    fans = _fans(elaborator.builder.operations)
    for item in pending:
        shape = elaborator.builder.resolve_shape(item.shape)
        unknown = [u for size in shape for u in size.unknowns()]
        if unknown:
            raise undetermined(f"{unknown[0].hint} of {item.name}", item.call or item.statement.place)
        if any(size.constant is None for size in shape):
            raise error(
                "E614", item.call or item.statement.place, f"the parameter {item.name} has a size "
                                                           f"that is known only when the program runs",
                notes=["a parameter has a fixed size"],
            )  # fmt: skip
        _add_initial(elaborator, item, shape, fans.get(item.name))


def _add_initial(elaborator: Session, item: PendingInitial, shape: Shape, fans: tuple[int, int] | None) -> None:
    elements = math.prod(int(size.constant or 1) for size in shape)
    fan_in, fan_out = fans or (max(1, elements // int(shape[-1].constant or 1)) if shape else 1, elements)
    scope = Scope(item.scope, prefix=item.scope.prefix)
    scope.define("fan_in", fan_in)
    scope.define("fan_out", fan_out)
    place = item.statement.place
    translator = Translator(elaborator, scope, place)
    names = _index_names(item.statement)
    for name, size in zip(names, shape, strict=True):
        translator.bind_left(name, place)
        translator.ranges.state(name, Integer.of(0), size, place)
    translator.rests[0].names = names
    term = _initial_term(elaborator, item, translator)
    translator.ranges.solve()
    lowering = Lowering(elaborator.builder, translator.ranges, f"{item.name}:initial", place)
    lowering.initializer = True
    builder = elaborator.builder
    before, before_initial = len(builder.operations), len(builder.initializers)
    lowering.define(f"{item.name}:initial", tuple(names), term, item.dtype)
    made = [builder.operations.popitem() for _ in range(len(builder.operations) - before)]
    builder.initializers.update(reversed(made))
    added = islice(reversed(builder.initializers.values()), len(builder.initializers) - before_initial)
    _bring_along(builder, item, list(added))


def _index_names(statement: syntax.Param | syntax.StateDeclaration) -> list[str]:
    """Indices of a first value: the small letters of its sizes, as in `param W[I, K] = { 1 if i == k ; … }`."""
    names: list[str] = []
    for axis, size in enumerate(statement.sizes):
        capital = size.name if isinstance(size, syntax.Name) and size.member is None else ""
        free = free_form(index_name(capital)) if is_capital(capital) else ""
        names.append(free if free and free not in names else f"i_{axis}")
    return names


def _bring_along(builder: Builder, item: PendingInitial, made: list[Operation]) -> None:
    """Constants that new initializers read belong to the initializers too."""
    from .equations import operands

    waiting = [name for operation in made for name in operands(operation)]
    while waiting:
        name = waiting.pop()
        if name not in builder.initializers and name in builder.operations:
            if not isinstance(builder.operations[name], (Constant, Equation, Partial, Reshape, Random)):
                raise error(
                    "E619",
                    item.statement.place,
                    f"the first value of {item.name} depends on {name}, which has no value before the program runs",
                    notes=["a first value is computed from numbers, tensor literals and random numbers"],
                )
            builder.initializers = {name: builder.operations[name], **builder.initializers}
            waiting += operands(builder.operations[name])


def _initial_term(elaborator: Session, item: PendingInitial, translator: Translator) -> Term:
    statement = item.statement
    node = statement.initial
    if node is None:
        name = DEFAULT if isinstance(statement, syntax.Param) else None
        node = syntax.Num(statement.place, 0) if name is None else syntax.Name(statement.place, name)
    if isinstance(node, syntax.Name):
        value = translator.scope.find(node.name) or elaborator.library(node.name)
        if isinstance(value, FunctionValue):
            node = syntax.Call(node.place, node, ())
        elif value is None and statement.drawn:
            raise elaborator.unknown_function(node.name, node.place, item.scope)
    return translator.finish(translator.read(node))


def _fans(operations: dict[str, Operation]) -> dict[str, tuple[int, int]]:
    """(fan_in, fan_out) by tensor, from the first equation that sums over it."""
    found: dict[str, tuple[int, int]] = {}
    for operation in operations.values():
        if isinstance(operation, Equation):
            _equation_fans(operation, found)
        elif isinstance(operation, Recurrence):
            for step in operation.steps:
                _equation_fans(step.equation, found)
    return found


def _equation_fans(equation: Equation, found: dict[str, tuple[int, int]]) -> None:
    if equation.combiner != "sum":
        return
    sizes = {axis.name: axis.size.constant for axis in equation.reduction}
    all_reads = equation_reads(equation)
    for read in all_reads:
        used = [name for s in read.subscripts for name in s.indices() if name in sizes]
        if not used or read.tensor in found or any(sizes[name] is None for name in sizes):
            continue
        # an index that slides over another tensor is a window, and not a channel
        windows = {
            name
            for other in all_reads
            for subscript in other.subscripts
            for name in subscript.indices()
            if name in sizes and len(subscript.indices()) > 1
        }
        fan_in = math.prod(int(size or 1) for size in sizes.values())
        others = {axis.name: axis.size.constant for axis in equation.domain}
        free = {name for s in read.subscripts for name in s.indices() if name in others}
        fan_out = math.prod(int(sizes[name] or 1) for name in set(used) & windows)
        fan_out *= math.prod(int(others[name] or 1) for name in free)
        found[read.tensor] = (fan_in, fan_out)
