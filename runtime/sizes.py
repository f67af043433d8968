"""Sizes in a manifest: polynomials over the sizes that are known only at run time.

As JSON a size is an int or `{"terms": [[coefficient, [factor, ...]], ...]}`; a factor is
the name of a symbol or `{"floordiv": [size, size]}`.  The size of the working memory may also be
`{"max": [size, ...]}`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Size = int | Mapping[str, Any]

THREADS = "threads!"
"""The number of threads of a call, in the size of the working memory; no program can name a symbol so."""


def evaluate(size: Size, symbols: Mapping[str, int]) -> int:
    """The value of a size; KeyError for a symbol that has no value."""
    if isinstance(size, int):
        return size
    if "max" in size:
        return max(evaluate(part, symbols) for part in size["max"])
    total = 0
    for coefficient, factors in size["terms"]:
        product: int = coefficient
        for factor in factors:
            if isinstance(factor, str):
                product *= symbols[factor]
            else:
                numerator, denominator = factor["floordiv"]
                product *= evaluate(numerator, symbols) // evaluate(denominator, symbols)
        total += product
    return total


def symbols_of(size: Size) -> Iterator[str]:
    """Names of the symbols in a size, floors included."""
    if isinstance(size, int):
        return
    for _, factors in size["terms"]:
        for factor in factors:
            if isinstance(factor, str):
                yield factor
            else:
                for part in factor["floordiv"]:
                    yield from symbols_of(part)


def solve(size: Size, value: int) -> tuple[str, int] | None:
    """The symbol and its value that make a size equal `value`, if the size is `a*symbol + b`.

    None if it is not of that form, or if no whole number does.
    """
    if isinstance(size, int):
        return None
    name, scale, offset = None, 0, 0
    for coefficient, factors in size["terms"]:
        if not factors:
            offset += coefficient
        elif name is None and len(factors) == 1 and isinstance(factors[0], str):
            name, scale = factors[0], coefficient
        else:
            return None
    if name is None or scale == 0 or (value - offset) % scale:
        return None
    return name, (value - offset) // scale


def describe(size: Size) -> str:
    """A size as people write it: `2*n + 1`."""
    if isinstance(size, int):
        return str(size)
    parts: list[str] = []
    for coefficient, factors in size["terms"]:
        names = "*".join(_describe_factor(factor) for factor in factors)
        magnitude = abs(coefficient)
        text = str(magnitude) if not names else names if magnitude == 1 else f"{magnitude}*{names}"
        sign = "-" if coefficient < 0 else "+"
        parts.append(f"{sign} {text}" if parts else text if sign == "+" else f"-{text}")
    return " ".join(parts) or "0"


def _describe_factor(factor: str | Mapping[str, Any]) -> str:
    if isinstance(factor, str):
        return factor
    numerator, denominator = map(describe, factor["floordiv"])
    return f"({numerator})//({denominator})"


def describe_shape(shape: Sequence[Size]) -> str:
    """A shape as people write it: `[batch, 227, 227, 3]`."""
    return f"[{', '.join(map(describe, shape))}]"
