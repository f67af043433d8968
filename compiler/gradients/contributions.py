"""Sums of parts: from what each reader adds to an adjoint to the operations that compute it.

A part covers a lattice of positions along each axis.  Parts on the same positions are added
up, parts on disjoint positions become pieces of one partial definition, and zeros fill what
no part covers.  Element-wise parts are written into the sum that they are a term of.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from ...dsl.equations import (
    Apply,
    Axis,
    Equation,
    Expression,
    Number,
    Operation,
    Partial,
    Piece,
    Read,
    Reshape,
    Shape,
    substitute_indices,
)
from ...dsl.integers import ONE, ZERO, Integer, is_nonnegative
from ..rewriting import plain
from .inversion import Lattice
from .scalar import add, real

Region = tuple[Lattice, ...]
Make = Callable[[str, Operation], str]
"""Adds an operation under a name like the given one; gives the name."""


@dataclass(frozen=True)
class Part:
    """`x[target(domain)]` gets `body`, or the sum of it that `equation` says; `lattices` are the positions covered.

    `equation` has the domain as its own.
    """

    equation: Equation
    target: tuple[Integer, ...]
    lattices: Region

    @property
    def simple(self) -> bool:
        """Whether it can be written into another equation."""
        return self.equation.combiner is None


def whole(equation: Equation) -> Part:
    """The part that is the whole tensor."""
    lattices = tuple(Lattice(ZERO, 1, axis.size, True) for axis in equation.domain)
    return Part(equation, tuple(plain(axis.name) for axis in equation.domain), lattices)


def total(parts: Sequence[Part], shape: Shape, dtype: str, name: str, make: Make) -> Operation:
    """The operation that makes the sum of the parts, with helpers made on the way."""
    return _Sum(shape, dtype, name, make).of(parts)


@dataclass(frozen=True)
class _Sum:
    shape: Shape
    dtype: str
    name: str
    make: Make

    def of(self, parts: Sequence[Part]) -> Operation:
        regions: dict[tuple[Region, tuple[int, ...]], list[Part]] = {}
        for part in parts:
            digits = tuple(len(subscript.indices()) for subscript in part.target)
            regions.setdefault((part.lattices, digits), []).append(part)
        summed = [self._added(same) for same in regions.values()]
        families = _families(summed)
        if len(families) == 1:
            return self._family(families[0])
        terms = [self._as_part(self._family(family)) for family in families]
        return self._added(terms).equation

    def _added(self, parts: Sequence[Part]) -> Part:
        """The sum of parts on the same positions."""
        if len(parts) == 1:
            return parts[0]
        first = next((part for part in parts if part.simple), parts[0])
        axes = first.equation.domain
        body: Expression | None = None
        for part in parts:
            term = self._term(part, axes)
            body = term if body is None else add(body, term)
        assert body is not None
        return replace(first, equation=Equation(axes, body, self.dtype))

    def _term(self, part: Part, axes: Sequence[Axis]) -> Expression:
        """The part's value at the point of other axes."""
        equation = part.equation
        if part.simple:
            names = {mine.name: plain(axis.name) for mine, axis in zip(equation.domain, axes, strict=True)}
            return substitute_indices(equation.body, names)
        return Read(self.make(f"{self.name}.part", equation), tuple(plain(axis.name) for axis in axes), self.dtype)

    def _as_part(self, operation: Operation) -> Part:
        """A tensor of the whole shape as a part."""
        if isinstance(operation, Equation):
            return whole(operation)
        axes = tuple(Axis(f"i{k}", size) for k, size in enumerate(self.shape))
        name = self.make(f"{self.name}.part", operation)
        return whole(Equation(axes, Read(name, tuple(plain(axis.name) for axis in axes), self.dtype), self.dtype))

    def _family(self, parts: Sequence[Part]) -> Operation:
        """Disjoint parts and zeros everywhere else."""
        first = parts[0]
        if len(parts) == 1 and all(lattice.full for lattice in first.lattices):
            return self._folded(first)
        if len(parts) == 1 and self._is_margin(first):
            return self._framed(first)
        rest = complement([part.lattices for part in parts], self.shape)
        if rest is None:
            framed = [whole(self._tested(part)) for part in parts]
            return self._added(framed).equation
        pieces = [self._piece(part) for part in parts]
        return Partial(self.shape, self.dtype, (*pieces, *map(self._zeros, rest)))

    def _folded(self, part: Part) -> Operation:
        """A part that is whole: its own equation, reshaped if axes of the tensor are several of it."""
        if tuple(t.plain_index for t in part.target) == tuple(axis.name for axis in part.equation.domain):
            return part.equation
        return Reshape(self.make(f"{self.name}.unfused", part.equation), self.shape, self.dtype)

    def _piece(self, part: Part) -> Piece:
        return Piece(self.make(f"{self.name}.part", part.equation), part.equation.domain, part.target)

    def _zeros(self, region: Region) -> Piece:
        axes = tuple(Axis(f"i{k}", lattice.count) for k, lattice in enumerate(region))
        target = tuple(
            lattice.start + (lattice.step * plain(axis.name) if lattice.count != ONE else ZERO)
            for lattice, axis in zip(region, axes, strict=True)
        )
        return Piece(self.make(f"{self.name}.zeros", Equation(axes, real(0, self.dtype), self.dtype)), axes, target)

    def _is_margin(self, part: Part) -> bool:
        """Whether it is one box without gaps, so that zeros surround it."""
        boxes = all(lattice.step == 1 or lattice.count == ONE for lattice in part.lattices)
        return boxes and all(len(subscript.indices()) <= 1 for subscript in part.target)

    def _framed(self, part: Part) -> Equation:
        """The box surrounded by zeros, as in a padding."""
        axes = self._axes(part)
        tests: list[Expression] = []
        for axis, lattice in zip(axes, part.lattices, strict=True):
            position = plain(axis.name) - lattice.start
            if lattice.start != ZERO:
                tests.append(_at_least_zero(position))
            if lattice.start + lattice.count != axis.size:
                tests.append(_at_least_zero(lattice.count - 1 - position))
        return self._cased(part, axes, tests)

    def _tested(self, part: Part) -> Equation:
        """The part where its lattice lies, found by a test of each position."""
        axes = self._axes(part)
        tests: list[Expression] = []
        for axis, lattice in zip(axes, part.lattices, strict=True):
            position = plain(axis.name) - lattice.start
            if not lattice.full:
                tests += [_at_least_zero(position), _at_least_zero(lattice.step * (lattice.count - 1) - position)]
            if lattice.step > 1:
                remainder = Number(position % lattice.step, "int64")
                tests.append(Apply("eq", (remainder, Number(ZERO, "int64")), "bool"))
        return self._cased(part, axes, tests)

    def _axes(self, part: Part) -> tuple[Axis, ...]:
        """Axes of the whole tensor, called as the part's where it has them."""
        names = [next(iter(subscript.indices()), f"i{k}") for k, subscript in enumerate(part.target)]
        names = [name if names.count(name) == 1 else f"i{k}" for k, name in enumerate(names)]
        return tuple(Axis(name, size) for name, size in zip(names, self.shape, strict=True))

    def _cased(self, part: Part, axes: Sequence[Axis], tests: Sequence[Expression]) -> Equation:
        values: dict[str, Integer] = {}
        equation = part.equation
        sizes = {axis.name: axis.size for axis in equation.domain}
        for axis, lattice, subscript in zip(axes, part.lattices, part.target, strict=True):
            steps = {name: subscript.coefficient(name) or ONE for name in subscript.indices()}
            first = max(steps, key=lambda name: steps[name].constant or 0, default="")
            for name, step in steps.items():
                digit = (plain(axis.name) - lattice.start) // step
                values[name] = digit if name == first else digit % sizes[name]
        if part.simple:
            body = substitute_indices(equation.body, values)
        else:
            subscripts = tuple(values[axis.name] for axis in equation.domain)
            body = Read(self.make(f"{self.name}.part", equation), subscripts, self.dtype)
        if tests:
            body = Apply("select", (both(tests), body, real(0, self.dtype)), self.dtype)
        return Equation(tuple(axes), body, self.dtype)


