"""Elaboration: runs a program's statements and makes its index equations.

`Elaborator` walks the statements top to bottom.  Compile-time statements (loops,
conditions, numbers) are carried out; layers are called, each call in a scope of its own;
definitions become equations through `translate`, `ranges` and `lowering`.  An error stops
its statement only, so that several can be reported at once.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import syntax
from .constants import Evaluator, NotConstant
from .context import STEPS_OF_A_STATEMENT
from .diagnostics import Diagnostic, Mistake, error
from .equations import Axis, Equation, Place, Read
from .groups import define_group, find_groups
from .initializers import add_initials
from .integers import Integer
from .library_index import standard_library
from .names import index_name
from .parser import parse, plain_text
from .ranges import undetermined
from .translate import AbandonStatement
from .values import (
    Broken,
    FunctionValue,
    LayerValue,
    Scope,
    TensorValue,
    Word,
)

if TYPE_CHECKING:
    from .front_end import CheckResult
from .assignments import Returned, _defined_names
from .declarations import Declarations

_FIRST_NAME = re.compile(r"\s*(?:(?:[Gg]iven|param|state|layer|function|for)\s)?\s*([^\W\d][\w']*)")
MAXIMUM_ITERATIONS = 10_000
MAXIMUM_ELEMENTS = 1_000_000_000_000
"""Of one tensor, without axes that are open until the program runs."""


def elaborate(
    text: str, name: str, *, mode: str, folder: Path | None, files: Mapping[str, str] | None = None
) -> CheckResult:
    """Check a whole text; never raises for a wrong program."""
    from .front_end import CheckResult

    text = plain_text(text)
    elaborator = Elaborator(name, mode, text, folder, files or {})
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, 6000))
    try:
        program = elaborator.run()
    finally:
        sys.setrecursionlimit(limit)
    diagnostics = tuple(
        sorted(elaborator.builder.diagnostics, key=lambda d: (d.place.file, d.place.line, d.place.column))
    )
    _add_library_sources(diagnostics, elaborator.builder.sources)
    return CheckResult(program, diagnostics, elaborator.builder.sources)


def _add_library_sources(diagnostics: tuple[Diagnostic, ...], sources: dict[str, str]) -> None:
    """The texts of library files that diagnostics point at."""
    files = {place.file for d in diagnostics for place in (d.place, *(label.place for label in d.labels))}
    for index in standard_library() if any(file not in sources for file in files) else ():
        if index.file in files:
            sources.setdefault(index.file, index.text)


class Elaborator(Declarations):
    """Carries out the statements of one program."""

    def run(self) -> Any:
        """The program, or None if there are errors."""
        parsed = parse(self.text, self.file)
        for problem in parsed.problems:
            self.builder.report(problem)
        self._poison_unparsed(parsed.problems)
        self._declare_ahead(parsed.statements, self.main)
        self.block(parsed.statements, self.main)
        self.builder.run_deferred()
        if not self.builder.failed:
            self._attempt(self._finish_program)
        if self.builder.failed:
            return None
        return self.builder.finish()

    def _poison_unparsed(self, problems: tuple[Diagnostic, ...]) -> None:
        """Names defined on lines that did not parse are not reported as unknown."""
        lines = self.text.split("\n")
        for problem in problems:
            number = min(problem.place.line, len(lines)) - 1
            while number > 0 and (not lines[number].strip() or lines[number][0].isspace()):
                number -= 1  # to the line where the statement begins
            match = _FIRST_NAME.match(lines[number])
            if match:
                self.main.define(match.group(1), Broken())

    def _finish_program(self) -> None:
        add_initials(self, self.initials)
        self._choose_outputs()
        self.builder.run_deferred()
        if self.builder.failed:
            return
        for name, operation in self.builder.operations.items():
            for size in getattr(operation, "shape", ()):
                unknown = self.builder.resolve(size).unknowns()
                if unknown:
                    raise undetermined(next(iter(unknown)).hint, self.builder.places[name])
            self._refuse_huge(name, getattr(operation, "shape", ()))

    def _refuse_huge(self, name: str, shape: tuple[Integer, ...]) -> None:
        sizes = [self.builder.resolve(size).constant for size in shape]
        elements = math.prod(size for size in sizes if size is not None)
        if elements > MAXIMUM_ELEMENTS:
            raise error(
                "E620", self.builder.calls[name] or self.builder.places[name],
                f"{name} would have {elements:,} elements" + (" for each sample" if None in sizes else ""),
                notes=[f"a tensor has at most {MAXIMUM_ELEMENTS:,}"],
            )  # fmt: skip

    def _choose_outputs(self) -> None:
        if self.named_outputs is not None:
            chosen = self.named_outputs
        else:
            chosen = [(t.spelling or t.name, t) for t in self.defined if t.name not in self.builder.read_names]
        if not chosen and not self.builder.losses:
            raise error(
                "E601", Place(self.file, 1, 1, 1, 2), "this program computes nothing",
                notes=["a program reads its inputs, `Given x[28, 28, 1]`, and defines tensors from them"],
            )  # fmt: skip
        for name, tensor in chosen:
            self.builder.outputs.append(self._own_name(name, tensor))

    def _own_name(self, name: str, tensor: TensorValue) -> str:
        """An operation with the output's own name (a copy where it is another tensor's)."""
        if tensor.name == name:
            return name
        axes = tuple(Axis(f"i_{k}", size) for k, size in enumerate(tensor.shape))
        body = Read(tensor.name, tuple(Integer.index(axis.name) for axis in axes), tensor.dtype)
        made = self.builder.add(name, Equation(axes, body, tensor.dtype), tensor.place)
        self.builder.axes[made] = tensor.axes
        return made

    def _attempt(self, action: Any, poison: tuple[syntax.Name, ...] = (), scope: Scope | None = None) -> None:
        """Run one statement; a mistake is reported and what it defines marked as broken."""
        calls = len(self.calls)
        try:
            action()
            return
        except Mistake as mistake:
            self.builder.report(mistake.diagnostic)
        except AbandonStatement:
            if not self.builder.failed:
                raise
        except RecursionError:
            place = poison[0].place if poison else Place(self.file, 1, 1, 1, 2)
            self.builder.report(
                Diagnostic("E105", "this statement is nested too deeply, or too long, to be checked", place)
            )
        except NotConstant:
            place = poison[0].place if poison else Place(self.file, 1, 1, 1, 2)
            self.builder.report(Diagnostic("E221", "this must be a number that is known while compiling", place))
        del self.calls[calls:]
        for name in poison:
            try:
                where = scope or self.main
                spelled = self.spell(name, where)
                where.define(spelled, Broken(), name.place)
                if spelled not in where.home.names:
                    where.home.define(spelled, Broken(), name.place)
            except (Mistake, NotConstant, AbandonStatement):
                continue

    def block(self, statements: tuple[syntax.Statement, ...], scope: Scope) -> None:
        """Run statements in order; definitions that refer to each other run together, where the last stands."""
        groups = find_groups(statements)
        later = dict(self.later)
        for statement in statements:
            for target in _defined_names(statement):
                self.later.setdefault(target.name, target.place)
        waiting = {k for members in groups.values() for k in members} - set(groups)
        for position, statement in enumerate(statements):
            if position in waiting:
                continue
            group = [statements[k] for k in groups[position]] if position in groups else None
            self._guarded_statement(statement, scope, group)
            for member in group or [statement]:
                for target in _defined_names(member):
                    self.later.pop(target.name, None)
        self.later = later

    def _guarded_statement(
        self, statement: syntax.Statement, scope: Scope, group: list[syntax.Statement] | None
    ) -> None:
        def action() -> None:
            outer, self.slices = self.slices, {}
            try:
                if group is not None:
                    self._record(group[0], scope, lambda: define_group(self, scope, group))
                else:
                    self.statement(statement, scope)
            finally:
                self.slices = outer

        if scope.home is self.main:
            targets = _defined_names(statement) if group is None else tuple(n for s in group for n in _defined_names(s))
            self._attempt(action, targets, scope)
            if not self.depth:
                self.builder.run_deferred()
        else:
            action()

    def statement(self, statement: syntax.Statement, scope: Scope) -> None:
        """Run one statement."""
        self.step(statement.place, STEPS_OF_A_STATEMENT)
        method = getattr(self, f"_{type(statement).__name__.lower()}")
        method(statement, scope)

    def _layer(self, statement: syntax.Layer, scope: Scope) -> None:
        if scope.home is not self.main or scope is not self.main:
            scope.define(statement.name, LayerValue(statement, scope), statement.place)

    def _function(self, statement: syntax.Function, scope: Scope) -> None:
        if scope is not self.main:
            scope.define(statement.name, FunctionValue(statement, scope), statement.place)

    def _return(self, statement: syntax.Return, scope: Scope) -> None:
        if scope.home is self.main:
            raise error(
                "E609",
                statement.place,
                "`return` stands in a layer only",
                notes=["to choose the outputs of a program, write `output a, b`"],
            )
        hint = scope.home.prefix.rstrip(".")
        if statement.subscripts is not None:
            dtype = self.dtype(statement.dtype, scope)
            raise Returned(
                self._tensor_of(hint, statement.subscripts, statement.values[0], dtype, statement.place, scope)
            )
        results = []
        for k, value in enumerate(statement.values):
            name = hint if len(statement.values) == 1 else f"{hint}.{k}"
            results.append(self.evaluate(name, value, scope, statement.place))
        raise Returned(results[0] if len(results) == 1 else tuple(results))

    def _for(self, statement: syntax.For, scope: Scope) -> None:
        if all(isinstance(s, syntax.Definition) for s in statement.body) and _is_prefix(statement):
            for inner in statement.body:
                assert isinstance(inner, syntax.Definition)
                self._record(inner, scope, lambda d=inner: self.definition(d, scope, statement.binders))
            return
        self._loop(list(statement.binders), statement, scope, {})

    def _loop(self, binders: list[syntax.Binder], statement: syntax.For, scope: Scope, values: dict[str, int]) -> None:
        if not binders:
            inner = scope.iteration(values)
            self.block(statement.body, inner)
            for name, value in inner.names.items():
                # a number that the loop counts up lives outside it
                if name not in values and name in inner.home.names and isinstance(value, (int, float)):
                    scope.define(name, value)
            return
        binder = binders[0]
        if binder.lower is None or binder.upper is None or len(binder.names) != 1:
            raise error(
                "E611", binder.place, f"the range of the loop variable "
                                      f"{binder.names[0] if binder.names else '…'} is missing",
                notes=[
                    f"a loop reads `for {binder.names[0] if binder.names else 'l'} in 1..5:`; "
                    "the indices of an equation need no range but must stand on its left"
                ],
            )  # fmt: skip
        lower = self.constant(binder.lower, scope, "the range of a loop")
        upper = self.constant(binder.upper, scope, "the range of a loop")
        if not isinstance(lower, int) or not isinstance(upper, int):
            raise error("E221", binder.place, "the range of a compile-time loop must be known while compiling")
        if upper - lower > MAXIMUM_ITERATIONS:
            raise error("E612", binder.place, f"this loop is unrolled, and {upper - lower:,} turns are too many")
        for value in range(lower, upper):
            self.step(binder.place, STEPS_OF_A_STATEMENT)
            before = self.builder.errors
            self._loop(binders[1:], statement, scope, {**values, binder.names[0]: value})
            if self.builder.errors > before:  # the other turns would only say the same
                self.broken_families |= _families(statement.body)
                return

    def _if(self, statement: syntax.If, scope: Scope) -> None:
        for condition, body in statement.branches:
            if condition is not None:
                try:
                    value = Evaluator(self, scope, words=True).value(condition)
                except NotConstant:
                    raise error(
                        "E221", condition.place, "the condition of an `if` must be known while compiling",
                        notes=["to choose element by element, write cases: `{ a if c ; b otherwise }`"],
                    ) from None  # fmt: skip
                if isinstance(value, Word):
                    raise self.unknown_name(value.text, condition.place, scope)
                if not value:
                    continue
            self.block(body, scope)
            return

    def _when(self, statement: syntax.When, scope: Scope) -> None:
        taken = statement.mode == self.mode
        if self.mode == "evaluating":  # what a network does in use, with what it is measured by
            taken = statement.mode == "inferring" or (scope.home is self.main and _measures(statement.body))
        if taken:
            self.block(statement.body, scope)

    def _definition(self, statement: syntax.Definition, scope: Scope) -> None:
        self._record(statement, scope, lambda: self.definition(statement, scope, ()))

    def _alias_statement(self, statement: syntax.Alias, scope: Scope) -> None:
        self._alias(statement, scope)


def _measures(statements: tuple[syntax.Statement, ...]) -> bool:
    """Whether statements declare inputs, losses or metrics."""
    return any(isinstance(node, (syntax.Given, syntax.Loss, syntax.Metric)) for node in syntax.walk(statements))


def _families(statements: tuple[syntax.Statement, ...]) -> set[str]:
    """The stems of the families (`L` of `L_{l+1}`) whose members statements define."""
    names = [name for statement in statements for name in _defined_names(statement)]
    return {name.name if name.member is not None else name.name.rpartition("_")[0] for name in names} - {""}


def _is_prefix(statement: syntax.For) -> bool:
    """Whether a `for` names indices of the left sides below it, rather than being a loop."""
    names = {name for binder in statement.binders for name in binder.names}
    for inner in statement.body:
        if not isinstance(inner, syntax.Definition):
            return False
        on_left: set[str] = set()
        for target in inner.targets:
            if any(isinstance(n, syntax.Name) and n.name in names for n in syntax.walk(target.name.member or ())):
                return False  # a family of tensors, one for each turn
            for node in syntax.walk(target.subscripts or ()):
                if isinstance(node, syntax.Name):
                    on_left.add(index_name(node.name))
                elif isinstance(node, syntax.Ranged):
                    on_left.add(node.index)
        unranged = any(binder.upper is None for binder in statement.binders)
        if not names <= on_left and not unranged:
            return False
    return True
