"""Receptive fields: which part of an input one element of a tensor depends on.

Goes once through a program, operands first, and composes the subscripts of its reads.  Along
one axis of an input, the positions read by the element at position p of a tensor's axis
are an interval `scale*p + low … scale*p + high` (a `Window`); its width is the receptive
field of that tensor along that axis.  Strides multiply the scale, windows and dilations
widen the interval, padding moves it.  Positions in the padding count, as is usual.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from ..dsl.equations import (
    Axis,
    Carry,
    Equation,
    Input,
    Operation,
    Partial,
    Program,
    Read,
    Recurrence,
    Reshape,
    equation_reads,
    operands,
)
from ..dsl.integers import FloorDiv, Index, Integer, Symbol

_NOMINAL = 1 << 20
"""Stands in for a size known only at run time; widths do not depend on it."""


@dataclass(frozen=True, slots=True)
class Window:
    """The interval of an input's axis that an element reads; `axis` is None where it is the same for all.

    `whole`: some step on the way read the whole of an axis, so the width means no more.
    """

    axis: int | None
    scale: Fraction
    low: Fraction
    high: Fraction
    whole: bool = False

    @property
    def width(self) -> int:
        """How many positions the interval holds."""
        return math.floor(self.high - self.low) + 1


Key = tuple[str, int]
Windows = Mapping[Key, Window]
"""(input, axis of it) -> window."""


def receptive_fields(program: Program) -> dict[str, Windows]:
    """For each tensor of the program the windows through which it sees the inputs' axes."""
    found: dict[str, Windows] = {}
    for name, operation in program.operations.items():
        if isinstance(operation, Input):
            axes = range(len(operation.shape))
            found[name] = {(name, axis): Window(axis, Fraction(1), Fraction(0), Fraction(0)) for axis in axes}
        elif isinstance(operation, Equation):
            found[name] = _through_equation(operation, program, found)
        elif isinstance(operation, Partial):
            found[name] = _through_partial(operation, found)
        elif isinstance(operation, Reshape):
            found[name] = _through_reshape(operation, program, found)
        else:
            found[name] = _everything(operation, found)
    return found


def _everything(operation: Operation, found: Mapping[str, Windows]) -> Windows:
    """A recurrence may see all of what it reads."""
    if not isinstance(operation, (Recurrence, Carry)):
        return {}
    return _union(
        (key, replace(window, axis=None, whole=True))
        for operand in operands(operation)
        for key, window in found.get(operand, {}).items()
    )


def _union(pairs: Iterable[tuple[Key, Window]]) -> Windows:
    result: dict[Key, Window] = {}
    for key, window in pairs:
        old = result.get(key)
        result[key] = window if old is None else _both(old, window)
    return result


def _both(first: Window, second: Window) -> Window:
    whole = first.whole or second.whole
    if (first.axis, first.scale) == (second.axis, second.scale):
        return replace(first, low=min(first.low, second.low), high=max(first.high, second.high), whole=whole)
    wider = first if first.width >= second.width else second
    return replace(wider, whole=whole)


# -- index equations -------------------------------------------------------------------------


def _through_equation(equation: Equation, program: Program, found: Mapping[str, Windows]) -> Windows:
    positions = {axis.name: number for number, axis in enumerate(equation.domain)}
    sizes = {axis.name: _nominal(axis.size) for axis in (*equation.domain, *equation.reduction)}
    return _union(
        pair
        for read in dict.fromkeys(equation_reads(equation))
        if found.get(read.tensor)
        for pair in _through_read(read, program.tensor(read.tensor).shape, positions, sizes, found[read.tensor])
    )


def _through_read(
    read: Read, shape: tuple[Integer, ...], positions: Mapping[str, int], sizes: Mapping[str, int], windows: Windows
) -> Iterable[tuple[Key, Window]]:
    spans = [
        _span(subscript, _nominal(size), positions, sizes)
        for subscript, size in zip(read.subscripts, shape, strict=True)
    ]
    for key, window in windows.items():
        yield key, window if window.axis is None else _compose(window, spans[window.axis])


def _compose(outer: Window, inner: Window) -> Window:
    """The window of an element whose subscript runs over `inner`, into an axis seen through `outer`."""
    ends = (outer.scale * inner.low, outer.scale * inner.high)
    return Window(
        inner.axis,
        outer.scale * inner.scale,
        min(ends) + outer.low,
        max(ends) + outer.high,
        outer.whole or inner.whole,
    )


