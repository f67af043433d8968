"""Values of scalar expressions over boxes of indices, as NumPy arrays.

An expression is evaluated as one array with an axis for every index of the box, of length
1 where the expression does not depend on it.  A read with affine subscripts is a strided
view, any other a gather.  Part of the interpreter, and of the meaning of a program.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import numpy
from numpy.lib.stride_tricks import as_strided

from ..dsl.equations import Apply, Expression, Literal, Number, Read, Shape
from ..dsl.integers import Atom, Element, FloorDiv, Index, Integer, Symbol
from .scalar_functions import FUNCTIONS, convert, working_dtype

Array = numpy.ndarray[Any, Any]
Box = Mapping[str, tuple[int, int]]
"""Half-open intervals of the indices, in the order of the axes of arrays."""


class Expressions:
    """What expressions are evaluated with: tensors, run-time sizes, time indices of recurrences."""

    def __init__(self, symbols: Mapping[str, int]) -> None:
        self.symbols = symbols
        self.values: dict[str, Array] = {}
        self.times: dict[str, int] = {}
        self.memory: dict[Integer, Integer] = {}

    def expression(self, node: Expression, box: Box, mask: Array | None) -> Array:
        """The values over a box; what they are where `mask` is false does not matter."""
        if isinstance(node, Literal):
            return numpy.full((1,) * len(box), node.value, working_dtype(node.dtype))
        if isinstance(node, Number):
            return self.integer(node.value, box, mask).astype(working_dtype(node.dtype))
        if isinstance(node, Read):
            return self._read(node, box, mask)
        if node.operation == "select":
            condition = self.expression(node.arguments[0], box, mask)
            taken, other = condition, ~condition
            first = self.expression(node.arguments[1], box, taken if mask is None else mask & taken)
            second = self.expression(node.arguments[2], box, other if mask is None else mask & other)
            return numpy.where(condition, first, second)
        arguments = [self.expression(argument, box, mask) for argument in node.arguments]
        if node.operation == "cast":
            return convert(arguments[0], node.dtype)
        result: Array = FUNCTIONS[node.operation](*arguments)
        return result

    def _read(self, read: Read, box: Box, mask: Array | None) -> Array:
        array = self.values[read.tensor]
        found = self.view(array, read.subscripts, box)
        if found is None:
            found = self._gather(array, read, box, mask)
        return found.astype(working_dtype(read.dtype), copy=False)

    def view(self, array: Array, subscripts: tuple[Integer, ...], box: Box) -> Array | None:
        """A strided view, if all subscripts are affine and stay inside the array."""
        starts, strides = [], dict.fromkeys(box, 0)
        for subscript, stride, length in zip(subscripts, array.strides, array.shape, strict=True):
            value = self.fixed(subscript)
            low = high = start = value.offset
            for monomial, coefficient in value.terms:
                if not monomial:
                    continue
                if len(monomial) > 1 or not isinstance(monomial[0], Index):
                    return None
                lower, upper = box[monomial[0].name]
                ends = (coefficient * lower, coefficient * (upper - 1))
                low, high, start = low + min(ends), high + max(ends), start + ends[0]
                strides[monomial[0].name] += coefficient * stride
            if low < 0 or high >= length:
                return None
            starts.append(slice(start, None))
        used = self._used(subscripts)
        lengths = [upper - lower if name in used else 1 for name, (lower, upper) in box.items()]
        return as_strided(array[tuple(starts)], lengths, list(strides.values()))

    def _gather(self, array: Array, read: Read, box: Box, mask: Array | None) -> Array:
        positions = []
        for axis, (subscript, length) in enumerate(zip(read.subscripts, array.shape, strict=True)):
            position = self.integer(subscript, box, mask)
            outside = (position < 0) | (position >= length)
            if mask is not None:
                outside = outside & mask
            if outside.any():
                wrong = numpy.broadcast_to(position, outside.shape)[outside].flat[0]
                raise IndexError(f"{read} reads index {wrong} of axis {axis} of {read.tensor}, whose size is {length}")
            positions.append(position.clip(0, max(length - 1, 0)))
        if not array.size:
            return numpy.zeros(numpy.broadcast_shapes(*(position.shape for position in positions)), array.dtype)
        return cast(Array, array[tuple(positions)])

    def integer(self, value: Integer, box: Box, mask: Array | None) -> Array:
        """The values of an integer expression over a box."""
        total = numpy.zeros((1,) * len(box), numpy.int64)
        for monomial, coefficient in self.fixed(value).terms:
            product = numpy.full((1,) * len(box), coefficient, numpy.int64)
            for atom in monomial:
                product = product * self._atom(atom, box, mask)
            total = total + product
        return total

    def _atom(self, atom: Atom, box: Box, mask: Array | None) -> Array:
        if isinstance(atom, Index):
            shape = [-1 if name == atom.name else 1 for name in box]
            return numpy.arange(*box[atom.name], dtype=numpy.int64).reshape(shape)
        if isinstance(atom, FloorDiv):
            return self.integer(atom.numerator, box, mask) // self.integer(atom.denominator, box, mask)
        if isinstance(atom, Element):
            return self._read(atom.read, box, mask)
        raise ValueError(f"the size {atom} is not known")

    # -- sizes -----------------------------------------------------------------------------------

    def fixed(self, value: Integer) -> Integer:
        """The expression with run-time sizes and time indices replaced by their numbers."""
        if value not in self.memory:
            self.memory[value] = value.rewrite(
                lambda atom: self.symbols.get(atom.name) if isinstance(atom, Symbol)
                else self.times.get(atom.name) if isinstance(atom, Index) else None
            )  # fmt: skip
        return self.memory[value]

    def size(self, value: Integer) -> int:
        """The number that an expression without indices stands for."""
        number: int | None = self.fixed(value).constant
        if number is None:
            raise ValueError(f"the size {value} is not known from the shapes of the inputs")
        return number

    def shape(self, shape: Shape) -> tuple[int, ...]:
        """The sizes of a shape."""
        return tuple(self.size(size) for size in shape)

    def used(self, expression: Expression) -> set[str]:
        """Names of the indices on which an expression depends."""
        if isinstance(expression, Apply):
            return set().union(*(self.used(argument) for argument in expression.arguments))
        if isinstance(expression, Read):
            return self._used(expression.subscripts)
        return self._used([expression.value]) if isinstance(expression, Number) else set()

    def _used(self, integers: Iterable[Integer]) -> set[str]:
        return set().union(*(self.fixed(value).indices() for value in integers))
