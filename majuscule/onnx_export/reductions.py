"""Equations that reduce: products that are contracted, windows, and everything else element by element."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy

from ..compiler.contraction import products
from ..compiler.rewriting import indices_of
from ..dsl.equations import FLOATS, Apply, Equation, Expression, Literal, Read
from .builder import TYPES, working
from .expressions import Scalars, lowest
from .integers import Integers
from .labelled import Labelled, Value
from .windows import Windowed

_REDUCERS = {"sum": "ReduceSum", "prod": "ReduceProd", "max": "ReduceMax", "min": "ReduceMin"}


class Reductions:
    """Equations as labelled values over their domain."""

    def __init__(self, graph: Labelled, integers: Integers, scalars: Scalars, windowed: Windowed) -> None:
        self._graph = graph
        self._integers = integers
        self._scalars = scalars
        self._windowed = windowed

    def value(self, equation: Equation, softmax: tuple[Expression, str] | None = None) -> Value:
        """The equation's tensor, over those indices of its domain on which it depends.

        `softmax` is what it is the softmax of, and over which index, if it is one.
        """
        extents = {axis.name: axis.size for axis in (*equation.domain, *equation.reduction)}
        with self._graph.scope(extents):
            value = self._value(equation) if softmax is None else self._softmax(*softmax)
            if equation.dtype != self._made(equation):
                value = self._graph.cast(value, TYPES[equation.dtype])
            return value

    def _softmax(self, body: Expression, name: str) -> Value:
        value = self._scalars.value(body)
        if name not in value.labels:
            value = self._graph.expand(value, (*value.labels, name))
        array = self._graph.builder.node("Softmax", value.name, axis=value.labels.index(name))
        return Value(array, value.labels)

    @staticmethod
    def _made(equation: Equation) -> str:
        """The dtype in which the operators give an equation's values."""
        return "int64" if equation.combiner in ("argmax", "argmin") else working(equation.body.dtype)

    def _value(self, equation: Equation) -> Value:
        if equation.combiner is None:
            return self._scalars.value(equation.body)
        if equation.combiner in ("sum", "max") and isinstance(equation.body, Read):
            pooled = self._windowed.pooling(equation, equation.body)
            if pooled is not None:
                return pooled
        if equation.combiner == "sum" and equation.guard is None and equation.body.dtype != "uint8":
            return self._sum(equation)
        return self._reduced(equation)

    # -- sums of products --------------------------------------------------------------------

    def _sum(self, equation: Equation) -> Value:
        body, divisors = _dividends(equation.body, {axis.name for axis in equation.reduction})
        terms = [self._product(equation, factors) for factors in products(body)]
        total = terms[0]
        for term in terms[1:]:
            total = self._graph.apply("Add", total, term)
        for divisor in divisors:
            total = self._graph.apply("Div", total, self._scalars.value(divisor))
        return total

    def _product(self, equation: Equation, factors: Sequence[Expression]) -> Value:
        numbers = [factor for factor in factors if isinstance(factor, Literal)]
        others = [factor for factor in factors if not isinstance(factor, Literal)]
        scale = math.prod(number.value for number in numbers)
        found: Value | None = None
        if len(others) == 2 and isinstance(others[0], Read) and isinstance(others[1], Read):
            found = self._windowed.convolution(equation, others[0], others[1])
        if found is None:
            values = [self._scalars.value(factor) for factor in others]
            found, repeated = self._contracted(equation, values)
            for size in (self._graph.extents[name] for name in repeated):
                count = self._graph.cast(self._integers.value(size), TYPES[working(equation.body.dtype)])
                found = count if found is None else self._graph.apply("Mul", found, count)
        if found is None or scale != 1:
            number = Value(self._graph.builder.literal(scale, working(equation.body.dtype)))
            found = number if found is None else self._graph.apply("Mul", found, number)
        return found

    def _contracted(self, equation: Equation, values: list[Value]) -> tuple[Value | None, list[str]]:
        """The product of values summed over the reduction, and summed indices that none of them has."""
        summed = [axis.name for axis in equation.reduction]
        repeated = [name for name in summed if not any(name in value.labels for value in values)]
        parts = [value for value in values if set(value.labels) & set(summed)]
        factors = [value for value in values if value not in parts]
        # An index that one part alone has is summed before anything is multiplied.
        for place, part in enumerate(parts):
            elsewhere = {label for n, other in enumerate(parts) if n != place for label in other.labels}
            parts[place] = self._graph.reduce("ReduceSum", part, [n for n in summed if n not in elsewhere])
        inner = [name for name in summed if any(name in part.labels for part in parts)]
        if inner:
            joint = [part for part in parts if set(part.labels) & set(inner)]
            factors += [part for part in parts if part not in joint]
            factors.insert(0, self._multiplied(joint, inner))
        else:
            factors += parts
        if not factors:
            return None, repeated
        product = factors[0]
        for factor in factors[1:]:
            product = self._graph.apply("Mul", product, factor)
        return product, repeated

    def _multiplied(self, parts: list[Value], summed: list[str]) -> Value:
        """The sum over indices of a product of several values: a matrix product where it is one."""
        if len(parts) == 2:
            known = [self._graph.product(part.labels).constant is not None for part in parts]
            left, right = parts[::-1] if known == [True, False] else parts  # weights are on the right
            return self._matrix_product(left, right, summed)
        labels = dict.fromkeys(label for part in parts for label in part.labels)
        letters = {
            label: chr(ord("a") + place if place < 26 else ord("A") + place - 26) for place, label in enumerate(labels)
        }
        kept = [label for label in labels if label not in summed]
        terms = ",".join("".join(letters[label] for label in part.labels) for part in parts)
        equation = f"{terms}->{''.join(letters[label] for label in kept)}"
        name = self._graph.builder.node("Einsum", *(part.name for part in parts), equation=equation)
        return Value(name, tuple(kept))

    def _matrix_product(self, left: Value, right: Value, summed: list[str]) -> Value:
        """Rows of `left` times columns of `right`, for each place of the indices that both have and the sum has not."""
        shared = [label for label in left.labels if label in right.labels and label not in summed]
        rows = [label for label in left.labels if label not in right.labels]
        columns = [label for label in right.labels if label not in left.labels]
        outer = [[label] for label in shared]
        # Without shared indices, each row index may be an axis of its own.
        row_groups = [rows] if shared or not rows else [[label] for label in rows]
        a = self._graph.merge(left, [*outer, *row_groups, summed])
        b = self._graph.merge(right, [*outer, summed, columns])
        return self._graph.split(self._graph.builder.node("MatMul", a, b), [*outer, *row_groups, columns])

    # -- everything else ---------------------------------------------------------------------

    def _reduced(self, equation: Equation) -> Value:
        """A reduction of the body's values at all places."""
        combiner = equation.combiner or ""
        summed = [axis.name for axis in equation.reduction]
        dtype = working(equation.body.dtype)
        body = self._scalars.value(equation.body, equation.guard is not None)
        if equation.guard is not None:
            neutral = Value(self._graph.builder.literal(_neutral(combiner, dtype), dtype))
            body = self._graph.apply("Where", self._scalars.value(equation.guard), body, neutral)
        absent = [name for name in summed if name not in body.labels]
        if absent and combiner not in ("max", "min", "any", "all"):
            body = self._graph.expand(body, (*absent, *body.labels))
        if combiner in ("argmax", "argmin"):
            return self._position(combiner, body, summed)
        if dtype in ("bool", "uint8"):  # for which ONNX has few reductions
            wide = self._graph.cast(body, TYPES["int32"])
            operator = {"any": "ReduceMax", "all": "ReduceMin"}.get(combiner) or _REDUCERS[combiner]
            return self._graph.cast(self._graph.reduce(operator, wide, summed), TYPES[dtype])
        return self._graph.reduce(_REDUCERS[combiner], body, summed)

    def _position(self, combiner: str, body: Value, summed: list[str]) -> Value:
        """The row-major position, within the box of summed indices, of the first largest or smallest value."""
        kept = tuple(label for label in body.labels if label not in summed)
        array = self._graph.merge(body, [*([label] for label in kept), summed])
        operator = "ArgMax" if combiner == "argmax" else "ArgMin"
        return Value(self._graph.builder.node(operator, array, axis=len(kept), keepdims=0), kept)


def _dividends(body: Expression, summed: set[str]) -> tuple[Expression, list[Expression]]:
    """A body without divisors on which no summed index depends, and these."""
    divisors: list[Expression] = []
    while isinstance(body, Apply) and body.operation == "div" and not indices_of(body.arguments[1]) & summed:
        divisors.append(body.arguments[1])
        body = body.arguments[0]
    return body, divisors


def _neutral(combiner: str, dtype: str) -> float | int | bool:
    """What changes no result of a combiner."""
    if combiner in ("sum", "prod", "any", "all"):
        return {"sum": 0, "prod": 1, "any": False, "all": True}[combiner]
    if combiner in ("max", "argmax"):
        return lowest(dtype)
    return -lowest(dtype) if dtype in FLOATS else int(numpy.iinfo(dtype).max)
