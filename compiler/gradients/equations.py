"""What one equation adds to the adjoints of the tensors that it reads, by the way it reduces.

A sum passes the adjoint of its result to each of its terms.  A maximum passes it to the one
term that it took, the first of equal ones.  A product passes it, times the product of the
other terms, to each: so a zero among them does no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from ...dsl.equations import (
    FLOATS,
    Apply,
    Axis,
    Equation,
    Expression,
    Number,
    Read,
    substitute_indices,
)
from ...dsl.integers import ZERO, Integer, Range
from ..rewriting import conjuncts, plain
from ..scalar_identities import is_literal
from .contributions import Make, both
from .gathering import accumulator_of
from .inversion import Spread
from .scalar import Pullback, cast, compare, mul, real


def spreads(
    name: str,
    equation: Equation,
    upstream: Expression,
    wanted: Callable[[Read], bool],
    make: Make,
    known: Expression | None = None,
    outer: Mapping[str, Range] | None = None,
) -> list[tuple[str, Spread]]:
    """(tensor, what is added to its adjoint) for the wanted reads, if the adjoint of the result is `upstream`.

    `known` reads the result, where it is stored.  Helpers are made under names like `name`.
    """
    conditions: tuple[Expression, ...] = () if equation.guard is None else tuple(conjuncts(equation.guard))
    up = cast(upstream, equation.body.dtype) if equation.body.dtype in FLOATS else upstream
    if equation.body.dtype not in FLOATS or equation.combiner in ("argmax", "argmin", "any", "all"):
        return []
    if equation.combiner in ("max", "min"):
        conditions = (*conditions, _taken(name, equation, make))
    elif equation.combiner == "prod":
        up = mul(up, _others(name, equation, make))
    stored = known if equation.combiner is None and equation.body.dtype == equation.dtype else None
    axes = (*equation.domain, *equation.reduction)
    found: list[tuple[str, Spread]] = []
    for read, value in Pullback(wanted, equation.body, stored).adjoints(up).items():
        more, value = peeled(value)
        found.append((read.tensor, Spread(axes, value, read.subscripts, (*conditions, *more), outer or {})))
    return found


def peeled(value: Expression) -> tuple[tuple[Expression, ...], Expression]:
    """The conditions outside of which a value is 0, and what it is where they hold."""
    conditions: list[Expression] = []
    while isinstance(value, Apply) and value.operation == "select":
        condition, first, second = value.arguments
        if is_literal(second, 0):
            conditions += conjuncts(condition)
            value = first
        elif is_literal(first, 0):
            conditions.append(_not(condition))
            value = second
        else:
            break
    return tuple(conditions), value


_REVERSED = {"lt": "le", "le": "lt"}
_NEGATED = {"eq": "ne", "ne": "eq"}


def _not(condition: Expression) -> Expression:
    """The opposite of a condition; the opposite of `a <= b` is `b < a`."""
    if isinstance(condition, Apply) and condition.operation in _REVERSED:
        first, second = condition.arguments
        return compare(_REVERSED[condition.operation], second, first)
    if isinstance(condition, Apply) and condition.operation in _NEGATED:
        return compare(_NEGATED[condition.operation], *condition.arguments)
    return Apply("not", (condition,), "bool")


def _taken(name: str, equation: Equation, make: Make) -> Expression:
    """Whether a term is the one that a maximum or minimum took."""
    position = replace(equation, combiner=f"arg{equation.combiner}", dtype="int64", accumulator="")
    found = make(f"{name}.arg{equation.combiner}", position)
    where = Read(found, tuple(plain(axis.name) for axis in equation.domain), "int64")
    return compare("eq", where, Number(_row_major(equation.reduction), "int64"))


def _row_major(axes: tuple[Axis, ...]) -> Integer:
    position = ZERO
    for axis in axes:
        position = position * axis.size + plain(axis.name)
    return position


def _others(name: str, equation: Equation, make: Make) -> Expression:
    """The product of all terms but one, over domain and reduction."""
    inner = {axis.name: f"{axis.name}'" for axis in equation.reduction}
    renamed = {old: plain(new) for old, new in inner.items()}
    same = [compare("eq", Number(plain(new), "int64"), Number(plain(old), "int64")) for old, new in inner.items()]
    one = real(1, equation.body.dtype)
    body = Apply("select", (both(same), one, substitute_indices(equation.body, renamed)), equation.body.dtype)
    others = replace(
        equation,
        domain=(*equation.domain, *equation.reduction),
        reduction=tuple(Axis(inner[axis.name], axis.size) for axis in equation.reduction),
        body=body,
        guard=None if equation.guard is None else substitute_indices(equation.guard, renamed),
        accumulator=equation.accumulator or accumulator_of(equation.dtype),
    )
    read = Read(make(f"{name}.others", others), tuple(plain(axis.name) for axis in others.domain), equation.dtype)
    return cast(read, equation.body.dtype)


def is_wanted_in(active: Callable[[str], bool]) -> Callable[[Read], bool]:
    """Reads of floats from tensors of which the adjoint matters."""
    return lambda read: read.dtype in FLOATS and active(read.tensor)
