"""The memory plan: where each temporary lies in the arena.

Temporaries whose lifetimes do not overlap may share memory.  Sizes are polynomials of the
run-time symbols, so "does not overlap" must hold for every value of them; offsets are
polynomials too, multiples of the alignment, evaluated when the program runs.  Which of two
temporaries reaches higher may depend on the symbols, and how much memory the arena takes
with it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from ...dsl.integers import ZERO, Integer, Symbol, is_nonnegative
from .winograd import THREADS

ALIGNMENT = 64
_TYPICAL = (1, 8, 64)  # values of run-time symbols for which the arena is to be small


@dataclass(frozen=True, slots=True)
class Lifetime:
    """A temporary of `size` bytes, needed from step `first` to step `last`, both included."""

    name: str
    size: Integer
    first: int
    last: int


@dataclass(frozen=True)
class MemoryPlan:
    """The offset of each temporary in bytes; the arena has the largest of `sizes`."""

    offsets: Mapping[str, Integer]
    sizes: tuple[Integer, ...]


def plan_memory(
    lifetimes: Sequence[Lifetime], overwritten: Mapping[str, str] | None = None, cores: int = 1
) -> MemoryPlan:
    """The smallest of several plans, each a first fit that takes the temporaries in another order.

    `overwritten` maps temporaries to others of their size that end where they begin, and whose
    place they take.  Sizes are compared on so many `cores`.
    """
    blocks = _blocks(lifetimes, overwritten or {})
    situations = [_Situation(typical, cores) for typical in _TYPICAL]
    bounds = [_most_live(blocks, situation) for situation in situations]

    def cost(plan: MemoryPlan) -> float:
        return sum(
            max(map(situation.value, plan.sizes)) / max(bound, 1)
            for situation, bound in zip(situations, bounds, strict=True)
        )

    best, least = None, math.inf
    places = _Places()
    for situation, order in itertools.product(situations, (_by_size, _by_area, _by_breadth)):
        ordered, first_fit = order(blocks, situation), _FirstFit(situation, places)
        for plan in (first_fit.plan(ordered), first_fit.plan(_passing_last(ordered))):
            if cost(plan) < least:
                best, least = plan, cost(plan)
        if least <= len(situations):  # nothing can be smaller
            break
    assert best is not None
    return best


class _Situation(NamedTuple):
    """Values for the run-time symbols: as small as they can be, `typical` at least, and the number of cores."""

    typical: int
    cores: int

    def value(self, size: Integer) -> int:
        """A size as a number."""
        return _value(size, self.typical, self.cores)


@lru_cache(maxsize=1 << 16)
def _value(size: Integer, typical: int, cores: int) -> int:
    if size.constant is not None:
        return size.constant
    values = {atom.name: max(atom.minimum, typical) for atom in size.atoms() if isinstance(atom, Symbol)}
    return size.evaluate({**values, THREADS.name: cores})


@dataclass(frozen=True)
class _Block:
    """Temporaries that take each other's place, from the `first` step to the `last`; `size` is aligned."""

    names: tuple[str, ...]
    size: Integer
    first: int
    last: int

    def meets(self, other: _Block) -> bool:
        """Whether both are needed in some step."""
        return self.first <= other.last and other.first <= self.last


def _blocks(lifetimes: Sequence[Lifetime], overwritten: Mapping[str, str]) -> list[_Block]:
    by_name = {item.name: item for item in lifetimes}
    successor = {old: new for new, old in overwritten.items()}
    blocks = []
    for item in lifetimes:
        if item.name not in overwritten:
            names = [item.name]
            while names[-1] in successor:
                names.append(successor[names[-1]])
            blocks.append(_Block(tuple(names), aligned(item.size), item.first, by_name[names[-1]].last))
    return blocks


def _most_live(blocks: Sequence[_Block], situation: _Situation) -> int:
    """Bytes that are needed at once at some step: what no plan can do without."""
    return max((_live(blocks, block.first, situation) for block in blocks), default=0)


def _live(blocks: Sequence[_Block], step: int, situation: _Situation) -> int:
    return sum(situation.value(block.size) for block in blocks if block.first <= step <= block.last)


def _by_size(blocks: Sequence[_Block], situation: _Situation) -> list[_Block]:
    return sorted(blocks, key=lambda block: (-situation.value(block.size), block.first, block.names))


def _by_area(blocks: Sequence[_Block], situation: _Situation) -> list[_Block]:
    """The largest first, and among them those that stay longest."""

    def area(block: _Block) -> int:
        return situation.value(block.size) * (block.last - block.first + 1)

    return sorted(blocks, key=lambda block: (-area(block), block.first, block.names))


