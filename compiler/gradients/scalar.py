"""Derivatives of scalar expressions: from the adjoint of a value to the adjoints of the elements that it reads.

Rules where the derivative does not exist: at a tie of `max` or `min` the first argument
has the slope 1; `abs` and `sign` have the slope 0 at 0; `floor`, `ceil`, `round` and
comparisons have the slope 0 everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ...dsl.equations import FLOATS, Apply, Expression, Literal, Read, walk
from ..scalar_identities import is_literal

Adjoints = dict[Read, Expression]
"""Element that is read -> what is added to its adjoint."""


@dataclass(frozen=True)
class Pullback:
    """Differentiates a body; `wanted` says which reads count, `known` is the body's value where it is stored."""

    wanted: Callable[[Read], bool]
    body: Expression
    known: Expression | None = None

    def adjoints(self, upstream: Expression) -> Adjoints:
        """What each wanted element adds to its adjoint, if the adjoint of the body is `upstream`."""
        return self._of(self.body, upstream)

    def _of(self, node: Expression, up: Expression) -> Adjoints:
        if isinstance(node, Read):
            return {node: up} if self.wanted(node) else {}
        if not isinstance(node, Apply) or not self._matters(node):
            return {}
        if node.operation == "select":
            condition, first, second = node.arguments
            return _cases(condition, self._of(first, up), self._of(second, up))
        if node.operation in ("max", "min"):
            first, second = node.arguments
            return _cases(self._first_wins(node), self._of(first, up), self._of(second, up))
        if node.operation == "cast":
            argument = node.arguments[0]
            return self._of(argument, cast(up, argument.dtype)) if argument.dtype in FLOATS else {}
        rule = _RULES.get(node.operation)
        if rule is None:
            return {}
        value = self.known if node is self.body and self.known is not None else node
        found: Adjoints = {}
        for argument, adjoint in zip(node.arguments, rule(node, value, up), strict=True):
            if adjoint is not None and self._matters(argument):
                found = _plus(found, self._of(argument, adjoint))
        return found

    def _matters(self, node: Expression) -> bool:
        """Whether a wanted element is read below; reads in subscripts are whole numbers and do not count."""
        return any(isinstance(inner, Read) and self.wanted(inner) for inner in walk(node))

    def _first_wins(self, node: Apply) -> Expression:
        """Whether the first argument is the result; of `max(0, x)` the result tells, so x need not be kept."""
        first, second = node.arguments
        if isinstance(first, Literal) and node is self.body and self.known is not None:
            second = self.known
        return compare("le", second, first) if node.operation == "max" else compare("le", first, second)


# -- making expressions ---------------------------------------------------------------------------


def real(value: float, dtype: str) -> Literal:
    """A literal of a float dtype."""
    return Literal(float(value), dtype)


def mul(a: Expression, b: Expression) -> Expression:
    """The product, without factors 1; numbers in front are multiplied, so that the derivative of x²/2 is x."""
    if isinstance(a, Literal) and isinstance(b, Apply) and b.operation == "mul" and isinstance(b.arguments[0], Literal):
        return mul(real(float(a.value) * float(b.arguments[0].value), b.dtype), b.arguments[1])
    if is_literal(a, 1) or is_literal(b, 1):
        return b if is_literal(a, 1) else a
    return Apply("mul", (a, b), b.dtype)


def div(a: Expression, b: Expression) -> Expression:
    """The quotient."""
    return Apply("div", (a, b), b.dtype)


def add(a: Expression, b: Expression) -> Expression:
    """The sum."""
    if isinstance(b, Apply) and b.operation == "neg":
        return Apply("sub", (a, b.arguments[0]), a.dtype)
    return Apply("add", (a, b), a.dtype)


def sub(a: Expression, b: Expression) -> Expression:
    """The difference."""
    return Apply("sub", (a, b), a.dtype)


def neg(a: Expression) -> Expression:
    """The negative."""
    return a.arguments[0] if isinstance(a, Apply) and a.operation == "neg" else Apply("neg", (a,), a.dtype)


def call(operation: str, a: Expression) -> Expression:
    """An operation on one argument."""
    return Apply(operation, (a,), a.dtype)


