"""The memory plan: where each temporary lies in the arena.

Temporaries whose lifetimes do not overlap may share memory.  Sizes are polynomials of the
run-time symbols, so "does not overlap" must hold for every value of them; offsets are
polynomials too, multiples of the alignment, evaluated when the program runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...dsl.integers import ZERO, Integer, Symbol, is_nonnegative

ALIGNMENT = 64
_TYPICAL = 16


@dataclass(frozen=True, slots=True)
class Lifetime:
    """A temporary of `size` bytes, needed from step `first` to step `last`, both included."""

    name: str
    size: Integer
    first: int
    last: int


@dataclass(frozen=True)
class MemoryPlan:
    """The offset of each temporary and the size of the arena, in bytes."""

    offsets: Mapping[str, Integer]
    size: Integer


def plan_memory(lifetimes: Sequence[Lifetime]) -> MemoryPlan:
    """First fit, the largest temporaries first."""
    placed: list[tuple[Lifetime, Integer, Integer]] = []
    top = ZERO
    for item in sorted(lifetimes, key=lambda found: (-_guess(found.size), found.first, found.name)):
        size = aligned(item.size)
        rivals = [(low, high) for other, low, high in placed if other.first <= item.last and item.first <= other.last]
        offset = _first_fit(size, rivals, top)
        end = offset + size
        placed.append((item, offset, end))
        top = end if is_nonnegative(end - top) else top if is_nonnegative(top - end) else top + size
    return MemoryPlan({item.name: offset for item, offset, _ in placed}, top)


def aligned(size: Integer) -> Integer:
    """A size rounded up to the alignment; a polynomial again where that wastes little."""
    if all(
        coefficient > 0 and (coefficient % ALIGNMENT == 0 or coefficient >= 16 * ALIGNMENT)
        for _, coefficient in size.terms
    ):
        return Integer(tuple((atoms, -(-c // ALIGNMENT) * ALIGNMENT) for atoms, c in size.terms))
    return (size + (ALIGNMENT - 1)) // ALIGNMENT * ALIGNMENT


def _first_fit(size: Integer, rivals: list[tuple[Integer, Integer]], top: Integer) -> Integer:
    candidates = sorted({ZERO, *(high for _, high in rivals)}, key=lambda offset: (_guess(offset), str(offset)))
    for offset in candidates:
        end = offset + size
        if all(is_nonnegative(low - end) or is_nonnegative(offset - high) for low, high in rivals):
            return offset
    return top


def _guess(size: Integer) -> int:
    values = {atom.name: max(atom.minimum, _TYPICAL) for atom in size.atoms() if isinstance(atom, Symbol)}
    return size.evaluate(values)
