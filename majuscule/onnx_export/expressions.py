"""Scalar expressions as operators that work element by element."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy

from ..dsl.equations import FLOATS, Apply, Expression, Literal, Number, Read
from .builder import TYPES, working
from .integers import Integers
from .labelled import Labelled, Value
from .reading import Reader

_PLAIN: Mapping[str, str] = {
    "add": "Add", "sub": "Sub", "mul": "Mul", "pow": "Pow", "neg": "Neg", "max": "Max", "min": "Min", "exp": "Exp",
    "log": "Log", "sqrt": "Sqrt", "abs": "Abs", "sign": "Sign", "tanh": "Tanh", "sigmoid": "Sigmoid", "erf": "Erf",
    "sin": "Sin", "cos": "Cos", "floor": "Floor", "ceil": "Ceil", "round": "Round", "lt": "Less", "le": "LessOrEqual",
    "eq": "Equal", "and": "And", "or": "Or", "not": "Not",
}  # fmt: skip
"""Operations that ONNX has."""


class Scalars:
    """Expressions over the indices in sight."""

    def __init__(self, graph: Labelled, integers: Integers, reader: Reader) -> None:
        self._graph = graph
        self._integers = integers
        self._reader = reader
        self._others: Mapping[str, Callable[..., Value]] = {
            "ne": lambda a, b: self._graph.apply("Not", self._graph.apply("Equal", a, b)),
            "select": lambda condition, a, b: self._graph.apply("Where", condition, a, b),
        }

    def value(self, expression: Expression, masked: bool = False) -> Value:
        """The values; where it is `masked`, they may be anything at places that are not used."""
        if isinstance(expression, Literal):
            return Value(self._graph.builder.literal(expression.value, working(expression.dtype)))
        if isinstance(expression, Number) and (number := expression.value.constant) is not None:
            return Value(self._graph.builder.literal(number, working(expression.dtype)))
        if isinstance(expression, Number):
            found = self._integers.value(expression.value)
            return found if expression.dtype == "int64" else self._graph.cast(found, TYPES[working(expression.dtype)])
        if isinstance(expression, Read):
            return self._reader.read(expression, masked)
        return self._applied(expression, masked)

    def _applied(self, expression: Apply, masked: bool) -> Value:
        operation, arguments = expression.operation, expression.arguments
        if operation == "cast":
            return self._cast(self.value(arguments[0], masked), arguments[0].dtype, expression.dtype)
        if operation == "max" and expression.dtype in FLOATS and arguments[0] == Literal(0.0, expression.dtype):
            return self._graph.apply("Relu", self.value(arguments[1], masked))
        if operation == "select":
            values = [self.value(arguments[0], masked), *(self.value(a, True) for a in arguments[1:])]
        else:
            values = [self.value(argument, masked) for argument in arguments]
        if operation in self._others:
            return self._others[operation](*values)
        if operation in ("div", "floordiv", "mod"):
            return self._divided(operation, values[0], values[1], expression.dtype in FLOATS)
        return self._graph.apply(_PLAIN[operation], *values)

    def _divided(self, operation: str, a: Value, b: Value, is_float: bool) -> Value:
        if operation == "div":
            return self._graph.apply("Div", a, b)
        if not is_float:
            return self._graph.apply("Mod", a, b) if operation == "mod" else self._integers.floor_divide(a, b)
        quotient = self._graph.apply("Floor", self._graph.apply("Div", a, b))
        return (
            quotient if operation == "floordiv" else self._graph.apply("Sub", a, self._graph.apply("Mul", quotient, b))
        )

    def _cast(self, value: Value, before: str, after: str) -> Value:
        if before in FLOATS and after not in FLOATS and after != "bool":
            value = self._graph.cast(value, TYPES["int64"])  # towards zero; a smaller type keeps the lowest bits
        value = self._graph.cast(value, TYPES[after])
        return value if working(after) == after else self._graph.cast(value, TYPES[working(after)])


def lowest(dtype: str) -> float | int:
    """The number that changes no maximum; its negative, but for one, no minimum."""
    return -numpy.inf if dtype in FLOATS else int(numpy.iinfo(dtype).min)
