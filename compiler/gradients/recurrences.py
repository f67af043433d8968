"""Differentiation through time: the adjoint of a recurrence is a recurrence that runs the other way.

At each time t, taken from the last to the first, the loop computes for each step the adjoint u of
what the step computed, and from that what is passed on to values of earlier times, v:

    h[t+1] = tanh(W h[t] + a[t])        u[t] = d_h[t+1] + v[t+1]
                                        v[t] = Wᵀ ((1 - h[t+1]²) u[t])

Beyond the last time v is zero, which is its start.  What the steps add to the adjoints of tensors
outside, such as weights, needs no loop: it is one equation over all times at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ...dsl.equations import (
    FLOATS,
    Apply,
    Axis,
    Carried,
    Carry,
    Equation,
    Expression,
    Number,
    Piece,
    Read,
    Recurrence,
    Shape,
    Step,
    reads,
    rename_reads,
    substitute_indices,
    transform,
)
from ...dsl.integers import ZERO, Index, Integer, is_nonnegative, is_positive
from ..rewriting import map_expressions, new_name, plain
from .contributions import both, whole
from .equations import is_wanted_in, spreads
from .gathering import gather_at_once
from .inversion import Spread
from .reverse import Reverse
from .scalar import add, real


def pull_back(reverse: Reverse, name: str, loop: Recurrence) -> None:
    """Add what a recurrence says about the adjoints of the tensors that it reads."""
    _Backwards(reverse, name, loop).run()


@dataclass(frozen=True)
class _Site:
    """A read in one of the steps: a spread over all times and the step's own indices."""

    tensor: str
    spread: Spread


@dataclass
class _Passed:
    """What is passed on to a carried tensor at the time of the loop and some `distance` from it."""

    tensor: str
    axis: int
    distance: Integer
    name: str
    shape: Shape
    dtype: str
    sites: list[_Site] = field(default_factory=list)
    delays: dict[int, int] = field(default_factory=dict)
    """Step that writes the tensor -> how many times later the value is read."""

    @property
    def reach(self) -> int:
        """How many places beyond the last time are read."""
        return max(self.delays.values(), default=0)


