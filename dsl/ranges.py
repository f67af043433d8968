"""Range inference (rules R8, R12, R14): from the accesses of one statement to the range of each index.

Every subscript that a statement writes is an `Access`.  An index that stands alone in a
subscript runs over that whole axis, and all such uses must agree; otherwise its range is
the largest interval from 0 that keeps every affine subscript in bounds.  The rounds end
because each fixes at least one index.  Afterwards every access is proven in bounds, under
the conditions of the case it stands in, or refused with a counterexample.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .builder import Builder
from .diagnostics import Diagnostic, Fix, Mistake, error
from .equations import Place
from .integers import ZERO, Element, FloorDiv, Index, Integer, Range, bounds, is_nonnegative
from .names import case, is_capital
from .values import TensorValue


@dataclass(frozen=True, slots=True)
class Access:
    """One subscript: position `expression` on an axis of `size` places; `guards` are conditions `>= 0`."""

    tensor: TensorValue
    axis: int
    expression: Integer
    size: Integer
    place: Place
    guards: tuple[Integer, ...] = ()
    alone: bool = True
    """Whether the writer's subscript is a single name, and not a sum that comes down to one (`s*x` with s = 1)."""

    @property
    def plain_index(self) -> str | None:
        """The index that stands alone in the subscript and so runs over the whole axis."""
        return self.expression.plain_index if self.alone else None

    @property
    def shown(self) -> str:
        """The axis as messages call it."""
        return self.tensor.axis_shown(self.axis)


@dataclass(frozen=True, slots=True)
class Fused:
    """Plain indices fused row-major into one axis of a tensor, as `(g,j)`."""

    tensor: TensorValue
    axis: int
    indices: tuple[str, ...]
    size: Integer
    place: Place


@dataclass(slots=True)
class Known:
    """The range of an index, where it comes from and how (for messages)."""

    lower: Integer
    upper: Integer
    place: Place
    why: str
    plain: bool


