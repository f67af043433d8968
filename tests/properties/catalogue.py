"""All generated cases: families, how many there are of each, and the programs that they are compiled in.

Everything is a function of fixed seeds, so every run has the same cases, and the coverage
that `test_coverage` counts is that of the cases that `test_three_answers` compares.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from cases import Case
from contractions import contraction_case
from elementwise import elementwise_case
from layers import layer_case
from recurrences import recurrence_case
from reductions import reduction_case
from structures import structure_case
from windows import window_case

PER_PROGRAM = 16
BATCHES = ((1, 3), (2, 5), (4, 1), (2, 1), (3, 7))
"""Batch sizes with which one module is called."""


class Maker(Protocol):
    """Makes the case of a seed, with names that end in a number."""

    def __call__(self, seed: int, number: int, *, spelling: int | str = 0) -> Case: ...


FAMILIES: dict[str, tuple[Maker, int]] = {
    "window": (window_case, 304),
    "reduction": (reduction_case, 176),
    "contraction": (contraction_case, 144),
    "structure": (structure_case, 224),
    "element-wise": (elementwise_case, 160),
    "recurrence": (recurrence_case, 96),
    "layer": (layer_case, 64),
}


@dataclass(frozen=True)
class Chunk:
    """The cases of one program: `PER_PROGRAM` seeds of a family from `first` on."""

    family: str
    first: int

    def cases(self) -> list[Case]:
        """The cases, made anew."""
        make, _ = FAMILIES[self.family]
        return [make(seed, seed) for seed in range(self.first, self.first + PER_PROGRAM)]

    @property
    def batches(self) -> tuple[int, ...]:
        """The batch sizes to call the module with."""
        return BATCHES[self.first // PER_PROGRAM % len(BATCHES)]

    def __str__(self) -> str:
        return f"{self.family} {self.first}"


def all_chunks() -> Iterator[Chunk]:
    """The programs of all runs, families mixed so that workers share the dear ones."""
    rounds = max(count for _, count in FAMILIES.values()) // PER_PROGRAM
    for number in range(rounds):
        for family, (_, count) in FAMILIES.items():
            if number * PER_PROGRAM < count:
                yield Chunk(family, number * PER_PROGRAM)


def chunks() -> Iterator[Chunk]:
    """The programs of a default run: of each family the first."""
    return (chunk for chunk in all_chunks() if chunk.first == 0)


def slow_chunks() -> Iterator[Chunk]:
    """Of those that take too long for every run, every eighth."""
    return (chunk for chunk in all_chunks() if chunk.first // PER_PROGRAM % 8 == 1)


def exhaustive_chunks() -> Iterator[Chunk]:
    """The others."""
    return (chunk for chunk in all_chunks() if chunk.first and chunk.first // PER_PROGRAM % 8 != 1)


@lru_cache(maxsize=1)
def all_cases() -> tuple[Case, ...]:
    """All cases of all runs."""
    return tuple(case for chunk in all_chunks() for case in chunk.cases())
