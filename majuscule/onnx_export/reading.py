"""Reads of tensors: by slices, splits of axes and gathers, whatever their subscripts ask for.

Subscripts are taken axis by axis where their indices occur in no other one.  An index alone takes the
axis as it is; `2*i + 1` is a slice; `4*i + j`, where j runs over 4, splits the axis; a number takes one
place; anything else is a gather at subscripts that are computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..compiler.rewriting import plain
from ..dsl.equations import Read, Shape
from ..dsl.integers import ONE, ZERO, Index, Integer, bounds, is_nonnegative
from .builder import TYPES, working
from .integers import Integers
from .labelled import Labelled, Value


@dataclass(frozen=True)
class Stored:
    """A tensor of the program in the graph: the array, and which axis of the tensor each of its axes is."""

    name: str
    order: tuple[int, ...]
    shape: Shape
    dtype: str


class Reader:
    """Reads `tensors`, which are filled as the graph grows."""

    def __init__(self, graph: Labelled, integers: Integers) -> None:
        self.graph = graph
        self._integers = integers
        self.tensors: dict[str, Stored] = {}

    def read(self, read: Read, masked: bool) -> Value:
        """The elements over the indices in sight; where it is `masked`, places outside of the tensor are not used."""
        stored = self.tensors[read.tensor]
        value = self.taken(stored, dict(enumerate(read.subscripts)), masked)
        kind = working(read.dtype)
        return value if kind == read.dtype else self.graph.cast(value, TYPES[kind])

    def taken(self, stored: Stored, subscripts: Mapping[int, Integer], masked: bool) -> Value:
        """The elements of a tensor at subscripts by axis."""
        value = Value(stored.name, tuple(f"axis {axis}" for axis in stored.order))  # no index has a blank
        counted = [name for subscript in subscripts.values() for name in self._indices(subscript)]
        together = [
            axis
            for axis, subscript in subscripts.items()
            if any(counted.count(n) > 1 for n in self._indices(subscript))
        ]
        for axis, subscript in subscripts.items():
            if axis not in together:
                value = self._axis(value, axis, stored.shape, subscript, masked)
        if together:
            value = self._jointly(value, together, stored.shape, subscripts, masked)
        return value

    def _indices(self, subscript: Integer) -> set[str]:
        return subscript.indices() - set(self._integers.times)

    def _axis(self, value: Value, axis: int, shape: Shape, subscript: Integer, masked: bool) -> Value:
        label, size = f"axis {axis}", shape[axis]
        name = subscript.plain_index
        if name is not None and name in self.graph.extents and self.graph.extents[name] == size:
            return _relabelled(value, label, (name,))
        place = value.labels.index(label)
        builder = self.graph.builder
        if subscript == ZERO and size == ONE:
            return _relabelled(value, label, (), builder.node("Squeeze", value.name, builder.integers(place)))
        clipped = masked and not self._is_inside(subscript, size)
        step = _stepping(subscript)
        if step is not None and not clipped and step[0] not in self._integers.times:
            name, stride, start = step
            end = (self.graph.extents[name] - 1) * stride + (start + 1)
            sliced = builder.node(
                "Slice", value.name, builder.integers(start), self._integers.vector([end]), builder.integers(place),
                builder.integers(stride),
            )  # fmt: skip
            return _relabelled(value, label, (name,), sliced)
        digits = self._digits(subscript, size)
        if digits is not None:
            labels = [new for own in value.labels for new in (digits if own == label else (own,))]
            lengths = {f"axis {axis}": length for axis, length in enumerate(shape)} | dict(self.graph.extents)
            split = self._integers.shape_of_one_open([lengths[own] for own in labels])
            return _relabelled(value, label, digits, builder.node("Reshape", value.name, split))
        at = self._integers.value(subscript)
        if clipped:
            at = self._clipped(at, size)
        return _relabelled(value, label, at.labels, builder.node("Gather", value.name, at.name, axis=place))

    def _digits(self, subscript: Integer, size: Integer) -> tuple[str, ...] | None:
        """The indices of `b*i + j` in their order, if they count through an axis of this size; None if not."""
        weights: dict[str, Integer] = {}
        for name in self._indices(subscript):
            weight = subscript.coefficient(name)
            if weight is None or name not in self.graph.extents:
                return None
            weights[name] = weight
        if len(weights) < 2 or subscript != sum((plain(n) * w for n, w in weights.items()), start=ZERO):
            return None
        found: list[str] = []
        wanted = ONE
        while len(found) < len(weights):
            following = [name for name, weight in weights.items() if weight == wanted and name not in found]
            if len(following) != 1:
                return None
            found.insert(0, following[0])
            wanted = wanted * self.graph.extents[following[0]]
        return tuple(found) if wanted == size else None

    def _is_inside(self, subscript: Integer, size: Integer) -> bool:
        if subscript.indices() & set(self._integers.times):
            return False
        ranges = {name: (ZERO, self.graph.extents[name]) for name in self._indices(subscript)}
        found = bounds(subscript, ranges)
        return found is not None and is_nonnegative(found[0]) and is_nonnegative(size - 1 - found[1])

    def _clipped(self, at: Value, size: Integer) -> Value:
        at = self.graph.apply("Max", at, self._integers.value(ZERO))
        return self.graph.apply("Min", at, self._integers.value(size - 1))

    def _jointly(
        self, value: Value, axes: Sequence[int], shape: Shape, subscripts: Mapping[int, Integer], masked: bool
    ) -> Value:
        """Several axes whose subscripts share indices: one gather of all of them."""
        graph, builder = self.graph, self.graph.builder
        first = [f"axis {axis}" for axis in axes]
        rest = [label for label in value.labels if label not in first]
        value = graph.transpose(value, [*first, *rest])
        places = [self._integers.value(subscripts[axis]) for axis in axes]
        if masked:
            places = [self._clipped(place, shape[axis]) for place, axis in zip(places, axes, strict=True)]
        labels = tuple(dict.fromkeys(label for place in places for label in place.labels))
        full = [graph.expand(place, labels).name for place in places]
        last = builder.integers(-1)
        at = builder.node("Concat", *(builder.node("Unsqueeze", place, last) for place in full), axis=-1)
        return Value(builder.node("GatherND", value.name, at), (*labels, *rest))


def _relabelled(value: Value, label: str, labels: Sequence[str], name: str | None = None) -> Value:
    """The value with labels in place of one, under another name if the array is another."""
    place = value.labels.index(label)
    return Value(value.name if name is None else name, (*value.labels[:place], *labels, *value.labels[place + 1 :]))


def _stepping(subscript: Integer) -> tuple[str, int, int] | None:
    """Index, stride and start of `2*i + 1`; None for another subscript, or one that steps back."""
    rest = subscript - subscript.offset
    if subscript.offset < 0 or len(rest.terms) != 1:
        return None
    monomial, stride = rest.terms[0]
    if len(monomial) != 1 or not isinstance(monomial[0], Index) or stride < 1:
        return None
    return monomial[0].name, stride, subscript.offset
