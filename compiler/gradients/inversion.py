"""Adjoints of reads: "for all points, add a value to x[subscripts]", turned into equations over the elements of x.

A forward equation scatters into the adjoint of what it reads.  Here this is turned round: each
element p of x gathers from the points with `subscripts = p`.  One subscript after the other is
solved for one of its indices, which leaves the others to be summed over:

    p = x + Δx      x = p - Δx, summed over Δx              (a convolution with the window turned)
    p = 2*x + Δx    p = 2*q, Δx = 2*Δ, x = q - Δ  and  p = 2*q + 1, Δx = 2*Δ + 1, x = q - Δ

so a stride splits the elements into residue classes, each with a dense equation of its own.
`p = 4*g + i` with `i < 4` needs no sum at all, nor does `p = x//2`: `x = 2*p + r`, `r < 2`.
Only where nothing can be solved (gathers, products of indices) the condition `subscript = p` stays.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ...dsl.equations import (
    Apply,
    Axis,
    Expression,
    Literal,
    Number,
    Shape,
    substitute_indices,
)
from ...dsl.integers import (
    ONE,
    ZERO,
    Atom,
    Element,
    FloorDiv,
    Index,
    Integer,
    IntegerLike,
    Range,
    Symbol,
    bounds,
    is_nonnegative,
    is_positive,
)
from ..rewriting import as_integer, conjuncts, plain
from ..scalar_identities import simplify_expression, simplify_integer

TYPICAL = 64
"""What a size that is known only at run time is taken for where the index to solve for is chosen."""
MOST_CLASSES = 64
"""Residue classes of one subscript above which a test of divisibility takes their place."""


@dataclass(frozen=True)
class Spread:
    """For all points of `axes` where the conditions hold: add `value` to x[subscripts].

    `outer` are the ranges of indices that are bound outside, such as the time of a recurrence.
    """

    axes: tuple[Axis, ...]
    value: Expression
    subscripts: tuple[Integer, ...]
    conditions: tuple[Expression, ...] = ()
    outer: Mapping[str, Range] = field(default_factory=dict)


@dataclass(frozen=True)
class Lattice:
    """Positions `start + step*k`, `k < count` of an axis; `whole`: all of the axis with this residue."""

    start: Integer
    step: int
    count: Integer
    whole: bool

    @property
    def full(self) -> bool:
        """Whether it is the whole axis."""
        return self.whole and self.step == 1


@dataclass(frozen=True)
class Gathered:
    """Part of an adjoint: `x[target(domain)]` gets the sum of `value` over the reduction, where conditions hold.

    `solved` are conditions `0 <= index < size` that the turned equation needs: (index of the
    spread, its size, what it is now).  `lattices` describe the positions that the part covers.
    """

    domain: tuple[Axis, ...]
    reduction: tuple[Axis, ...]
    target: tuple[Integer, ...]
    lattices: tuple[Lattice, ...]
    values: Mapping[str, Integer]
    conditions: tuple[Expression, ...]
    solved: tuple[str, ...]
    ranges: Mapping[str, Range]


def invert(spread: Spread, shape: Shape, *, split: bool = True) -> list[Gathered]:
    """Parts whose sum is what a spread adds to a tensor of a shape; without `split`, one part for all elements."""
    axes = {axis.name: axis.size for axis in spread.axes}
    ranges = {**spread.outer, **{name: (ZERO, size) for name, size in axes.items()}}
    start = _Branch(axes, {name: plain(name) for name in axes}, ranges)
    for name in [name for name, size in axes.items() if size == ONE]:
        start = start.put(name, ZERO)
    branches = [start]
    for position, (subscript, size) in enumerate(zip(spread.subscripts, shape, strict=True)):
        branches = [
            found
            for branch in branches
            for found in _Solver(branch, position, subscript.substitute(branch.mapping()), size, split).solve()
        ]
    return [part for branch in branches for part in _finish(branch, spread, axes)]


@dataclass(frozen=True)
class _Branch:
    """What is settled so far: `free` indices with sizes, the rest in terms of them and of the new `domain`."""

    free: Mapping[str, Integer]
    values: Mapping[str, Integer]
    ranges: Mapping[str, Range]
    domain: tuple[Axis, ...] = ()
    target: tuple[Integer, ...] = ()
    lattices: tuple[Lattice, ...] = ()
    conditions: tuple[Expression, ...] = ()
    solved: tuple[str, ...] = ()

    def mapping(self) -> dict[Atom, IntegerLike]:
        """Old indices as integer expressions of new ones."""
        return {Index(name): value for name, value in self.values.items()}

    def put(self, name: str, value: Integer) -> _Branch:
        """The branch with a free index replaced everywhere."""
        there: dict[Atom, IntegerLike] = {Index(name): value}
        values = {old: found.substitute(there) for old, found in self.values.items()}
        conditions = tuple(substitute_indices(condition, {name: value}) for condition in self.conditions)
        free = {other: size for other, size in self.free.items() if other != name}
        return replace(self, free=free, values=values, conditions=conditions)

    def with_free(self, name: str, size: Integer) -> _Branch:
        """The branch with one more free index."""
        return replace(self, free={**self.free, name: size}, ranges={**self.ranges, name: (ZERO, size)})

    def covering(self, axes: Sequence[Axis], target: Integer, lattice: Lattice) -> _Branch:
        """The branch with new domain indices for one more axis of the tensor."""
        return replace(
            self,
            domain=(*self.domain, *axes),
            ranges={**self.ranges, **{axis.name: (ZERO, axis.size) for axis in axes}},
            target=(*self.target, target),
            lattices=(*self.lattices, lattice),
        )

    def demanding(self, *conditions: Expression) -> _Branch:
        """The branch with more conditions."""
        return replace(self, conditions=(*self.conditions, *conditions))


@dataclass(frozen=True)
class _Solver:
    """Solves one subscript, `position` in the tensor, whose axis has a `size`."""

    branch: _Branch
    position: int
    subscript: Integer
    size: Integer
    split: bool

    def solve(self) -> list[_Branch]:
        """The branches that together take all points."""
        live = [name for name in self.branch.free if name in self.subscript.indices()]
        if not live:
            return [self._settled()]
        linear = [name for name in live if self._step(name) is not None]
        if linear:
            chain = self._chain(live, linear)
            if chain is not None:
                return self._digits(chain)
            return list(self._sliding(min(linear, key=lambda name: self._rest(name, live)), live))
        floored = self._floored(live)
        return floored if floored is not None else [self._compared()]

    # -- subscripts without anything to solve --------------------------------------------------------

    def _settled(self) -> _Branch:
        """A subscript that other axes, or nothing, determine."""
        if self.size == ONE and self.subscript == ZERO:
            axis = self._axis("", ONE)
            return self.branch.covering([axis], plain(axis.name), self._whole(ZERO, 1))
        gathers = any(isinstance(atom, Element) for atom in self.subscript.atoms())
        if gathers or self.subscript.indices() & self._bound() or not self.split:
            return self._compared()
        return self.branch.covering((), self.subscript, Lattice(self.subscript, 1, ONE, self.size == ONE))

    def _bound(self) -> set[str]:
        return {axis.name for axis in self.branch.domain} | set(self.branch.free)

    def _compared(self) -> _Branch:
        """All positions of the axis, and the condition that the subscript is the position."""
        axis = self._axis("", self.size)
        condition = _equal(plain(axis.name), self.subscript)
        return self.branch.covering([axis], plain(axis.name), self._whole(ZERO, 1)).demanding(condition)

    def _axis(self, digit: str, size: Integer) -> Axis:
        return Axis(f"{self.position}{digit}!", size)

    def _whole(self, start: Integer, step: int) -> Lattice:
        return Lattice(start, step, (self.size - start + (step - 1)) // step, True)

    # -- linear subscripts -------------------------------------------------------------------------------

    def _step(self, name: str) -> Integer | None:
        """The factor of an index, if the subscript is linear in it and the factor has one sign."""
        factor = self.subscript.coefficient(name)
        if factor is None or factor.indices() or any(isinstance(atom, Element) for atom in factor.atoms()):
            return None
        return factor if is_positive(factor) or is_positive(-factor) else None

    def _rest(self, name: str, live: Sequence[str]) -> float:
        """About how many points are summed over if the subscript is solved for an index."""
        others = math.prod(_estimate(self.branch.free[other]) for other in live if other != name)
        step = self._step(name)
        assert step is not None
        return others / max(abs(step.constant or TYPICAL), 1)

    def _chain(self, live: Sequence[str], linear: Sequence[str]) -> list[str] | None:
        """The indices from the last digit to the first, if they count the positions like digits of a number."""
        if len(live) != len(linear) or self.subscript.indices() & {axis.name for axis in self.branch.domain}:
            return None
        if len(live) == 1 and not self.split:
            return None
        steps = {name: step for name in live if (step := self._step(name)) is not None}
        for first in live:
            chain, step = [first], steps[first]
            if step.constant is None or step.constant < 0:
                continue
            while len(chain) < len(live):
                step = step * self.branch.free[chain[-1]]
                following = next((name for name in live if steps[name] == step and name not in chain), None)
                if following is None:
                    break
                chain.append(following)
            if len(chain) == len(live):
                return self._inside(chain)
        return None

    def _inside(self, chain: list[str]) -> list[str] | None:
        """The chain, unless several digits may leave the axis, so that no rectangle of them is right."""
        if len(chain) == 1:
            return chain
        interval = bounds(self.subscript, self.branch.ranges)
        inside = interval and is_nonnegative(interval[0]) and is_nonnegative(self.size - 1 - interval[1])
        first = self._step(chain[0])
        return chain if inside and (self.split or (first == ONE and self._covers(chain))) else None

    def _covers(self, chain: Sequence[str]) -> bool:
        count = math.prod((self.branch.free[name] for name in chain), start=ONE)
        return count == self.size and self._offset() == ZERO

    def _offset(self) -> Integer:
        """The subscript where all free indices are 0."""
        return self.subscript.substitute({Index(name): ZERO for name in self.branch.free})

    def _digits(self, chain: Sequence[str]) -> list[_Branch]:
        """Each index of a chain is a digit of the position: nothing is left to sum."""
        if len(chain) == 1:
            return self._single(chain[0])
        if not self.split:
            return [self._remainders(chain)]
        branch, target = self.branch, self.subscript
        axes = []
        for digit, name in enumerate(reversed(chain)):
            axis = self._axis(f".{digit}", branch.free[name])
            axes.append(axis)
            branch = branch.put(name, plain(axis.name))
            target = target.substitute({Index(name): plain(axis.name)})
        step = self._step(chain[0])
        assert step is not None
        assert step.constant is not None
        count = math.prod((self.branch.free[name] for name in chain), start=ONE)
        offset = self._offset()
        whole = self._covers(chain) and step == ONE
        return [branch.covering(axes, target, Lattice(offset, step.constant, count, whole))]

    def _remainders(self, chain: Sequence[str]) -> _Branch:
        """The digits of a position, for one part that covers the axis."""
        axis = self._axis("", self.size)
        branch, rest = self.branch, plain(axis.name)
        for name in chain:
            size = self.branch.free[name]
            last = name == chain[-1]
            branch = branch.put(name, rest if last else rest % size)
            rest = rest if last else rest // size
        return branch.covering([axis], plain(axis.name), self._whole(ZERO, 1))

    def _single(self, name: str) -> list[_Branch]:
        """A subscript `offset + step*v`: a lattice of positions, cut where it leaves the axis."""
        step = self._step(name)
        assert step is not None
        assert step.constant is not None
        stride, size, offset = step.constant, self.branch.free[name], self._offset()
        skipped = _least_multiple(-offset, stride)
        beyond = _least_multiple(offset + (size - 1) * stride - (self.size - 1), stride)
        if skipped is None or beyond is None:
            return list(self._class(name, self.subscript, self.branch))
        end = (self.size - 1 - offset) // stride + 1 if beyond.terms else size
        count = end - skipped
        if is_nonnegative(-count):
            return []
        axis = self._axis("", count)
        start = offset + skipped * stride
        branch = self.branch.put(name, plain(axis.name) + skipped)
        residue = _residue(start, stride)
        whole = (
            residue is not None
            and start == Integer.of(residue)
            and count == (self.size - start + (stride - 1)) // stride
        )
        return [branch.covering([axis], start + stride * plain(axis.name), Lattice(start, stride, count, whole))]

    # -- windows -----------------------------------------------------------------------------------------

    def _sliding(self, name: str, live: Sequence[str]) -> Iterator[_Branch]:
        """Solve for one index and sum over the others, split by the residue of the position modulo the step."""
        step = self._step(name)
        assert step is not None
        others = [other for other in live if other != name]
        modulus = abs(step.constant or 0)
        splits = self._splits(others, modulus)
        if splits is None or not self._divides(others, modulus):
            yield self._divided(name)
            return
        for residues in itertools.product(*(range(count) for _, _, count in splits)):
            branch, subscript = self.branch, self.subscript
            for (other, period, _), residue in zip(splits, residues, strict=True):
                size = (branch.free[other] - residue + (period - 1)) // period
                if is_nonnegative(-size):
                    break
                fresh = f"{other}/"
                value = period * plain(fresh) + residue
                branch = branch.with_free(fresh, size).put(other, value)
                subscript = subscript.substitute({Index(other): value})
            else:
                yield from self._class(name, subscript, branch)

    def _splits(self, others: Sequence[str], modulus: int) -> list[tuple[str, int, int]] | None:
        """(index, period, number of residues) of the indices that move the position between residue classes."""
        splits: list[tuple[str, int, int]] = []
        for other in others:
            step = self._step(other)
            if step is None or modulus == 0:
                return None
            if step.constant is None:
                if _residue(step, modulus) != 0:
                    return None
                continue
            period = modulus // math.gcd(modulus, step.constant)
            if period > 1:
                size = self.branch.free[other].constant
                splits.append((other, period, period if size is None else min(period, size)))
        classes = math.prod(count for _, _, count in splits)
        return None if splits and (classes > MOST_CLASSES or not self.split) else splits

    def _divides(self, others: Sequence[str], modulus: int) -> bool:
        """Whether the residue of the position is fixed once the others' are."""
        if not self.split:
            return modulus == 1
        rest = self.subscript.substitute({Index(name): ZERO for name in self.branch.free})
        return modulus == 1 or _residue(rest, modulus) is not None

    def _class(self, name: str, subscript: Integer, branch: _Branch) -> Iterator[_Branch]:
        """One residue class: the position is `start + modulus*q`, and the index follows from q and the window."""
        step = subscript.coefficient(name)
        assert step is not None
        assert step.constant is not None
        modulus = abs(step.constant)
        rest = subscript.substitute({Index(name): ZERO})
        start = _residue(rest, modulus) if modulus > 1 else 0
        if start is None:
            yield replace(self, branch=branch, subscript=subscript)._divided(name)
            return
        lattice = self._whole(Integer.of(start), modulus)
        if is_nonnegative(-lattice.count):
            return
        axis = self._axis("", lattice.count)
        position = start + modulus * plain(axis.name)
        value = (position - rest) * (1 if step.constant > 0 else -1) // modulus
        yield _keep(branch, name, value).covering([axis], position, lattice)

    def _divided(self, name: str) -> _Branch:
        """Solve for an index by division, on the condition that it leaves no remainder."""
        step = self._step(name)
        assert step is not None
        positive = is_positive(step)
        axis = self._axis("", self.size)
        rest = self.subscript.substitute({Index(name): ZERO})
        value = (plain(axis.name) - rest) // step if positive else (rest - plain(axis.name)) // -step
        branch = _keep(self.branch, name, value).covering([axis], plain(axis.name), self._whole(ZERO, 1))
        if step.constant in (1, -1):
            return branch
        return branch.demanding(_equal(step * value + rest, plain(axis.name)))

    # -- floors ------------------------------------------------------------------------------------------

    def _floored(self, live: Sequence[str]) -> list[_Branch] | None:
        """Solve `p = (a*v + rest)//d + offset`: v is one of few next to `d*p/a`."""
        floors = [
            (monomial[0], factor)
            for monomial, factor in self.subscript.terms
            if len(monomial) == 1 and isinstance(monomial[0], FloorDiv) and monomial[0].numerator.indices()
        ]
        if len(floors) != 1 or floors[0][1] != 1:
            return None
        floor = floors[0][0]
        assert isinstance(floor, FloorDiv)
        inner = floor.numerator
        offset = self.subscript - Integer.atom(floor)
        if offset.indices() & set(live) or floor.denominator.indices():
            return None
        found = [(name, step) for name in live if (step := inner.coefficient(name)) is not None and is_positive(step)]
        found = [(name, step) for name, step in found if not step.indices()]
        if not found:
            return None
        name, step = max(found, key=lambda pair: _estimate(self.branch.free[pair[0]]))
        axis, fresh = self._axis("", self.size), f"{name}%"
        first = floor.denominator * (plain(axis.name) - offset) - inner.substitute({Index(name): ZERO})
        width = (floor.denominator + step - 1) // step
        value = (first + step - 1) // step + plain(fresh)
        branch = _keep(self.branch.with_free(fresh, width), name, value)
        branch = branch.covering([axis], plain(axis.name), self._whole(ZERO, 1))
        if step == ONE:
            return [branch]
        return [branch.demanding(_equal(self.subscript.substitute({Index(name): value}), plain(axis.name)))]


