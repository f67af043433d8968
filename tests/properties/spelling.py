"""How a described equation may be written down: names of indices, orders of axes, factors and terms.

A `Speller` makes these choices at random.  Nothing it chooses changes what an equation
means, so two spellings of one description must give the same numbers.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from description import Affine, Factor

# Each row: an index that names one position, and the capital that stands for its whole axis.
ASCII = [
    ("x", "X"), ("y", "Y"), ("z", "Z"), ("i", "I"), ("j", "J"), ("k", "K"), ("m", "M"), ("n", "N"), ("b", "B"),
    ("c", "C"), ("p", "P"), ("q", "Q"), ("r", "R"), ("u", "U"), ("v", "V"), ("w", "W"), ("a1", "A1"), ("e_2", "E_2"),
    ("i'", "I'"), ("j''", "J''"), ("row", "ROW"), ("ch3", "CH3"), ("alpha", "ALPHA"), ("f_0", "F_0"),
]  # fmt: skip
UNICODE = [
    ("α", "Α"), ("β", "Β"), ("γ", "Γ"), ("ξ", "Ξ"), ("ω", "Ω"), ("ψ", "Ψ"), ("ℓ", "L"), ("x′", "X′"), ("i₂", "I₂"),
    ("é", "É"), ("ж", "Ж"), ("k₁₀", "K₁₀"), ("θ", "Θ"), ("ï", "Ï"), ("η", "Η"),
]  # fmt: skip
OFFSETS = [
    ("Δx", "ΔX"), ("dx", "DX"), ("Δy", "ΔY"), ("dy", "DY"), ("Δz", "ΔZ"), ("dt", "DT"), ("Δt", "ΔT"), ("dw", "DW"),
]  # fmt: skip
_SAME = [{"Δx", "dx"}, {"Δy", "dy"}, {"Δt", "dt"}, {"x", "x′"}, {"alpha", "α"}]


@dataclass
class Speller:
    """Choices of spelling, made by `random`; `plain` chooses the first of everything."""

    random: random.Random
    plain: bool = False
    renamed: bool = False
    """Choose names of indices at random even if plain."""
    names: dict[str, tuple[str, str]] = field(default_factory=dict)

    def chance(self, probability: float) -> bool:
        """True with the given probability, never if plain."""
        return not self.plain and self.random.random() < probability

    def order(self, count: int, fixed: int = 0) -> tuple[int, ...]:
        """An order of axes; the first `fixed` stay where they are."""
        rest = list(range(fixed, count))
        if not self.plain:
            self.random.shuffle(rest)
        return (*range(fixed), *rest)

    def shuffled(self, items: Sequence[str]) -> list[str]:
        """The items in another order."""
        return [items[k] for k in self.order(len(items))]

    def name(self, axes: Sequence[str]) -> None:
        """Choose names for axes, Unicode or ASCII; window offsets often get a Delta."""
        plain = self.plain and not self.renamed
        style = "ascii" if plain else self.random.choice(("ascii", "unicode", "mixed"))
        pool = {"ascii": ASCII, "unicode": UNICODE, "mixed": ASCII + UNICODE}[style]
        pool = list(pool) if plain else self.random.sample(pool, len(pool))
        offsets = list(OFFSETS) if plain else self.random.sample(OFFSETS, len(OFFSETS))
        self.names = {}
        taken: set[str] = set()
        for axis in axes:
            candidates = offsets + pool if axis.startswith("d") and not self.chance(0.3) else pool
            chosen = next(pair for pair in candidates if pair[0] not in taken)
            taken |= {chosen[0]}.union(*(group for group in _SAME if chosen[0] in group))
            self.names[axis] = chosen

    @property
    def script(self) -> str:
        """Whether the names chosen are ASCII or Unicode."""
        return "ascii" if all(free.isascii() for free, _ in self.names.values()) else "unicode"

    def free(self, axis: str) -> str:
        """The index that names one position of an axis."""
        return self.names[axis][0]

    def capital(self, axis: str) -> str:
        """The index that stands for a whole axis."""
        return self.names[axis][1]

    # -- writing -------------------------------------------------------------------------------

    def affine(self, affine: Affine, written: Mapping[str, str], constants: Mapping[int, str] | None = None) -> str:
        """A subscript; `written` says how each axis is spelled, `constants` are names of declared numbers."""
        parts = []
        for coefficient, axis in affine.terms:
            if coefficient == 1:
                parts.append(written[axis])
                continue
            number = str(coefficient)
            if constants and coefficient in constants and self.chance(0.5):
                number = constants[coefficient]
            star = "·" if self.chance(0.2) else "*"
            parts.append(f"{written[axis]}{star}{number}" if self.chance(0.3) else f"{number}{star}{written[axis]}")
        parts = self.shuffled(parts)
        if affine.offset > 0:
            parts.insert(len(parts) if not self.chance(0.3) else 0, str(affine.offset))
        text = " + ".join(parts) if self.chance(0.5) else "+".join(parts)
        if affine.offset < 0:
            text += f" - {-affine.offset}"
        text = text or "0"
        if affine.divisor == 1:
            return text
        if self.chance(0.5):
            return f"⌊({text})/{affine.divisor}⌋" if len(parts) > 1 else f"⌊{text}/{affine.divisor}⌋"
        return f"({text})//{affine.divisor}"

    def factor(
        self, factor: Factor, orders: Mapping[str, Sequence[int]], written: Mapping[str, str],
        constants: Mapping[int, str] | None = None,
    ) -> str:  # fmt: skip
        """A read, with the tensor's axes in the order of its layout."""
        subscripts = [self.affine(subscript, written, constants) for subscript in factor.subscripts]
        order = orders.get(factor.tensor, range(len(subscripts)))
        text = f"{factor.tensor}[{(', ' if self.chance(0.5) else ',').join(subscripts[k] for k in order)}]"
        return f"({text})" if self.chance(0.1) else text

    def product(self, factors: Sequence[str]) -> str:
        """Factors multiplied, in some order, with signs of multiplication or without."""
        parts = self.shuffled(list(factors))
        text = parts[0]
        for part in parts[1:]:
            text += (self.random.choice((" * ", "*", " ", " · ")) if not self.plain else " * ") + part
        if len(parts) > 2 and self.chance(0.3):
            text = f"({text})"
        return text

    def explicit_sum(self, names: Sequence[str], body: str) -> str:
        """A sum with its indices given, in one of its spellings; it reaches over `body` only."""
        listed = ", ".join(self.shuffled(list(names)))
        if self.chance(0.3):
            return f"(Σ_{{{listed}}} {body})"
        return f"{'Σ' if self.chance(0.3) else 'sum'}[{listed}]({body})"

    def sum(self, terms: Sequence[tuple[str, bool]]) -> str:
        """Terms (text, whether subtracted) added up, in some order."""
        ordered = [terms[k] for k in self.order(len(terms))]
        text = ""
        for part, negative in ordered:
            if not text:
                text = f"-{part}" if negative else part
            else:
                text += (" - " if negative else " + ") + part
        return text


PLAIN, RENAMED = "plain", "renamed"
"""Spellings: the first choice of everything; the same with other names of indices."""


def speller(seed: int, spelling: int | str) -> Speller:
    """The speller for a seed: `PLAIN`, `RENAMED`, or one of many by number."""
    return Speller(random.Random(f"spelling {seed} {spelling}"), spelling in (PLAIN, RENAMED), spelling == RENAMED)
