"""Sizes of axes that stay open: products of symbols with whole numbers, a number added, and formulas of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Union


@dataclass(frozen=True)
class Size:
    """A whole number times symbols, plus a number; a symbol is an open size, or a formula that is not looked into."""

    factor: int
    symbols: tuple[str, ...]
    more: int = 0

    def __str__(self) -> str:
        product = "*".join(([] if self.factor == 1 else [str(self.factor)]) + list(self.symbols))
        return f"{product} {'+' if self.more > 0 else '-'} {abs(self.more)}" if self.more else product

    def _single(self) -> Size:
        """The same as one product."""
        if not self.more:
            return self
        common = math.gcd(self.factor, self.more)
        return Size(common, (f"({Size(self.factor // common, self.symbols, self.more // common)})",))

    def __mul__(self, other: object) -> Dim:
        if isinstance(other, Size):
            left, right = self._single(), other._single()
            return product_of(left.factor * right.factor, (*left.symbols, *right.symbols))
        times = as_int(other)
        return product_of(self.factor * times, self.symbols, self.more * times)

    __rmul__ = __mul__

    def __add__(self, other: object) -> Dim:
        if not isinstance(other, Size):
            return Size(self.factor, self.symbols, self.more + as_int(other))
        if other.symbols == self.symbols:
            return product_of(self.factor + other.factor, self.symbols, self.more + other.more)
        return Size(1, (f"({self} + {other})",))

    __radd__ = __add__

    def __sub__(self, other: object) -> Dim:
        return self + (other * -1 if isinstance(other, Size) else -as_int(other))

    def __rsub__(self, other: object) -> Dim:
        return as_int(other) + self * -1

    def __floordiv__(self, other: object) -> Dim:
        exact = divided(self, other if isinstance(other, Size) else as_int(other))
        return exact if exact is not None else Size(1, (f"(({self}) // {other})",))


Dim = Union[int, Size]


def as_int(value: object) -> int:
    """A whole number of Python or NumPy; raises TypeError for anything else."""
    import operator

    return operator.index(value)  # type: ignore[arg-type]


def product_of(factor: int, symbols: Iterable[str], more: int = 0) -> Dim:
    """A product and a number in their normal form, a plain number if there are no symbols."""
    found = tuple(sorted(symbols))
    if not factor:
        return more
    return Size(factor, found, more) if found else factor + more


def divided(size: Dim, by: Dim) -> Dim | None:
    """The exact quotient, or None where it is not known to be whole."""
    if isinstance(by, int):
        if by == 0:
            return None
        if isinstance(size, int):
            return None if size % by else size // by
        return (
            None if size.factor % by or size.more % by else product_of(size.factor // by, size.symbols, size.more // by)
        )
    if isinstance(size, int):
        return None
    if size == by:
        return 1
    whole, part = size._single(), by._single()
    rest = list(whole.symbols)
    for symbol in part.symbols:
        if symbol not in rest:
            return None
        rest.remove(symbol)
    return None if whole.factor % part.factor else product_of(whole.factor // part.factor, rest)


def total(shape: Iterable[Dim]) -> Dim:
    """The number of elements of a shape."""
    return math.prod(shape)