def _keep(branch: _Branch, name: str, value: Integer) -> _Branch:
    """Put in the value of an index that must stay in its range."""
    size = branch.free[name]
    kept = branch.put(name, value)
    inside = Apply("and", (_at_least(value, ZERO), _less(value, size)), "bool")
    return replace(kept, conditions=(*kept.conditions, inside), solved=(*kept.solved, name))


# -- the end -------------------------------------------------------------------------------------------


def _finish(branch: _Branch, spread: Spread, sizes: Mapping[str, Integer]) -> Iterator[Gathered]:
    """The branch as a part, with conditions simplified; none if they never hold."""
    asked = [substitute_indices(condition, branch.values) for condition in spread.conditions]
    found = _settle(branch.demanding(*asked))
    if found is None:
        return
    used = {name: (ZERO, size) for name, size in found.free.items()}
    domain = {axis.name: (ZERO, axis.size) for axis in found.domain}
    ranges = {**spread.outer, **domain, **used}
    values = {name: simplify_integer(value, ranges) for name, value in found.values.items()}
    yield Gathered(
        found.domain,
        tuple(Axis(name, found.free[name]) for name in _windows_first(found)),
        found.target,
        found.lattices,
        {name: value for name, value in values.items() if name in sizes},
        found.conditions,
        tuple(name for name in found.solved if name in sizes),
        ranges,
    )


