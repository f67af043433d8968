"""Sizes of a manifest as expressions of C."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..runtime.sizes import Size, describe

HELPERS = """\
__extension__ typedef __int128 wide; /* of sizes up to 2^31, products of three fit */

static inline wide floor_divide(wide a, wide b) { return a / b - (a % b && (a < 0) != (b < 0)); }
static inline wide larger(wide a, wide b) { return a > b ? a : b; }
"""


def expression(size: Size, names: Mapping[str, str], kind: str = "wide") -> str:
    """The value of a size, computed in a kind of numbers; `names` are C's for the symbols.

    In `wide` it uses what `HELPERS` define; in another kind, divisions are those of sizes that are not negative.
    """
    if isinstance(size, int):
        return f"({kind}){size}"
    if "max" in size:
        first, *others = (expression(part, names, kind) for part in size["max"])
        for other in others:
            first = f"larger({first}, {other})"
        return first
    terms = [
        " * ".join([f"({kind}){coefficient}", *(_factor(factor, names, kind) for factor in factors)])
        for coefficient, factors in size["terms"]
    ]
    return " + ".join(terms) or f"({kind})0"


def count(shape: Sequence[Size], names: Mapping[str, str]) -> str:
    """The number of elements of a tensor, as an int64_t."""
    factors = [
        str(size) if isinstance(size, int) else names.get(describe(size)) or f"({expression(size, names, 'int64_t')})"
        for size in shape
    ]
    return " * ".join(factors) or "1"


def _factor(factor: str | Mapping[str, Any], names: Mapping[str, str], kind: str) -> str:
    if isinstance(factor, str):
        return names[factor]
    numerator, denominator = (expression(part, names, kind) for part in factor["floordiv"])
    return f"floor_divide({numerator}, {denominator})" if kind == "wide" else f"(({numerator}) / ({denominator}))"
