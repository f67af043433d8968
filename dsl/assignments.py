"""Definitions and calls: what stands on the right of `=` becomes a tensor with a name."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from . import structural, syntax
from .calls import LayerCall
from .constants import Evaluator, NotConstant
from .definitions import Definer
from .diagnostics import Fix, Mistake, error
from .equations import Place, Statement
from .integers import Integer
from .library_index import standard_library
from .names import is_bundle
from .patterns import run_pattern
from .translate import Translator
from .values import (
    Broken,
    BuiltinValue,
    BundleValue,
    LayerValue,
    Scope,
    TensorValue,
    Value,
)

if TYPE_CHECKING:
    pass
from .lookup import Lookup


class Returned(Exception):
    """Ends the body of a layer with its result."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Assignments(Lookup):
    """Carries out definitions and calls of layers."""

    def definition(self, statement: syntax.Definition, scope: Scope, prefix: tuple[syntax.Binder, ...]) -> None:
        """`targets = value`."""
        dtype = self.dtype(statement.dtype, scope)
        if len(statement.targets) > 1:
            self._several(statement, scope)
            return
        target = statement.targets[0]
        if target.subscripts is None and not prefix and self._number_definition(target.name, statement.value, scope):
            return
        name = self.new_name(target.name, scope)
        path = scope.prefix + name + ("" if target.name.member is not None or is_member(name, scope) else scope.suffix)
        if target.subscripts is not None and not self._is_assertion(target.subscripts, scope):
            tensor = self._tensor_of(path, target.subscripts, statement.value, dtype, statement.place, scope, prefix)
        else:
            if prefix:
                raise error("E313", prefix[0].place, "a prefix names indices of the left side, and there are none")
            tensor = self._tensor_of(path, None, statement.value, dtype, statement.place, scope)
            if target.subscripts is not None:
                self._assert_shape(target, tensor, scope)
        tensor = replace(tensor, spelling=name, place=target.name.place)
        self.define(target.name, tensor, scope)

    def _number_definition(self, name: syntax.Name, value: syntax.RightSide, scope: Scope) -> bool:
        """`s = 2`: a compile-time value; False if the right side is a tensor."""
        if isinstance(value, (syntax.Concatenation, syntax.Pattern)):
            return False
        if isinstance(value, syntax.Items) and _is_tensor_literal(value):
            return False
        try:
            found = Evaluator(self, scope).value(value)
        except NotConstant:
            return False
        spelled = self.spell(name, scope)
        old = scope.home.names.get(spelled, scope.names.get(spelled))
        if isinstance(old, (TensorValue, BundleValue)):
            raise self._defined_twice(spelled, name.place, scope)
        home = (
            scope.home if name.member is not None or is_member(spelled, scope) or spelled in scope.home.names else scope
        )
        home.define(spelled, found, name.place)
        if home is not scope:
            scope.names.pop(spelled, None)
        return True

    def _several(self, statement: syntax.Definition, scope: Scope) -> None:
        first = self.new_name(statement.targets[0].name, scope)
        path = scope.prefix + first + scope.suffix
        if isinstance(statement.value, (syntax.Concatenation, syntax.Pattern)):
            raise error("E508", statement.value.place, "this gives one result, but several names stand on the left")
        value = self.evaluate(path, statement.value, scope, statement.place)
        if not isinstance(value, tuple) or len(value) != len(statement.targets):
            count = len(value) if isinstance(value, tuple) else 1
            raise error(
                "E508", statement.place, f"{len(statement.targets)} names stand on the left, but the right side gives "
                f"{count} result{'s' if count != 1 else ''}",
            )  # fmt: skip
        for target, part in zip(statement.targets, value, strict=True):
            if isinstance(part, TensorValue):
                part = replace(part, spelling=self.spell(target.name, scope), place=target.name.place)
                if target.subscripts is not None and self._is_assertion(target.subscripts, scope):
                    self._assert_shape(target, part, scope)
            self.define(target.name, part, scope)

    def evaluate(self, name: str, value: syntax.RightSide, scope: Scope, place: Place, dtype: str | None = None) -> Any:
        """The value of a right side without subscripts on the left: a constant, a tensor, or several.

        An equation is made in `dtype`, if one is given.
        """
        with self._naming(name):
            return self._evaluate(name, value, scope, place, dtype)

    def _evaluate(self, name: str, value: syntax.RightSide, scope: Scope, place: Place, dtype: str | None) -> Any:
        if isinstance(value, syntax.Pattern):
            return run_pattern(self, value, scope, name)
        if isinstance(value, syntax.Concatenation):
            raise error(
                "E317", value.place, "the pieces between ';' have no axis to be joined along",
                notes=["name the joined axis on the left, as in `L[b,x,y,J1+J2] = L1[b,x,y,J1] ; L2[b,x,y,J2]`"],
            )  # fmt: skip
        try:
            if not (isinstance(value, syntax.Items) and _is_tensor_literal(value)):
                return Evaluator(self, scope).value(value)
        except NotConstant:
            pass
        if isinstance(value, syntax.Parenthesis):
            return self.evaluate(name, value.inner, scope, place)
        if isinstance(value, syntax.Name):
            return self.tensor_named(value, scope)
        if isinstance(value, syntax.Items):
            return self.literal(value, scope, name)
        if isinstance(value, syntax.Call):
            function = self.find_function(self.spell(value.function, scope), value.function.place, scope)
            structural_call = isinstance(function, BuiltinValue) and function.name in ("pad", "skip", "cut")
            if isinstance(function, LayerValue) or structural_call:
                return self.call(value, function, scope, None, name)
        if isinstance(value, syntax.Transposed):
            translator = Translator(self, scope, place)
            return translator.transposed(value)
        return Definer(self, scope).whole(name, value, dtype, place)

    def _tensor_of(
        self, name: str, subscripts: tuple[syntax.Expr, ...] | None, value: syntax.RightSide, dtype: str | None,
        place: Place, scope: Scope, prefix: tuple[syntax.Binder, ...] = (),
    ) -> TensorValue:  # fmt: skip
        with self._naming(name):
            return self._make_tensor(name, subscripts, value, dtype, place, scope, prefix)

    def _make_tensor(
        self, name: str, subscripts: tuple[syntax.Expr, ...] | None, value: syntax.RightSide, dtype: str | None,
        place: Place, scope: Scope, prefix: tuple[syntax.Binder, ...],
    ) -> TensorValue:  # fmt: skip
        if subscripts is not None:
            return Definer(self, scope, prefix).indexed(name, subscripts, value, dtype, place)
        found = self.evaluate(name, value, scope, place, dtype)
        if isinstance(found, tuple) and found and isinstance(found[0], TensorValue):
            raise error(
                "E508", place, f"the right side gives {len(found)} results", notes=["take them apart: `a, b = …`"]
            )
        if isinstance(found, (int, float, Integer)) and not isinstance(value, (syntax.Concatenation, syntax.Pattern)):
            return Definer(self, scope).whole(name, value, dtype, place)
        if not isinstance(found, TensorValue):
            raise error("E208", place, "the right side is not a tensor")
        if dtype is not None and dtype != found.dtype:
            raise error(
                "E615", place, f"this tensor is {found.dtype}, not {dtype}", notes=[f"convert it: `{dtype}(…)`"]
            )
        return found

    def _is_assertion(self, subscripts: tuple[syntax.Expr, ...], scope: Scope) -> bool:
        """Whether the brackets on the left hold sizes, as in `L1[55x55x96]`, and no indices."""
        for node in subscripts:
            if isinstance(node, (syntax.SizeList, syntax.Num)):
                continue
            if isinstance(node, syntax.Name):
                value = scope.find(self.spell(node, scope))
                if (
                    isinstance(value, (int, Integer))
                    and not isinstance(value, bool)
                    and any(isinstance(other, (syntax.SizeList, syntax.Num)) for other in subscripts)
                ):
                    continue
            return False
        return bool(subscripts)

    def _assert_shape(self, target: syntax.Target, tensor: TensorValue, scope: Scope) -> None:
        """`[55x55x96]`: checked, without the batch axis, and used to infer what is still open."""
        sizes: list[tuple[Integer, Place]] = []
        for node in target.subscripts or ():
            if isinstance(node, syntax.SizeList):
                sizes += [(Integer.of(size), node.place) for size in node.sizes]
            else:
                sizes.append((self.size_expression(node, scope), node.place))
        shape = tensor.shape
        if self.is_batched(tensor) and len(shape) == len(sizes) + 1:
            shape = shape[1:]
        fits = len(shape) == len(sizes) and all(
            self.builder.unify(have, want) for have, (want, _) in zip(shape, sizes, strict=True)
        )
        if not fits:
            have = self._sizes(tensor.shape[1:] if self.is_batched(tensor) else tensor.shape)
            want = "x".join(str(size) for size, _ in sizes)
            right = f"{target.name.spelling}[{have}]"
            raise error(
                "E411", target.place, f"{target.name.spelling} is {have}, not {want}",
                here=f"asserted to be {want}",
                notes=["the sizes in brackets leave out the batch; they are checked against what the right side gives"],
                fix=Fix(target.place, right, f"write {right}") if have.replace("x", "").isdigit() else None,
            )  # fmt: skip
        self.builder.deduce(
            target.place, f"{target.name.spelling} is {'x'.join(str(s) for s, _ in sizes)}, as asserted"
        )

    def new_name(self, node: syntax.Name, scope: Scope) -> str:
        """The name to be defined; refuses one that is taken."""
        name = self.spell(node, scope)
        if is_bundle(name):
            raise error(
                "E613", node.place, f"{name} names a bundle of parameters (its stem is Φ) and cannot be defined"
            )
        self.refuse_taken(node, scope)
        return name

    def refuse_taken(self, node: syntax.Name, scope: Scope) -> None:
        """Refuse a name that has a definition already."""
        name = self.spell(node, scope)
        home = scope.home if node.member is not None or is_member(name, scope) else scope
        old = home.names.get(name)
        if old is None and scope is not scope.home and isinstance(scope.home.names.get(name), TensorValue):
            old = scope.home.names.get(name)
        if old is not None and not isinstance(old, (Broken, BuiltinValue)):
            raise self._defined_twice(name, node.place, scope)

    def _defined_twice(self, name: str, place: Place, scope: Scope) -> Mistake:
        first = scope.place_of(name)
        return error(
            "E203", place, f"{name} is defined twice",
            labels=[(first, "first defined here")] if first is not None else [],
            notes=["a tensor has one definition; in a loop, use a family of names such as `L_{l+1}`"],
            fix=Fix(place, f"{name}'", f"give this one a name of its own, such as {name}'"),
        )  # fmt: skip

    def define(self, node: syntax.Name, value: Value, scope: Scope, *, result: bool = True) -> None:
        """Give a name its value; a `result` of the main program that nothing reads is an output."""
        name = self.spell(node, scope)
        home = scope.home if node.member is not None or is_member(name, scope) else scope
        home.define(name, value, node.place)
        if result and scope.home is self.main and isinstance(value, TensorValue):
            self.defined.append(value)

    def call(
        self, node: syntax.Call, function: Value, scope: Scope, translator: Translator | None, hint: str | None = None
    ) -> Any:
        """Call a layer or a structural function; `hint` is the name for its result."""
        if hint is None:
            base = self.naming[-1] if self.naming else scope.prefix.rstrip(".")
            hint = self._count_name(f"{base}.{node.function.name}", scope)
        if isinstance(function, BuiltinValue):
            with self.entering(node.place, function.name, count=False):
                return structural.call_structural(self, node, function.name, scope, translator, hint)
        if isinstance(function, LayerValue):
            return LayerCall(self, node, function, scope, translator, hint).run()
        raise error("E525", node.function.place, f"{node.function.name} is not a function or a layer")

    def run_layer(self, definition: syntax.Layer, scope: Scope, hint: str, place: Place) -> Any:
        """Run the body of a layer."""
        scope.prefix = f"{hint}."
        try:
            self.block(definition.body, scope)
        except Returned as returned:
            return returned.value
        raise error(
            "E510", definition.place, f"{definition.name} returns nothing",
            notes=["the body of a layer ends with `return …` or `return[b,x,y,j] = …`"],
        )  # fmt: skip

    def _record(self, statement: syntax.Statement, scope: Scope, action: Any) -> None:
        """Run a definition and note what it made, for the summary."""
        start = len(self.builder.operations)
        self.depth += 1
        position = len(self.builder.statements)
        try:
            action()
        finally:
            self.depth -= 1
        made = len(self.builder.operations) - start
        operations = tuple(islice(reversed(self.builder.operations), made))[::-1]
        for name in _defined_names(statement):
            value = scope.find(self.spell(name, scope))
            if isinstance(value, TensorValue):
                text = self._snippet(statement.place)
                layer = _layer_name(statement)
                entry = Statement(
                    value.spelling or value.name, text, value.name, operations, self.depth, layer, statement.place
                )
                self.builder.statements.insert(position, entry)
                break

    def _snippet(self, place: Place) -> str:
        text = self.builder.sources.get(place.file)
        if text is None:
            text = next((index.text for index in standard_library() if index.file == place.file), "")
        lines = _lines(text)[place.line - 1 : place.end_line]
        return " ".join(line.split("#")[0].strip() for line in lines).strip()

    def _fits(self, tensor: TensorValue, shape: tuple[Integer, ...]) -> bool:
        """Whether a tensor has a shape, solving sizes that are still open."""
        pairs = zip(tensor.shape, shape, strict=False)
        return len(tensor.shape) == len(shape) and all(self.builder.unify(a, b) for a, b in pairs)

    def _sizes(self, shape: tuple[Integer, ...]) -> str:
        """A shape for messages: `3x4`, with `?` for sizes that are not known yet."""
        known = [self.builder.resolve(size) for size in shape]
        return "x".join("?" if size.unknowns() else str(size) for size in known) or "a single number"