def _windows_first(branch: _Branch) -> list[str]:
    """The indices to sum over, those that move the place that is read before the others."""
    windows = set().union(*(branch.values[name].indices() for name in branch.solved if name in branch.values))
    return sorted(branch.free, key=lambda name: name not in windows)


def _settle(branch: _Branch) -> _Branch | None:
    """Simplify conditions; use equations among them to sum over fewer indices.  None if they never hold."""
    while True:
        for name in [name for name, size in branch.free.items() if size == ONE]:
            branch = branch.put(name, ZERO)
        ranges = {**branch.ranges, **{name: (ZERO, size) for name, size in branch.free.items()}}
        kept: list[Expression] = []
        for condition in itertools.chain.from_iterable(map(conjuncts, branch.conditions)):
            simpler = simplify_expression(condition, ranges)
            if isinstance(simpler, Literal):
                if not simpler.value:
                    return None
            elif simpler not in kept:
                kept.append(simpler)
        branch = replace(branch, conditions=tuple(kept))
        solution = next((found for condition in kept if (found := _solution(condition, branch))), None)
        if solution is None:
            return branch
        condition, name, value = solution
        rest = tuple(other for other in kept if other != condition)
        branch = _keep(replace(branch, conditions=rest), name, value)


def _solution(condition: Expression, branch: _Branch) -> tuple[Expression, str, Integer] | None:
    """A free index that an equation among the conditions determines, with its value."""
    if not (isinstance(condition, Apply) and condition.operation == "eq"):
        return None
    left, right = (as_integer(argument) for argument in condition.arguments)
    if left is None or right is None:
        return None
    difference = left - right
    for name in branch.free:
        step = difference.coefficient(name)
        if step is not None and step.constant in (1, -1):
            rest = difference.substitute({Index(name): ZERO})
            return condition, name, -rest if step.constant == 1 else rest
    return None


