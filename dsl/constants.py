"""Compile-time evaluation: numbers, words, lists and sizes, before any tensor is computed."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from . import syntax
from .diagnostics import error
from .equations import Place
from .integers import Integer
from .names import is_capital
from .session import Session
from .structural import MEASURES
from .values import (
    Broken,
    BuiltinValue,
    FunctionValue,
    LayerValue,
    ScalarArgument,
    Scope,
    TensorValue,
    Value,
    Word,
    number,
)

MAXIMUM_INTEGER = 1 << 62


MAXIMUM_LENGTH = 100_000
"""Entries of a compile-time list."""
MAXIMUM_TERMS = 64
MAXIMUM_DEGREE = 16
"""Bounds on polynomials of run-time sizes."""


def refuse_complicated(left: Integer, right: Integer, place: Place) -> None:
    """Keep sizes that depend on run-time sizes so small that reasoning about them stays fast."""
    terms = (*left.terms, *right.terms)
    if len(terms) > MAXIMUM_TERMS or any(len(monomial) > MAXIMUM_DEGREE for monomial, _ in terms):
        raise error(
            "E238",
            place,
            "this depends on the sizes of the inputs in too complicated a way",
            notes=[
                f"it would be a polynomial of more than {MAXIMUM_TERMS} terms, or of a degree above {MAXIMUM_DEGREE}"
            ],
        )


def _shown(value: Any) -> str:
    """A compile-time value, for messages."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"a list of {len(value)}"
    if isinstance(value, Word):
        return f"the word {value.text}"
    if isinstance(value, (LayerValue, FunctionValue)):
        return f"the {'layer' if isinstance(value, LayerValue) else 'function'} {value.definition.name}"
    if isinstance(value, BuiltinValue):
        return f"the function {value.name}"
    return str(value)


class NotConstant(Exception):
    """The expression needs a tensor; it is not decided while compiling."""


_MATHEMATICS: dict[str, Callable[..., Any]] = {
    "sqrt": math.sqrt, "exp": math.exp, "log": math.log, "ln": math.log, "floor": math.floor, "ceil": math.ceil,
    "round": round, "abs": abs, "max": max, "min": min, "sin": math.sin, "cos": math.cos, "tanh": math.tanh,
    "pow": pow, "sum": sum,
}  # fmt: skip


