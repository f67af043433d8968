"""What names stand for while a program is checked: tensors, numbers, layers, bundles.

A number whose value depends on run-time sizes is an `Integer`; all others are Python
numbers.  A `Scope` is a chain of name tables: a layer's own, its file's, the library.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Union

from . import syntax
from .equations import Place
from .integers import Integer
from .tensors import TensorValue as TensorValue
from .tensors import View as View
from .terms import Term


@dataclass(slots=True)
class BundleValue:
    """A bundle of parameters; filled by the first layer that uses it, shared by the next.

    `sizes` are the sizes that the writer gave (`Φ_A[1,1,J,K]`), to be matched by its first
    parameter of that rank, which may stand in a layer inside: `outer` is the bundle around.
    """

    name: str
    place: Place
    tensors: dict[str, TensorValue] = field(default_factory=dict)
    given: list[TensorValue] = field(default_factory=list)
    sizes: tuple[Integer, ...] | None = None
    spelling: str = ""
    outer: BundleValue | None = None

    def with_sizes(self, rank: int) -> BundleValue | None:
        """This bundle or the nearest one around it whose given sizes wait for a parameter of this rank."""
        if self.sizes is not None and len(self.sizes) == rank:
            return self
        return self.outer.with_sizes(rank) if self.outer is not None else None


@dataclass(frozen=True, slots=True)
class LayerValue:
    """A layer and the scope of the file that it stands in."""

    definition: syntax.Layer
    scope: Scope


@dataclass(frozen=True, slots=True)
class FunctionValue:
    """A scalar function written in the language."""

    definition: syntax.Function
    scope: Scope


@dataclass(frozen=True, slots=True)
class BuiltinValue:
    """A function of the core: an intrinsic scalar function or a structural one."""

    name: str


@dataclass(frozen=True, slots=True)
class Word:
    """A bare word used as a value, such as `reflect` in `mode reflect`."""

    text: str


@dataclass(frozen=True, slots=True)
class Broken:
    """Stands for a definition that had an error, so that its uses are not reported again."""


@dataclass(frozen=True, slots=True)
class ScalarArgument:
    """The argument of a scalar function while its body is read: one factor, sums closed."""

    term: Term
    size: int = 1
    """See `translate.Result.size`."""


Value = Union[
    TensorValue, BundleValue, LayerValue, FunctionValue, BuiltinValue, Word, Broken, ScalarArgument,
    int, float, bool, str, Integer, tuple[Any, ...],
]  # fmt: skip


class Scope:
    """A table of names, with an outer scope to look in next.

    `sizes` are axis sizes bound by a layer's signature, `rest` what its first `...` stands for
    and the dtype of that tensor; `loops` are the variables of compile-time loops, which may stand
    as the subscript of a name (`L_l`).
    """

    def __init__(self, outer: Scope | None = None, *, prefix: str = "", bundle: BundleValue | None = None) -> None:
        self.outer = outer
        self.names: dict[str, Value] = {}
        self.places: dict[str, Place] = {}
        self.sizes: dict[str, Integer] = {}
        self.rest: tuple[tuple[Integer, ...], str] | None = None
        self.loops: dict[str, int] = {}
        self.prefix = prefix
        self.bundle = bundle
        self.suffix = ""
        self.home: Scope = self
        """The scope of the layer or file around; loop bodies have scopes inside it."""
        self.counts: dict[str, int] = {}

    def iteration(self, variables: dict[str, int]) -> Scope:
        """A scope for one turn of a compile-time loop."""
        inner = Scope(self, prefix=self.prefix, bundle=self.bundle)
        inner.home = self.home
        inner.loops = {**self.loops, **variables}
        inner.suffix = self.suffix + "".join(f"_{value}" for value in variables.values())
        for name, value in variables.items():
            inner.define(name, value)
        return inner

    def find(self, name: str) -> Value | None:
        """The value of a name, here or further out."""
        scope: Scope | None = self
        while scope is not None:
            value = scope.names.get(name)
            if value is not None:
                return value
            scope = scope.outer
        return None

    def place_of(self, name: str) -> Place | None:
        """Where a name was defined."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.places:
                return scope.places[name]
            scope = scope.outer
        return None

    def define(self, name: str, value: Value, place: Place | None = None) -> None:
        """Give a name a value in this scope."""
        self.names[name] = value
        if place is not None:
            self.places[name] = place

    def all_names(self) -> Iterator[str]:
        """Every name that can be seen from here."""
        scope: Scope | None = self
        while scope is not None:
            yield from scope.names
            scope = scope.outer


def number(value: Integer) -> int | Integer:
    """A Python int where the value is constant."""
    constant = value.constant
    return value if constant is None else constant
