"""Recurrences (R17): equations that read each other at earlier values of one index, as one loop.

The code of the loop does not grow with its length.  Reductions that do not depend on the
loop are taken out of it.
"""

from __future__ import annotations

from dataclasses import replace

from .diagnostics import error
from .equations import Axis, Carried, Carry, Equation, Expression, Piece, Read, Recurrence, Step
from .group_parts import Member, Part
from .integers import Index, Integer
from .lowering import Lowering
from .names import distinct
from .ranges import Access
from .session import Session
from .terms import ReadTerm, Term, free_indices, walk
from .values import Scope

MAXIMUM_REACH = 1_000
"""Steps that a recurrence may look back or ahead."""


class Recurrent:
    """Makes one Recurrence of the members of a group."""

    def __init__(self, elaborator: Session, scope: Scope, members: dict[str, Member]) -> None:
        self.elaborator = elaborator
        self.builder = elaborator.builder
        self.scope = scope
        self.members = members
        self.own = {m.name: m for m in members.values()}
        self.loops = [part for m in members.values() for part in m.parts if part.recursive or self._depends(part)]
        self.axis = -1
        self.reverse = False
        self.index = "t"

    def _depends(self, part: Part) -> bool:
        return part.recursive

    def define(self) -> None:
        self._find_time()
        self._solve()
        lower, upper = self._interval()
        starts = {m.name: self._starts(m, lower, upper) for m in self.members.values()}
        margins = {name: self._margin(name, found, lower, upper) for name, found in starts.items()}
        steps = self._steps(margins, lower)
        carried = tuple(self._carried(m, starts[m.name], margins[m.name], upper) for m in self.members.values())
        first = next(iter(self.members.values()))
        loop = Recurrence(self.index, lower, upper, self.reverse, carried, tuple(steps))
        name = self.builder.add(f"{first.name}.loop", loop, first.spelled.place)
        for position, member in enumerate(self.members.values()):
            self._expose(member, name, position, carried[position], margins[member.name], lower, upper)

    # -- the time index ------------------------------------------------------------------------
    def _find_time(self) -> None:
        reads = [
            (part, node)
            for part in self.loops
            for node in walk(part.term)
            if isinstance(node, ReadTerm) and node.tensor.name in self.own
        ]
        self._choose_axis(reads)
        for part, node in reads:
            self._check_distance(node, _distance(part, node, self.axis))
        if self.axis < 0:
            part = self.loops[0]
            raise error(
                "E708", part.place, f"{self.own[part.name].value.shown} needs its own value at the same position",
                notes=["a recurrence reads an earlier value, as in `h[b,t,j] = … h[b,t-1,J] …`"],
            )  # fmt: skip
        for part in self.loops:
            target = part.targets[self.axis]
            names = [n for n in target.indices() if target.coefficient(n) == Integer.of(1)]
            if len(names) != 1 or (target - Integer.index(names[0])).constant is None:
                raise error(
                    "E715",
                    part.place,
                    "an equation of a recurrence writes one position for each step",
                    here=f"{target} is no index with a number added",
                )
            part.time, part.shift = names[0], target.offset
            self.index = names[0]

    def _choose_axis(self, reads: list[tuple[Part, ReadTerm]]) -> None:
        """The time axis, where reads move along several: the one along which all of them go the same way.

        `h[t-1, x-1]` goes along t or x; where a start is given at a position says which.
        """
        moves = [
            {axis: d for axis in range(len(node.subscripts)) if (d := _distance(part, node, axis))}
            for part, node in reads
        ]
        moving = sorted(set().union(*moves))
        if len(moving) > 1:
            moving = [a for a in moving if len({(a in m, m.get(a, 0) > 0) for m in moves if m}) == 1]
        if len(moving) > 1:
            starts = [p for m in self.members.values() for p in m.parts if not p.recursive]
            moving = [a for a in moving if any(not p.targets[a].indices() for p in starts)]
        if len(moving) != 1 and any(moves):
            place = next(node.place for (_, node), found in zip(reads, moves, strict=True) if found)
            raise error("E713", place, "a recurrence goes along one axis, and this one goes along two")
        if moving:
            self.axis = moving[0]
            self.reverse = next(found[self.axis] for found in moves if self.axis in found) > 0

    def _check_distance(self, node: ReadTerm, difference: int) -> None:
        """Refuse a read that goes the other way along the time axis, or too far."""
        if difference and self.reverse != (difference > 0):
            raise error("E714", node.place, "a recurrence reads earlier values or later ones, not both")
        if abs(difference) > MAXIMUM_REACH:
            raise error(
                "E718",
                node.place,
                f"this reads {node.tensor.shown} {abs(difference):,} steps away",
                here=f"a recurrence reaches at most {MAXIMUM_REACH:,} steps",
                notes=["every one of these steps would need a start of its own"],
            )

    def _solve(self) -> None:
        for part in self.loops:
            ranges = part.translator.ranges
            kept: list[Access] = []
            for access in ranges.accesses:
                if access.tensor.name in self.own and access.axis == self.axis:
                    self._refuse_strange_time(part, access)
                    continue
                kept.append(access)
            ranges.accesses = kept
            assert part.time is not None
            if part.time not in ranges.known and not any(part.time in a.expression.indices() for a in kept):
                ranges.excused.add(part.time)  # only members are read with it: it runs as theirs does
            ranges.solve()
            for axis, target in enumerate(part.targets):
                name = target.plain_index
                if axis != self.axis and name is not None:
                    size = self.own[part.name].value.shape[axis]
                    extent = ranges.known[name].upper - ranges.known[name].lower
                    if not self.builder.unify(size, extent):
                        raise error(
                            "E401", part.place, f"axis {axis} of {self.own[part.name].value.shown} has two sizes"
                        )

    def _refuse_strange_time(self, part: Part, access: Access) -> None:
        if (access.expression - part.targets[self.axis]).constant is None:
            raise error(
                "E709", access.place, f"{access.tensor.shown} is read at no fixed distance from {part.time}",
                notes=[f"a recurrence reads a fixed number of steps back, as in "
                       f"`{access.tensor.shown}[{part.time}-1]`"],
            )  # fmt: skip

    def _interval(self) -> tuple[Integer, Integer]:
        """The values of the time index for which the loop runs, in terms of positions written."""
        self._lend_range()
        intervals = []
        for part in self.loops:
            assert part.time is not None
            known = part.translator.ranges.known[part.time]
            intervals.append(
                (self.builder.resolve(known.lower) + part.shift, self.builder.resolve(known.upper) + part.shift)
            )
        lower, upper = intervals[0]
        constants = [
            part.targets[self.axis].constant
            for m in self.members.values() for part in m.parts
            if not part.recursive and part.targets[self.axis].constant is not None
        ]  # fmt: skip
        if not self.reverse and constants and max(c for c in constants if c is not None) >= 0 and not lower.terms:
            # a start at position 0: the loop begins after it
            lower = Integer.of(max(c for c in constants if c is not None) + 1)
            intervals = [(lower, u) for _, u in intervals]
        for part, interval in zip(self.loops, intervals, strict=True):
            if interval != (lower, upper):
                raise error(
                    "E710", part.place, "the equations of a recurrence run over different ranges",
                    here=f"{interval[0]}..{interval[1]}", labels=[(self.loops[0].place, f"{lower}..{upper}")],
                )  # fmt: skip
        return lower, upper

    def _lend_range(self) -> None:
        """Equations that read nothing but members along the time run as long as the others."""
        settled = [part for part in self.loops if part.time in part.translator.ranges.known]
        for part in self.loops:
            if part.time is None or part in settled:
                continue
            if not settled:
                raise part.translator.ranges.no_range(part.time)
            model = settled[0]
            known = model.translator.ranges.known[model.time or ""]
            distance = model.shift - part.shift
            part.translator.ranges.known[part.time] = replace(
                known, lower=known.lower + distance, upper=known.upper + distance
            )

    # -- starts ------------------------------------------------------------------------------------
    def _starts(self, member: Member, lower: Integer, upper: Integer) -> list[tuple[Integer, Piece]]:
        found: list[tuple[Integer, Piece]] = []
        for k, part in enumerate(member.parts):
            if part.recursive:
                continue
            position = self.builder.resolve(part.targets[self.axis])
            if position.indices():
                raise error(
                    "E711",
                    part.place,
                    f"the start of {member.value.shown} must be given at one position of {self.index}",
                    here=f"this is given at {position}",
                )
            found.append((position, self._start_piece(member, part, k)))
        return found

    def _start_piece(self, member: Member, part: Part, k: int) -> Piece:
        ranges = part.translator.ranges
        for axis, target in enumerate(part.targets):
            if target.plain_index is not None:
                ranges.accesses.append(Access(member.value, axis, target, member.value.shape[axis], part.place))
        ranges.solve()
        lowering = Lowering(self.builder, ranges, f"{member.name}.start", part.place)
        made = lowering.define(f"{member.name}.start", part.domain, part.term, member.value.dtype)
        operation = self.builder.operations[made]
        assert isinstance(operation, Equation)
        return Piece(made, operation.domain, tuple(part.targets))

    def _margin(self, name: str, starts: list[tuple[Integer, Piece]], lower: Integer, upper: Integer) -> int:
        """How many places the storage needs before position 0; checks that the starts suffice."""
        reach = self._reach(name)
        member = self.own[name]
        positions = [position for position, _ in starts]
        needed = [upper + k for k in range(reach)] if self.reverse else [lower - 1 - k for k in range(reach)]
        for position in needed:
            if position not in positions:
                subs = ", ".join(
                    str(position) if a == self.axis else (n or "j") for a, n in enumerate(member.value.axes)
                )
                raise error(
                    "E712", member.spelled.place, f"the start of {member.value.shown} is missing at "
                                                  f"{self.index} = {position}",
                    here="the first step reads it",
                    notes=[f"give it, for example `{member.value.shown}[{subs}] = 0`"],
                )  # fmt: skip
        lowest = min((p.constant for p in positions if p.constant is not None), default=0)
        return max(0, -lowest)

    def _reach(self, name: str) -> int:
        """How far back (or ahead) the tensor is read."""
        reach = 0
        for part in self.loops:
            for node in walk(part.term):
                if isinstance(node, ReadTerm) and node.tensor.name == name:
                    distance = (node.subscripts[self.axis] - part.targets[self.axis]).constant or 0
                    reach = max(reach, abs(distance))
        return reach

    # -- steps -----------------------------------------------------------------------------------------
    def _steps(self, margins: dict[str, int], lower: Integer) -> list[Step]:
        steps: list[Step] = []
        for part in self._ordered():
            assert part.time is not None
            # t is the position written; the statement's own index lags by its shift
            moved = Integer.index(self.index) - part.shift
            term = _shift_time(part.term, part.time, moved)
            term = _shift_reads(term, self.axis, margins)
            lowering = _StepLowering(self, part, lower, steps)
            domain = tuple(n for n in part.domain if n != part.time)
            value = self.own[part.name].value
            equation = lowering.equation(part.name, domain, term, value.dtype)
            target = tuple(
                Integer.index(self.index) + margins[part.name] if axis == self.axis else self.builder.resolve(t)
                for axis, t in enumerate(part.targets)
            )
            steps.append(Step(part.name, equation, target))
        return steps

    def _ordered(self) -> list[Part]:
        """The loop's equations so that values of the same step come before their uses."""
        waiting = list(self.loops)
        done: set[str] = set()
        ordered: list[Part] = []
        while waiting:
            ready = [p for p in waiting if not (self._same_step(p) - done)]
            if not ready:
                cycle = ", ".join(sorted({self.own[p.name].value.shown for p in waiting}))
                raise error(
                    "E708",
                    waiting[0].place,
                    f"{cycle} need each other's values at the same {self.index}",
                    notes=["one of them must read an earlier value"],
                )
            for part in ready:
                waiting.remove(part)
                ordered.append(part)
            done |= {p.name for p in ready if all(q.name != p.name for q in waiting)}
        return ordered

    def _same_step(self, part: Part) -> set[str]:
        return {
            node.tensor.name
            for node in walk(part.term)
            if isinstance(node, ReadTerm)
            and node.tensor.name in self.own
            and (node.subscripts[self.axis] - part.targets[self.axis]).constant == 0
        }

    # -- results -----------------------------------------------------------------------------------------
    def _carried(self, member: Member, starts: list[tuple[Integer, Piece]], margin: int, upper: Integer) -> Carried:
        after = self._reach(member.name) if self.reverse else 0
        shape = tuple(
            upper + margin + after if axis == self.axis else self.builder.resolve(size)
            for axis, size in enumerate(member.value.shape)
        )
        pieces = tuple(
            replace(piece, target=tuple(t + margin if axis == self.axis else t for axis, t in enumerate(piece.target)))
            for _, piece in starts
        )
        return Carried(member.name, shape, member.value.dtype, self.axis, pieces)

    def _expose(
        self, member: Member, loop: str, position: int, carried: Carried, margin: int, lower: Integer, upper: Integer
    ) -> None:
        whole = margin == 0 and carried.shape[self.axis] == upper
        name = member.name if whole else f"{member.name}.all"
        made = self.builder.add(name, Carry(loop, position, carried.shape, carried.dtype), member.spelled.place)
        shape = tuple(upper if axis == self.axis else size for axis, size in enumerate(carried.shape))
        if not whole:
            axes = tuple(Axis(n, size) for n, size in zip(distinct(member.value.axes), shape, strict=True))
            subscripts = tuple(Integer.index(a.name) + (margin if k == self.axis else 0) for k, a in enumerate(axes))
            body = Read(made, subscripts, carried.dtype)
            made = self.builder.add(member.name, Equation(axes, body, carried.dtype), member.spelled.place)
        self.builder.axes[made] = member.value.axes
        if not any(member.name in self._same_step(part) for part in self.loops):
            # only earlier values are read within the loop: this is a result, not a step on the way
            self.builder.read_names.discard(member.name)
        self.elaborator.define(member.spelled, replace(member.value, name=made, shape=shape), self.scope)


