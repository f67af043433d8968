"""Paddings that cost no copy: what is padded is computed where it lies in the padding, and the border is filled.

A padding is an equation `P[b, x, y] = L[b, x - 1, y - 1]` inside, a number outside.  Where
nobody else needs L, its kernel writes into P, and only the border is left to do: seen as
one row of memory, the stretches before, between and after the rows of L.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...dsl.equations import Apply, Axis, Equation, Expression, Literal, Number, Read, Shape
from ...dsl.integers import ONE, ZERO, Integer, is_nonnegative
from ..rewriting import conjuncts
from .kernel import Kernel, Stored


@dataclass(frozen=True)
class Padding:
    """A tensor in a larger one that has `value` around it; `before` are the elements before it along each axis."""

    source: str
    inside: Shape
    outside: Shape
    before: tuple[Integer, ...]
    value: Literal

    def borders(self) -> list[Kernel]:
        """Kernels that fill what is not inside, one for each kind of stretch."""
        sizes = list(zip(self.inside, self.outside, self.before, strict=True))
        strides = [math.prod(self.outside[axis + 1 :], start=ONE) for axis in range(len(sizes))]
        # Seen from axis k inwards: where the first element inside lies, and the one behind the last.
        first, end = [ZERO], [ONE]
        for (inside, _, before), stride in zip(reversed(sizes), reversed(strides), strict=True):
            first.insert(0, first[0] + before * stride)
            end.insert(0, end[0] + (before + inside - 1) * stride)
        axes: list[Axis] = []
        place = ZERO
        found: list[Kernel | None] = []
        for axis, ((inside, outside, before), stride) in enumerate(zip(sizes, strides, strict=True)):
            whole = inside == outside and not found  # such as the batch: its elements are rows by themselves
            if not whole and not found:
                rest = outside * stride - end[axis]
                found = [self._stretch(axes, place, first[axis]), self._stretch(axes, place + end[axis], rest)]
            at = place + (before + Integer.index(f"i{axis}")) * stride
            if not whole:
                gap = stride + first[axis + 1] - end[axis + 1]
                found.append(self._stretch((*axes, Axis(f"i{axis}", inside - 1)), at + end[axis + 1], gap))
            axes.append(Axis(f"i{axis}", inside))
            place = at
        return [kernel for kernel in found if kernel is not None]

    def _stretch(self, axes: Sequence[Axis], start: Integer, length: Integer) -> Kernel | None:
        """The kernel that fills so many elements from a place on for all points of some axes, if there are any."""
        if length == ZERO or any(axis.size == ZERO for axis in axes):
            return None
        domain = (*axes, Axis("e", length))
        return Kernel(
            domain=domain,
            reduction=(),
            combiner=None,
            body=self.value,
            guard=None,
            dtype=self.value.dtype,
            accumulator="",
            stages=(),
            offset=start + Integer.index("e"),
            output=Stored(self.outside, self.value.dtype),
            tensors={},
            ranges={},
        )


def padding(equation: Equation, inside: Shape) -> Padding | None:
    """The padding that an equation is, whose source has shape `inside`; None if it is something else."""
    body = equation.body
    if not (isinstance(body, Apply) and body.operation == "select") or equation.combiner or equation.guard is not None:
        return None
    condition, read, value = body.arguments
    if not isinstance(read, Read) or not isinstance(value, Literal) or {read.dtype, value.dtype} != {equation.dtype}:
        return None
    if len(read.subscripts) != len(equation.domain):
        return None
    before, needed = [], set()
    for axis, subscript, size in zip(equation.domain, read.subscripts, inside, strict=True):
        shift = Integer.index(axis.name) - subscript
        after = axis.size - size - shift
        if shift.constant is None or not is_nonnegative(shift) or not is_nonnegative(after):
            return None
        before.append(shift)
        needed |= {subscript} if shift != ZERO else set()
        needed |= {size - 1 - subscript} if after != ZERO else set()
    if {_at_least_zero(part) for part in conjuncts(condition)} != needed:
        return None
    return Padding(read.tensor, inside, equation.shape, tuple(before), value)


def _at_least_zero(condition: Expression) -> Integer | None:
    """The number that a condition says is at least 0; None if it says something else."""
    if not isinstance(condition, Apply) or condition.operation != "le":
        return None
    left, right = condition.arguments
    return right.value - left.value if isinstance(left, Number) and isinstance(right, Number) else None