@dataclass
class Ranges:
    """The indices of one statement and what is known of them."""

    builder: Builder
    known: dict[str, Known] = field(default_factory=dict)
    accesses: list[Access] = field(default_factory=list)
    fused: list[Fused] = field(default_factory=list)
    extents: dict[str, Integer] = field(default_factory=dict)
    """Index -> the unknown that stands for its size while the statement is read."""
    places: dict[str, Place] = field(default_factory=dict)
    spellings: dict[str, str] = field(default_factory=dict)
    bindable: set[str] = field(default_factory=set)
    """Indices whose place in the text is where a range can be written."""
    windows: set[str] = field(default_factory=set)
    """Indices bound by a reducer."""
    unwritten: set[str] = field(default_factory=set)
    """Indices of tensors without subscripts, whose names the writer has not chosen."""
    sizes: dict[str, Place] = field(default_factory=dict)
    """Capitals that stand for a size beside an index -> where."""
    excused: set[str] = field(default_factory=set)
    """Indices whose range is settled elsewhere (the time of a recurrence)."""

    # -- facts ---------------------------------------------------------------------------------
    def mention(self, name: str, place: Place, spelling: str | None = None) -> None:
        """Make an index known to exist."""
        self.places.setdefault(name, place)
        self.spellings.setdefault(name, spelling or name)

    def state(self, name: str, lower: Integer, upper: Integer, place: Place) -> None:
        """A range that the writer gave."""
        self.known[name] = Known(lower, upper, place, "given", False)

    def shown(self, name: str) -> str:
        """The index as the writer spelled it."""
        return self.spellings.get(name, name)

    def box(self) -> dict[str, Range]:
        """All known ranges, with solved sizes put in."""
        resolve = self.builder.resolve
        return {name: (resolve(k.lower), resolve(k.upper)) for name, k in self.known.items()}

    def extent(self, name: str) -> Integer:
        """The size of an index, usable before its range is known."""
        known = self.known.get(name)
        if known is not None and not known.lower.terms:
            return self.builder.resolve(known.upper)
        if name not in self.extents:
            self.extents[name] = self.builder.unknown(f"size of {self.shown(name)}")
        return self.extents[name]

    def _settle_extents(self) -> None:
        for name, unknown in self.extents.items():
            known = self.known.get(name)
            if known is not None:
                self.builder.unify(unknown, known.upper - known.lower)

    # -- solving -------------------------------------------------------------------------------
    def solve(self) -> None:
        """Find the range of every index; raises Mistake."""
        while self._round() or self._round_under_guards():
            self._settle_extents()
        self._settle_extents()
        missing = [name for name in self.places if name not in self.known and name not in self.excused]
        if missing:
            # where a window's index is open, so is the one that the window moves over
            raise self.no_range(next((name for name in missing if name in self.windows), missing[0]))
        for name in self.places:
            if name in self.known:
                self._check_extent(name)
        for access in self.accesses:
            self._check_access(access)

    def _unknown(self, access: Access) -> set[str]:
        return {name for name in access.expression.indices() if name not in self.known}

    def _round(self) -> bool:
        progress = False
        for access in self.accesses:
            name = access.plain_index
            if name is not None and not _guarded(access, name):
                progress |= self._plain(access, name)
        progress |= any([self._unfuse(fused) for fused in self.fused])
        if progress:
            return True
        candidates: dict[str, list[Access]] = {}
        for access in self.accesses:
            unknown = self._unknown(access)
            if len(unknown) == 1 and access.plain_index is None:
                name = next(iter(unknown))
                if not _guarded(access, name) and name not in self.excused:
                    candidates.setdefault(name, []).append(access)
        waiting = {n for a in self.accesses if len(self._unknown(a)) > 1 for n in self._unknown(a)}
        order = sorted(candidates, key=lambda n: (n in waiting, list(self.places).index(n)))
        return any(self._affine(name, candidates[name]) for name in order)

    def _round_under_guards(self) -> bool:
        """Where nothing else tells: a case that compares an index with others (`s <= t`) does not shorten its axis."""
        for access in self.accesses:
            name = access.plain_index
            if name is None or name in self.known or any(guard.indices() == {name} for guard in access.guards):
                continue
            if self._plain(access, name):
                return True
        return False

    def _plain(self, access: Access, name: str) -> bool:
        known = self.known.get(name)
        size = self.builder.resolve(access.size)
        if known is None:
            if name in self.excused:
                return False
            self.known[name] = Known(ZERO, size, access.place, access.shown, True)
            self.builder.deduce(access.place, f"{self.shown(name)} runs over {access.shown}: 0..{size}")
            return True
        if known.plain and not self.builder.unify(known.upper, size):
            raise error(
                "E401",
                access.place,
                ("these axes have" if name in self.unwritten else f"index {self.shown(name)} runs over axes of")
                + f" different sizes, {self.builder.resolve(known.upper)} and {size}",
                here=f"{access.shown} has size {size}",
                labels=[(known.place, f"{known.why} has size {self.builder.resolve(known.upper)}")],
                notes=[
                    "tensors without subscripts are combined element by element, so they need axes of the same sizes"
                    if name in self.unwritten
                    else "an index that stands alone in a subscript runs over the whole axis, and all such axes must "
                    "agree"
                ],
            )
        return False

    def _unfuse(self, fused: Fused) -> bool:
        """Give the one unknown index of a fused axis what the others leave of its size."""
        unknown = [name for name in fused.indices if name not in self.known]
        if len(unknown) != 1 or unknown[0] in self.excused:
            return False
        others = Integer.of(1)
        for name in fused.indices:
            if name != unknown[0]:
                upper = self._upper(name)
                if upper.constant is not None and upper.constant < 1:
                    raise self._empty(name)
                others = others * upper
        size = self.builder.resolve(fused.size)
        if others.unknowns():
            return False
        if size.unknowns():
            return self._unfuse_open(fused, unknown[0], size, others)
        shown = f"the fused axis ({', '.join(map(self.shown, fused.indices))}) of {fused.tensor.shown}"
        quotient = size // others
        if quotient * others != size:
            raise error(
                "E407", fused.place, f"{shown} has size {size}, which {others} does not divide",
                here=f"{self.shown(unknown[0])} would have {size}/{others} values",
            )  # fmt: skip
        self.known[unknown[0]] = Known(ZERO, quotient, fused.place, shown, True)
        self.builder.deduce(fused.place, f"{self.shown(unknown[0])} is what {others} leaves of {size}: 0..{quotient}")
        return True

    def _unfuse_open(self, fused: Fused, name: str, size: Integer, others: Integer) -> bool:
        """The same where the size is yet to be inferred: it will be a multiple of the others."""
        part = self.extent(name)
        if not self.builder.unify(size, part * others):
            return False
        self.known[name] = Known(
            ZERO, part, fused.place, f"what {others} leaves of an axis of {fused.tensor.shown}", True
        )
        return True

    def _affine(self, name: str, accesses: list[Access]) -> bool:
        upper: Integer | None = None
        chosen: Access | None = None
        for access in accesses:
            limit = self._limit(access, name)
            if limit is None:
                continue
            if upper is None or is_nonnegative(upper - limit):
                upper, chosen = limit, access
            elif not is_nonnegative(limit - upper):
                continue  # cannot be compared: the check afterwards decides
        if upper is None or chosen is None:
            return False
        self.known[name] = Known(ZERO, upper, chosen.place, chosen.shown, False)
        others = sorted(chosen.expression.indices() - {name})
        using = f" with {', '.join(f'{self.shown(o)} < {self._upper(o)}' for o in others)}" if others else ""
        text = self._text(chosen.expression)
        self.builder.deduce(
            chosen.place,
            f"{self.shown(name)} keeps {text} within {chosen.shown} (size "
            f"{self.builder.resolve(chosen.size)}){using}: 0..{upper}",
        )
        self._note_dropped(chosen, name, upper)
        return True

    def _upper(self, name: str) -> Integer:
        return self.builder.resolve(self.known[name].upper)

    def _limit(self, access: Access, name: str) -> Integer | None:
        """The exclusive upper end that one access allows; raises Mistake for a negative reach at 0."""
        expression = self.builder.resolve(access.expression)
        size = self.builder.resolve(access.size)
        divisor, inner = _outer_floor(expression, name)
        coefficient = inner.coefficient(name)
        if coefficient is None or not coefficient.terms:
            return None
        rest = bounds(inner.substitute({Index(name): ZERO}), self.box())
        if rest is None:
            return None
        low, high = rest
        if is_nonnegative(coefficient):
            self._refuse_negative(access, name, low)
            return (size * divisor - 1 - high) // coefficient + 1
        if is_nonnegative(-coefficient):
            return low // -coefficient + 1
        return None

    def _refuse_negative(self, access: Access, name: str, low: Integer) -> None:
        if is_nonnegative(low) or low.unknowns():
            return
        reach = low.constant if low.constant is not None else low
        by = f"{-reach}" if isinstance(reach, int) else f"{-low}"
        axis = access.tensor.axes[access.axis] or "…"
        raise error(
            "E404",
            access.place,
            f"at {self.shown(name)} = 0 this reads position {reach} of {access.shown}",
            here=f"{self._text(access.expression)} starts below 0",
            notes=[
                f"to put zeros around the edge, read `pad({access.tensor.shown}, {axis}: {by})` and drop the offset",
                f"to cut off the edges, read `cut({access.tensor.shown}, {axis}: {by})`, whose "
                f"positions start at {reach}",
            ],
        )

    def _note_dropped(self, access: Access, name: str, upper: Integer) -> None:
        coefficient = access.expression.coefficient(name)
        top = bounds(access.expression, self.box())
        if coefficient is None or top is None or (coefficient.constant or 0) < 2:
            return
        unread = self.builder.resolve(access.size) - 1 - top[1]
        for axis, places in access.tensor.padded:
            if axis == access.axis:
                unread = unread - places
        left = unread.constant
        window = bounds(access.expression.substitute({Index(name): ZERO}), self.box())
        if window is None or window[0] == window[1]:
            return  # single positions at a stride: leaving some out is what a stride is for
        if left and left > 0 and upper.constant:
            self.builder.report(
                Diagnostic(
                    "N501",
                    f"the last {f'{left} places' if left > 1 else 'place'} of {access.shown} "
                    f"{'are' if left > 1 else 'is'} not read: a window every {coefficient} places does not fit evenly",
                    access.place,
                    severity="note",
                )
            )

    # -- checking ------------------------------------------------------------------------------
    def _check_extent(self, name: str) -> None:
        known = self.known[name]

        def check() -> bool:
            extent = self.builder.resolve(known.upper - known.lower)
            if extent.unknowns():
                return False
            if extent.constant is not None and extent.constant < 1:
                raise self._empty(name)
            self.builder.require(extent - 1, f"index {self.shown(name)} must have at least one value", known.place)
            return True

        self.builder.defer(check)

    def _empty(self, name: str) -> Exception:
        known, shown = self.known[name], self.shown(name)
        lower, upper = self.builder.resolve(known.lower), self.builder.resolve(known.upper)
        if known.why == "given" or known.plain:
            return error("E405", known.place, f"index {shown} has no values: its range {lower}..{upper} is empty")
        for access in self.accesses:
            if access.place == known.place and access.shown == known.why:
                size = self.builder.resolve(access.size)
                span = bounds(self.builder.resolve(access.expression).substitute({Index(name): ZERO}), self.box())
                here = f"this needs at least {span[1] + 1}" if span is not None else "the window does not fit"
                message = f"the window is larger than {access.shown}, which has {size} places"
                return error("E405", known.place, message, here=here, notes=[f"no position is left for index {shown}"])
        return error("E405", known.place, f"no position is left for index {shown}: the window does not fit")

    def _check_access(self, access: Access) -> None:
        concerned = access.expression.indices().union(*(guard.indices() for guard in access.guards))
        box_now = {name: known for name, known in self.known.items() if name in concerned}

        def check() -> bool:
            box = {n: (self.builder.resolve(k.lower), self.builder.resolve(k.upper)) for n, k in box_now.items()}
            expression, size = self.builder.resolve(access.expression), self.builder.resolve(access.size)
            atoms = expression.atoms()
            if any(isinstance(atom, Element) for atom in atoms):
                return True  # a gather is checked when it runs
            if expression.indices() & self.excused:
                return True
            ends = [end for interval in box.values() for end in interval]
            if size.unknowns() or expression.unknowns() or any(end.unknowns() for end in ends):
                return False
            guards = [self.builder.resolve(guard) for guard in access.guards]
            box = _narrow(box, guards)
            for bound, what in ((expression, "below 0"), (size - 1 - expression, f"at or past {size}")):
                self._prove(access, bound, guards, box, what)
            return True

        self.builder.defer(check)

    def _prove(self, access: Access, value: Integer, guards: list[Integer], box: dict[str, Range], what: str) -> None:
        found = bounds(value, box)
        lowest = found[0] if found is not None else None
        if lowest is not None and is_nonnegative(lowest):
            return
        for smaller in (value, _multiplied_out(value), _remainders_out(value)):
            for guard in (ZERO, *guards):
                reduced = bounds(smaller - guard, box)
                if reduced is not None and is_nonnegative(reduced[0]):
                    return
        if lowest is not None and lowest.constant is None and not is_nonnegative(-lowest - 1):
            self.builder.require(lowest, f"{access.shown} is read {what} otherwise", access.place)
            return
        if lowest is None:
            raise error(
                "E406", access.place, f"cannot show that this subscript stays within {access.shown}",
                here=f"{self._text(access.expression)} of size {self.builder.resolve(access.size)}",
                notes=["subscripts that can be checked are sums of indices times numbers, and floors of such sums"],
            )  # fmt: skip
        raise self._out_of_bounds(access, box, what)

    def _out_of_bounds(self, access: Access, box: dict[str, Range], what: str) -> Exception:
        worst = _corner(self.builder.resolve(access.expression), box, highest=what != "below 0")
        example = ", ".join(f"{self.shown(name)} = {value}" for name, value in worst.items())
        position = self.builder.resolve(access.expression).substitute(
            {Index(name): value for name, value in worst.items()}
        )
        size = self.builder.resolve(access.size)
        labels = [
            (self.known[name].place, f"{self.shown(name)} runs over 0..{self._upper(name)} because of this")
            for name in worst
            if name in self.known and self.known[name].place != access.place
        ]
        return error(
            "E403",
            access.place,
            f"this reads past {access.shown}"
            if what != "below 0"
            else f"this reads before the start of {access.shown}",
            here=f"{self._text(access.expression)} reaches {position}" if worst else "",
            labels=labels[:2],
            notes=[
                f"{f'for example {example} reads' if worst else 'this is'} position {position}; "
                f"the axis has positions 0 to {size - 1}",
                *self._ways_out(access, list(worst), what),
            ],
        )

    def _ways_out(self, access: Access, involved: list[str], what: str) -> list[str]:
        """What the writer may have meant by a read that leaves its axis."""
        if not involved:
            return []
        axis, index = access.tensor.axes[access.axis], self.shown(involved[0])
        margin = f"{axis}: …" if axis else "…"
        shorter = "a range that starts later" if what == "below 0" else "a shorter range"
        return [
            f"give {index} {shorter}, or read `pad({access.tensor.shown}, {margin})`, which has places around the edge"
        ]

    def no_range(self, name: str) -> Exception:
        """The error for an index whose range does not follow from the statement."""
        shown = self.shown(name)
        involved = [a for a in self.accesses if name in a.expression.indices()]
        if not involved and name in self.sizes:
            return self.unknown_size(shown, self.sizes[name])
        for access in involved:
            open_sizes = self.builder.resolve(access.expression).unknowns()
            for other in access.expression.indices() & self.known.keys():
                open_sizes |= self.builder.resolve(self.known[other].upper).unknowns()
            hints = sorted(u.hint for u in open_sizes if not u.hint.startswith("size of"))
            if hints:
                return undetermined(f"{hints[0]}", access.place)
        guarded = [a for a in involved if _guarded(a, name)]
        size = self.builder.resolve(guarded[0].size).constant if guarded else None
        span = f"{shown} in 0..{size or 3}"
        fix = Fix(self.places[name], span, f"give its range, as in `{span}`") if name in self.bindable else None
        way = (
            f"where {shown} is bound, as in `sum[{span}](…)`" if name in self.windows else f"before it, `for {span}: …`"
        )
        notes = [f"a range can be given {way}"] if fix is None else []
        place, here = self.places[name], "nothing is read with it"
        with_whom = ""
        if involved:
            place, text = involved[0].place, self._text(involved[0].expression)
            others = sorted(self._unknown(involved[0]) - {name})
            here = f"{text} fits in more than one way"
            if guarded and len(guarded) == len(involved):
                here = "this is read in one of the cases only"
            elif others:
                with_whom = f" (neither does {self.shown(others[0])})"
        message = f"the range of index {shown} does not follow from this statement{with_whom}"
        return error("E402", place, message, here=here, notes=notes, fix=fix)

    def unknown_size(self, capital: str, place: Place) -> Exception:
        """The error for a capital that must be a size and is none."""
        return error(
            "E213",
            place,
            f"{capital} multiplies or divides an index here, so it must be a size, but none is known",
            notes=[f"declare it first, for example `{capital} = 2` or `{capital} = size(L, 1)`"],
        )

    def _text(self, expression: Integer) -> str:
        renamed = expression.substitute({Index(n): Integer.index(self.shown(n)) for n in expression.indices()})
        return str(self.builder.resolve(renamed))


