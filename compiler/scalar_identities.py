"""Identities of scalar expressions that keep every number, up to the sign of a zero."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy

from ..dsl.equations import FLOATS, INTEGERS, Apply, Expression, Literal, Number, Read, transform
from ..dsl.integers import Atom, FloorDiv, Integer, Range, bounds, is_nonnegative, is_positive
from .scalar_functions import FUNCTIONS, convert, stored, working_dtype

_WIDER = {("float16", "float32"), ("bfloat16", "float32"), ("float16", "float64"), ("bfloat16", "float64"),
          ("float32", "float64"), ("int32", "int64"), ("uint8", "int32"), ("uint8", "int64")}  # fmt: skip
"""(a, b): every value of dtype a has its place in dtype b."""


def simplify_expression(expression: Expression, ranges: Mapping[str, Range]) -> Expression:
    """The expression with all identities applied, from the leaves up; `ranges` bound its indices."""

    def rewrite(node: Expression) -> Expression | None:
        changed = False
        while isinstance(node, Apply):
            simpler = _simpler(node, ranges)
            if simpler is None:
                break
            node, changed = simpler, True
        return node if changed else None

    return transform(expression, rewrite, lambda value: simplify_integer(value, ranges))


def simplify_integer(value: Integer, ranges: Mapping[str, Range]) -> Integer:
    """The integer expression without floors that have one value over the ranges, such as `i//4` for `i < 4`."""
    if not any(isinstance(atom, FloorDiv) for monomial, _ in value.terms for atom in monomial):
        return value

    def constant(atom: Atom) -> Integer | None:
        interval = bounds(Integer.atom(atom), ranges) if isinstance(atom, FloorDiv) else None
        return interval[0] if interval is not None and interval[0] == interval[1] else None

    return value.rewrite(constant)


def is_literal(expression: Expression, value: float | None = None) -> bool:
    """Whether the expression is a literal (of this value)."""
    if isinstance(expression, Number) and value is not None:
        return expression.value.constant == value
    return isinstance(expression, Literal) and (value is None or expression.value == value)


def _simpler(node: Apply, ranges: Mapping[str, Range]) -> Expression | None:
    folded = _fold(node) or _integer(node)
    if folded is not None:
        return folded
    rule = {
        "add": _add, "sub": _sub, "mul": _mul, "div": _div, "pow": _pow, "neg": _neg,
        "select": _select, "cast": _cast, "and": _and_or, "or": _and_or, "not": _not,
    }.get(node.operation)  # fmt: skip
    if rule is not None:
        return rule(node)
    if node.operation in ("lt", "le", "eq", "ne"):
        return _comparison(node, ranges)
    if node.operation in ("max", "min") and node.arguments[0] == node.arguments[1]:
        return node.arguments[0]
    return None


def _fold(node: Apply) -> Expression | None:
    """The value of an operation on literals, as its dtype would hold it; None if it is not finite."""
    if node.operation == "select" or not all(isinstance(argument, Literal) for argument in node.arguments):
        return None
    arrays: list[Any] = [
        numpy.asarray(a.value, working_dtype(a.dtype)) for a in node.arguments if isinstance(a, Literal)
    ]
    with numpy.errstate(all="ignore"):
        try:
            value = convert(arrays[0], node.dtype) if node.operation == "cast" else FUNCTIONS[node.operation](*arrays)
        except (ArithmeticError, ValueError):
            return None
    result = stored(numpy.asarray(value), node.dtype).item()
    return Literal(result, node.dtype) if math.isfinite(result) else None


def _integer(node: Apply) -> Expression | None:
    """Sums and products of integer expressions are integer expressions."""
    if node.dtype not in ("int64", "int32") or node.operation not in ("add", "sub", "mul", "neg"):
        return None
    values = [_as_integer(argument) for argument in node.arguments]
    if any(value is None for value in values):
        return None
    known = [value for value in values if value is not None]
    if node.operation == "neg":
        return Number(-known[0], node.dtype)
    first, second = known
    result = (
        first + second if node.operation == "add" else first - second if node.operation == "sub" else first * second
    )
    return Number(result, node.dtype)


def _as_integer(expression: Expression) -> Integer | None:
    if isinstance(expression, Number):
        return expression.value
    if isinstance(expression, Literal) and expression.dtype in INTEGERS:
        return Integer.of(int(expression.value))
    return None


def _operation(expression: Expression) -> str:
    return expression.operation if isinstance(expression, Apply) else ""


def _argument(expression: Expression) -> Expression:
    assert isinstance(expression, Apply)
    return expression.arguments[0]


def _add(node: Apply) -> Expression | None:
    a, b = node.arguments
    if is_literal(a, 0):
        return b
    if is_literal(b, 0):
        return a
    if _operation(b) == "neg":
        return Apply("sub", (a, _argument(b)), node.dtype)
    if _operation(a) == "neg":
        return Apply("sub", (b, _argument(a)), node.dtype)
    return None


def _sub(node: Apply) -> Expression | None:
    a, b = node.arguments
    if is_literal(b, 0):
        return a
    if is_literal(a, 0):
        return Apply("neg", (b,), node.dtype)
    if _operation(b) == "neg":
        return Apply("add", (a, _argument(b)), node.dtype)
    return None


def _mul(node: Apply) -> Expression | None:
    a, b = node.arguments
    for one, other in ((a, b), (b, a)):
        if is_literal(one, 1):
            return other
        if is_literal(one, -1) and node.dtype != "uint8":
            return Apply("neg", (other,), node.dtype)
        if is_literal(one, 0) and node.dtype in INTEGERS:
            return Literal(0, node.dtype)
    if _operation(a) == "neg" and _operation(b) == "neg":
        return Apply("mul", (_argument(a), _argument(b)), node.dtype)
    return None


def _div(node: Apply) -> Expression | None:
    a, b = node.arguments
    if is_literal(b, 1):
        return a
    if isinstance(b, Literal) and node.dtype in FLOATS and b.value:
        fraction, exponent = math.frexp(float(b.value))
        if abs(fraction) == 0.5 and abs(exponent) <= 14:  # within the exponents of every float dtype
            return Apply("mul", (a, Literal(1.0 / float(b.value), node.dtype)), node.dtype)
    return None


def _pow(node: Apply) -> Expression | None:
    base, exponent = node.arguments
    if is_literal(exponent, 1):
        return base
    if is_literal(exponent, 2) and isinstance(base, (Read, Number)):
        return Apply("mul", (base, base), node.dtype)
    if node.dtype in FLOATS and is_literal(exponent, 0.5):
        return Apply("sqrt", (base,), node.dtype)
    if node.dtype in FLOATS and is_literal(exponent, -1):
        return Apply("div", (Literal(1.0, node.dtype), base), node.dtype)
    return None


def _neg(node: Apply) -> Expression | None:
    inner = node.arguments[0]
    if _operation(inner) == "neg":
        return _argument(inner)
    if isinstance(inner, Apply) and inner.operation == "sub":
        return Apply("sub", (inner.arguments[1], inner.arguments[0]), node.dtype)
    return None


def _select(node: Apply) -> Expression | None:
    condition, first, second = node.arguments
    if isinstance(condition, Literal):
        return first if condition.value else second
    if first == second:
        return first
    if _operation(condition) == "not":
        return Apply("select", (_argument(condition), second, first), node.dtype)
    return None


def _cast(node: Apply) -> Expression | None:
    inner = node.arguments[0]
    if inner.dtype == node.dtype:
        return inner
    if isinstance(inner, Number) and node.dtype != "bool" and node.dtype != "uint8":
        return Number(inner.value, node.dtype)
    if isinstance(inner, Apply) and inner.operation == "cast":
        original = inner.arguments[0]
        if (original.dtype, inner.dtype) in _WIDER:  # the first cast lost nothing
            return original if original.dtype == node.dtype else Apply("cast", (original,), node.dtype)
    return None


def _and_or(node: Apply) -> Expression | None:
    neutral = node.operation == "and"
    for one, other in (node.arguments, node.arguments[::-1]):
        if isinstance(one, Literal):
            return other if one.value == neutral else one
    return node.arguments[0] if node.arguments[0] == node.arguments[1] else None


def _not(node: Apply) -> Expression | None:
    inner = node.arguments[0]
    return _argument(inner) if _operation(inner) == "not" else None


def _comparison(node: Apply, ranges: Mapping[str, Range]) -> Expression | None:
    """The truth value of a comparison of integer expressions that always comes out the same."""
    left, right = (_as_integer(argument) for argument in node.arguments)
    if left is None or right is None:
        return None
    interval = bounds(right - left, ranges)
    if interval is None:
        return None
    low, high = interval
    value: bool | None = None
    if node.operation == "le":
        value = True if is_nonnegative(low) else False if is_positive(-high) else None
    elif node.operation == "lt":
        value = True if is_positive(low) else False if is_nonnegative(-high) else None
    elif is_positive(low) or is_positive(-high):
        value = node.operation == "ne"
    elif low.constant == high.constant == 0:
        value = node.operation == "eq"
    return None if value is None else Literal(value, "bool")