@dataclass
class _Backwards:
    reverse: Reverse
    name: str
    loop: Recurrence
    carries: dict[str, str] = field(default_factory=dict)
    """Carried tensor -> the operation that holds it when the loop is done."""
    histories: dict[str, str] = field(default_factory=dict)
    """Temporary -> the tensor of its values at all times."""
    sites: list[_Site] = field(default_factory=list)
    adjoints: dict[int, str] = field(default_factory=dict)
    """Step -> its adjoint in the loop."""
    passed: list[_Passed] = field(default_factory=list)

    def run(self) -> None:
        """Make the loop, then what it adds to the adjoints outside."""
        loop = self.loop
        self.time = Axis(loop.index, loop.upper - loop.lower)
        self.carries = {carried.name: self._carry(k) for k, carried in enumerate(loop.carried)}
        self.active = self._active()
        reached = self._reached()
        if not reached:
            return
        self.adjoints = {k: f"d_{_outside(loop.steps[k].name)}@{k}" for k in reached}
        for k in reached:
            self._look(k)
        self._find_passed()
        held = self._loop(reached)
        self._add_outside(held)
        for carried in loop.carried:
            for piece in carried.starts:
                self._start(carried, piece, held)

    # -- the tensors of the loop --------------------------------------------------------------------

    def _carry(self, position: int) -> str:
        """The operation that holds a carried tensor."""
        for name, operation in {**self.reverse.operations, **self.reverse.made}.items():
            if isinstance(operation, Carry) and (operation.recurrence, operation.position) == (self.name, position):
                return name
        carried = self.loop.carried[position]
        return self.reverse.make(f"{carried.name}.all", Carry(self.name, position, carried.shape, carried.dtype))

    def _active(self) -> set[str]:
        """Carried tensors and temporaries of floats that depend on a wanted tensor."""
        outside = self.reverse.active
        inner = {carried.name for carried in self.loop.carried} | {step.name for step in self.loop.steps}
        found = {carried.name for carried in self.loop.carried if any(p.source in outside for p in carried.starts)}
        while True:
            known = found | (outside - inner)
            more = {step.name for step in self.loop.steps if any(read.tensor in known for read in _float_reads(step))}
            more = {step.name for step in self.loop.steps if step.name in more and step.equation.dtype in FLOATS}
            if more <= found:
                return found
            found |= more

    def _reached(self) -> list[int]:
        """Steps whose results some adjoint reaches, in the order of the loop."""
        steps = self.loop.steps
        names = {carried for carried, holder in self.carries.items() if self.reverse.has_adjoint(holder)}
        while True:
            reached = [k for k, step in enumerate(steps) if step.name in names & self.active]
            more = {read.tensor for k in reached for read in _float_reads(steps[k])} & self.active
            if more <= names:
                return reached
            names |= more

    def _history(self, name: str) -> str:
        """The tensor that holds a temporary at all times, computed at once from the finished loop."""
        if name not in self.histories:
            step = next(step for step in self.loop.steps if step.name == name and step.target is None)
            self.histories[name] = self.reverse.make(_outside(name), self._at_all_times(step.equation))
        return self.histories[name]

    def _at_all_times(self, equation: Equation) -> Equation:
        """A step's equation with time as its first index, reading what the finished loop holds."""
        temporaries = {step.name for step in self.loop.steps if step.target is None}
        time = plain(self.loop.index)

        def read(node: Expression) -> Expression | None:
            if isinstance(node, Read) and node.tensor in temporaries:
                return replace(node, tensor=self._history(node.tensor), subscripts=(time, *node.subscripts))
            return None

        def rewrite(expression: Expression) -> Expression:
            moved = substitute_indices(expression, {self.loop.index: time + self.loop.lower})
            return transform(rename_reads(moved, self.carries), read)

        return replace(map_expressions(equation, rewrite), domain=(self.time, *equation.domain))

    def _position(self, k: int) -> tuple[Integer, ...]:
        """Where step k writes at a time counted from 0."""
        step, time = self.loop.steps[k], plain(self.loop.index)
        if step.target is None:
            return (time, *(plain(axis.name) for axis in step.equation.domain))
        return tuple(s.substitute({Index(self.loop.index): time + self.loop.lower}) for s in step.target)

    def _holder(self, k: int) -> str:
        """The tensor outside that step k writes a part of."""
        step = self.loop.steps[k]
        return self._history(step.name) if step.target is None else self.carries[step.name]

    # -- who reads what -----------------------------------------------------------------------------

    def _look(self, k: int) -> None:
        """Find what step k adds to adjoints, as spreads over all times."""
        step = self.loop.steps[k]
        equation = self._at_all_times(step.equation)
        up = Read(self.adjoints[k], tuple(plain(axis.name) for axis in equation.domain), step.equation.dtype)
        known = Read(self._holder(k), self._position(k), step.equation.dtype)
        mine = {self.carries[name] for name in self.carries if name in self.active}
        mine |= {self._history(s.name) for s in self.loop.steps if s.target is None and s.name in self.active}
        wanted = is_wanted_in(lambda name: name in mine or name in self.reverse.active)
        for tensor, spread in spreads(_outside(step.name), equation, up, wanted, self.reverse.make, known):
            self.sites.append(_Site(tensor, spread))

    def _find_passed(self) -> None:
        """Group the reads of carried tensors by how far from the time of the loop they are."""
        carried = {self.carries[c.name]: c for c in self.loop.carried}
        found: dict[tuple[str, Integer], _Passed] = {}
        for site in self.sites:
            if site.tensor not in carried:
                continue
            tensor = carried[site.tensor]
            distance = site.spread.subscripts[tensor.axis] - plain(self.loop.index)
            key = site.tensor, distance
            if key not in found:
                shape = (*tensor.shape[: tensor.axis], *tensor.shape[tensor.axis + 1 :])
                name = f"d_{tensor.name}.passed@{len(found)}"
                found[key] = _Passed(site.tensor, tensor.axis, distance, name, shape, tensor.dtype)
                found[key].delays = self._delays(found[key])
            found[key].sites.append(site)
        self.passed = list(found.values())

    def _delays(self, passed: _Passed) -> dict[int, int]:
        delays: dict[int, int] = {}
        for k in self.adjoints:
            if self.loop.steps[k].target is not None and self._holder(k) == passed.tensor:
                delay = (self._position(k)[passed.axis] - plain(self.loop.index) - passed.distance).constant
                if delay is None:
                    raise ValueError(f"{self.name} reads {passed.tensor} at no fixed distance in time")
                delays[k] = -delay if self.loop.reverse else delay
        return delays

    # -- the loop -------------------------------------------------------------------------------------

    def _loop(self, reached: Sequence[int]) -> dict[str, str]:
        """Make the loop of adjoints: name in the loop -> the tensor that holds it when the loop is done."""
        taken = {*self.adjoints.values(), *(passed.name for passed in self.passed)}
        steps: list[Step] = []
        carried: list[Carried] = []
        for k in reversed(reached):
            equation = self.loop.steps[k].equation
            steps += self._steps(self.adjoints[k], equation.domain, equation.dtype, 0, self._terms(k), taken)
            carried.append(Carried(self.adjoints[k], (self.time.size, *equation.shape), equation.dtype, 0, ()))
        for passed in self.passed:
            if not passed.reach and passed.delays:
                continue  # the adjoint of the step that writes it takes it from where it is
            axes = tuple(Axis(f"i{k}", size) for k, size in enumerate(passed.shape))
            places = tuple(plain(axis.name) for axis in axes)
            terms = self._all_gathered(passed.sites, passed.axis, passed.shape, axes, places)
            steps += self._steps(passed.name, axes, passed.dtype, self._margin(passed.reach), terms, taken)
            shape = (self.time.size + passed.reach, *passed.shape)
            carried.append(Carried(passed.name, shape, passed.dtype, 0, self._zeros(passed)))
        reverse = not self.loop.reverse
        made = Recurrence(self.loop.index, ZERO, self.time.size, reverse, tuple(carried), tuple(steps))
        loop = self.reverse.make(f"d_{self.name}", made)
        return {
            c.name: self.reverse.make(f"{_outside(c.name)}.all", Carry(loop, position, c.shape, c.dtype))
            for position, c in enumerate(carried)
        }

    def _margin(self, reach: int) -> int:
        """Places before the first time, where a loop that runs forwards starts."""
        return reach if self.loop.reverse else 0

    def _zeros(self, passed: _Passed) -> tuple[Piece, ...]:
        """The start: zeros at one place after the other beyond the last time."""
        axes = tuple(Axis(f"i{k}", size) for k, size in enumerate(passed.shape))
        first = ZERO if self.loop.reverse else self.time.size
        if not passed.reach:
            return ()
        source = self.reverse.make(f"d_{self.name}.start", Equation(axes, real(0, passed.dtype), passed.dtype))
        inner = tuple(plain(axis.name) for axis in axes)
        return tuple(Piece(source, axes, (first + place, *inner)) for place in range(passed.reach))

    def _terms(self, k: int) -> list[Equation]:
        """What is summed to the adjoint of step k, each over its domain."""
        equation, position, holder = self.loop.steps[k].equation, self._position(k), self._holder(k)
        axes, terms, time = equation.domain, [], plain(self.loop.index)
        if self.loop.steps[k].target is None:
            shape = equation.shape
            places = tuple(plain(axis.name) for axis in axes)
            sites = [site for site in self.sites if site.tensor == holder]
            return self._all_gathered(sites, 0, shape, axes, places)
        if self.reverse.has_adjoint(holder):
            terms.append(Equation(axes, self.reverse.adjoint(holder, position), equation.dtype))
        for passed in self.passed:
            if k not in passed.delays:
                continue
            places = (*position[: passed.axis], *position[passed.axis + 1 :])
            if not passed.reach:
                terms += self._all_gathered(passed.sites, passed.axis, passed.shape, axes, places)
            else:
                delay = passed.delays[k]
                later = time + self._margin(passed.reach) + (-delay if self.loop.reverse else delay)
                terms.append(Equation(axes, Read(passed.name, (later, *places), equation.dtype), equation.dtype))
        return terms

    def _steps(
        self, name: str, axes: tuple[Axis, ...], dtype: str, margin: int, terms: Sequence[Equation], taken: set[str]
    ) -> list[Step]:
        """The equation of a carried adjoint as a sum of terms, sums among them in steps of their own before it."""
        target = (plain(self.loop.index) + margin, *(plain(axis.name) for axis in axes))
        if len(terms) == 1:
            return [Step(name, terms[0], target)]
        steps: list[Step] = []
        body: Expression | None = None
        for term in terms:
            value = term.body
            if term.combiner is not None:
                part = new_name(f"{name}.part", taken)
                taken.add(part)
                steps.append(Step(part, term, None))
                value = Read(part, tuple(plain(axis.name) for axis in axes), dtype)
            body = value if body is None else add(body, value)
        summed = Equation(axes, real(0, dtype) if body is None else body, dtype)
        return [*steps, Step(name, summed, target)]

    def _all_gathered(
        self, sites: Sequence[_Site], axis: int, shape: Shape, axes: tuple[Axis, ...], places: tuple[Integer, ...]
    ) -> list[Equation]:
        found = [self._gathered(site, axis, shape, axes, places) for site in sites]
        return [equation for equation in found if equation is not None]

    def _gathered(
        self, site: _Site, axis: int, shape: Shape, axes: tuple[Axis, ...], places: tuple[Integer, ...]
    ) -> Equation | None:
        """What a site adds at the time of the loop, as an equation over axes, at places of the tensor that follow."""
        spread = site.spread
        now = Spread(
            tuple(a for a in spread.axes if a.name != self.loop.index),
            spread.value,
            (*spread.subscripts[:axis], *spread.subscripts[axis + 1 :]),
            spread.conditions,
            {self.loop.index: (ZERO, self.time.size)},
        )
        found = gather_at_once(now, shape, self._dtype_of(site.tensor))
        return None if found is None else _at(found, axes, places)

    def _dtype_of(self, tensor: str) -> str:
        operation = self.reverse.operations.get(tensor) or self.reverse.made[tensor]
        assert not isinstance(operation, Recurrence)
        return operation.dtype

    # -- outside of the loop ----------------------------------------------------------------------------

    def _add_outside(self, held: dict[str, str]) -> None:
        """Add to the adjoints of tensors outside, over all times at once."""
        reverse = self.reverse
        inner = {*self.carries.values(), *self.histories.values()}
        for site in self.sites:
            if site.tensor in inner:
                continue
            spread = replace(site.spread, value=rename_reads(site.spread.value, held))
            reverse.add_spread(self.name, site.tensor, spread)

    def _start(self, carried: Carried, piece: Piece, held: dict[str, str]) -> None:
        """Add to the adjoint of what a carried tensor starts from."""
        reverse, holder = self.reverse, self.carries[carried.name]
        if piece.source not in reverse.active:
            return
        bodies: list[Expression] = []
        if reverse.has_adjoint(holder):
            bodies.append(reverse.adjoint(holder, piece.target))
        for passed in self.passed:
            if passed.tensor != holder or passed.name not in held:
                continue
            time = piece.target[passed.axis] - passed.distance
            tests = _inside(time, self.time.size)
            if tests is None:
                continue
            places = (*piece.target[: passed.axis], *piece.target[passed.axis + 1 :])
            body: Expression = Read(held[passed.name], (time + self._margin(passed.reach), *places), carried.dtype)
            if tests:
                body = Apply("select", (both(tests), body, real(0, carried.dtype)), carried.dtype)
            bodies.append(body)
        for body in bodies:
            reverse.add_part(piece.source, whole(Equation(piece.domain, body, carried.dtype)))