class Evaluator:
    """Evaluates expressions in a scope; `words` lets unknown names stand for themselves."""

    def __init__(self, elaborator: Session, scope: Scope, *, words: bool = False) -> None:
        self.elaborator = elaborator
        self.scope = scope
        self.words = words

    def value(self, node: syntax.RightSide) -> Any:
        """The value of a right side; raises NotConstant, or Mistake for a wrong one."""
        self.elaborator.step(node.place)
        method = getattr(self, f"_{type(node).__name__.lower()}", None)
        if method is None:
            raise NotConstant
        return method(node)

    def _num(self, node: syntax.Num) -> Any:
        return node.value

    def _text(self, node: syntax.Text) -> Any:
        return node.value

    def _hole(self, node: syntax.Hole) -> Any:
        return self.elaborator.builder.unknown("_")

    def _parenthesis(self, node: syntax.Parenthesis) -> Any:
        return self.value(node.inner)

    def _name(self, node: syntax.Name) -> Any:
        name = self.elaborator.spell(node, self.scope)
        value: Value | None = self.scope.find(name)
        if isinstance(value, (TensorValue, Broken, ScalarArgument)):
            raise NotConstant
        if value is None:
            if is_capital(name):
                size = self.elaborator.signature_size(name, self.scope)
                if size is not None:
                    return number(self.elaborator.builder.resolve(size))
            value = self.elaborator.library(name)
        if value is None:
            if self.words and node.member is None:
                if name in ("True", "False", "None"):
                    raise self.elaborator.unknown_name(name, node.place, self.scope)
                return Word(name)
            raise NotConstant
        if isinstance(value, Integer):
            return number(self.elaborator.builder.resolve(value))
        return value

    def _items(self, node: syntax.Items) -> Any:
        return tuple(self.value(item) for item in node.items)

    _group = _items

    def _unary(self, node: syntax.Unary) -> Any:
        operand = self.value(node.operand)
        if node.operator == "not":
            return not self._truth(operand, node.operand.place)
        if isinstance(operand, tuple):
            return tuple(-item for item in operand)
        self._need_number(operand, node.operand.place)
        return -operand

    def _binary(self, node: syntax.Binary) -> Any:
        if node.operator in ("and", "or"):
            left = self._truth(self.value(node.left), node.left.place)
            if (node.operator == "or") == left:
                return left
            return self._truth(self.value(node.right), node.right.place)
        left, right = self.value(node.left), self.value(node.right)
        if node.operator == "+" and isinstance(left, tuple) and isinstance(right, tuple):
            self._refuse_long(len(left) + len(right), node.place)
            return left + right
        if node.operator == "*" and isinstance(left, tuple) and isinstance(right, int):
            self._refuse_long(len(left) * right, node.place)
            return left * right
        self._need_number(left, node.left.place)
        self._need_number(right, node.right.place)
        return self._checked(self._arithmetic(node.operator, left, right, node.place), node.place)

    def _refuse_long(self, length: int, place: Place) -> None:
        if length > MAXIMUM_LENGTH:
            raise error("E237", place, f"this list has {length:,} entries; at most {MAXIMUM_LENGTH:,} are allowed")

    def _arithmetic(self, sign: str, left: Any, right: Any, place: Place) -> Any:
        if sign in ("/", "//", "%") and not isinstance(right, Integer) and right == 0:
            raise error("E215", place, "division by zero")
        if sign == "^":
            return self._power(left, right, place)
        if sign == "/":
            return self._quotient(left, right)
        if (isinstance(left, float) and isinstance(right, Integer)) or (
            isinstance(right, float) and isinstance(left, Integer)
        ):
            raise NotConstant  # a size known only when the program runs, times a fraction
        if isinstance(left, Integer) and isinstance(right, Integer):
            refuse_complicated(left, right, place)
        functions = {
            "+": operator.add,
            "-": operator.sub,
            "*": operator.mul,
            "//": operator.floordiv,
            "%": operator.mod,
        }
        return functions[sign](left, right)

    def _quotient(self, left: Any, right: Any) -> Any:
        if isinstance(left, float) or isinstance(right, float):
            if isinstance(left, Integer) or isinstance(right, Integer):
                raise NotConstant
            return left / right
        whole = left // right
        if not isinstance(whole * right - left, Integer):
            return whole if whole * right == left else left / right
        if whole * right == left:
            return whole
        raise NotConstant

    def _power(self, left: Any, right: Any, place: Place) -> Any:
        if isinstance(left, Integer):
            if not isinstance(right, int) or not 0 <= right <= 8:
                raise NotConstant
            result = Integer.of(1)
            for _ in range(right):
                refuse_complicated(result, left, place)
                result = result * left
            return result
        if isinstance(right, Integer):
            raise NotConstant
        if abs(right) > 1024 or (abs(left) > 1e9 and abs(right) > 8):
            raise error("E216", place, "this power is too large")
        try:
            return left**right
        except (ZeroDivisionError, OverflowError):
            raise error("E217", place, "this power has no value") from None

    def _checked(self, value: Any, place: Place) -> Any:
        if isinstance(value, complex):
            raise error("E217", place, "this power has no real value")
        if isinstance(value, int) and abs(value) > MAXIMUM_INTEGER:
            raise error("E216", place, "this number is too large", notes=["whole numbers go up to 2^62"])
        return number(value) if isinstance(value, Integer) else value

    def _comparison(self, node: syntax.Comparison) -> Any:
        inner = Evaluator(self.elaborator, self.scope, words=True)
        values = [inner.value(operand) for operand in node.operands]
        return all(self._compare(sign, values[k], values[k + 1], node.place) for k, sign in enumerate(node.operators))

    def _compare(self, sign: str, left: Any, right: Any, place: Place) -> bool:
        if sign in ("==", "!="):
            return bool(left == right) == (sign == "==")
        if not all(isinstance(v, (int, float, Integer)) for v in (left, right)):
            raise error("E208", place, f"'{sign}' compares numbers", here=f"this is {_shown(left)} and {_shown(right)}")
        if isinstance(left, Integer) or isinstance(right, Integer):
            difference = Integer.of(right) - Integer.of(left)
            sizes = sorted("the batch" if str(atom) == "batch" else str(atom) for atom in difference.atoms())
            raise error(
                "E218",
                place,
                f"whether this holds depends on {' and '.join(sizes)}, known only when the program runs",
                notes=["a condition needs numbers; give the size in `Given` if it is always the same"],
            )
        return bool({"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[sign])

    def _conditional(self, node: syntax.Conditional) -> Any:
        chosen = node.then if self._truth(self.value(node.condition), node.condition.place) else node.otherwise
        return self.value(chosen)

    def _floor(self, node: syntax.Floor) -> Any:
        if isinstance(node.operand, syntax.Binary) and node.operand.operator == "/":
            left, right = self.value(node.operand.left), self.value(node.operand.right)
            return self._checked(self._arithmetic("//", left, right, node.place), node.place)
        value = self.value(node.operand)
        return math.floor(value) if isinstance(value, float) else value

    def _subscripted(self, node: syntax.Subscripted) -> Any:
        base = self.value(node.base) if isinstance(node.base, (syntax.Name, syntax.Items, syntax.Subscripted)) else None
        if not isinstance(base, tuple) or len(node.subscripts) != 1:
            raise NotConstant
        position = self.value(node.subscripts[0])
        if not isinstance(position, int) or not 0 <= position < len(base):
            raise error(
                "E219",
                node.place,
                f"entry {_shown(position)} is not in this list",
                here=f"it has {len(base)} entr{'y' if len(base) == 1 else 'ies'}, numbered from 0",
            )
        return base[position]

    def _call(self, node: syntax.Call) -> Any:
        name = self.elaborator.spell(node.function, self.scope)
        function = self.scope.find(name) or self.elaborator.library(name)
        if isinstance(function, BuiltinValue) and function.name in MEASURES:
            return self.elaborator.measure(node, function.name, self.scope)
        if isinstance(function, BuiltinValue) and function.name in _MATHEMATICS:
            return self._mathematics(node, function.name)
        if isinstance(function, FunctionValue):
            return self._function(node, function)
        if isinstance(function, LayerValue) or function is None:
            raise NotConstant
        raise NotConstant

    def _mathematics(self, node: syntax.Call, name: str) -> Any:
        values = [self.value(argument.value) for argument in node.arguments]
        if any(isinstance(v, Integer) for v in values):
            raise NotConstant
        if len(values) == 1 and isinstance(values[0], tuple) and name in ("max", "min", "sum"):
            values = list(values[0])
        for value, argument in zip(values, node.arguments, strict=False):
            self._need_number(value, argument.place)
        try:
            return self._checked(
                _MATHEMATICS[name](values) if name == "sum" else _MATHEMATICS[name](*values), node.place
            )
        except (ValueError, OverflowError):
            shown = ", ".join(map(str, values))
            raise error("E217", node.place, f"{name}({shown}) has no value") from None
        except TypeError:
            raise error(
                "E502", node.place, f"{name} does not take {len(values)} argument{'s' if len(values) != 1 else ''}"
            ) from None

    def _function(self, node: syntax.Call, function: FunctionValue) -> Any:
        definition = function.definition
        if len(node.arguments) != len(definition.parameters):
            raise NotConstant
        scope = Scope(function.scope)
        for parameter, argument in zip(definition.parameters, node.arguments, strict=True):
            scope.define(parameter, self.value(argument.value))
        with self.elaborator.entering(node.place, definition.name):
            return Evaluator(self.elaborator, scope).value(definition.body)

    def _truth(self, value: Any, place: Place) -> bool:
        if isinstance(value, bool):
            return value
        if isinstance(value, int):
            return value != 0
        raise error("E220", place, f"this is {_shown(value)}, which is neither true nor false")

    def _need_number(self, value: Any, place: Place) -> None:
        if not isinstance(value, (int, float, Integer)):
            if isinstance(value, (LayerValue, FunctionValue, BuiltinValue)):
                raise NotConstant
            raise error("E208", place, "a number is needed here")