def _distance(part: Part, node: ReadTerm, axis: int) -> int:
    """How far ahead of the place written a read is along an axis; 0 if that is not constant."""
    if not 0 <= axis < min(len(node.subscripts), len(part.targets)):
        return 0
    return (node.subscripts[axis] - part.targets[axis]).constant or 0


def _shift_time(term: Term, time: str, moved: Integer) -> Term:
    from .terms import substitute

    return substitute(term, {time: moved})


def _shift_reads(term: Term, axis: int, margins: dict[str, int]) -> Term:
    from .terms import ApplyTerm, ReduceTerm

    if isinstance(term, ReadTerm) and margins.get(term.tensor.name):
        margin = margins[term.tensor.name]
        return replace(term, subscripts=tuple(s + margin if k == axis else s for k, s in enumerate(term.subscripts)))
    if isinstance(term, ApplyTerm):
        return replace(term, arguments=tuple(_shift_reads(a, axis, margins) for a in term.arguments))
    if isinstance(term, ReduceTerm):
        return replace(term, body=_shift_reads(term.body, axis, margins))
    return term


class _StepLowering(Lowering):
    """Lowers one equation of a loop: its reductions become temporaries of the step, or, where
    they do not depend on the loop, equations over all times at once before it."""

    def __init__(self, recurrent: Recurrent, part: Part, lower: Integer, steps: list[Step]) -> None:
        super().__init__(recurrent.builder, part.translator.ranges, part.name, part.place)
        self.recurrent = recurrent
        self.part = part
        self.lower = lower
        self.steps = steps
        self.time = recurrent.index
        self._shift.pop(part.time or "", None)
        self.add = self._add_step
        self.temporaries: set[str] = set()

    def _add_step(self, name: str, equation: Equation) -> str:
        # "@t" tells a value of one step from a tensor of the same name outside the loop
        unique, number = f"{name}@{self.time}", 2
        while any(step.name == unique for step in self.steps):
            unique, number = f"{name}#{number}@{self.time}", number + 1
        self.steps.append(Step(unique, equation, None))
        self.temporaries.add(unique)
        return unique

    def _own_tensor(self, term: Term, available: tuple[str, ...], suffix: str) -> Expression:
        inside = set(self.recurrent.own) | self.temporaries
        if any(isinstance(node, ReadTerm) and node.tensor.name in inside for node in walk(term)):
            return super()._own_tensor(term, available, suffix)
        if self.time not in free_indices(term):
            return self._outside(term, available, suffix)
        return self._for_all_times(term, available, suffix)

    def _outside(self, term: Term, available: tuple[str, ...], suffix: str) -> Expression:
        """A value that is the same in every step."""
        self.add = self._add
        try:
            return super()._own_tensor(term, available, suffix)
        finally:
            self.add = self._add_step

    def _for_all_times(self, term: Term, available: tuple[str, ...], suffix: str) -> Expression:
        ranges = self.ranges
        known = ranges.known.get(self.time)
        part_known = ranges.known[self.part.time or self.time]
        span = replace(part_known, lower=self.lower, upper=part_known.upper + self.part.shift)
        ranges.known[self.time] = span
        self._shift[self.time] = Integer.index(self.time) + self.lower
        self.add = self._add
        try:
            read = super()._own_tensor(term, (self.time, *available), suffix)
        finally:
            self.add = self._add_step
            self._shift.pop(self.time, None)
            if known is None:
                del ranges.known[self.time]
            else:
                ranges.known[self.time] = known
        assert isinstance(read, Read)
        back = {Index(self.time): Integer.index(self.time) - self.lower}
        return replace(read, subscripts=tuple(s.substitute(back) for s in read.subscripts))
