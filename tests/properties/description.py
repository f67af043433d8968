"""Index equations as the tests describe them, and what they mean by NumPy's own indexing.

A subscript is `Affine`: whole-number multiples of named axes, an offset and perhaps a floor
division.  `gather` reads a tensor at such subscripts over a box of axes.  This is the
oracle's whole knowledge of index equations; the project's front end has no part in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy
from rounding import Array, Rounded


@dataclass(frozen=True)
class Affine:
    """`(sum of coefficient * axis + offset) // divisor`."""

    terms: tuple[tuple[int, str], ...]
    offset: int = 0
    divisor: int = 1

    @staticmethod
    def axis(name: str) -> Affine:
        """One axis alone."""
        return Affine(((1, name),))

    def positions(self, sizes: Mapping[str, int]) -> Array:
        """Its values over the box of all axes in `sizes`, with one axis for each."""
        names = list(sizes)
        total = numpy.full([1] * len(names), self.offset)
        for coefficient, name in self.terms:
            shape = [1] * len(names)
            shape[names.index(name)] = sizes[name]
            total = total + coefficient * numpy.arange(sizes[name]).reshape(shape)
        return total // self.divisor


@dataclass(frozen=True)
class Factor:
    """A read of a tensor."""

    tensor: str
    subscripts: tuple[Affine, ...]

    def axes(self) -> set[str]:
        """The axes that its subscripts use."""
        return {name for subscript in self.subscripts for _, name in subscript.terms}


@dataclass(frozen=True)
class Product:
    """A sum of products over all axes that the output lacks."""

    factors: tuple[Factor, ...]
    negative: bool = False

    def axes(self) -> set[str]:
        """The axes that occur."""
        return set().union(*(factor.axes() for factor in self.factors))


def gather(tensor: Rounded, subscripts: Sequence[Affine], sizes: Mapping[str, int]) -> Rounded:
    """The elements at `subscripts` for all values of the axes (broadcast where an axis is not used)."""
    places = tuple(subscript.positions(sizes) for subscript in subscripts)
    for place, size in zip(places, tensor.value.shape, strict=True):
        if place.min() < 0 or place.max() >= size:
            raise IndexError(f"the description reads {place.min()}..{place.max()} of an axis of {size}")
    if not places:
        return tensor.move(lambda array: array.reshape([1] * len(sizes)))
    return tensor.move(lambda array: array[places])


def axes(names: Iterable[str]) -> tuple[Affine, ...]:
    """Single axes as subscripts."""
    return tuple(map(Affine.axis, names))


def multiply_and_sum(
    product: Product, tensors: Mapping[str, Rounded], sizes: Mapping[str, int], output: Sequence[str]
) -> Rounded:
    """What a product means: multiplied over the box of its axes and summed over those not in `output`."""
    summed = [name for name in sizes if name in product.axes() and name not in output]
    box = {name: sizes[name] for name in (*output, *summed)}
    whole = reduce(lambda a, b: a * b, (gather(tensors[f.tensor], f.subscripts, box) for f in product.factors))
    if summed:
        shape = tuple(box[n] if n in product.axes() else 1 for n in box)
        whole = whole.move(lambda array: numpy.broadcast_to(array, shape))
        whole = whole.sum(range(len(output), len(box)))
    return -whole if product.negative else whole
