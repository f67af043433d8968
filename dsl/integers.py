"""Integer expressions: sizes of axes and subscripts of tensors.

One class serves both.  A value is a polynomial with integer coefficients over *atoms*:
a `Symbol` (a size known only when the program runs, such as the batch), an `Index`
(a loop variable of an equation), a `FloorDiv`, an `Element` of an integer tensor (a
gather) or an `Unknown` (a size that the checker has yet to infer).  Polynomials are kept
in a normal form, so two expressions that are equal as polynomials are equal as values;
range inference, addressing and code generation all read this one form.

The functions at the end reason about ranges: `bounds` gives the interval of an
expression over boxes of indices and `is_nonnegative` proves an inequality for every
value that the symbols may take.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Union

if TYPE_CHECKING:
    from .equations import Read

_LONGEST_WALK = 1 << 10  # places of an index that `bounds` looks at one by one


@dataclass(frozen=True, slots=True)
class Symbol:
    """A size that is given when the program runs, at least `minimum`."""

    name: str
    minimum: int = 1

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Index:
    """A loop variable; its range is stated by the equation that binds it."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Unknown:
    """A size still to be inferred; none is left in a checked program."""

    number: int
    hint: str

    def __str__(self) -> str:
        return f"?{self.hint}"


@dataclass(frozen=True, slots=True)
class FloorDiv:
    """The floor of `numerator / denominator`; the denominator is positive."""

    numerator: Integer
    denominator: Integer

    def __str__(self) -> str:
        numerator = str(self.numerator)
        if len(self.numerator.terms) > 1:
            numerator = f"({numerator})"
        denominator = str(self.denominator)
        if len(self.denominator.terms) > 1 or (self.denominator.constant is None and " " in denominator):
            denominator = f"({denominator})"
        return f"{numerator}//{denominator}"


@dataclass(frozen=True, slots=True)
class Element:
    """The value of one element of an integer tensor, used as a subscript (a gather)."""

    read: Read

    def __str__(self) -> str:
        return str(self.read)


Atom = Union[Symbol, Index, Unknown, FloorDiv, Element]
Monomial = tuple[Atom, ...]
IntegerLike = Union["Integer", int]


@lru_cache(maxsize=65536)
def _atom_key(atom: Atom) -> tuple[int, str]:
    rank = {Index: 0, Symbol: 1, Unknown: 2, FloorDiv: 3, Element: 4}[type(atom)]
    return rank, repr(atom)


@lru_cache(maxsize=65536)
def _monomial_key(monomial: Monomial) -> tuple[int, tuple[tuple[int, str], ...]]:
    return -len(monomial), tuple(_atom_key(atom) for atom in monomial)


