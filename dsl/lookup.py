"""Looking things up: names, functions, tensors, sizes and compile-time values in a scope."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from . import structural, syntax
from .calls import bind_function, split_keyword
from .constants import Evaluator, NotConstant
from .diagnostics import Fix, Mistake, error, nearest
from .equations import DTYPES, Axis, Equation, Place, Read
from .integers import Integer
from .library_index import SourceIndex, library_names, standard_library
from .names import index_name, is_bundle, is_capital, skeleton
from .translate import AbandonStatement, Result, Translator
from .values import (
    Broken,
    BuiltinValue,
    BundleValue,
    FunctionValue,
    LayerValue,
    Scope,
    TensorValue,
    Value,
    Word,
)

if TYPE_CHECKING:
    pass
from .context import Context


class Lookup(Context):
    """Finds what names and size expressions stand for."""

    def spell(self, node: syntax.Name, scope: Scope) -> str:
        """The full name of a node: members of a family get their number."""
        if node.member is not None:
            value = self.constant(node.member, scope, "the number of a family member")
            if not isinstance(value, int):
                raise error("E224", node.place, "the subscript of a family member must be a whole number")
            return f"{node.name}_{value}{node.primes}"
        stem, _, last = node.name.rstrip("'").rpartition("_")
        if stem and last in scope.loops:
            primes = node.name[len(node.name.rstrip("'")) :]
            return f"{stem}_{scope.loops[last]}{primes}"
        return node.name

    def library(self, name: str) -> Value | None:
        """A layer or function of the standard library."""
        if name not in self._library:
            index = next((index for index in standard_library() if name in index.heads), None)
            found = index.find(name) if index is not None else None
            self._library[name] = self._library_value(found, index) if index is not None and found is not None else None
        return self._library[name]

    def _library_value(self, found: syntax.Statement, index: SourceIndex) -> Value:
        if isinstance(found, syntax.Layer):
            return LayerValue(found, self.root)
        if isinstance(found, syntax.Function):
            return FunctionValue(found, self.root)
        assert isinstance(found, syntax.Alias)
        target = self.root.find(found.target) or self.library(found.target)
        if target is None:
            raise error("E202", found.place, f"{found.target} is not defined")
        return target

    def find_function(self, name: str, place: Place, scope: Scope) -> Value:
        """What a call calls."""
        value = scope.find(name)
        if value is None or isinstance(value, BuiltinValue):
            value = value or self.library(name)
        if isinstance(value, Broken):
            raise AbandonStatement
        if isinstance(value, (LayerValue, FunctionValue, BuiltinValue)):
            return value
        if value is None:
            raise self.unknown_function(name, place, scope)
        kind = "a tensor" if isinstance(value, TensorValue) else "no function"
        raise error(
            "E525", place, f"{name} is {kind} and cannot be called",
            notes=[f"to take an element, use square brackets: `{name}[…]`", f"for a product, write `{name} * (…)`"],
        )  # fmt: skip

    def unknown_function(self, name: str, place: Place, scope: Scope) -> Mistake:
        """The error for a call of something that nothing defines."""
        if self.missing_imports:
            raise AbandonStatement  # a file that could not be read may define it
        functions = [
            n for n in scope.all_names() if isinstance(scope.find(n), (LayerValue, FunctionValue, BuiltinValue))
        ]
        if name in _REDUCERS:
            sign = _REDUCERS[name]
            return error(
                "E501", place, f"{name} goes over an axis, which must be named",
                notes=[f"write `{sign}[i](…)` with the index, or several, that it goes over; "
                       f"or as on the slides, `{sign}_{{i}} …`, which reaches to the end of the term"],
            )  # fmt: skip
        meant = nearest(name, [*functions, *library_names()])
        return error(
            "E501", place, f"there is no layer or function named {name}",
            notes=["define it with `layer`, or import the file that does"] if meant is None else [],
            fix=Fix(place, meant, f"write {meant}") if meant else None,
        )  # fmt: skip

    def unknown_name(self, name: str, place: Place, scope: Scope) -> Mistake:
        """The error for a name that stands for nothing."""
        if name.rpartition("_")[0] in self.broken_families:
            raise AbandonStatement
        later = self.later.get(name)
        if later is not None:
            return error(
                "E225", place, f"{name} is used before it is defined",
                labels=[(later, "defined here")], notes=["a program is read from top to bottom"],
            )  # fmt: skip
        if self.library(name) is not None:
            return error(
                "E207", place, f"{name} is a {'layer' if name[:1].isupper() else 'function'}: it "
                               f"needs arguments in parentheses",
                notes=[f"write `{name}(…)`, with what it is applied to between the parentheses"],
            )  # fmt: skip
        if name in _OTHER_WORDS:
            word = _OTHER_WORDS[name]
            return error("E202", place, f"{name} is not defined", fix=Fix(place, word, f"write {word}"))
        known = [n for n in scope.all_names() if n not in self.root.names]
        twin = next((n for n in known if n != name and skeleton(n) == skeleton(name)), None)
        if twin is not None:
            return _twin_alphabet(name, twin, place)
        meant = nearest(name, known)
        notes = []
        if meant is None:
            notes = [f"inputs are declared with `Given {name}[28, 28, 1]`, parameters with `param {name}[I, J]`"]
        return error(
            "E202", place, f"{name} is not defined", notes=notes,
            fix=Fix(place, meant, f"write {meant}") if meant else None,
        )  # fmt: skip

    def tensor_named(self, node: syntax.Name, scope: Scope) -> TensorValue:
        """The tensor of a name."""
        name = self.spell(node, scope)
        value = scope.find(name)
        if isinstance(value, Broken):
            raise AbandonStatement
        if value is None:
            if self.library(name) is not None:
                raise error("E207", node.place, f"{name} is a layer: it needs arguments in parentheses")
            raise self.unknown_name(name, node.place, scope)
        if not isinstance(value, TensorValue):
            raise error("E226", node.place, f"{name} is not a tensor")
        return value

    def tensor_argument(
        self, argument: syntax.Argument, scope: Scope, translator: Translator | None, hint: str
    ) -> TensorValue:
        """An argument that must be a tensor."""
        node = argument.value
        if isinstance(node, syntax.Subscripted):
            return self._whole_slice(node, scope)
        value = self.evaluate(hint, node, scope, node.place)
        if isinstance(value, tuple) and value and isinstance(value[0], TensorValue):
            raise error("E508", node.place, f"this gives {len(value)} results", notes=["take them apart: `a, b = …`"])
        if not isinstance(value, TensorValue):
            raise error("E226", node.place, "a tensor is needed here")
        return value

    def _whole_slice(self, node: syntax.Subscripted, scope: Scope) -> TensorValue:
        """`L[B,X,Y,J]` as an argument: the whole tensor, with names for its axes (E15)."""
        if not isinstance(node.base, syntax.Name):
            raise error("E226", node.place, "a tensor is needed here")
        tensor = self.tensor_named(node.base, scope)
        names = []
        for item in node.subscripts:
            if not isinstance(item, syntax.Name) or not is_capital(index_name(item.name)):
                raise error(
                    "E524", item.place, "an argument of a layer is a whole tensor",
                    notes=["write its name alone, or with a capital for each axis: `L[B,X,Y,J]`"],
                    fix=Fix(node.place, tensor.shown, f"write {tensor.shown}"),
                )  # fmt: skip
            names.append(index_name(item.name))
        if len(names) != tensor.rank:
            raise error(
                "E205", node.place, f"{tensor.shown} has {tensor.rank} axes, but {len(names)} subscripts are given",
                labels=[(tensor.place, "it is defined here")],
            )  # fmt: skip
        self._slice_sizes(names, node, tensor)
        return replace(tensor, axes=tuple(n.lower() if n.isascii() else n for n in names))

    def _slice_sizes(self, names: list[str], node: syntax.Subscripted, tensor: TensorValue) -> None:
        seen = self.slices
        for name, size, item in zip(names, tensor.shape, node.subscripts, strict=True):
            if name in seen and not self.builder.unify(seen[name][0], size):
                other_size, other_place, other = seen[name]
                raise error(
                    "E410", item.place, f"{name} stands for two axes of different sizes in this statement",
                    here=f"{self.builder.resolve(size)} places of {tensor.shown}",
                    labels=[(other_place, f"{self.builder.resolve(other_size)} places of {other}")],
                    fix=Fix(item.place, f"{name}'", f"rename one of them, for example to {name}'"),
                )  # fmt: skip
            seen.setdefault(name, (size, item.place, tensor.shown))

    def bundle_sizes(self, node: syntax.Subscripted, scope: Scope) -> tuple[Integer, ...]:
        """`Φ[3,3,J,K]`: a capital without a value is an axis of this statement, or found from the layer."""
        sizes: list[Integer] = []
        for item in node.subscripts:
            name = index_name(item.name) if isinstance(item, syntax.Name) and item.member is None else ""
            value = scope.find(item.name) if isinstance(item, syntax.Name) else None
            if not is_capital(name) or not (value is None or isinstance(value, TensorValue)):
                sizes.append(self.size_expression(item, scope))
                continue
            size = self.signature_size(name, scope)
            if size is None:
                size = self.slices.setdefault(name, (self.builder.unknown(name), item.place, "the bundle"))[0]
            sizes.append(size)
        return tuple(sizes)

    def subscript_base(self, node: syntax.Subscripted, translator: Translator) -> Any:
        """What stands before the brackets: a tensor, or a list entry."""
        base = node.base
        scope = translator.scope
        if isinstance(base, syntax.Name):
            name = self.spell(base, scope)
            value = scope.find(name)
            if isinstance(value, TensorValue):
                return value
            if isinstance(value, tuple):
                return self._list_element(name, value, node, scope)
            if isinstance(value, Broken):
                raise AbandonStatement
            if value is None:
                raise self._unknown_tensor(name, base, node, scope)
            if isinstance(value, BundleValue):
                raise _bundle_misused(name, base.place)
            raise error("E226", base.place, f"{name} is not a tensor, so it takes no subscripts")
        if isinstance(base, syntax.Transposed):
            return translator.transposed(base)
        if isinstance(base, syntax.Subscripted):
            inner = self.subscript_base(base, translator)
            if not isinstance(inner, TensorValue):
                raise error("E226", base.place, "this is not a tensor")
            raise error(
                "E228",
                node.place,
                "an element of a tensor takes no further subscripts",
                notes=["write all subscripts in one pair of brackets: `W[i, j]`"],
            )
        hint = self._count_name(f"{scope.prefix}part", scope)
        value = self.evaluate(hint, base, scope, base.place)
        if not isinstance(value, TensorValue):
            raise error("E226", base.place, "this is not a tensor, so it takes no subscripts")
        return value

    def _list_element(self, name: str, value: tuple[Any, ...], node: syntax.Subscripted, scope: Scope) -> Any:
        """An entry of a compile-time list, or the list as a tensor where an index runs over it."""
        try:
            return Evaluator(self, scope).value(node)
        except NotConstant:
            tensor = structural.constant_tensor(self, value, node.place, name)
            scope.home.define(name, tensor)
            return tensor

    def _unknown_tensor(self, name: str, base: syntax.Name, node: syntax.Subscripted, scope: Scope) -> Mistake:
        if name in self.later or name.rpartition("_")[0] in self.broken_families:
            return self.unknown_name(name, base.place, scope)
        if is_bundle(name):
            return _bundle_misused(name, base.place)
        tensors = [n for n in scope.all_names() if isinstance(scope.find(n), TensorValue)]
        twin = next((n for n in tensors if skeleton(n) == skeleton(name)), None)
        if twin is not None:
            return _twin_alphabet(name, twin, base.place)
        meant = nearest(name, tensors)
        if meant is not None:
            return error("E202", base.place, f"{name} is not defined", fix=Fix(base.place, meant, f"write {meant}"))
        sizes = ", ".join(s.name if isinstance(s, syntax.Name) else "3" for s in node.subscripts).upper()
        return error(
            "E202", base.place, f"{name} is not defined",
            notes=[f"if it is to be learnt, declare it first: `param "
                   f"{name}[{sizes}]`", f"if it is given, `Given {name}[…]`"],
        )  # fmt: skip

    def signature_size(self, capital: str, scope: Scope) -> Integer | None:
        """The size that a layer's signature binds to a capital."""
        found: Scope | None = scope
        while found is not None:
            if capital in found.sizes:
                return self.builder.resolve(found.sizes[capital])
            found = found.outer
        return None

    def declared_size(self, node: syntax.Expr, scope: Scope) -> Integer:
        """A size in a declaration; a capital that nothing binds yet is to be inferred."""
        if isinstance(node, syntax.Name) and node.member is None:
            name = index_name(node.name)
            value = scope.find(node.name)
            if is_capital(name) and (value is None or isinstance(value, TensorValue)):
                known = self.signature_size(name, scope)
                if known is None:
                    known = scope.sizes[name] = self.builder.unknown(name)
                return known
        if isinstance(node, syntax.Hole):
            return self.builder.unknown("_")
        size = self.size_expression(node, scope)
        if size.constant is not None and size.constant < 1:
            raise error("E604", node.place, f"an axis cannot have size {size.constant}")
        return size

    def size_expression(self, node: syntax.Expr, scope: Scope, translator: Translator | None = None) -> Integer:
        """A whole number, possibly of run-time sizes."""
        if (
            translator is not None
            and isinstance(node, syntax.Name)
            and is_capital(node.name)
            and scope.find(self.spell(node, scope)) is None
        ):
            known = translator.size_of(index_name(node.name))
            if known is not None:
                return known
        value = self.constant(node, scope, "a size")
        if isinstance(value, bool) or not isinstance(value, (int, Integer)):
            raise error("E229", node.place, f"a size is a whole number, and this is {value}")
        return Integer.of(value)

    def named_size(self, size: Integer, place: Place, scope: Scope) -> syntax.Name:
        """A name in the scope for a size (for a condition that is rebuilt)."""
        name = f"size#{len(scope.names)}"
        scope.define(name, size)
        return syntax.Name(place, name)

    def constant(self, node: syntax.Expr, scope: Scope, what: str) -> Any:
        """A compile-time value; `what` says in messages what is needed."""
        try:
            return Evaluator(self, scope).value(node)
        except NotConstant:
            for found in syntax.walk(node):
                if (
                    isinstance(found, syntax.Name)
                    and scope.find(self.spell(found, scope)) is None
                    and self.library(found.name) is None
                ):
                    raise self.unknown_name(self.spell(found, scope), found.place, scope) from None
                if isinstance(found, syntax.Name) and isinstance(scope.find(found.name), Broken):
                    raise AbandonStatement from None
            raise error("E221", node.place, f"{what} must be known while compiling") from None

    def word(self, node: syntax.Expr, scope: Scope) -> str:
        """A bare word, or a name that stands for one."""
        try:
            value = Evaluator(self, scope, words=True).value(node)
        except NotConstant:
            value = None
        if isinstance(value, Word):
            return value.text
        if isinstance(value, str):
            return value
        if isinstance(value, FunctionValue):  # a word that is also the name of a function, such as `zeros`
            return value.definition.name
        raise error("E230", node.place, "a word is needed here")

    def dtype(self, node: syntax.Name | None, scope: Scope) -> str | None:
        """A dtype's name, checked; the name of a tensor stands for its dtype."""
        if node is None:
            return None
        named = scope.find(self.spell(node, scope)) if node.name not in DTYPES else None
        if isinstance(named, TensorValue):
            return named.dtype
        if node.name not in DTYPES:
            meant = _OTHER_NAMES.get(node.name) or nearest(node.name, DTYPES)
            raise error(
                "E231", node.place, f"there is no type of number called {node.name}",
                notes=[f"the types are {', '.join(DTYPES)}"],
                fix=Fix(node.place, meant, f"write {meant}") if meant else None,
            )  # fmt: skip
        return node.name

    def size_names(self, definition: syntax.Layer) -> tuple[str, ...]:
        """Capitals in the parameter declarations of a layer, which a call may fix by name."""
        known = self.declared_sizes.get(id(definition))
        if known is not None:
            return known
        names: dict[str, None] = {}
        for node in syntax.walk(definition.body):
            if isinstance(node, (syntax.Param, syntax.StateDeclaration)):
                for size in syntax.walk(node.sizes):
                    if isinstance(size, syntax.Name) and is_capital(size.name):
                        names[index_name(size.name)] = None
        self.declared_sizes[id(definition)] = found = tuple(names)
        return found

    def literal(self, node: syntax.Items, scope: Scope, name: str | None = None) -> TensorValue:
        """A tensor literal."""
        return structural.literal(self, node, scope)

    def transpose(self, tensor: TensorValue, place: Place) -> TensorValue:
        """The tensor with its axes in reverse order."""
        axes = tuple(Axis(f"i_{k}", size) for k, size in enumerate(reversed(tensor.shape)))
        body = Read(tensor.name, tuple(Integer.index(a.name) for a in reversed(axes)), tensor.dtype)
        self.builder.read_names.add(tensor.name)
        made = self.builder.add(f"{tensor.name}ᵀ", Equation(axes, body, tensor.dtype), place)
        return replace(
            tensor, name=made, shape=tuple(a.size for a in axes), axes=tuple(reversed(tensor.axes)), parameter=False
        )

    def measure(self, node: syntax.Call, name: str, scope: Scope) -> Any:
        """`size`, `rank` and `len`."""
        return structural.measure(self, node, name, scope)

    def split_keyword(self, argument: syntax.Argument, keywords: tuple[str, ...]) -> tuple[str | None, syntax.Expr]:
        """See `calls.split_keyword`."""
        return split_keyword(argument, keywords)

    def bind_function(
        self, node: syntax.Call, name: str, function: FunctionValue, translator: Translator
    ) -> list[Result | Value]:
        """See `calls.bind_function`."""
        return bind_function(self, node, name, function, translator)