def _by_breadth(blocks: Sequence[_Block], situation: _Situation) -> list[_Block]:
    """Those first that are needed when most is needed."""
    live = {step: _live(blocks, step, situation) for step in {block.first for block in blocks}}

    def breadth(block: _Block) -> int:
        return max(size for step, size in live.items() if block.first <= step <= block.last)

    return sorted(blocks, key=lambda block: (-breadth(block), -situation.value(block.size), block.first, block.names))


def _passing_last(blocks: Sequence[_Block]) -> list[_Block]:
    """The same order, but what is needed in one step only comes after all others.

    It is working memory of kernels mostly, whose size has nothing to do with that of tensors:
    it finds its place on top, and what is needed at the same time comes first, at the bottom.
    """
    passing = [block for block in blocks if block.first == block.last]

    def turn(block: _Block) -> int:
        return 2 if block.first == block.last else int(not any(block.meets(other) for other in passing))

    return sorted(blocks, key=turn)


class _Places:
    """Places in the arena, by number: most are compared many times, in every order of the temporaries."""

    def __init__(self) -> None:
        self.known: list[Integer] = []
        self._numbers: dict[Integer, int] = {}
        self._never_below: dict[tuple[int, int], bool] = {}

    def number(self, place: Integer) -> int:
        """The number of a place."""
        found = self._numbers.setdefault(place, len(self.known))
        if found == len(self.known):
            self.known.append(place)
        return found

    def is_never_below(self, high: int, low: int) -> bool:
        """Whether one place is at another or above it, whatever the symbols."""
        found = self._never_below.get((high, low))
        if found is None:
            found = self._never_below[high, low] = is_nonnegative(self.known[high] - self.known[low])
        return found


class _FirstFit:
    """Each block at the lowest place that is free while it is needed."""

    def __init__(self, situation: _Situation, places: _Places) -> None:
        self._situation = situation
        self._places = places
        self._values: list[int] = []  # of the places, by number

    def plan(self, blocks: Sequence[_Block]) -> MemoryPlan:
        """The plan of blocks that are placed in this order."""
        placed: list[tuple[_Block, int, int]] = []
        for block in blocks:
            rivals = [(low, high) for other, low, high in placed if other.meets(block)]
            offset = self._offset(block.size, rivals)
            placed.append((block, self._number(offset), self._number(offset + block.size)))
        known = self._places.known
        offsets = {name: known[low] for block, low, _ in placed for name in block.names}
        return MemoryPlan(offsets, tuple(_largest(known[end] for _, _, end in placed)) or (ZERO,))

    def _offset(self, size: Integer, rivals: Sequence[tuple[int, int]]) -> Integer:
        """The lowest place for so many bytes that is surely free, or else one above all rivals."""
        values, known = self._values, self._places.known
        ends = {self._number(ZERO), *(high for _, high in rivals)}
        gaps = _gaps([(values[low], values[high]) for low, high in rivals], self._situation.value(size))
        for offset in sorted((end for end in ends if values[end] in gaps), key=lambda n: (values[n], str(known[n]))):
            end = self._number(known[offset] + size)
            if all(self._is_above(low, end) or self._is_above(offset, high) for low, high in rivals):
                return known[offset]
        return sum(_largest(known[end] for end in sorted(ends)), start=ZERO)

    def _is_above(self, high: int, low: int) -> bool:
        """Whether one place is never below another; most are not, as numbers tell sooner than a proof."""
        return self._values[high] >= self._values[low] and self._places.is_never_below(high, low)

    def _number(self, place: Integer) -> int:
        """The number of a place, whose value is known from now on."""
        number = self._places.number(place)
        while len(self._values) < len(self._places.known):
            self._values.append(self._situation.value(self._places.known[len(self._values)]))
        return number


def _gaps(intervals: Sequence[tuple[int, int]], length: int) -> set[int]:
    """Where free places of a length begin between intervals, and after all of them: no other place can be free."""
    found, reached = set(), 0
    for low, high in sorted(intervals):
        if low - reached >= length:
            found.add(reached)
        reached = max(reached, high)
    return {*found, reached}


_is_never_negative = lru_cache(maxsize=1 << 16)(is_nonnegative)  # asked again for every order of the temporaries


def _largest(sizes: Iterable[Integer]) -> list[Integer]:
    """Those of some sizes that no other is known to reach; several where it depends on the symbols."""
    found: list[Integer] = []
    for size in sizes:
        if not any(_is_never_negative(other - size) for other in found):
            found = [other for other in found if not _is_never_negative(size - other)] + [size]
    return found


def aligned(size: Integer) -> Integer:
    """A size rounded up to the alignment; a polynomial again where that wastes little."""
    if all(
        coefficient > 0 and (coefficient % ALIGNMENT == 0 or coefficient >= 16 * ALIGNMENT)
        for _, coefficient in size.terms
    ):
        return Integer(tuple((atoms, -(-c // ALIGNMENT) * ALIGNMENT) for atoms, c in size.terms))
    return (size + (ALIGNMENT - 1)) // ALIGNMENT * ALIGNMENT