def _span(subscript: Integer, size: int, positions: Mapping[str, int], sizes: Mapping[str, int]) -> Window:
    """The positions that a subscript takes, as a window from the axis of the one output index in it."""
    free = [name for name in subscript.indices() if name in positions]
    affine = _affine(subscript, sizes) if len(free) <= 1 else None
    if affine is None:
        return Window(None, Fraction(0), Fraction(0), Fraction(size - 1), whole=True)
    factors, low, high = affine
    for name, factor in factors.items():
        if name not in positions:
            ends = (Fraction(0), factor * (sizes[name] - 1))
            low, high = low + min(ends), high + max(ends)
    if not free:
        return Window(None, Fraction(0), low, high, whole=low <= 0 and high >= size - 1 and size > 1)
    return Window(positions[free[0]], factors[free[0]], low, high)


def _affine(expression: Integer, sizes: Mapping[str, int]) -> tuple[dict[str, Fraction], Fraction, Fraction] | None:
    """The factor of each index, and bounds on the rest; None if it is not such a sum (a gather)."""
    factors: dict[str, Fraction] = {}
    low = high = Fraction(0)
    for monomial, coefficient in expression.terms:
        scale = Fraction(coefficient)
        variable = None
        for atom in monomial:
            if isinstance(atom, Symbol):
                scale *= _NOMINAL
            elif variable is None and isinstance(atom, (Index, FloorDiv)):
                variable = atom
            else:
                return None
        if isinstance(variable, Index):
            if variable.name not in sizes:
                return None
            factors[variable.name] = factors.get(variable.name, Fraction(0)) + scale
        elif isinstance(variable, FloorDiv):
            inner = _affine(variable.numerator, sizes)
            divisor = _nominal(variable.denominator)
            if inner is None or divisor < 1:
                return None
            for name, factor in inner[0].items():
                factors[name] = factors.get(name, Fraction(0)) + scale * factor / divisor
            ends = [scale * (inner[1] - (divisor - 1)) / divisor, scale * inner[2] / divisor]
            low, high = low + min(ends), high + max(ends)
        else:
            low, high = low + scale, high + scale
    return factors, low, high


def _nominal(size: Integer) -> int:
    constant = size.constant
    if constant is not None:
        return constant
    return size.evaluate({atom.name: _NOMINAL for atom in size.atoms() if isinstance(atom, Symbol)})


# -- partial definitions and reshapes ----------------------------------------------------------


def _through_partial(partial: Partial, found: Mapping[str, Windows]) -> Windows:
    return _union(
        pair
        for piece in partial.pieces
        for pair in _turned(found.get(piece.source, {}), _inverse(piece.domain, piece.target))
    )


def _turned(windows: Windows, spans: list[Window]) -> Iterable[tuple[Key, Window]]:
    for key, window in windows.items():
        yield key, window if window.axis is None else _compose(window, spans[window.axis])


def _inverse(domain: tuple[Axis, ...], target: tuple[Integer, ...]) -> list[Window]:
    """For each axis of a piece, its position as a function of the position in the whole tensor."""
    spans: list[Window] = []
    for axis in domain:
        size = _nominal(axis.size)
        span = Window(None, Fraction(0), Fraction(0), Fraction(size - 1), whole=size > 1)
        for number, subscript in enumerate(target):
            affine = _affine(subscript, {axis.name: size}) if subscript.indices() == {axis.name} else None
            if affine is not None and affine[0][axis.name]:
                factor = affine[0][axis.name]
                ends = (-affine[1] / factor, -affine[2] / factor)
                span = Window(number, 1 / factor, min(ends), max(ends))
        spans.append(span)
    return spans


def _through_reshape(reshape: Reshape, program: Program, found: Mapping[str, Windows]) -> Windows:
    source = [_nominal(size) for size in program.tensor(reshape.source).shape]
    result = [_nominal(size) for size in reshape.shape]
    spans = [_through_row_major(source, axis, result) for axis in range(len(source))]
    return _union(_turned(found.get(reshape.source, {}), spans))


def _through_row_major(source: list[int], axis: int, result: list[int]) -> Window:
    """Where an element of the reshaped tensor stands along one axis of the source.

    Its place in row-major order is `stride*position + rest` on either side, so an axis of the
    result that begins where the source's axis begins, or before, settles the position.
    """
    size, stride = source[axis], math.prod(source[axis + 1 :])
    for number, length in enumerate(result):
        step = math.prod(result[number + 1 :])
        if step * length == stride * size:
            scale = Fraction(step, stride)
            low = Fraction(min(step - stride, 0), stride) if step <= stride else Fraction(0)
            high = Fraction(0) if step <= stride else scale - 1
            return Window(number, scale, low, high)
    return Window(None, Fraction(0), Fraction(0), Fraction(size - 1), whole=size > 1)
