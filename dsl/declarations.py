"""Declarations: inputs, parameters, state, imports, losses and metrics."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from . import syntax
from .constants import Evaluator, NotConstant
from .diagnostics import Fix, Mistake, error, nearest
from .equations import Input, Parameter, Place, State
from .initializers import PendingInitial
from .integers import Integer, Symbol
from .names import is_capital
from .parser import parse
from .translate import AbandonStatement
from .values import (
    Broken,
    BundleValue,
    FunctionValue,
    LayerValue,
    Scope,
    TensorValue,
)

if TYPE_CHECKING:
    pass
from .assignments import Assignments, is_member

MAXIMUM_FILE = 20_000_000
"""Bytes of an imported file."""


class Declarations(Assignments):
    """Carries out declarations."""

    def _given(self, statement: syntax.Given, scope: Scope) -> None:
        if scope is not self.main:
            where = "a loop" if scope.home is self.main else "a layer"
            raise error("E603", statement.place, f"inputs are declared in the main program, not in {where}")
        for item in statement.items:
            self._given_item(item, scope)

    def _given_item(self, item: syntax.GivenItem, scope: Scope) -> None:
        name = self.new_name(item.name, scope)
        shape: list[Integer] = []
        axes: list[str | None] = []
        if item.batched:
            shape.append(self._symbol("batch"))
            axes.append("b")
        for axis, size in item.axes:
            shape.append(self._input_size(size, scope))
            plain = isinstance(size, syntax.Name) and axis is None and shape[-1].constant is None
            axes.append(axis or (size.name.lower() if plain and isinstance(size, syntax.Name) else None))
        dtype = self.dtype(item.dtype, scope) or "float32"
        made = self.builder.add(name, Input(tuple(shape), dtype, item.batched), item.place)
        self.builder.inputs.append(made)
        self.builder.axes[made] = tuple(axes)
        scope.define(
            name, TensorValue(made, tuple(shape), dtype, tuple(axes), item.place, spelling=name), item.name.place
        )

    def _symbol(self, name: str) -> Integer:
        symbol = self.builder.symbols.setdefault(name, Symbol(name))
        return Integer.atom(symbol)

    def _input_size(self, size: syntax.Expr, scope: Scope) -> Integer:
        if isinstance(size, syntax.Name) and scope.find(size.name) is None and is_capital(size.name):
            return self._symbol(size.name)
        if isinstance(size, syntax.Name) and scope.find(size.name) is None and not is_capital(size.name):
            raise error(
                "E202", size.place, f"{size.name} is not defined",
                notes=["the batch is not written: every input has it as its first axis",
                       "a size that is open until the program runs is a capital letter, as in `Given x[T, 3]`"],
            )  # fmt: skip
        value = self.size_expression(size, scope)
        if value.constant is not None and value.constant < 1:
            raise error("E604", size.place, f"an axis of an input cannot have size {value.constant}")
        return value

    def _declared_name(self, node: syntax.Name, scope: Scope) -> str:
        """The name of a parameter or state: each turn of a loop has its own, members of families by their number."""
        name = self.spell(node, scope)
        return name if node.member is not None or is_member(name, scope) else name + scope.suffix

    def _param(self, statement: syntax.Param, scope: Scope) -> None:
        bundle = scope.home.bundle
        self.refuse_taken(statement.name, scope)
        local = self._declared_name(statement.name, scope)
        statement = replace(statement, sizes=self._spelled_out(statement.sizes, scope))
        shape = self._declared_shape(statement.sizes, scope)
        dtype = self.dtype(statement.dtype, scope) or self._usual_dtype(statement.sizes, scope)
        tensor = self._shared_parameter(statement, bundle, local, shape)
        if tensor is None:
            path = f"{bundle.name}.{local}" if bundle is not None else f"{scope.prefix}{local}"
            name = self.builder.unique(path)
            call = self.calls[0][0] if self.calls else None
            pending = PendingInitial(name, shape, dtype, statement, scope, call)
            self.builder.add(name, Parameter(shape, dtype, f"{name}:initial", statement.trained), statement.place)
            self.initials.append(pending)
            tensor = TensorValue(name, shape, dtype, _axes_of(statement.sizes), statement.place, local, parameter=True)
        if bundle is not None:
            bundle.tensors[local] = tensor
        self.define(statement.name, tensor, scope, result=False)

    def _spelled_out(self, sizes: tuple[syntax.Expr, ...], scope: Scope) -> tuple[syntax.Expr, ...]:
        """The sizes of a declaration with `...` once for each axis that it stands for in the layer's signature."""
        found: list[syntax.Expr] = []
        for size in sizes:
            if not isinstance(size, syntax.Rest):
                found.append(size)
            elif scope.home.rest is None:
                raise error(
                    "E305", size.place, "`...` stands for nothing here",
                    notes=["in a layer with a tensor such as `W[...]` it stands for all axes of that tensor"],
                )  # fmt: skip
            else:
                found += [size] * len(scope.home.rest[0])
        return tuple(found)

    def _declared_shape(self, sizes: tuple[syntax.Expr, ...], scope: Scope) -> tuple[Integer, ...]:
        """The shape that a declaration states, once `...` is spelled out."""
        rest = iter(scope.home.rest[0] if scope.home.rest else ())
        return tuple(next(rest) if isinstance(s, syntax.Rest) else self.declared_size(s, scope) for s in sizes)

    def _usual_dtype(self, sizes: tuple[syntax.Expr, ...], scope: Scope) -> str:
        """The dtype of a declaration that states none: what is shaped like a tensor by `...` is of its dtype, too."""
        shaped_like = any(isinstance(size, syntax.Rest) for size in sizes)
        return scope.home.rest[1] if shaped_like and scope.home.rest else "float32"

    def _shared_parameter(
        self, statement: syntax.Param, bundle: BundleValue | None, local: str, shape: tuple[Integer, ...]
    ) -> TensorValue | None:
        if bundle is None:
            return None
        tensor = bundle.tensors.get(local)
        if tensor is None and bundle.given:
            tensor = bundle.given.pop(0)
        if tensor is not None:
            if not self._fits(tensor, shape):
                raise error(
                    "E521",
                    self._call_place(statement.place),
                    f"the shared parameter {tensor.shown} is {self._sizes(tensor.shape)}, "
                    f"but {self._sizes(shape)} is needed here",
                    labels=[(tensor.place, "it was made here")],
                    notes=["one bundle used twice means shared weights; give the second use a bundle of its own"],
                )
            return tensor
        sized = bundle.with_sizes(len(shape))
        if sized is not None and sized.sizes is not None:
            if not all(self.builder.unify(given, size) for given, size in zip(sized.sizes, shape, strict=True)):
                raise error(
                    "E520",
                    self._call_place(statement.place),
                    f"the bundle is given as {self._sizes(sized.sizes)}, but {local} is {self._sizes(shape)}",
                )
            sized.sizes = None
        return None

    def _statedeclaration(self, statement: syntax.StateDeclaration, scope: Scope) -> None:
        bundle = scope.home.bundle
        self.refuse_taken(statement.name, scope)
        local = self._declared_name(statement.name, scope)
        statement = replace(statement, sizes=self._spelled_out(statement.sizes, scope))
        shape = self._declared_shape(statement.sizes, scope)
        dtype = self.dtype(statement.dtype, scope) or self._usual_dtype(statement.sizes, scope)
        tensor = bundle.tensors.get(local) if bundle is not None else None
        if tensor is None:
            path = f"{bundle.name}.{local}" if bundle is not None else f"{scope.prefix}{local}"
            name = self.builder.unique(path)
            self.builder.add(name, State(shape, dtype, f"{name}:initial"), statement.place)
            call = self.calls[0][0] if self.calls else None
            self.initials.append(PendingInitial(name, shape, dtype, statement, scope, call))
            tensor = TensorValue(name, shape, dtype, _axes_of(statement.sizes), statement.place, local)
            if bundle is not None:
                bundle.tensors[local] = tensor
        self.define(statement.name, tensor, scope, result=False)

    def _update(self, statement: syntax.Update, scope: Scope) -> None:
        name = self.spell(statement.name, scope)
        state = scope.find(name)
        if isinstance(state, Broken):
            raise AbandonStatement
        if not isinstance(state, TensorValue) or not isinstance(self.builder.operations.get(state.name), State):
            if state is None:
                raise self.unknown_name(name, statement.name.place, scope)
            note = f"declare it: `state {name}[J] = 0`"
            if isinstance(state, TensorValue) and state.parameter:
                note = "parameters change by training: declare a `loss`"
            raise error("E605", statement.name.place, f"{name} is no state, so it cannot be updated", notes=[note])
        main = scope.home is self.main
        before = set(self.builder.read_names) if main else set()
        made = self._tensor_of(
            f"{state.name}.next", statement.subscripts, statement.value, state.dtype, statement.place, scope
        )
        if main:  # what only an update reads is an output still
            self.builder.read_names = before
        if not self._fits(state, made.shape):
            raise error(
                "E618",
                statement.place,
                f"the state {state.shown} is {self._sizes(state.shape)}, but this is {self._sizes(made.shape)}",
                labels=[(state.place, "it is declared here")],
            )
        if self.mode == "training":
            self.builder.updates[state.name] = made.name

    def _output(self, statement: syntax.Output, scope: Scope) -> None:
        chosen = self.named_outputs if self.named_outputs is not None else []
        for name in statement.names:
            spelled = self.spell(name, scope)
            tensor = self.tensor_named(name, scope)
            chosen.append((spelled, tensor))
        self.named_outputs = chosen

    def _import(self, statement: syntax.Import, scope: Scope) -> None:
        try:
            imported = self._imported_scope(statement)
        except Mistake:
            self.missing_imports = self.missing_imports or statement.names is None
            raise
        names = [n.name for n in statement.names] if statement.names is not None else list(imported.names)
        for k, name in enumerate(names):
            value = imported.names.get(name)
            if value is None:
                place = statement.names[k].place if statement.names is not None else statement.place
                meant = nearest(name, imported.names)
                raise error(
                    "E222", place, f"\"{statement.path}\" defines no {name}",
                    fix=Fix(place, meant, f"write {meant}") if meant else None,
                )  # fmt: skip
            scope.define(name, value, statement.place)

    def _imported_scope(self, statement: syntax.Import) -> Scope:
        if self.folder is None and statement.path not in self.files:
            raise error("E223", statement.place, "this text is in no folder, so files cannot be imported")
        try:
            path = ((self.folder or Path()) / statement.path).resolve()
            if path in self.imported:
                return self.imported[path]
            text = self.files.get(statement.path) or self._file_text(path, statement)
        except UnicodeDecodeError:
            raise error("E223", statement.place, f'"{statement.path}" is not text in UTF-8') from None
        except (OSError, ValueError) as failure:  # a ValueError for names that no file can have
            reason = failure.strerror if isinstance(failure, OSError) and failure.strerror else str(failure)
            raise error("E223", statement.place, f'"{statement.path}" cannot be read: {reason}') from None
        self.builder.sources[statement.path] = text
        scope = Scope(self.root)
        self.imported[path] = scope
        parsed = parse(text, statement.path)
        for problem in parsed.problems:
            self.builder.report(problem)
        self._declare_ahead(parsed.statements, scope)
        folder = self.folder
        if statement.path not in self.files:
            self.folder = path.parent
        try:
            for inner in parsed.statements:
                if isinstance(inner, syntax.Import):
                    self._import(inner, scope)
                elif isinstance(inner, syntax.Definition) and all(t.subscripts is None for t in inner.targets):
                    self._imported_constant(inner, scope)
        finally:
            self.folder = folder
        return scope

    def _file_text(self, path: Path, statement: syntax.Import) -> str:
        if path.exists() and not path.is_file():
            raise error("E223", statement.place, f'"{statement.path}" is not a file')
        if path.exists() and path.stat().st_size > MAXIMUM_FILE:
            raise error("E223", statement.place, f'"{statement.path}" is larger than {MAXIMUM_FILE:,} bytes')
        return path.read_text(encoding="utf-8")

    def _imported_constant(self, statement: syntax.Definition, scope: Scope) -> None:
        try:
            value = Evaluator(self, scope).value(statement.value)
        except NotConstant:
            return  # a network's own tensors are not imported, only what it is made of
        except Mistake as mistake:
            if mistake.diagnostic.code != "E202":
                raise
            return  # the size of such a tensor
        if len(statement.targets) == 1:
            scope.define(statement.targets[0].name.name, value, statement.place)

    def _alias(self, statement: syntax.Alias, scope: Scope) -> None:
        target = scope.find(statement.target) or self.library(statement.target)
        if target is None:
            raise self.unknown_name(statement.target, statement.place, scope)
        for name in statement.names:
            scope.define(name, target, statement.place)

    def _refuse_double(self, scope: Scope, name: str, place: Place) -> None:
        if name in scope.names and not isinstance(scope.names[name], Broken):
            self.builder.report(
                error("E203", place, f"{name} is defined twice", labels=[(scope.places[name], "first here")]).diagnostic
            )

    def _declare_ahead(self, statements: tuple[syntax.Statement, ...], scope: Scope) -> None:
        """Layers and functions may be used above the place where they stand."""
        for statement in statements:
            if isinstance(statement, syntax.Layer):
                self._refuse_double(scope, statement.name, statement.place)
                scope.define(statement.name, LayerValue(statement, scope), statement.place)
            elif isinstance(statement, syntax.Function):
                self._refuse_double(scope, statement.name, statement.place)
                scope.define(statement.name, FunctionValue(statement, scope), statement.place)
            elif isinstance(statement, syntax.Alias):
                pass
        for statement in statements:
            if isinstance(statement, syntax.Alias):
                self._attempt(lambda s=statement: self._alias(s, scope))

    def _require(self, statement: syntax.Require, scope: Scope) -> None:
        try:
            holds = Evaluator(self, scope, words=True).value(statement.condition)
        except NotConstant:
            raise error("E221", statement.condition.place, "this must be known while compiling") from None
        if holds is False or holds == 0:
            message = statement.message or "a requirement of this layer does not hold"
            known = statement.place.file in self.builder.sources
            raise error(
                "E522", self._call_place(statement.place), message,
                labels=[(statement.place, "required here")] if known and self.calls else [],
            )  # fmt: skip

    def _loss(self, statement: syntax.Loss, scope: Scope) -> None:
        tensor = self._scalar(statement.name, statement.value, scope, "loss")
        trained = tuple(self._trained_names(name, scope) for name in statement.trains or ())
        self.builder.losses[self.spell(statement.name, scope)] = (tensor.name, *(n for names in trained for n in names))

    def _trained_names(self, name: syntax.Name, scope: Scope) -> tuple[str, ...]:
        value = scope.find(self.spell(name, scope))
        if isinstance(value, BundleValue):
            stem = f"{value.name}."
            return tuple(n for n in self.builder.operations if n.startswith(stem))
        if isinstance(value, TensorValue) and value.parameter:
            return (value.name,)
        if value is None:
            raise self.unknown_name(self.spell(name, scope), name.place, scope)
        raise error("E607", name.place, f"{name.name} is no parameter, so it cannot be trained")

    def _metric(self, statement: syntax.Metric, scope: Scope) -> None:
        self.builder.metrics.append(self._scalar(statement.name, statement.value, scope, "metric").name)

    def _scalar(self, name: syntax.Name, value: syntax.Expr, scope: Scope, kind: str) -> TensorValue:
        before = set(self.builder.read_names)
        tensor = self._tensor_of(self.new_name(name, scope), None, value, None, name.place, scope)
        self.builder.read_names = before | {tensor.name}
        if tensor.rank:
            raise error(
                "E608",
                value.place,
                f"a {kind} is a single number, but this has {tensor.rank} ax{'i' if tensor.rank == 1 else 'e'}s",
                notes=["sum or average over them: `mean[b](…)`"],
            )
        scope.define(self.spell(name, scope), tensor, name.place)
        return tensor


def _axes_of(sizes: tuple[syntax.Expr, ...]) -> tuple[str | None, ...]:
    return tuple(s.name.lower() if isinstance(s, syntax.Name) and s.name.isascii() else None for s in sizes)
