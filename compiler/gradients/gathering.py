"""From a spread to the parts of an adjoint: names, guards, margins of zeros, dense weights.

A turned equation may need values beyond the edge of what it reads (the adjoint of a
convolution's output, one window before its start).  In a product that is summed, the factors
that would be read beyond their edge are surrounded by zeros once, and the others, such as a
window's weights, are copied in the order in which they are now read: what is left is a plain
convolution.  In other equations a guard leaves out what does not exist.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...dsl.equations import (
    Apply,
    Axis,
    Equation,
    Expression,
    Literal,
    Number,
    Read,
    Shape,
    reads,
    substitute_indices,
)
from ...dsl.integers import ZERO, Index, Integer, bounds, is_nonnegative, is_positive
from ..contraction import products
from ..rewriting import indices_of, new_name, plain
from ..scalar_identities import simplify_expression
from .contributions import Make, Part, both
from .inversion import Gathered, Spread, invert
from .scalar import mul, real


def gather(spread: Spread, shape: Shape, dtype: str, hint: str, make: Make, axes: Sequence[str] = ()) -> list[Part]:
    """The parts of the adjoint of a tensor of this shape; helpers are called like `hint`.

    `axes` are names for its indices where the spread has none for them.
    """
    found = [part for part in invert(spread, shape) if not _empty(part)]
    margins = _margins(spread, found)
    return [_Turned(spread, part, dtype, hint, make, margins, axes).part() for part in found]


def gather_at_once(spread: Spread, shape: Shape, dtype: str) -> Equation | None:
    """The adjoint of a tensor of this shape as one equation; None if it is zero."""
    found = [part for part in invert(spread, shape, split=False) if not _empty(part)]
    assert len(found) <= 1

    def refuse(hint: str, operation: object) -> str:
        raise AssertionError(f"{hint} has no place inside of one equation")

    return _Turned(spread, found[0], dtype, "", refuse, None).part().equation if found else None


def accumulator_of(dtype: str) -> str:
    """The dtype in which sums of a dtype are accumulated."""
    return "float32" if dtype in ("float16", "bfloat16") else dtype


def _empty(part: Gathered) -> bool:
    return any(is_nonnegative(-axis.size) for axis in (*part.domain, *part.reduction))


# -- margins -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Margins:
    """The factors that are surrounded by zeros, the axes that they have, and the zeros before and after each."""

    factors: tuple[Expression, ...]
    axes: tuple[Axis, ...]
    around: Mapping[str, tuple[Integer, Integer]]
    tensors: dict[None, str] = field(default_factory=dict)


def _margins(spread: Spread, parts: Sequence[Gathered]) -> _Margins | None:
    """How to surround by zeros what some part would read beyond its edge, if that is worth it."""
    beyond = {name for part in parts if part.reduction for name in _unsure(part, spread)}
    terms = products(spread.value)
    if not beyond or len(terms) != 1:
        return None
    inside = tuple(factor for factor in terms[0] if indices_of(factor) & beyond)
    others = [factor for factor in terms[0] if not indices_of(factor) & beyond and reads(factor)]
    used = set().union(*map(indices_of, inside)) & {axis.name for axis in spread.axes}
    tested = any(reads(condition) and indices_of(condition) & beyond for condition in spread.conditions)
    if not inside or not others or tested:
        return None
    around = {}
    for name in beyond:
        size = next(axis.size for axis in spread.axes if axis.name == name)
        found = _around(name, size, used - beyond, parts)
        if found is None:
            return None
        around[name] = found
    return _Margins(inside, tuple(axis for axis in spread.axes if axis.name in used), around)


def _unsure(part: Gathered, spread: Spread) -> list[str]:
    """Solved indices that may leave their range."""
    sizes = {axis.name: axis.size for axis in spread.axes}
    return [name for name in part.solved if _tests(part.values[name], sizes[name], part)]


def _tests(value: Integer, size: Integer, part: Gathered) -> list[Expression]:
    """Conditions `0 <= value < size` as far as they do not always hold, in their simplified form."""
    low = Apply("le", (Number(ZERO, "int64"), Number(value, "int64")), "bool")
    high = Apply("lt", (Number(value, "int64"), Number(size, "int64")), "bool")
    simpler = [simplify_expression(test, part.ranges) for test in (low, high)]
    return [test for test in simpler if not isinstance(test, Literal)]


def _around(name: str, size: Integer, others: set[str], parts: Sequence[Gathered]) -> tuple[Integer, Integer] | None:
    """Zeros needed before and after the values of an index; None if that is unknown or the window is read, too."""
    before = after = ZERO
    for part in parts:
        window = part.values[name].indices() & {axis.name for axis in part.reduction}
        if any(part.values[other].indices() & window for other in others):
            return None
        interval = bounds(part.values[name], part.ranges)
        if interval is None:
            return None
        for needed, is_before in ((-interval[0], True), (interval[1] - size + 1, False)):
            largest = before if is_before else after
            if is_nonnegative(needed - largest):
                largest = needed
            elif not is_nonnegative(largest - needed):
                return None
            before, after = (largest, after) if is_before else (before, largest)
    return before, after


# -- one part --------------------------------------------------------------------------------------------


@dataclass
class _Turned:
    """Makes the equation of one part."""

    spread: Spread
    gathered: Gathered
    dtype: str
    hint: str
    make: Make
    margins: _Margins | None
    axes: Sequence[str] = ()

    def part(self) -> Part:
        """The part with indices called as in the equation that was turned."""
        names = self._names()
        renamed = {old: plain(new) for old, new in names.items()}
        found = self.gathered
        values = {
            name: value.substitute({Index(k): v for k, v in renamed.items()}) for name, value in found.values.items()
        }
        domain = tuple(Axis(names[axis.name], axis.size) for axis in found.domain)
        reduction = tuple(Axis(names[axis.name], axis.size) for axis in found.reduction)
        target = tuple(t.substitute({Index(k): v for k, v in renamed.items()}) for t in found.target)
        conditions = [substitute_indices(condition, renamed) for condition in found.conditions]
        if self.margins is not None and reduction:
            equation = self._dense(domain, reduction, values, conditions, renamed)
        else:
            equation = self._guarded(domain, reduction, substitute_indices(self.spread.value, values), conditions)
        return Part(equation, target, found.lattices)

    def _names(self) -> dict[str, str]:
        """New index -> what it is called: as the old one that it stands for."""
        found = self.gathered
        taken = set(self.spread.outer)
        names: dict[str, str] = {}
        for axis in found.domain:
            holders = [old for old, value in found.values.items() if value.plain_index == axis.name]
            holders += [old for old in found.solved if axis.name in found.values[old].indices()]
            holders += [old for old, value in found.values.items() if axis.name in value.indices()]
            names[axis.name] = _new_index(holders[0] if holders else self._axis_name(axis.name), taken)
        for axis in found.reduction:
            names[axis.name] = _new_index(axis.name.rstrip("/%"), taken)
        return names

    def _axis_name(self, index: str) -> str:
        """A name for an index `k!` of axis k that stands for no index of the spread."""
        position = int(index.rstrip("!").split(".")[0])
        return self.axes[position] if position < len(self.axes) else "p"

    def _guarded(
        self, domain: tuple[Axis, ...], reduction: tuple[Axis, ...], body: Expression, conditions: Sequence[Expression]
    ) -> Equation:
        """A sum that leaves out points where conditions do not hold, or cases if there is nothing to sum."""
        positions = [condition for condition in conditions if not reads(condition)]
        values = [condition for condition in conditions if reads(condition)]
        if values:  # they may be read only where the positions exist
            body = self._case(values, body)
        if not reduction:
            return Equation(domain, self._case(positions, body) if positions else body, self.dtype)
        guard = both(positions) if positions else None
        return Equation(domain, body, self.dtype, reduction, "sum", guard, accumulator_of(self.dtype))

    def _case(self, conditions: Sequence[Expression], body: Expression) -> Expression:
        return Apply("select", (both(conditions), body, real(0, self.dtype)), self.dtype)

    def _dense(
        self,
        domain: tuple[Axis, ...],
        reduction: tuple[Axis, ...],
        values: dict[str, Integer],
        conditions: list[Expression],
        renamed: Mapping[str, Integer],
    ) -> Equation:
        """A sum of products over what is surrounded by zeros."""
        margins = self.margins
        assert margins is not None
        sizes = {axis.name: axis.size for axis in self.spread.axes}
        met = [
            substitute_indices(test, renamed)
            for name in margins.around
            for test in _tests(self.gathered.values[name], sizes[name], self.gathered)
        ]
        kept = [condition for condition in conditions if condition not in met]
        flips = {
            axis.name: axis.size - 1 - plain(axis.name) for axis in reduction if self._runs_back(axis.name, values)
        }
        values = {name: value.substitute({Index(k): v for k, v in flips.items()}) for name, value in values.items()}
        kept = [substitute_indices(condition, flips) for condition in kept]
        body = self._surrounded(values)
        for factor in products(self.spread.value)[0]:
            if factor not in margins.factors:
                body = mul(body, self._in_order(substitute_indices(factor, values), domain, reduction))
        return self._guarded(domain, reduction, body, kept)

    def _runs_back(self, name: str, values: Mapping[str, Integer]) -> bool:
        """Whether a window index is taken off the position in what is surrounded by zeros."""
        assert self.margins is not None
        steps = [values[old].coefficient(name) for old in self.margins.around]
        return any(step is not None and is_positive(-step) for step in steps) and not any(
            step is not None and is_positive(step) for step in steps
        )

    def _surrounded(self, values: Mapping[str, Integer]) -> Expression:
        """An element of the surrounded factors."""
        margins = self.margins
        assert margins is not None
        shifted = [
            values[axis.name] + (margins.around[axis.name][0] if axis.name in margins.around else ZERO)
            for axis in margins.axes
        ]
        if None not in margins.tensors:
            margins.tensors[None] = self.make(f"{self.hint}.pad", self._frame())
        return Read(margins.tensors[None], tuple(shifted), self.dtype)

    def _frame(self) -> Equation:
        """The factors with zeros around, in the form of a padding."""
        margins = self.margins
        assert margins is not None
        body = margins.factors[0]
        for factor in margins.factors[1:]:
            body = mul(body, factor)
        axes, moved, tests = [], {}, []
        for axis in margins.axes:
            before, after = margins.around.get(axis.name, (ZERO, ZERO))
            position = plain(axis.name) - before
            moved[axis.name] = position
            axes.append(Axis(axis.name, axis.size + before + after))
            for needed, test in ((before, position), (after, axis.size - 1 - position)):
                if needed != ZERO:
                    tests.append(Apply("le", (Number(ZERO, "int64"), Number(test, "int64")), "bool"))
        body = substitute_indices(body, moved)
        return Equation(tuple(axes), Apply("select", (both(tests), body, real(0, self.dtype)), self.dtype), self.dtype)

    def _in_order(self, factor: Expression, domain: Sequence[Axis], reduction: Sequence[Axis]) -> Expression:
        """A factor that is read backwards or in steps, copied in the order in which it is read."""
        if not isinstance(factor, Read) or not all(map(_affine, factor.subscripts)):
            return factor
        if all(s.plain_index is not None or not s.indices() for s in factor.subscripts):
            return factor
        used = indices_of(factor)
        axes = tuple(axis for axis in (*reduction, *domain) if axis.name in used)
        if not used <= {axis.name for axis in axes}:
            return factor
        name = self.make(f"{factor.tensor}.turned", Equation(axes, factor, factor.dtype))
        return Read(name, tuple(plain(axis.name) for axis in axes), factor.dtype)


def _affine(subscript: Integer) -> bool:
    return all(
        len(monomial) == 0 or (len(monomial) == 1 and isinstance(monomial[0], Index)) for monomial, _ in subscript.terms
    )


def _new_index(wanted: str, taken: set[str]) -> str:
    """A name for an index that differs from the others even if it is written in capitals."""
    name = new_name(small(wanted), set(map(small, taken)))
    taken.add(name)
    return name


def small(name: str) -> str:
    """The name of an index in small letters, but for a leading Δ."""
    return name[:1].replace("δ", "Δ") + name[1:].lower() if name[:1] in "Δδ" else name.lower()
