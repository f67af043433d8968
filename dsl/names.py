"""Names: their normal form, ASCII spellings, and which letters sum (rule R1).

A name is normalised once, here: subscript digits become `_7`, compatibility characters
their plain form (NFKC), and ASCII spellings of Greek letters the letters themselves, so
that `Phi_1`, `Φ₁` and `Φ_1` are one name.  An index is *capital* (a whole axis, summed
where it repeats) or *free* by the case of its letters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "zeta": "ζ", "eta": "η",
    "theta": "θ", "iota": "ι", "kappa": "κ", "lambda": "λ", "mu": "μ", "nu": "ν", "xi": "ξ", "pi": "π",
    "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ", "chi": "χ", "psi": "ψ", "omega": "ω",
    "Gamma": "Γ", "Delta": "Δ", "Theta": "Θ", "Lambda": "Λ", "Xi": "Ξ", "Pi": "Π", "Sigma": "Σ",
    "Phi": "Φ", "Psi": "Ψ", "Omega": "Ω",
}  # fmt: skip
"""ASCII spelling -> letter, for whole words up to a digit, subscript or prime."""

ASCII = {letter: word for word, letter in GREEK.items()}

_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_WORD = re.compile(r"([A-Za-z]+)(?=$|[_0-9'])")
BUNDLE = re.compile(r"Phi[a-z](?=$|[_0-9'])")
"""The ASCII spelling of Φ with one letter behind it."""
_DELTA_INDEX = re.compile(r"(?:D(?=[A-Z](?![a-z]))|d(?=[a-z](?![a-z])))")


@lru_cache(maxsize=8192)
def normal(name: str) -> str:
    """The normal form of a name as written; `normal(normal(n)) == normal(n)`."""
    name = re.sub(r"_?([₀-₉]+)", lambda m: "_" + m.group(1).translate(_SUBSCRIPTS), name)
    name = name.replace("\u2206", "Δ").replace("′", "'")
    name = unicodedata.normalize("NFKC", name)
    word = _WORD.match(name)
    if word and word.group(1) in GREEK:
        name = GREEK[word.group(1)] + name[word.end() :]
    elif BUNDLE.match(name):  # the slides call the bundle of the scores Φs
        name = "Φ" + name[3:]
    return name


def index_name(name: str) -> str:
    """The normal form of a name used as an index: `DX`, `dx` are `ΔX`, `Δx`."""
    name = normal(name)
    return _DELTA_INDEX.sub("Δ", name, count=1) if _DELTA_INDEX.match(name) else name


def _letters(name: str) -> str:
    stem = name.removeprefix("Δ").split("_")[0]
    return "".join(c for c in stem if c.isalpha())


@lru_cache(maxsize=8192)
def case(name: str) -> str:
    """`capital`, `free` or `mixed`, by the letters after Δ, digits, subscripts and primes are dropped."""
    letters = _letters(name)
    if letters and letters == letters.upper() and letters != letters.lower():
        return "capital"
    if letters and letters == letters.lower():
        return "free"
    return "mixed"


def is_capital(name: str) -> bool:
    """Whether the index stands for a whole axis."""
    return case(name) == "capital"


def capital_form(name: str) -> str:
    """The capital of a free index: `x` -> `X`, `Δx` -> `ΔX`, `j_1` -> `J_1`."""
    stem, *rest = name.split("_")
    head = "Δ" if stem.startswith("Δ") else ""
    return "_".join([head + stem.removeprefix("Δ").upper(), *rest])


def free_form(name: str) -> str:
    """The free index of a capital: `ΔX` -> `Δx`."""
    stem, *rest = name.split("_")
    head = "Δ" if stem.startswith("Δ") else ""
    return "_".join([head + stem.removeprefix("Δ").lower(), *rest])


_LOOKALIKES = str.maketrans("АВЕКМНОРСТХаеорсухіјѕΑΒΕΖΗΙΚΜΝΟΡΤΥΧο", "ABEKMHOPCTXaeopcyxijsABEZHIKMNOPTYXo")
"""Cyrillic and Greek letters that look like Latin ones."""


def skeleton(name: str) -> str:
    """What a name looks like: equal for names that differ only in the alphabets of their letters."""
    return name.translate(_LOOKALIKES)


def distinct(names: Sequence[str | None]) -> list[str]:
    """Names for the axes of a tensor, no two alike: those given, and numbered ones for the rest and for repetitions."""
    found: list[str] = []
    for axis, name in enumerate(names):
        number = axis
        while name is None or name in found:
            name = f"i_{number}" if f"i_{number}" not in names else None
            number += 1
        found.append(name)
    return found


def is_bundle(name: str) -> bool:
    """Whether a name stands for a bundle of parameters (its stem is Φ)."""
    return name.startswith("Φ")


def ascii_form(name: str) -> str:
    """A spelling of `name` with ASCII characters only, where there is one.

    Its normal form (in index position for a leading Δ) is `name` again; combining marks
    and letters that have no ASCII spelling are kept.
    """
    name = normal(name)
    if name.startswith("Δ") and len(name) > 1:
        return ("D" if is_capital(name) else "d") + ascii_form(name[1:])
    if name[:1] in ASCII and not name[1:2].isalpha():
        return ASCII[name[0]] + name[1:]
    if name.startswith("Φ") and BUNDLE.match("Phi" + name[1:]):
        return "Phi" + name[1:]
    return name
