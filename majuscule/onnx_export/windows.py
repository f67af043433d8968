"""Convolutions and poolings, found by how indices are used.

A subscript `s*x + d*p + c` of an output index x and a summed index p is a window that moves by s and
whose places are d apart.  A product of two reads, one of which has windows over p while the other has
p alone, is a convolution; a sum or a maximum of one read with windows is a pooling.  Indices that
both factors have are groups, summed ones that both have are input channels, and so on: names and
order do not matter.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..compiler.rewriting import as_integer, conjuncts
from ..dsl.equations import FLOATS, Apply, Axis, Equation, Expression, Literal, Read
from ..dsl.integers import ZERO, Index, Integer, is_nonnegative
from .builder import TYPES, working
from .labelled import Value
from .reading import Reader, Stored


@dataclass(frozen=True)
class Window:
    """A window over an axis: it moves by `stride` along `place`, and has `within` places `dilation` apart."""

    axis: int
    place: str
    within: str
    stride: int
    dilation: int
    start: Integer
    """Where the first window begins."""
    beyond: Integer
    """By how much the last window ends behind the axis; less than 0 if it ends before its last place."""


@dataclass(frozen=True)
class Padded:
    """A tensor with zeros around it: `source` begins at `before` (by axis) in it, and `after` follow behind."""

    source: str
    before: tuple[Integer, ...]
    after: tuple[Integer, ...]


def windows_of(read: Read, shape: Sequence[Integer], equation: Equation) -> list[Window] | None:
    """The windows of a read; None if a subscript has an output index and a summed one, and is no window."""
    domain = {axis.name: axis.size for axis in equation.domain}
    reduction = {axis.name: axis.size for axis in equation.reduction}
    found = []
    for axis, subscript in enumerate(read.subscripts):
        names = subscript.indices()
        if not (names & set(domain) and names & set(reduction)):
            continue
        linear = {name: subscript.coefficient(name) for name in names}
        weights = {name: c.constant for name, c in linear.items() if c is not None and (c.constant or 0) > 0}
        places, inner = names & set(domain), names & set(reduction)
        start = subscript.substitute({Index(name): 0 for name in names})
        if len(names) != 2 or len(weights) != 2 or len(places) != 1 or len(inner) != 1 or start.atoms():
            return None
        (place,), (within,) = places, inner
        stride, dilation = weights[place] or 1, weights[within] or 1
        last = start + (domain[place] - 1) * stride + (reduction[within] - 1) * dilation
        found.append(Window(axis, place, within, stride, dilation, start, last - (shape[axis] - 1)))
    return found


def padded(equation: Equation, shape_of: Mapping[str, Stored]) -> Padded | None:
    """What an equation pads with zeros; None if it does something else.

    It reads one tensor where subscripts are inside of it, each an index plus a number, and is 0 elsewhere.
    """
    body = equation.body
    if equation.combiner is not None or not isinstance(body, Apply) or body.operation != "select":
        return None
    condition, inside, outside = body.arguments
    if not isinstance(inside, Read) or not isinstance(outside, Literal) or outside.value != 0:
        return None
    starts = [
        subscript - Integer.index(a.name) for subscript, a in zip(inside.subscripts, equation.domain, strict=False)
    ]
    shape = shape_of[inside.tensor].shape
    if len(inside.subscripts) != len(equation.domain) or any(start.indices() for start in starts):
        return None
    ends = [
        axis.size - 1 + start - (size - 1) for axis, start, size in zip(equation.domain, starts, shape, strict=True)
    ]
    if not _bounds_alone(condition, inside, shape, starts, ends):
        return None
    return Padded(inside.tensor, tuple(-start for start in starts), tuple(ends))


def is_guarded_by_bounds(equation: Equation, read: Read, shape: Sequence[Integer], found: Sequence[Window]) -> bool:
    """Whether a reduction leaves out the places of its windows that are outside of the tensor, and no others."""
    if equation.guard is None:
        return all(_is_zero_or_less(-w.start) and _is_zero_or_less(w.beyond) for w in found)
    starts = {window.axis: window.start for window in found}
    ends = {window.axis: window.beyond for window in found}
    axes = range(len(shape))
    return _bounds_alone(
        equation.guard, read, shape, [starts.get(axis, ZERO) for axis in axes], [ends.get(axis, ZERO) for axis in axes]
    )


def _bounds_alone(
    condition: Expression, read: Read, shape: Sequence[Integer], starts: Sequence[Integer], ends: Sequence[Integer]
) -> bool:
    """Whether a condition says that subscripts are inside of their axes, and nothing else.

    The smallest values of subscripts are `starts`; the largest lie `ends` behind the last places.
    """
    said = []
    for part in conjuncts(condition):
        value = _not_negative(part)
        if value is None:
            return False
        said.append(value)
    bounds = [(subscript, size - 1 - subscript) for subscript, size in zip(read.subscripts, shape, strict=True)]
    if any(value not in [side for pair in bounds for side in pair] for value in said):
        return False
    for (low, high), start, end in zip(bounds, starts, ends, strict=True):
        if (not is_nonnegative(start) and low not in said) or (not is_nonnegative(-end) and high not in said):
            return False
    return True


def _not_negative(condition: Expression) -> Integer | None:
    """The number that a condition says is 0 or more."""
    if not isinstance(condition, Apply) or condition.operation != "le":
        return None
    low, high = (as_integer(argument) for argument in condition.arguments)
    return None if low is None or high is None else high - low


def _is_zero_or_less(size: Integer) -> bool:
    return is_nonnegative(-size)


class Windowed:
    """Makes the operators of equations with windows."""

    def __init__(self, reader: Reader, pads: Mapping[str, Padded]) -> None:
        self._reader = reader
        self._graph = reader.graph
        self._pads = pads

    def convolution(self, equation: Equation, left: Read, right: Read) -> Value | None:
        """The sum of the products of two reads; None if that is no convolution."""
        if equation.dtype not in FLOATS or {left.dtype, right.dtype} != {equation.dtype}:
            return None
        for data, weights in ((left, right), (right, left)):
            seen = windows_of(data, self._reader.tensors[data.tensor].shape, equation) or []
            # In `4*g + I` a group g that the weights have, too, is no place that a window moves to.
            found = [window for window in seen if window.place not in _indices(weights.subscripts)]
            if found and windows_of(weights, self._reader.tensors[weights.tensor].shape, equation) == []:
                return self._convolution(equation, data, weights, found)
        return None

    def _convolution(self, equation: Equation, data: Read, weights: Read, found: list[Window]) -> Value | None:
        domain, reduction = _names(equation.domain), _names(equation.reduction)
        places, inner = [w.place for w in found], [w.within for w in found]
        own = _indices(s for axis, s in enumerate(data.subscripts) if axis not in {w.axis for w in found})
        other = _indices(weights.subscripts)
        clean = not own & {*places, *inner} and not other & set(places) and set(inner) <= other
        if not clean or len(set(places)) < len(places) or len(set(inner)) < len(inner):
            return None
        channels = [name for name in reduction if name not in inner]
        if any(name not in own or name not in other for name in channels):
            return None
        rest = [name for name in domain if name not in places]
        if any(name not in own and name not in other for name in rest):
            return None
        groups = [name for name in rest if name in own and name in other]
        samples = [name for name in rest if name not in other]
        made = [name for name in rest if name not in own]
        data, found = self._without_padding(data, found, equation)
        array, pads = self._data(data, found, [samples, [*groups, *channels]])
        filters = self._reader.read(weights, False)
        kernel = self._graph.merge(filters, [[*groups, *made], channels, *([name] for name in inner)])
        count = self._graph.product(groups).constant
        if count is None:
            return None
        result = self._graph.builder.node(
            "Conv", array, kernel, group=count, strides=tuple(w.stride for w in found),
            dilations=tuple(w.dilation for w in found), pads=pads,
        )  # fmt: skip
        return self._graph.split(result, [samples, [*groups, *made], *([name] for name in places)])

    def _without_padding(self, data: Read, found: list[Window], equation: Equation) -> tuple[Read, list[Window]]:
        """The read of what a padding was put around, if only axes of windows have it."""
        pad = self._pads.get(data.tensor)
        if pad is None:
            return data, found
        axes = {window.axis for window in found}
        if any(pad.before[a] != ZERO or pad.after[a] != ZERO for a in range(len(pad.before)) if a not in axes):
            return data, found
        subscripts = tuple(s - before for s, before in zip(data.subscripts, pad.before, strict=True))
        source = Read(pad.source, subscripts, data.dtype)
        shape = self._reader.tensors[pad.source].shape
        moved = [window for window in windows_of(source, shape, equation) or [] if window.axis in axes]
        return (source, moved) if moved and _paddable(moved) else (data, found)

    def pooling(self, equation: Equation, read: Read) -> Value | None:
        """The sum or the maximum over windows of one read; None if it has none or something else is in the way."""
        shape = self._reader.tensors[read.tensor].shape
        found = windows_of(read, shape, equation)
        if not found or equation.dtype not in FLOATS or read.dtype != equation.dtype:
            return None
        places, inner = [w.place for w in found], [w.within for w in found]
        own = _indices(s for axis, s in enumerate(read.subscripts) if axis not in {w.axis for w in found})
        extents = [self._graph.extents[name].constant for name in inner]
        rest = [name for name in _names(equation.domain) if name not in places]
        one_each = len(set(places)) == len(places) and len(set(inner)) == len(inner)
        if set(inner) != set(_names(equation.reduction)) or not one_each or own != set(rest) or None in extents:
            return None
        if not is_guarded_by_bounds(equation, read, shape, found) or not _paddable(found):
            return None
        kernel = tuple(extent or 1 for extent in extents)
        samples, channels = (rest[:1], rest[1:]) if len(rest) > 1 else ([], rest)
        array, pads = self._data(read, found, [samples, channels])
        if any(pad >= size for pad, size in zip(pads, (*kernel, *kernel), strict=True)):
            return None
        strides, dilations = tuple(w.stride for w in found), tuple(w.dilation for w in found)
        if equation.combiner == "max":
            result = self._graph.builder.node(
                "MaxPool", array, kernel_shape=kernel, strides=strides, dilations=dilations, pads=pads
            )
        elif set(dilations) == {1}:
            mean = self._graph.builder.node(
                "AveragePool", array, kernel_shape=kernel, strides=strides, pads=pads, count_include_pad=1
            )
            places_of_one = self._graph.builder.literal(math.prod(kernel), working(equation.dtype))
            result = self._graph.builder.node("Mul", mean, places_of_one)
        else:
            return None
        return self._graph.split(result, [samples, channels, *([name] for name in places)])

    def _data(
        self, read: Read, found: Sequence[Window], groups: Sequence[Sequence[str]]
    ) -> tuple[str, tuple[int, ...]]:
        """What windows move over, cut to what they see, with an axis for each group of other indices in front.

        Behind it is how many zeros are around it: in front of each axis, then behind.
        """
        stored = self._reader.tensors[read.tensor]
        labels = [f"window {window.place}" for window in found]  # no index has a blank
        others = {axis: s for axis, s in enumerate(read.subscripts) if axis not in {w.axis for w in found}}
        whole = {window.axis: Integer.index(label) for window, label in zip(found, labels, strict=True)}
        before, after = [], []
        lengths = {label: stored.shape[window.axis] for window, label in zip(found, labels, strict=True)}
        with self._graph.scope(lengths):
            value = self._reader.taken(stored, {**others, **whole}, False)
        for window, label in zip(found, labels, strict=True):
            first, last = self._seen(window, lengths[label])
            if (first, last) != (ZERO, lengths[label]):
                ends = [self._graph.integers.vector([end]) for end in (first, last)]
                axis = self._graph.builder.integers(value.labels.index(label))
                value = Value(self._graph.builder.node("Slice", value.name, *ends, axis), value.labels)
                lengths[label] = last - first
            before.append(max(-(window.start.constant or 0), 0))
            after.append(max(window.beyond.constant or 0, 0))
        with self._graph.scope(lengths):
            array = self._graph.merge(value, [*groups, *([label] for label in labels)])
        if working(read.dtype) != read.dtype:
            array = self._graph.builder.node("Cast", array, to=TYPES[working(read.dtype)])
        return array, (*before, *after)

    def _seen(self, window: Window, length: Integer) -> tuple[Integer, Integer]:
        """The part of an axis that operators are to see, so that they find as many windows as there are."""
        beyond = window.beyond.constant
        first = Integer.of(max(window.start.constant or 0, 0))
        if beyond is None:
            return first, length if self._ends_by_itself(window, length) else length + window.beyond
        return first, length + beyond if -beyond >= window.stride else length

    def _ends_by_itself(self, window: Window, length: Integer) -> bool:
        """Whether there are as many windows as an operator of ONNX finds room for, where lengths are open."""
        reach = (self._graph.extents[window.within] - 1) * window.dilation
        room = (length - window.start - reach - 1) // window.stride + 1
        return room == self._graph.extents[window.place]


def _paddable(found: Sequence[Window]) -> bool:
    """Whether the zeros around the tensor can be told when the model is written."""
    return all(window.beyond.constant is not None or is_nonnegative(-window.beyond) for window in found)


def _names(axes: Sequence[Axis]) -> list[str]:
    return [axis.name for axis in axes]


def _indices(subscripts: Iterable[Integer]) -> set[str]:
    return {name for subscript in subscripts for name in subscript.indices()}