def _outside(name: str) -> str:
    """A name in a loop as one that a tensor outside may have."""
    return name.split("@")[0]


def _float_reads(step: Step) -> list[Read]:
    """Reads of floats in the body of a step."""
    return [read for read in reads(step.equation.body) if read.dtype in FLOATS]


def _at(equation: Equation, axes: tuple[Axis, ...], places: tuple[Integer, ...]) -> Equation:
    """The equation over other axes, at places of its own domain that follow from them."""
    taken = {axis.name for axis in axes}
    renamed: dict[str, Integer] = {}
    reduction = []
    for axis in equation.reduction:
        name = new_name(axis.name, taken)
        taken.add(name)
        renamed[axis.name] = plain(name)
        reduction.append(Axis(name, axis.size))
    values = {axis.name: place for axis, place in zip(equation.domain, places, strict=True)}

    def move(expression: Expression) -> Expression:
        return substitute_indices(expression, {**values, **renamed})

    return replace(map_expressions(equation, move), domain=axes, reduction=tuple(reduction))


def _inside(time: Integer, length: Integer) -> list[Expression] | None:
    """Conditions for a time to be one of the loop's; None if it certainly is not."""
    if is_positive(-time) or is_nonnegative(time - length):
        return None
    tests: list[Expression] = []
    if not is_nonnegative(time):
        tests.append(Apply("le", (Number(ZERO, "int64"), Number(time, "int64")), "bool"))
    if not is_positive(length - time):
        tests.append(Apply("lt", (Number(time, "int64"), Number(length, "int64")), "bool"))
    return tests
