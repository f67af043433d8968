"""Values whose axes are named by indices, so that what belongs together is found by name.

An expression over the indices of an equation is computed with one axis for each index on which it
depends, in any order.  Where two values meet, their axes are brought into one order, with axes of
length 1 for indices that one of them lacks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy

from ..dsl.integers import Integer
from .builder import Array, Builder

if TYPE_CHECKING:
    from .integers import Integers


@dataclass(frozen=True)
class Value:
    """A value of the graph: its name, the indices of its axes, and its numbers if they are known."""

    name: str
    labels: tuple[str, ...] = ()


class Labelled:
    """Operators on labelled values; `extents` are the lengths of the indices in sight."""

    def __init__(self, builder: Builder) -> None:
        self.builder = builder
        self.extents: Mapping[str, Integer] = {}
        self.integers: Integers  # set once both are made: lengths are values, too

    @contextmanager
    def scope(self, extents: Mapping[str, Integer]) -> Iterator[None]:
        """Inside, there are further indices."""
        before = self.extents
        self.extents = {**before, **extents}
        yield
        self.extents = before

    def constant(self, array: Array, labels: Sequence[str] = ()) -> Value:
        """Literal numbers."""
        return Value(self.builder.constant(numpy.asarray(array)), tuple(labels))

    def apply(self, operator: str, *values: Value) -> Value:
        """An operator that works element by element."""
        labels = max((value.labels for value in values), key=len)
        missing = [label for value in values for label in value.labels if label not in labels]
        labels = (*dict.fromkeys(missing), *labels)
        return Value(self.builder.node(operator, *(self._aligned(value, labels) for value in values)), labels)

    def cast(self, value: Value, to: int) -> Value:
        """Conversion to one of ONNX's types."""
        return Value(self.builder.node("Cast", value.name, to=to), value.labels)

    def _aligned(self, value: Value, labels: Sequence[str]) -> str:
        """The value with axes that broadcast against these labels, which hold all of its own."""
        present = [label for label in labels if label in value.labels]
        value = self.transpose(value, present)
        first = labels.index(present[0]) if present else len(labels)
        added = [axis - first for axis, label in enumerate(labels) if axis > first and label not in present]
        return self.builder.node("Unsqueeze", value.name, self.builder.integers(*added)) if added else value.name

    def transpose(self, value: Value, labels: Sequence[str]) -> Value:
        """The axes in another order."""
        if tuple(labels) == value.labels:
            return value
        order = tuple(value.labels.index(label) for label in labels)
        return Value(self.builder.node("Transpose", value.name, perm=order), tuple(labels))

    def expand(self, value: Value, labels: Sequence[str]) -> Value:
        """Repeated along the labels that it lacks; the result has them all, in this order."""
        if set(labels) == set(value.labels):
            return self.transpose(value, labels)
        return Value(self.builder.node("Expand", self._aligned(value, labels), self.shape(labels)), tuple(labels))

    def shape(self, labels: Sequence[str]) -> str:
        """The lengths of axes as a vector."""
        return self.integers.vector([self.extents[label] for label in labels])

    def merge(self, value: Value, groups: Sequence[Sequence[str]]) -> str:
        """The array with one axis for each group of labels, which together are the value's; of length 1 for none."""
        value = self.transpose(value, [label for group in groups for label in group])
        if all(len(group) == 1 for group in groups):
            return value.name
        lengths = [self.product(group) for group in groups]
        return self.builder.node("Reshape", value.name, self.integers.shape_of_one_open(lengths))

    def split(self, array: str, groups: Sequence[Sequence[str]]) -> Value:
        """What `merge` undoes: an array with one axis for each group of labels as a value with an axis for each."""
        labels = tuple(label for group in groups for label in group)
        if any(len(group) != 1 for group in groups):
            lengths = [self.extents[label] for label in labels]
            array = self.builder.node("Reshape", array, self.integers.shape_of_one_open(lengths))
        return Value(array, labels)

    def product(self, labels: Sequence[str]) -> Integer:
        """How many places some indices have together."""
        product = Integer.of(1)
        for label in labels:
            product = product * self.extents[label]
        return product

    def reduce(self, operator: str, value: Value, labels: Sequence[str]) -> Value:
        """A reduction over those of the labels that it has."""
        axes = [axis for axis, label in enumerate(value.labels) if label in labels]
        if not axes:
            return value
        name = self.builder.node(operator, value.name, self.builder.integers(*axes), keepdims=0)
        return Value(name, tuple(label for label in value.labels if label not in labels))
