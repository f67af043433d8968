"""Numbers with a bound on their rounding error, so that tolerances follow from the arithmetic.

A `Rounded` array holds float64 values and, for each, how far a computation in a given
`Precision` may be from it: every operation adds its own rounding (half a unit in the last
place), every sum of n terms n roundings of the sum of their magnitudes, every elementary
function four units in the last place (what the compiler promises of them).  The bounds are
those of ordinary forward error analysis (Higham, Accuracy and Stability of Numerical
Algorithms, chapter 3); no test widens them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

Array = numpy.ndarray[Any, Any]

ELEMENTARY = 8.0
"""Roundings that an elementary function may cost: four units in the last place."""


@dataclass(frozen=True)
class Precision:
    """Relative error of one arithmetic operation, and of writing a number to memory.

    `smallest` is the spacing of numbers near zero in memory, where relative errors end.
    """

    unit: float
    memory: float
    smallest: float = 0.0


EXACT = Precision(0.0, 0.0)
PRECISIONS = {
    "float64": Precision(2.0**-53, 2.0**-53, 2.0**-1074),
    "float32": Precision(2.0**-24, 2.0**-24, 2.0**-149),
    # numbers of 16 bits are computed in float32
    "float16": Precision(2.0**-24, 2.0**-11, 2.0**-24),
    "bfloat16": Precision(2.0**-24, 2.0**-8, 2.0**-133),
    "int64": EXACT, "int32": EXACT, "uint8": EXACT, "bool": EXACT,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Rounded:
    """Values and bounds on their errors, in arrays that broadcast against each other."""

    value: Array
    error: Array
    precision: Precision

    @staticmethod
    def given(value: Array, precision: Precision) -> Rounded:
        """Numbers without error."""
        exact = numpy.asarray(value, numpy.float64)
        return Rounded(exact, numpy.zeros_like(exact), precision)

    def _new(self, value: Array, error: Array) -> Rounded:
        return Rounded(value, error + self.precision.unit * (numpy.abs(value) + error), self.precision)

    def _other(self, other: Rounded | float) -> Rounded:
        if isinstance(other, Rounded):
            return other
        literal = numpy.float64(other)
        return Rounded(literal, numpy.abs(literal) * self.precision.unit * (literal != round(literal)), self.precision)

    def __add__(self, other: Rounded | float) -> Rounded:
        right = self._other(other)
        return self._new(self.value + right.value, self.error + right.error)

    def __sub__(self, other: Rounded | float) -> Rounded:
        right = self._other(other)
        return self._new(self.value - right.value, self.error + right.error)

    def __mul__(self, other: Rounded | float) -> Rounded:
        right = self._other(other)
        error = abs(self.value) * right.error + abs(right.value) * self.error + self.error * right.error
        return self._new(self.value * right.value, error)

    def __truediv__(self, other: Rounded | float) -> Rounded:
        right = self._other(other)
        nearest = abs(right.value) - right.error
        if not (nearest > 0).all():
            raise ValueError("the divisor may be zero")
        quotient = self.value / right.value
        return self._new(quotient, (self.error + abs(quotient) * right.error) / nearest)

    def __neg__(self) -> Rounded:
        return Rounded(-self.value, self.error, self.precision)

    __radd__, __rmul__ = __add__, __mul__

    def __rsub__(self, other: float) -> Rounded:
        return self._other(other) - self

    def __rtruediv__(self, other: float) -> Rounded:
        return self._other(other) / self

    def __getitem__(self, key: Any) -> Rounded:
        return Rounded(self.value[key], self.error[key], self.precision)

    # -- functions -----------------------------------------------------------------------------

    def elementary(self, function: Callable[[Array], Array], slope: float | Array = 1.0) -> Rounded:
        """An elementary function whose slope is at most `slope` where the values may be."""
        value = function(self.value)
        return Rounded(value, self.error * slope + ELEMENTARY * self.precision.unit * abs(value), self.precision)

    def exp(self) -> Rounded:
        """e to the power of the values."""
        value = numpy.exp(self.value)
        return Rounded(value, value * (numpy.expm1(self.error) + ELEMENTARY * self.precision.unit), self.precision)

    def log(self) -> Rounded:
        """The natural logarithm of positive values."""
        return self.elementary(numpy.log, 1 / (self.value - self.error))

    def sqrt(self) -> Rounded:
        """The square root of positive values."""
        return self.elementary(numpy.sqrt, 0.5 / numpy.sqrt(self.value - self.error))

    def map(self, function: Callable[[Array], Array]) -> Rounded:
        """A function without rounding of its own that never stretches distances (max, abs, padding)."""
        return Rounded(function(self.value), self.error, self.precision)

    def move(self, function: Callable[[Array], Array]) -> Rounded:
        """Elements copied to other places."""
        return Rounded(function(self.value), function(self.error), self.precision)

    def larger(self, other: Rounded | float) -> Rounded:
        """The larger of two numbers."""
        right = self._other(other)
        return Rounded(numpy.maximum(self.value, right.value), numpy.maximum(self.error, right.error), self.precision)

    def smaller(self, other: Rounded | float) -> Rounded:
        """The smaller of two numbers."""
        right = self._other(other)
        return Rounded(numpy.minimum(self.value, right.value), numpy.maximum(self.error, right.error), self.precision)

    # -- reductions ----------------------------------------------------------------------------

    def sum(self, axes: Sequence[int], repeat: int = 1) -> Rounded:
        """The sum over axes, in any order; `repeat` is how often each term counts."""
        where = tuple(axes)
        count = math.prod(self.value.shape[axis] for axis in where) * repeat
        value, error = self.value.sum(where) * repeat, self.error.sum(where) * repeat
        magnitude = numpy.abs(self.value).sum(where) * repeat + error
        return Rounded(value, error + count * self.precision.unit * magnitude, self.precision).stored()

    def product(self, axes: Sequence[int]) -> Rounded:
        """The product over axes, in any order."""
        where = tuple(axes)
        count = math.prod(self.value.shape[axis] for axis in where)
        value = self.value.prod(where)
        largest = (abs(self.value) + self.error).prod(where)
        error = largest - abs(value) + count * self.precision.unit * largest
        return Rounded(value, error, self.precision).stored()

    def max(self, axes: Sequence[int]) -> Rounded:
        """The maximum over axes."""
        return Rounded(self.value.max(tuple(axes)), self.error.max(tuple(axes)), self.precision)

    def min(self, axes: Sequence[int]) -> Rounded:
        """The minimum over axes."""
        return Rounded(self.value.min(tuple(axes)), self.error.min(tuple(axes)), self.precision)

    def stored(self) -> Rounded:
        """The numbers as memory holds them."""
        rounding = self.precision.memory * (numpy.abs(self.value) + self.error) + self.precision.smallest
        return Rounded(self.value, self.error + rounding, self.precision)

    def transpose(self, order: Sequence[int]) -> Rounded:
        """The axes in another order."""
        return self.move(lambda array: array.transpose(order))


def sigmoid(x: Rounded) -> Rounded:
    """The logistic function."""
    return x.elementary(lambda v: 1 / (1 + numpy.exp(-v)), 0.25)


def tanh(x: Rounded) -> Rounded:
    """The hyperbolic tangent."""
    return x.elementary(numpy.tanh)


def relu(x: Rounded) -> Rounded:
    """max(0, x)."""
    return x.larger(0.0)