def both(tests: Iterable[Expression]) -> Expression:
    """All tests in one."""
    found = list(tests)
    condition = found[0]
    for test in found[1:]:
        condition = Apply("and", (condition, test), "bool")
    return condition


def _at_least_zero(value: Integer) -> Expression:
    return Apply("le", (Number(ZERO, "int64"), Number(value, "int64")), "bool")


# -- positions -----------------------------------------------------------------------------------------


def _families(parts: Sequence[Part]) -> list[list[Part]]:
    """The parts in groups of disjoint ones; what covers all is a group of its own."""
    families: list[list[Part]] = []
    for part in parts:
        place = next((f for f in families if all(_apart(part.lattices, o.lattices) for o in f)), None)
        if place is None:
            families.append([part])
        else:
            place.append(part)
    return families


def _apart(one: Region, other: Region) -> bool:
    """Whether two regions certainly have no position in common."""
    return any(_lattices_apart(a, b) for a, b in zip(one, other, strict=True))


def _lattices_apart(a: Lattice, b: Lattice) -> bool:
    common = math.gcd(a.step, b.step)
    difference = (a.start - b.start).constant
    if common > 1 and difference is not None and difference % common:
        return True
    return is_nonnegative(b.start - _end(a)) or is_nonnegative(a.start - _end(b))