def undetermined(what: str, place: Place) -> Mistake:
    """The error for a size that nothing in the program fixes: `filters`, `J of W`, `_ of W`, `size of k`."""
    name = what.split(" ")[0]
    if case(name) == "capital":
        way = f"give it a number before, as in `{name} = 8`"
    elif name in ("_", "size"):
        way = "write a number for it"
    else:
        way = f"give it by name in the call, as in `{name} 8`"
    return error(
        "E602",
        place,
        f"the size {what.removeprefix('size ')} is not determined",
        here="nothing in the program fixes it",
        notes=[f"{way}, or assert the shape of the result, as in `L1[55x55x96] = …`"],
    )


def _guarded(access: Access, name: str) -> bool:
    return any(name in guard.indices() for guard in access.guards)


def _outer_floor(expression: Integer, name: str) -> tuple[Integer, Integer]:
    """(d, e) such that the expression is `e // d`; (1, expression) where it is not a floor."""
    atom = expression.single_atom
    if isinstance(atom, FloorDiv) and name in atom.numerator.indices() and name not in atom.denominator.indices():
        return atom.denominator, atom.numerator
    return Integer.of(1), expression


def _multiplied_out(value: Integer) -> Integer:
    """An expression without its floor that is negative where the given one is: `n - d` for `n//d - 1`."""
    floors = [(monomial[0], factor) for monomial, factor in value.terms if len(monomial) == 1]
    floors = [(atom, factor) for atom, factor in floors if isinstance(atom, FloorDiv) and atom.numerator.indices()]
    if len(floors) != 1 or floors[0][1] not in (1, -1):
        return value
    floor, sign = floors[0]
    assert isinstance(floor, FloorDiv)
    rest = value - sign * Integer.atom(floor)
    if sign == 1:
        return floor.numerator + floor.denominator * rest
    return floor.denominator * (rest + 1) - 1 - floor.numerator


