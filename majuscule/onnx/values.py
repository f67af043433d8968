"""What stands for a value of a model: a tensor of the program, or numbers that are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy

from .sizes import Dim, Size

Array = numpy.ndarray[Any, Any]


@dataclass(frozen=True)
class Tensor:
    """A tensor of the program and how the model sees it.

    `shape` is the model's.  `order` has the model's axis for each axis of the program's tensor, so
    that transposing costs nothing; axes that are not in it are those along which nothing changes
    (of size 1, or stretched), so that squeezing and expanding cost nothing either.  `names` are the
    names of the program's axes, where its statement names them; `filled_with` is the number that all
    elements are, where that is known.
    """

    name: str
    shape: tuple[Dim, ...]
    order: tuple[int, ...]
    dtype: str
    names: tuple[str, ...] | None = None
    filled_with: float | None = None

    @property
    def rank(self) -> int:
        """How many axes it has in the model."""
        return len(self.shape)

    def read(self, indices: Sequence[str]) -> str:
        """An element, by the index (or number) for each of the model's axes."""
        if not self.order:
            return self.name
        return f"{self.name}[{','.join(indices[axis] for axis in self.order)}]"

    def is_whole(self) -> bool:
        """Whether the program's tensor has every axis."""
        return len(self.order) == len(self.shape)

    def transposed(self, perm: Sequence[int]) -> Tensor:
        """The same tensor, seen with its axes in another order: axis k is what was perm[k]."""
        shape = tuple(self.shape[axis] for axis in perm)
        return replace(self, shape=shape, order=tuple(perm.index(axis) for axis in self.order))


@dataclass(frozen=True, eq=False)
class Constant:
    """Numbers that are known: weights, constants, and shapes (an array of objects if sizes in it are open).

    `name` is what the model calls them; `is_learnt` if they are among its weights.
    """

    array: Array
    name: str
    is_learnt: bool = False

    @property
    def shape(self) -> tuple[Dim, ...]:
        """The shape in the model."""
        return tuple(self.array.shape)

    @property
    def is_open(self) -> bool:
        """Whether some of the numbers are sizes that are open."""
        return self.array.dtype == object and any(isinstance(entry, Size) for entry in self.array.flat)


Value = Tensor | Constant


def channels_last(rank: int) -> tuple[int, ...]:
    """The order of an image's axes here: batch, places, channels."""
    return (0, *range(2, rank), 1)


_IMAGE = ("b", "i", "x", "y", "z")
_PLAIN = {
    0: "", 1: "i", 2: "bi", 3: "bti", 4: "bhti", 5: "bghti", 6: "bghsti", 7: "bghsuti", 8: "bghsuvti",
}  # fmt: skip
LARGEST_RANK = max(_PLAIN)


def letters(tensor: Tensor) -> list[str]:
    """A name of an index for each of the model's axes."""
    if 3 <= tensor.rank <= len(_IMAGE) and tensor.order == channels_last(tensor.rank):
        return list(_IMAGE[: tensor.rank])
    return list(_PLAIN[tensor.rank])