@lru_cache(maxsize=16)
def _lines(text: str) -> tuple[str, ...]:
    """The lines of a source file, which is asked for once per statement."""
    return tuple(text.split("\n"))


def is_member(name: str, scope: Scope) -> bool:
    """Whether a plain name ends in the value of a loop variable (`L_l` spelled out)."""
    last = name.rstrip("'").rpartition("_")[2]
    return bool(scope.loops) and last.isdigit() and int(last) in scope.loops.values()


def _is_tensor_literal(node: syntax.Items) -> bool:
    """A nested list of numbers is a tensor; a flat one is a compile-time list."""
    return bool(node.items) and isinstance(node.items[0], syntax.Items)


def _layer_name(statement: syntax.Statement) -> str | None:
    if not isinstance(statement, syntax.Definition):
        return None
    for node in syntax.walk(statement.value):
        if isinstance(node, syntax.Call) and node.function.name[:1].isupper() and node.function.name.lower() != "relu":
            return node.function.name
    return None


def _defined_names(statement: syntax.Statement) -> tuple[syntax.Name, ...]:
    if isinstance(statement, syntax.Definition):
        return tuple(target.name for target in statement.targets)
    if isinstance(statement, syntax.Given):
        return tuple(item.name for item in statement.items)
    if isinstance(statement, (syntax.Param, syntax.StateDeclaration, syntax.Loss, syntax.Metric)):
        return (statement.name,)
    if isinstance(statement, syntax.Import):
        return statement.names or ()
    if isinstance(statement, syntax.For):
        return tuple(name for inner in statement.body for name in _defined_names(inner))
    return ()
