"""How much a kernel has to do: arithmetic and memory, as sizes known at the latest at run time.

What is counted is what the equation asks for, padding included, not what a road saves or
adds; a launch that is one part of a cleverer algorithm is counted by its own kernel.
"""

from __future__ import annotations

import math

from ...dsl.equations import Read
from ...dsl.integers import ONE, ZERO, Integer, is_nonnegative
from ..summary import product_terms
from .kernel import Kernel, has_gather
from .storage import BYTES
from .winograd import Winograd


def operations(kernel: Kernel) -> Integer:
    """Arithmetic operations: 2 for each product that is added to a sum, else 1 for each point.

    Points are those of the domain times those of the reduction.  What an epilogue does to
    each result is not counted.
    """
    products = product_terms(kernel.body) if kernel.combiner == "sum" else 0
    if isinstance(kernel.algorithm, Winograd):
        products = 1  # the body is one of two factors
    return _points(kernel, set(_sizes(kernel))) * (2 * products or 1)


def bytes_moved(kernel: Kernel) -> Integer:
    """Bytes of the operands and of the result, each element counted once, however often it is read.

    Of an operand only the part counts that the kernel can reach: at most an element for each
    point of the indices in its subscripts.  Operands that the body does not name, such as
    weights that were transformed for an algorithm, count whole.
    """
    results = _points(kernel, {axis.name for axis in kernel.domain})
    return results * BYTES[kernel.output.dtype] + sum((_read(kernel, name) for name in kernel.tensors), start=ZERO)


def _read(kernel: Kernel, name: str) -> Integer:
    """The bytes that a kernel reads of one operand."""
    stored = kernel.tensors[name]
    reads = [read for read in kernel.reads() if read.tensor == name]
    reached = sum((_reach(kernel, read) for read in reads), start=ZERO) if reads else stored.count
    # Where neither is known to be less, a gather is taken to need a part, anything else the whole.
    few = is_nonnegative(stored.count - reached) or (
        any(map(has_gather, reads)) and not is_nonnegative(reached - stored.count)
    )
    return (reached if few else stored.count) * BYTES[stored.dtype]


def _reach(kernel: Kernel, read: Read) -> Integer:
    """How many points the indices of a read have."""
    return _points(kernel, {name for subscript in read.subscripts for name in subscript.indices()})


def _points(kernel: Kernel, names: set[str]) -> Integer:
    return math.prod((size for name, size in _sizes(kernel).items() if name in names), start=ONE)


def _sizes(kernel: Kernel) -> dict[str, Integer]:
    return {axis.name: axis.size for axis in (*kernel.domain, *kernel.reduction)}