def _remainders_out(value: Integer) -> Integer:
    """At most the expression, with `d*(n//d)` as n less its remainder: `x - 2*(x//2)` is at least 0."""
    total = value
    for monomial, factor in value.terms:
        floor = monomial[0] if len(monomial) == 1 else None
        if isinstance(floor, FloorDiv) and floor.denominator.constant and factor % floor.denominator.constant == 0:
            divisor = floor.denominator.constant
            times = factor // divisor
            bound = times * (floor.numerator if times < 0 else floor.numerator - (divisor - 1))
            total = total - factor * Integer.atom(floor) + bound
    return total


def _narrow(box: dict[str, Range], guards: Iterable[Integer]) -> dict[str, Range]:
    """Shrink the ranges of single indices by guards of the form ±i + c >= 0."""
    result = dict(box)
    for guard in guards:
        names = guard.indices()
        if len(names) != 1:
            continue
        name = next(iter(names))
        coefficient = guard.coefficient(name)
        if name not in result or coefficient is None or coefficient.constant not in (1, -1):
            continue
        rest = guard.substitute({Index(name): ZERO})
        lower, upper = result[name]
        if coefficient.constant == 1 and is_nonnegative(-rest - lower):
            result[name] = (-rest, upper)
        elif coefficient.constant == -1 and is_nonnegative(upper - rest - 1):
            result[name] = (lower, rest + 1)
    return result


def _corner(expression: Integer, box: dict[str, Range], *, highest: bool) -> dict[str, Integer]:
    """The values of the indices at which an affine expression is largest or smallest."""
    corner: dict[str, Integer] = {}
    for name in sorted(expression.indices(), key=lambda n: (is_capital(n), n)):
        if name not in box:
            continue
        lower, upper = box[name]
        _, inner = _outer_floor(expression, name)
        coefficient = inner.coefficient(name)
        rising = coefficient is None or is_nonnegative(coefficient)
        corner[name] = upper - 1 if rising == highest else lower
    return corner
