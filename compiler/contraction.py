"""Sums of products: taking an expression apart into factors, and contracting arrays.

Used by the interpreter, which holds an array per factor with an axis for every index of
the equation, of length 1 where the factor does not depend on that index.
"""

from __future__ import annotations

import math
from typing import Any, cast

import numpy

from ..dsl.equations import FLOATS, Apply, Expression, Literal

Array = numpy.ndarray[Any, Any]


def products(expression: Expression) -> list[list[Expression]]:
    """A sum of products of factors that equals the expression: `[[a, b], [c]]` is `a*b + c`."""
    if isinstance(expression, Apply):
        first = expression.arguments[0]
        minus = Literal(-1, expression.dtype)
        if expression.operation in ("add", "sub"):
            added = products(expression.arguments[1])
            return products(first) + ([[minus, *f] for f in added] if expression.operation == "sub" else added)
        if expression.operation == "neg":
            return [[minus, *factors] for factors in products(first)]
        if expression.operation == "mul":
            left, right = products(first), products(expression.arguments[1])
            second = expression.arguments[1]
            return [[*(left[0] if len(left) == 1 else [first]), *(right[0] if len(right) == 1 else [second])]]
        if expression.operation == "cast" and expression.dtype in FLOATS and first.dtype in FLOATS:
            return products(first)
    return [[expression]]


def multiply(left: Array, right: Array, summed: set[int]) -> Array:
    """The product of two arrays of equal rank, summed over the given axes (which keep length 1)."""
    left_axes = {axis for axis in range(left.ndim) if left.shape[axis] != 1}
    right_axes = {axis for axis in range(right.ndim) if right.shape[axis] != 1}
    if summed & left_axes - right_axes:
        left = left.sum(axis=tuple(summed & left_axes - right_axes), keepdims=True)
    if summed & right_axes - left_axes:
        right = right.sum(axis=tuple(summed & right_axes - left_axes), keepdims=True)
    both = left_axes & right_axes
    shared, contracted = sorted(both - summed), sorted(both & summed)
    free_left = [axis for axis in range(left.ndim) if axis not in both and left.shape[axis] != 1]
    free_right = [axis for axis in range(left.ndim) if axis not in both and right.shape[axis] != 1]
    rest = [axis for axis in range(left.ndim) if axis not in (*shared, *contracted, *free_left, *free_right)]

    def lengths(array: Array, axes: list[int]) -> list[int]:
        return [array.shape[axis] for axis in axes]

    batch, inner = lengths(left, shared), math.prod(lengths(left, contracted))
    a = left.transpose(shared + free_left + contracted + free_right + rest)
    b = right.transpose(shared + contracted + free_right + free_left + rest)
    product = numpy.matmul(
        a.reshape(math.prod(batch), math.prod(lengths(left, free_left)), inner),
        b.reshape(math.prod(batch), inner, math.prod(lengths(right, free_right))),
    ).reshape(batch + lengths(left, free_left) + lengths(right, free_right) + [1] * len(contracted + rest))
    order = shared + free_left + free_right + contracted + rest
    return cast(Array, product.transpose([order.index(axis) for axis in range(left.ndim)]))