def _equal(a: Integer, b: Integer) -> Expression:
    return Apply("eq", (Number(a, "int64"), Number(b, "int64")), "bool")


def _at_least(a: Integer, b: Integer) -> Expression:
    return Apply("le", (Number(b, "int64"), Number(a, "int64")), "bool")


def _less(a: Integer, b: Integer) -> Expression:
    return Apply("lt", (Number(a, "int64"), Number(b, "int64")), "bool")


def _estimate(size: Integer) -> int:
    """A size as a number, with a guess for what only a run tells."""
    symbols = {atom.name: max(atom.minimum, TYPICAL) for atom in size.atoms() if isinstance(atom, Symbol)}
    try:
        return max(size.evaluate(symbols), 1)
    except (KeyError, ZeroDivisionError):
        return TYPICAL


def _residue(value: Integer, modulus: int) -> int | None:
    """The residue of an integer expression, if it is the same for all values of its atoms."""
    if any(monomial and factor % modulus for monomial, factor in value.terms):
        return None
    return value.offset % modulus


def _least_multiple(distance: Integer, stride: int) -> Integer | None:
    """The least k >= 0 with `stride*k >= distance`; None if that cannot be decided."""
    if is_nonnegative(-distance):
        return ZERO
    if is_positive(distance):
        return (distance + (stride - 1)) // stride
    return None