@dataclass(frozen=True, slots=True)
class Integer:
    """A polynomial over atoms: a sum of `coefficient * atom * atom * …` in normal form."""

    terms: tuple[tuple[Monomial, int], ...]

    # -- making ---------------------------------------------------------------
    @staticmethod
    def of(value: IntegerLike) -> Integer:
        """`value` itself, or the constant polynomial of a Python int."""
        if isinstance(value, Integer):
            return value
        return Integer((((), int(value)),)) if value else ZERO

    @staticmethod
    def atom(atom: Atom) -> Integer:
        """The polynomial that is one atom."""
        return Integer((((atom,), 1),))

    @staticmethod
    def index(name: str) -> Integer:
        """The polynomial that is one loop variable."""
        return Integer.atom(Index(name))

    @staticmethod
    def symbol(name: str, minimum: int = 1) -> Integer:
        """The polynomial that is one run-time size."""
        return Integer.atom(Symbol(name, minimum))

    @staticmethod
    def _collect(pairs: Iterable[tuple[Monomial, int]]) -> Integer:
        sums: dict[Monomial, int] = {}
        for monomial, coefficient in pairs:
            sums[monomial] = sums.get(monomial, 0) + coefficient
        kept = [(monomial, coefficient) for monomial, coefficient in sums.items() if coefficient]
        if len(kept) > 1:
            kept.sort(key=lambda pair: _monomial_key(pair[0]))
        return Integer(tuple(kept))

    # -- arithmetic -------------------------------------------------------------
    def __add__(self, other: IntegerLike) -> Integer:
        other = Integer.of(other)
        if not other.terms:
            return self
        if not self.terms:
            return other
        number = other.constant
        if number is not None:  # a constant term is the last one
            terms, sum_ = (self.terms, number) if self.terms[-1][0] else (self.terms[:-1], self.terms[-1][1] + number)
            return Integer((*terms, ((), sum_))) if sum_ else Integer(terms)
        return Integer._collect((*self.terms, *other.terms))

    __radd__ = __add__

    def __neg__(self) -> Integer:
        return Integer(tuple((monomial, -coefficient) for monomial, coefficient in self.terms))

    def __sub__(self, other: IntegerLike) -> Integer:
        if isinstance(other, int):
            return self + -other
        if not other.terms:
            return self
        own, number = self.constant, other.constant
        if own is not None and number is not None:
            return Integer.of(own - number)
        return self + (-other)

    def __rsub__(self, other: IntegerLike) -> Integer:
        return Integer.of(other) - self

    def __mul__(self, other: IntegerLike) -> Integer:
        other = Integer.of(other)
        factor = other.constant
        if factor is not None:
            return Integer(tuple((monomial, factor * own) for monomial, own in self.terms)) if factor else ZERO
        return Integer._collect(
            (tuple(sorted((*left, *right), key=_atom_key)), a * b) for left, a in self.terms for right, b in other.terms
        )

    __rmul__ = __mul__

    def __floordiv__(self, other: IntegerLike) -> Integer:
        """Floor division; multiples of the divisor leave the floor, so `(4*x + 3)//4` is `x`."""
        divisor = Integer.of(other)
        if divisor.constant == 0:
            raise ZeroDivisionError("division of a size by zero")
        if divisor.constant == 1:
            return self
        if divisor.constant is not None:
            step = divisor.constant
            if step < 0:
                return (-self) // -step
            if self.constant is not None:
                return Integer.of(self.constant // step)
            whole = Integer._collect((m, c // step) for m, c in self.terms if c % step == 0 or not m)
            rest = Integer._collect((m, c % step if not m else c) for m, c in self.terms if c % step or not m)
            return whole + _floor_of(rest, divisor)
        whole, rest = _divide_out(self, divisor)
        return whole + _floor_of(rest, divisor)

    def __mod__(self, other: IntegerLike) -> Integer:
        return self - (self // other) * other

    # -- reading ----------------------------------------------------------------
    @property
    def constant(self) -> int | None:
        """The value, if it has no atoms."""
        if not self.terms:
            return 0
        if len(self.terms) == 1 and not self.terms[0][0]:
            return self.terms[0][1]
        return None

    @property
    def offset(self) -> int:
        """The constant term."""
        return next((c for m, c in self.terms if not m), 0)

    @property
    def single_atom(self) -> Atom | None:
        """The atom, if the expression is that atom alone."""
        if len(self.terms) == 1:
            monomial, coefficient = self.terms[0]
            if coefficient == 1 and len(monomial) == 1:
                return monomial[0]
        return None

    @property
    def plain_index(self) -> str | None:
        """The name of the index, if the expression is one index alone."""
        atom = self.single_atom
        return atom.name if isinstance(atom, Index) else None

    def atoms(self) -> set[Atom]:
        """All atoms, those inside floors and gathers included."""
        found: set[Atom] = set()
        for monomial, _ in self.terms:
            for atom in monomial:
                found.add(atom)
                if isinstance(atom, FloorDiv):
                    found |= atom.numerator.atoms() | atom.denominator.atoms()
                elif isinstance(atom, Element):
                    for subscript in atom.read.subscripts:
                        found |= subscript.atoms()
        return found

    def indices(self) -> set[str]:
        """Names of all indices that occur."""
        if self.constant is not None:
            return set()
        return {atom.name for atom in self.atoms() if isinstance(atom, Index)}

    def unknowns(self) -> set[Unknown]:
        """All sizes still to be inferred that occur."""
        if self.constant is not None:
            return set()
        return {atom for atom in self.atoms() if isinstance(atom, Unknown)}

    def coefficient(self, name: str) -> Integer | None:
        """The factor of index `name`; None if the expression is not linear in it."""
        target = Index(name)
        found: list[tuple[Monomial, int]] = []
        for monomial, coefficient in self.terms:
            count = monomial.count(target)
            if count == 1:
                rest = list(monomial)
                rest.remove(target)
                found.append((tuple(rest), coefficient))
            if count > 1 or any(
                isinstance(atom, (FloorDiv, Element)) and name in Integer.atom(atom).indices() for atom in monomial
            ):
                return None
        return Integer._collect(found)

    def substitute(self, values: Mapping[Any, IntegerLike]) -> Integer:
        """Replace atoms (the keys); floors and gathers that contain them are rebuilt."""
        if not values:
            return self
        return self.rewrite(lambda atom: values.get(atom))

    def rewrite(self, replace: Callable[[Atom], IntegerLike | None]) -> Integer:
        """Replace every atom for which `replace` gives a value, from the outside in."""
        total = ZERO
        for monomial, coefficient in self.terms:
            product = Integer.of(coefficient)
            for atom in monomial:
                product = product * _rewrite_atom(atom, replace)
            total = total + product
        return total

    def evaluate(self, symbols: Mapping[str, int]) -> int:
        """The value at run-time sizes; raises KeyError for a missing one."""
        total = 0
        for monomial, coefficient in self.terms:
            product = coefficient
            for atom in monomial:
                if isinstance(atom, (Symbol, Index)):
                    product *= symbols[atom.name]
                elif isinstance(atom, FloorDiv):
                    product *= atom.numerator.evaluate(symbols) // atom.denominator.evaluate(symbols)
                else:
                    raise KeyError(str(atom))
            total += product
        return total

    def __str__(self) -> str:
        if not self.terms:
            return "0"
        parts: list[str] = []
        for monomial, coefficient in self.terms:
            names = "*".join(str(atom) for atom in monomial)
            size = abs(coefficient)
            text = names if monomial and size == 1 else f"{size}*{names}" if monomial else str(size)
            if coefficient < 0:
                parts.append(f"- {text}" if parts else f"-{text}")
            else:
                parts.append(f"+ {text}" if parts else text)
        return " ".join(parts)

    def __repr__(self) -> str:
        return f"Integer({self})"


ZERO = Integer(())
ONE = Integer.of(1)


def _rewrite_atom(atom: Atom, replace: Callable[[Atom], IntegerLike | None]) -> Integer:
    value = replace(atom)
    if value is not None:
        return Integer.of(value)
    if isinstance(atom, FloorDiv):
        return atom.numerator.rewrite(replace) // atom.denominator.rewrite(replace)
    if isinstance(atom, Element):
        subscripts = tuple(subscript.rewrite(replace) for subscript in atom.read.subscripts)
        return Integer.atom(Element(atom.read.with_subscripts(subscripts)))
    return Integer.atom(atom)


def _floor_of(numerator: Integer, divisor: Integer) -> Integer:
    if numerator.constant is not None and divisor.constant is not None:
        return Integer.of(numerator.constant // divisor.constant)
    if not numerator.terms:
        return ZERO
    inner = numerator.single_atom
    if isinstance(inner, FloorDiv):  # ⌊⌊a/b⌋/c⌋ = ⌊a/(bc)⌋
        return inner.numerator // (inner.denominator * divisor)
    return Integer.atom(FloorDiv(numerator, divisor))


def _divide_out(numerator: Integer, divisor: Integer) -> tuple[Integer, Integer]:
    """Split into a multiple of a divisor with one monomial, and the rest."""
    if len(divisor.terms) != 1:
        return (ONE, ZERO) if numerator == divisor else (ZERO, numerator)
    atoms, factor = divisor.terms[0]
    whole: list[tuple[Monomial, int]] = []
    rest: list[tuple[Monomial, int]] = []
    for monomial, coefficient in numerator.terms:
        remaining: list[Atom] | None = list(monomial)
        for atom in atoms:
            if remaining is not None and atom in remaining:
                remaining.remove(atom)
            else:
                remaining = None
        if remaining is not None and coefficient % factor == 0:
            whole.append((tuple(remaining), coefficient // factor))
        else:
            rest.append((monomial, coefficient))
    return Integer._collect(whole), Integer._collect(rest)


# -- reasoning about ranges -----------------------------------------------------------


def is_nonnegative(expression: Integer) -> bool:
    """Whether `expression` (without indices) is provably >= 0 for all run-time sizes.

    Each floor is bounded by its numerator over its divisor (rounded up to the nearest
    case), each symbol by its minimum; False means "not proven", not "false".
    """
    if expression.constant is not None:
        return expression.constant >= 0
    linear = _least_if_linear(expression)
    if linear is not None:
        return linear >= 0
    lower = _lower_bound({monomial: Fraction(c) for monomial, c in expression.terms}, depth=8)
    return lower is not None and lower >= 0


def _least_if_linear(expression: Integer) -> float | None:
    """The least value of a sum of multiples of symbols; None for anything else."""
    least: float = 0
    for monomial, coefficient in expression.terms:
        if not monomial:
            least += coefficient
        elif len(monomial) > 1 or not isinstance(monomial[0], Symbol):
            return None
        elif coefficient < 0:
            least = -math.inf
        else:
            least += coefficient * monomial[0].minimum
    return least


def _lower_bound(terms: dict[Monomial, Fraction], depth: int) -> Fraction | None:
    floors = [(m, c) for m, c in terms.items() if any(isinstance(atom, FloorDiv) for atom in m)]
    if floors and depth:
        for monomial, coefficient in floors:
            bounded = _without_floor(terms, monomial, coefficient)
            if bounded is not None:
                found = _lower_bound(bounded, depth - 1)
                if found is not None:
                    return found
        return None
    shifted = _shift_symbols(terms)
    if shifted is None:
        return None
    if all(c >= 0 for m, c in shifted.items() if m):
        return shifted.get((), Fraction(0))
    return None


def _without_floor(
    terms: dict[Monomial, Fraction], monomial: Monomial, coefficient: Fraction
) -> dict[Monomial, Fraction] | None:
    """Replace one floor by the bound that makes the whole smaller."""
    floor = next(atom for atom in monomial if isinstance(atom, FloorDiv))
    others = list(monomial)
    others.remove(floor)
    divisor = floor.denominator.constant
    result = {m: c for m, c in terms.items() if m != monomial}
    if divisor is None:
        # ⌊n/d⌋ with a symbolic divisor: at most -1 where n is negative, at least 0 where n is not.
        if coefficient < 0 and is_nonnegative(-floor.numerator - 1):
            bound, scale = Integer.of(-1), Fraction(1)
        elif coefficient > 0 and is_nonnegative(floor.numerator):
            bound, scale = ZERO, Fraction(1)
        else:
            return None
    else:
        bound = floor.numerator if coefficient < 0 else floor.numerator - (divisor - 1)
        scale = Fraction(1, divisor)
    for factors, c in bound.terms:
        key = tuple(sorted((*others, *factors), key=_atom_key))
        result[key] = result.get(key, Fraction(0)) + coefficient * c * scale
    return {m: c for m, c in result.items() if c}


def _shift_symbols(terms: dict[Monomial, Fraction]) -> dict[Monomial, Fraction] | None:
    """Write each symbol as its minimum plus something non-negative, and expand."""
    result: dict[Monomial, Fraction] = {}
    for monomial, coefficient in terms.items():
        expanded: dict[Monomial, Fraction] = {(): coefficient}
        for atom in monomial:
            if not isinstance(atom, Symbol):
                return None
            step: dict[Monomial, Fraction] = {}
            for m, c in expanded.items():
                longer = tuple(sorted((*m, atom), key=_atom_key))
                step[longer] = step.get(longer, Fraction(0)) + c
                if atom.minimum:
                    step[m] = step.get(m, Fraction(0)) + c * atom.minimum
            expanded = step
        for m, c in expanded.items():
            result[m] = result.get(m, Fraction(0)) + c
    return {m: c for m, c in result.items() if c}


def is_positive(expression: Integer) -> bool:
    """Whether `expression` is provably at least 1."""
    return is_nonnegative(expression - 1)


Range = tuple[Integer, Integer]
"""A half-open interval `lower <= i < upper`."""


def bounds(expression: Integer, ranges: Mapping[str, Range]) -> Range | None:
    """The smallest and largest value (both inclusive) over a box of indices, or None if unknown.

    Exact for affine expressions, for floors of them, and for sums of both in which one index of
    known range occurs more than once; a gather has no known bounds.
    """
    for name, places in _corners(expression, ranges).items():
        inside = [bounds(expression.substitute({Index(name): place}), ranges) for place in places]
        known = [found for found in inside if found is not None]
        low, high = _least([found[0] for found in known]), _least([-found[1] for found in known])
        if len(known) == len(inside) and low is not None and high is not None:
            return low, -high
    low, high = ZERO, ZERO
    for monomial, coefficient in expression.terms:
        variable = [
            atom
            for atom in monomial
            if isinstance(atom, (Index, Element)) or (isinstance(atom, FloorDiv) and Integer.atom(atom).indices())
        ]
        if not variable:
            term = Integer(((monomial, coefficient),))
            low, high = low + term, high + term
            continue
        if len(variable) > 1:
            return None
        inner = _atom_bounds(variable[0], ranges)
        if inner is None:
            return None
        others = list(monomial)
        others.remove(variable[0])
        scale = Integer(((tuple(others), coefficient),))
        if is_nonnegative(scale):
            low, high = low + scale * inner[0], high + scale * inner[1]
        elif is_nonnegative(-scale):
            low, high = low + scale * inner[1], high + scale * inner[0]
        else:
            return None
    return low, high


def _corners(expression: Integer, ranges: Mapping[str, Range]) -> dict[str, list[int]]:
    """For each index in floors `(i + a)//n` that occurs again: the places where an affine stretch begins or ends."""
    atoms = {atom for monomial, _ in expression.terms for atom in monomial}
    floors = [atom for atom in atoms if isinstance(atom, FloorDiv)]
    found: dict[str, list[int]] = {}
    for name in {name for floor in floors for name in floor.numerator.indices()}:
        if sum(name in Integer.atom(atom).indices() for atom in atoms) < 2:
            continue
        low, high = (limit.constant for limit in ranges.get(name, (Integer.symbol("?"), ZERO)))
        if low is None or high is None or high - low > _LONGEST_WALK:
            continue
        parts = [((f.numerator - Integer.index(name)).constant, f.denominator.constant) for f in floors]
        known = [(shift, step) for shift, step in parts if shift is not None and step is not None]
        if len(known) < len(parts):
            continue
        turns = {place for place in range(low + 1, high) if any((place + shift) % step == 0 for shift, step in known)}
        found[name] = sorted({low, high - 1, *turns, *(p - 1 for p in turns)})
    return found


def _least(values: list[Integer]) -> Integer | None:
    """The value that is never above another one, if there is one."""
    return next((value for value in values if all(is_nonnegative(other - value) for other in values)), None)


def _atom_bounds(atom: Atom, ranges: Mapping[str, Range]) -> Range | None:
    if isinstance(atom, Index):
        found = ranges.get(atom.name)
        return None if found is None else (found[0], found[1] - 1)
    if isinstance(atom, FloorDiv):
        inner = bounds(atom.numerator, ranges)
        if inner is None or Integer.of(atom.denominator).indices():
            return None
        return inner[0] // atom.denominator, inner[1] // atom.denominator
    return None
