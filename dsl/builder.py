"""The program under construction: operations made so far, sizes still unknown, notes for people.

Sizes that a statement leaves open (the number of filters of a layer whose output shape is
asserted only later) are `Unknown` atoms; `unify` solves them as facts come in, and
`finish` puts the answers everywhere.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from . import equations
from .diagnostics import Diagnostic, Mistake
from .equations import Deduction, Operation, Place, Program, Requirement, Shape, Statement
from .integers import Atom, Integer, IntegerLike, Symbol, Unknown, is_nonnegative


class Builder:
    """Collects what elaboration makes."""

    def __init__(self, name: str, mode: str, text: str) -> None:
        self.name = name
        self.mode = mode
        self.text = text
        self.operations: dict[str, Operation] = {}
        self.initializers: dict[str, Operation] = {}
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.updates: dict[str, str] = {}
        self.losses: dict[str, tuple[str, ...]] = {}
        self.metrics: list[str] = []
        self.symbols: dict[str, Symbol] = {}
        self.requirements: dict[Integer, Requirement] = {}
        self.statements: list[Statement] = []
        self.deductions: list[Deduction] = []
        self.places: dict[str, Place] = {}
        self.calls: dict[str, Place | None] = {}
        """Operation -> the call in the main program that made it."""
        self.axes: dict[str, tuple[str | None, ...]] = {}
        self.diagnostics: list[Diagnostic] = []
        self.sources: dict[str, str] = {}
        self.deferred: list[Callable[[], bool]] = []
        self.read_names: set[str] = set()
        self.relocate: Callable[[Diagnostic], Diagnostic] = lambda diagnostic: diagnostic
        self.outermost_call: Callable[[], Place | None] = lambda: None
        self._solutions: dict[Atom, IntegerLike] = {}
        self._unknowns = 0
        self._counts: dict[str, int] = {}
        """Name -> the first number behind it that may be free."""
        self._reported: set[Diagnostic] = set()

    # -- names and operations ---------------------------------------------------------------
    def unique(self, name: str) -> str:
        """`name`, or `name` with the first free number behind it."""
        if name not in self.operations and name not in self.initializers:
            return name
        count = self._counts.get(name, 2)
        while f"{name}#{count}" in self.operations or f"{name}#{count}" in self.initializers:
            count += 1
        self._counts[name] = count
        return f"{name}#{count}"

    def add(self, name: str, operation: Operation, place: Place, *, initializer: bool = False) -> str:
        """Add an operation under a unique form of `name`, which is returned."""
        name = self.unique(name)
        table = self.initializers if initializer else self.operations
        table[name] = operation
        self.places[name] = place
        self.calls[name] = self.outermost_call()
        return name

    def stream(self, name: str) -> int:
        """The number of a random stream: a function of its name, so that edits elsewhere do not move it."""
        return zlib.crc32(name.encode())

    # -- sizes ---------------------------------------------------------------------------------
    def unknown(self, hint: str) -> Integer:
        """A new size to be inferred; `hint` is shown to people."""
        self._unknowns += 1
        return Integer.atom(Unknown(self._unknowns, hint))

    def resolve(self, value: Integer) -> Integer:
        """Put in what is known of unknown sizes."""
        if not self._solutions or not value.unknowns():
            return value
        while True:
            found = value.substitute(self._solutions)
            if found == value:
                return value
            value = found

    def resolve_shape(self, shape: Shape) -> Shape:
        """`resolve` for every size of a shape."""
        return tuple(self.resolve(size) for size in shape)

    def unify(self, left: Integer, right: Integer) -> bool:
        """Make two sizes equal, solving for an unknown if need be; False if they differ or cannot be shown equal."""
        left, right = self.resolve(left), self.resolve(right)
        difference = left - right
        if not difference.terms:
            return True
        for value, other in ((left, right), (right, left)):
            atom = value.single_atom
            if isinstance(atom, Unknown) and atom not in other.atoms():
                self._solutions[atom] = other
                return True
        return self._solve_linear(difference)

    def _solve_linear(self, difference: Integer) -> bool:
        """Solve `difference = 0` where one unknown stands alone in one term with a constant rest."""
        unknown = [(m, c) for m, c in difference.terms if any(Integer(((m, 1),)).unknowns())]
        if len(unknown) != 1:
            return False
        monomial, coefficient = unknown[0]
        if len(monomial) != 1 or not isinstance(monomial[0], Unknown):
            return False
        rest = difference - Integer(((monomial, coefficient),))
        if any(c % coefficient for _, c in rest.terms):
            return False
        self._solutions[monomial[0]] = Integer(tuple((m, -c // coefficient) for m, c in rest.terms))
        return True

    def require(self, value: Integer, reason: str, place: Place) -> None:
        """Demand `value >= 0` of the run-time sizes (no-op where it is proven)."""
        if not is_nonnegative(value) and value not in self.requirements:
            self.requirements[value] = Requirement(value, reason, place)

    def defer(self, check: Callable[[], bool]) -> None:
        """Run a check now, or later if it cannot be decided yet (it then returns False)."""
        if not check():
            self.deferred.append(check)

    def run_deferred(self) -> None:
        """Try the waiting checks again; mistakes become diagnostics."""
        waiting, self.deferred = self.deferred, []
        for check in waiting:
            try:
                if not check():
                    self.deferred.append(check)
            except Mistake as mistake:
                self.report(mistake.diagnostic)

    # -- reports ---------------------------------------------------------------------------------
    def report(self, diagnostic: Diagnostic) -> None:
        """Add a diagnostic, once; `relocate` may move one inside the library to the call."""
        diagnostic = self.relocate(diagnostic)
        if diagnostic not in self._reported:
            self._reported.add(diagnostic)
            self.diagnostics.append(diagnostic)

    def deduce(self, place: Place, text: str) -> None:
        """Record one step of inference for `maj explain`."""
        self.deductions.append(Deduction(place, text, self.outermost_call()))

    @property
    def errors(self) -> int:
        """How many errors have been reported."""
        return sum(1 for d in self.diagnostics if d.severity == "error")

    @property
    def failed(self) -> bool:
        """Whether an error has been reported."""
        return self.errors > 0

    # -- the end ---------------------------------------------------------------------------------
    def finish(self) -> Program:
        """The program, with every size in its final form."""
        resolve = _Resolver(self)
        operations = {name: resolve.operation(op) for name, op in self.operations.items()}
        initializers = {name: resolve.operation(op) for name, op in self.initializers.items()}
        return Program(
            name=self.name,
            mode=self.mode,
            operations=operations,
            inputs=tuple(self.inputs),
            outputs=tuple(self.outputs),
            initializers=initializers,
            updates=dict(self.updates),
            losses=dict(self.losses),
            metrics=tuple(self.metrics),
            symbols=tuple(self.symbols.values()),
            requirements=tuple(
                replace(r, value=self.resolve(r.value))
                for r in self.requirements.values()
                if not is_nonnegative(self.resolve(r.value))
            ),
            statements=tuple(self.statements),
            deductions=tuple(replace(d, text=d.text) for d in self.deductions),
            places=dict(self.places),
            axis_names={name: tuple(a or "" for a in axes) for name, axes in self.axes.items()},
            source=self.text,
        )


class _Resolver:
    """Rebuilds operations with solved sizes."""

    def __init__(self, builder: Builder) -> None:
        self.builder = builder

    def integer(self, value: Integer) -> Integer:
        return self.builder.resolve(value)

    def value(self, value: Any) -> Any:
        if isinstance(value, Integer):
            return self.integer(value)
        if isinstance(value, tuple):
            return tuple(self.value(item) for item in value)
        if isinstance(value, (equations.Axis, equations.Piece, equations.Carried)):
            return replace(value, **{f: self.value(getattr(value, f)) for f in value.__slots__})
        if isinstance(value, equations.Step):
            return replace(value, equation=self.operation(value.equation), target=self.value(value.target))
        if isinstance(value, (equations.Literal, equations.Number, equations.Read, equations.Apply)):
            return equations.transform(value, lambda node: None, self.integer)
        return value

    def operation(self, operation: Any) -> Any:
        fields: Mapping[str, Any] = {f: getattr(operation, f) for f in operation.__slots__}
        changed = {f: new for f, old in fields.items() if (new := self.value(old)) is not old and new != old}
        return replace(operation, **changed) if changed else operation