def cast(a: Expression, dtype: str) -> Expression:
    """The value as another dtype."""
    return a if a.dtype == dtype else Apply("cast", (a,), dtype)


def compare(operation: str, a: Expression, b: Expression) -> Expression:
    """A comparison."""
    return Apply(operation, (a, b), "bool")


def select(condition: Expression, a: Expression, b: Expression) -> Expression:
    """`a` where the condition holds, else `b`."""
    return a if a == b else Apply("select", (condition, a, b), a.dtype)


def _plus(one: Adjoints, other: Adjoints) -> Adjoints:
    total = dict(one)
    for read, adjoint in other.items():
        total[read] = add(total[read], adjoint) if read in total else adjoint
    return total


def _cases(condition: Expression, one: Adjoints, other: Adjoints) -> Adjoints:
    """Adjoints of whichever argument is taken."""
    found: Adjoints = {}
    for read in (*one, *(read for read in other if read not in one)):
        zero = real(0, read.dtype)
        found[read] = select(condition, one.get(read, zero), other.get(read, zero))
    return found


# -- rules -------------------------------------------------------------------------------------------

_Results = tuple[Expression | None, ...]
_Rule = Callable[[Apply, Expression, Expression], _Results]
"""(operation, its value, the value's adjoint) -> the adjoint of each argument."""


def _mul(node: Apply, value: Expression, up: Expression) -> _Results:
    a, b = node.arguments
    return mul(up, b), mul(up, a)


def _div(node: Apply, value: Expression, up: Expression) -> _Results:
    _, b = node.arguments
    return div(up, b), neg(div(mul(up, value), b))


def _pow(node: Apply, value: Expression, up: Expression) -> _Results:
    base, exponent = node.arguments
    if is_literal(exponent, 2):
        return mul(up, mul(real(2, base.dtype), base)), None
    one = real(1, base.dtype)
    if isinstance(exponent, Literal):
        lower = real(float(exponent.value) - 1, base.dtype)
        return mul(up, mul(exponent, Apply("pow", (base, lower), base.dtype))), None
    zero = real(0, base.dtype)
    slope = mul(exponent, Apply("pow", (base, sub(exponent, one)), base.dtype))
    slope = select(compare("eq", exponent, zero), zero, slope)
    growth = select(compare("lt", zero, base), mul(value, call("log", base)), zero)
    return mul(up, slope), mul(up, growth)


def _mod(node: Apply, value: Expression, up: Expression) -> _Results:
    a, b = node.arguments
    return up, neg(mul(up, Apply("floordiv", (a, b), a.dtype)))


def _tanh(node: Apply, value: Expression, up: Expression) -> _Results:
    return (mul(up, sub(real(1, value.dtype), mul(value, value))),)


def _sigmoid(node: Apply, value: Expression, up: Expression) -> _Results:
    return (mul(up, mul(value, sub(real(1, value.dtype), value))),)


def _erf(node: Apply, value: Expression, up: Expression) -> _Results:
    a = node.arguments[0]
    bell = mul(real(2 / math.sqrt(math.pi), a.dtype), call("exp", neg(mul(a, a))))
    return (mul(up, bell),)


def _sqrt(node: Apply, value: Expression, up: Expression) -> _Results:
    return (div(mul(real(0.5, value.dtype), up), value),)


_RULES: Mapping[str, _Rule] = {
    "add": lambda node, value, up: (up, up),
    "sub": lambda node, value, up: (up, neg(up)),
    "neg": lambda node, value, up: (neg(up),),
    "mul": _mul,
    "div": _div,
    "pow": _pow,
    "mod": _mod,
    "exp": lambda node, value, up: (mul(up, value),),
    "log": lambda node, value, up: (div(up, node.arguments[0]),),
    "sqrt": _sqrt,
    "abs": lambda node, value, up: (mul(up, call("sign", node.arguments[0])),),
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "erf": _erf,
    "sin": lambda node, value, up: (mul(up, call("cos", node.arguments[0])),),
    "cos": lambda node, value, up: (neg(mul(up, call("sin", node.arguments[0]))),),
}
"""Rules of operations with a slope that is not 0 everywhere, but for `max`, `min`, `select` and `cast`."""