def _end(lattice: Lattice) -> Integer:
    """One position after the last."""
    return lattice.start + lattice.step * (lattice.count - 1) + 1


def complement(regions: Sequence[Region], shape: Shape) -> list[Region] | None:
    """Disjoint regions that cover what the given ones do not; None if sizes leave that open."""
    if not shape:
        return [] if regions else [()]
    atoms = _atoms([region[0] for region in regions], shape[0])
    if atoms is None:
        return None
    found: list[Region] = []
    for atom, covering in atoms:
        inner = [regions[k][1:] for k in covering]
        if not inner:
            found.append((atom, *(Lattice(ZERO, 1, size, True) for size in shape[1:])))
            continue
        rest = complement(inner, shape[1:])
        if rest is None:
            return None
        found += [(atom, *region) for region in rest]
    return found


MOST_ATOMS = 512


def _atoms(lattices: Sequence[Lattice], size: Integer) -> list[tuple[Lattice, list[int]]] | None:
    """The axis cut into lattices of which each lies in or outside of every given one, with those that it lies in."""
    step = math.lcm(*(lattice.step for lattice in lattices))
    if step > MOST_ATOMS:
        return None
    atoms: list[tuple[Lattice, list[int]]] = []
    for residue in range(step):
        intervals: dict[int, tuple[Integer, Integer]] = {}
        length = (size - residue + (step - 1)) // step
        for k, lattice in enumerate(lattices):
            offset = lattice.start - residue
            if any(monomial and factor % lattice.step for monomial, factor in offset.terms):
                return None
            if offset.offset % lattice.step:
                continue
            low = (offset + (step - 1)) // step
            intervals[k] = (ZERO, length) if lattice.whole else (low, (_end(lattice) - 1 - residue) // step + 1)
        cuts = _ordered({ZERO, length, *itertools.chain.from_iterable(intervals.values())})
        if cuts is None:
            return None
        for low, high in itertools.pairwise(cuts):
            covering = [k for k, (a, b) in intervals.items() if is_nonnegative(low - a) and is_nonnegative(b - high)]
            everything = low == ZERO and high == length
            atoms.append((Lattice(low * step + residue, step, high - low, everything), covering))
    return atoms


def _ordered(values: Iterable[Integer]) -> list[Integer] | None:
    """The values from the smallest to the largest, if their order is certain."""
    found: list[Integer] = []
    for value in values:
        place = 0
        while place < len(found) and is_nonnegative(value - found[place]):
            place += 1
        if not all(is_nonnegative(other - value) for other in found[place:]):
            return None
        found.insert(place, value)
    return found
