"""How one weight lies in PyTorch and in a program, and the way from one to the other."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy

from .contraction import Array


@dataclass(frozen=True)
class Layout:
    """How a weight lies in PyTorch: its axes cut into parts, these in another order, then fused into `shape`.

    `sizes` are the parts in the program's order, `order` their places in PyTorch's.  A bias that the
    program subtracts is `negated`.
    """

    sizes: tuple[int, ...]
    order: tuple[int, ...]
    shape: tuple[int, ...]
    negated: bool = False

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether a tensor of this shape can be this weight; fused axes, and those of length 1, are no matter."""
        ends, own = _ends(shape), _ends([self.sizes[part] for part in self.order])
        return max(ends) == max(own) and ends <= own and _ends(self.shape[:1]) <= ends

    def to_pytorch(self, array: Array, shape: Sequence[int] | None = None) -> Array:
        """A copy of a weight of the program as PyTorch has it, under `shape` if that fits."""
        turned = array.reshape(self.sizes).transpose(self.order).reshape(self.shape if shape is None else tuple(shape))
        return numpy.array(-turned if self.negated else turned, order="C")

    def from_pytorch(self, tensor: Array, shape: Sequence[int]) -> Array:
        """A copy of a tensor of PyTorch as the program's weight, which has this shape."""
        turned = tensor.reshape([self.sizes[part] for part in self.order])
        found = turned.transpose(numpy.argsort(self.order)).reshape(tuple(shape))
        return numpy.array(-found if self.negated else found, order="C")


def _ends(sizes: Sequence[int]) -> set[int]:
    """After how many elements axes may end: the products of the first sizes."""
    return set(itertools.accumulate(sizes, operator.mul, initial=1))
