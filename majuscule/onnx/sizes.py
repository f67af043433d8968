"""Sizes of axes that stay open: products of symbols with whole numbers, and opaque formulas of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Union


@dataclass(frozen=True)
class Size:
    """A whole number times symbols, each the name of an open size or a formula that is not looked into."""

    factor: int
    symbols: tuple[str, ...]

    def __str__(self) -> str:
        return "*".join(([] if self.factor == 1 else [str(self.factor)]) + list(self.symbols))

    def __mul__(self, other: object) -> Dim:
        if isinstance(other, Size):
            return product_of(self.factor * other.factor, (*self.symbols, *other.symbols))
        return product_of(self.factor * as_int(other), self.symbols)

    __rmul__ = __mul__

    def __add__(self, other: object) -> Dim:
        if not isinstance(other, Size) and as_int(other) == 0:
            return self
        if isinstance(other, Size) and other.symbols == self.symbols:
            return product_of(self.factor + other.factor, self.symbols)
        return Size(1, (f"({self} + {other})",))

    __radd__ = __add__

    def __sub__(self, other: object) -> Dim:
        if isinstance(other, Size) and other.symbols == self.symbols:
            return product_of(self.factor - other.factor, self.symbols)
        return self + other * -1 if isinstance(other, Size) else self + -as_int(other)

    def __rsub__(self, other: object) -> Dim:
        return as_int(other) + self * -1

    def __floordiv__(self, other: object) -> Dim:
        exact = divided(self, other if isinstance(other, Size) else as_int(other))
        return exact if exact is not None else Size(1, (f"({self} // {other})",))


Dim = Union[int, Size]


def as_int(value: object) -> int:
    """A whole number of Python or NumPy; raises TypeError for anything else."""
    import operator

    return operator.index(value)  # type: ignore[arg-type]


def product_of(factor: int, symbols: Iterable[str]) -> Dim:
    """A product in its normal form, a plain number if it has no symbols."""
    found = tuple(sorted(symbols))
    return Size(factor, found) if found and factor else factor


def divided(size: Dim, by: Dim) -> Dim | None:
    """The exact quotient, or None where it is not known to be whole."""
    factor, symbols = (size.factor, list(size.symbols)) if isinstance(size, Size) else (size, [])
    divisor, taken = (by.factor, by.symbols) if isinstance(by, Size) else (by, ())
    if divisor == 0 or factor % divisor:
        return None
    for symbol in taken:
        if symbol not in symbols:
            return None
        symbols.remove(symbol)
    return product_of(factor // divisor, symbols)


def total(shape: Iterable[Dim]) -> Dim:
    """The number of elements of a shape."""
    return math.prod(shape)
