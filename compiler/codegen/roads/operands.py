"""What a reduction reads for each of its terms, and whether it reads it again."""

from __future__ import annotations

from dataclasses import replace

from ....dsl.equations import Read
from ....dsl.integers import Integer
from .. import machine
from ..kernel import Kernel
from ..target import Target
from . import analysis

ELEMENT = 4  # bytes of an element, where caches are told in elements
_SOME = 8  # elements of an axis by which loads are used often enough


def body_reads(kernel: Kernel) -> list[Read]:
    """Reads that the reduction repeats (those of the epilogue happen once)."""
    return replace(kernel, stages=(), guard=None).reads()


def dependence(kernel: Kernel) -> list[frozenset[str]]:
    """For each read of the body: the indices it depends on."""
    return [frozenset(i for s in read.subscripts for i in s.indices()) for read in body_reads(kernel)]


def reuses(kernel: Kernel) -> bool:
    """Whether some operand is independent of some output index, beside another that depends on it."""
    found = dependence(kernel)
    return len(found) > 1 and any(
        any(axis.name in used for used in found) and any(axis.name not in used for used in found)
        for axis in kernel.domain
    )


def is_large(kernel: Kernel, read: Read, target: Target) -> bool:
    """Whether an operand does not stay in the second cache."""
    return ELEMENT * analysis.estimate(kernel.tensors[read.tensor].count) >= machine.of(target).l2_bytes


def may_be_few(size: Integer) -> bool:
    """Whether a size is open and may be small in a call."""
    return size.constant is None and analysis.estimate(size, 1) < _SOME