def _twin_alphabet(name: str, meant: str, place: Place) -> Mistake:
    return error(
        "E202", place, f"{name} is not defined", fix=Fix(place, meant, f"write {meant}"),
        notes=[f"it looks like {meant}, but has letters of another alphabet"],
    )  # fmt: skip


def _bundle_misused(name: str, place: Place) -> Mistake:
    return error(
        "E227",
        place,
        f"{name} is a bundle of parameters, and only layers take bundles",
        notes=["a parameter of an equation is declared by itself: `param W[3, 4]`"],
    )


_OTHER_WORDS = {"True": "true", "False": "false", "None": "false", "TRUE": "true", "FALSE": "false"}
"""Words of other languages -> the word meant."""

_REDUCERS = {
    "Σ": "sum", "Π": "prod", "sum": "sum", "prod": "prod", "mean": "mean", "argmax": "argmax", "argmin": "argmin",
    "logsumexp": "logsumexp", "softmax": "softmax", "any": "any", "all": "all",
}  # fmt: skip
"""Reducers, as somebody writes them who calls them like functions."""

_OTHER_NAMES = {
    "float": "float32",
    "double": "float64",
    "half": "float16",
    "int": "int64",
    "long": "int64",
    "byte": "uint8",
}
"""What types are called elsewhere."""
