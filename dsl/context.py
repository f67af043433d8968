"""What elaboration carries along: the program under construction, calls under way, bundles, names.

First of the classes that `elaborate.Elaborator` is made of; each adds one concern to the one
before: `context`, `lookup`, `assignments`, `declarations`, `elaborate`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import syntax
from .builder import Builder
from .diagnostics import Diagnostic, Label, Mistake, error
from .equations import Place
from .initializers import PendingInitial
from .integers import Integer
from .library_index import standard_library
from .session import Session
from .translate import CASTS, SCALAR_FUNCTIONS, STRUCTURAL, AbandonStatement
from .values import (
    BuiltinValue,
    BundleValue,
    Scope,
    TensorValue,
    Value,
)

if TYPE_CHECKING:
    pass
from abc import ABC, abstractmethod

MAXIMUM_DEPTH = 40
MAXIMUM_STEPS = 800_000
"""Expressions that are looked at, each as often as loops, layers and functions repeat it."""
STEPS_OF_A_STATEMENT = 20
"""What carrying out a statement costs, in the same measure."""


class Context(Session, ABC):
    """The state of elaboration."""

    def __init__(self, name: str, mode: str, text: str, folder: Path | None, files: Mapping[str, str]) -> None:
        self.builder = Builder(Path(name).stem or name, mode, text)
        self.builder.sources[name] = text
        self.file = name
        self.mode = mode
        self.text = text
        self.folder = folder
        self.files = files
        self.root = Scope()
        for builtin in (*SCALAR_FUNCTIONS, *CASTS, *STRUCTURAL):
            self.root.define(builtin, BuiltinValue(builtin))
        self.root.define("Padd", BuiltinValue("pad"))
        self.root.define("true", True)
        self.root.define("false", False)
        self.main = Scope(self.root)
        self.bundles: dict[str, BundleValue] = {}
        self.initials: list[PendingInitial] = []
        self.calls: list[tuple[Place, str]] = []
        self.depth = 0
        self.defined: list[TensorValue] = []
        self.named_outputs: list[tuple[str, TensorValue]] | None = None
        self.imported: dict[Path, Scope] = {}
        self._library: dict[str, Value | None] = {}
        self.later: dict[str, Place] = {}
        self.declared_sizes: dict[int, tuple[str, ...]] = {}
        """What `size_names` found, by the identity of a layer's definition (kept by its scope)."""
        self._random = 0
        self._steps = 0
        self.broken_families: set[str] = set()
        """Stems of families whose loop ended with an error, so that members may seem unknown."""
        self.missing_imports = False
        """Whether a file could not be read, so that names of its may seem unknown."""
        self.slices: dict[str, tuple[Integer, Place, str]] = {}
        """Sizes that capitals stand for in the arguments of this statement, `L[B,X,Y,J]`; where; of what."""
        self.naming: list[str] = []
        """Names under definition, innermost last; what is made on their behalf is called after them."""
        self.builder.relocate = self._relocate
        self.builder.outermost_call = lambda: self.calls[0][0] if self.calls else None

    def _relocate(self, diagnostic: Diagnostic) -> Diagnostic:
        """A note about a line of the library is shown at the writer's call."""
        if not diagnostic.place.file.startswith("library/"):
            return diagnostic
        for place, name in reversed(self.calls):
            if not place.file.startswith("library/"):
                return replace(diagnostic, place=place, here=f"in this call of {name}")
        return diagnostic

    def step(self, place: Place, count: int = 1) -> None:
        """Count work done; programs that unfold without end are refused rather than waited for."""
        self._steps += count
        if self._steps <= MAXIMUM_STEPS:
            return
        if self._steps - count <= MAXIMUM_STEPS:  # reported once: the program is too large as a whole
            mistake = error(
                "E616",
                self.calls[0][0] if self.calls else place,
                "this program unfolds into too many steps to be checked",
                notes=["loops are unrolled, and layers and functions are put in where they are called"],
            )
            self.builder.report(mistake.diagnostic)
        raise AbandonStatement

    @contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        self.naming.append(name)
        try:
            yield
        finally:
            self.naming.pop()

    @contextmanager
    def entering(self, place: Place, name: str, count: bool = True) -> Iterator[None]:
        """Note a call while it runs; refuses endless recursion; errors inside get the call's place."""
        if len(self.calls) >= MAXIMUM_DEPTH:
            raise error(
                "E523", self.calls[0][0], f"{name} calls itself without end (calls are nested {MAXIMUM_DEPTH} deep)",
                notes=["a layer may call itself only under an `if` that ends it"],
            )  # fmt: skip
        if count:
            self.calls.append((place, name))
        try:
            yield
        except Mistake as mistake:
            raise self._seen_from(mistake, place, name) from None
        finally:
            if count and self.calls:
                self.calls.pop()

    def _seen_from(self, mistake: Mistake, place: Place, name: str) -> Mistake:
        """An error inside a layer is shown at the call; the layer's own line becomes a label."""
        diagnostic = mistake.diagnostic
        if diagnostic.place.file == place.file and not diagnostic.place.file.startswith("library/"):
            label = Label(place, f"in this call of {name}")
            if any(label.text.startswith("in this call") for label in diagnostic.labels) or diagnostic.place == place:
                return mistake
            return Mistake(replace(diagnostic, labels=(*diagnostic.labels, label)))
        if diagnostic.place.file.startswith("library/"):
            index = next((i for i in standard_library() if i.file == diagnostic.place.file), None)
            if index is not None:
                self.builder.sources.setdefault(index.file, index.text)
            moved = Label(diagnostic.place, diagnostic.here or "found here")
            labels = tuple(label for label in diagnostic.labels if label.place != place)
            fix = diagnostic.fix if diagnostic.fix is not None and diagnostic.fix.place.file == place.file else None
            return Mistake(
                replace(diagnostic, place=place, here=f"in this call of {name}", labels=(moved, *labels), fix=fix)
            )
        return mistake

    def _call_place(self, place: Place) -> Place:
        return self.calls[-1][0] if self.calls else place

    def _count_name(self, name: str, scope: Scope) -> str:
        count = scope.home.counts.get(name, 0) + 1
        scope.home.counts[name] = count
        return name if count == 1 else f"{name}#{count}"

    def random_key(self, scope: Scope) -> str:
        """A key for one place where random numbers are drawn."""
        self._random += 1
        return str(self._random)

    def auto_bundle(self, hint: str, scope: Scope, place: Place) -> BundleValue:
        """The bundle of a call that names none: called after the result, inside the caller's bundle."""
        outer = scope.home.bundle
        name = hint
        if outer is not None and hint.startswith(scope.home.prefix):
            name = f"{outer.name}.{hint[len(scope.home.prefix) :]}"
        elif outer is not None and hint == scope.home.prefix.rstrip("."):
            name = outer.name
        return self.bundles.setdefault(name, BundleValue(name, place, outer=outer))

    def bundle(self, name: str, scope: Scope, place: Place) -> BundleValue:
        """The bundle of a name such as Φ1, made at its first use."""
        found = scope.find(name)
        if isinstance(found, BundleValue):
            return found
        outer = scope.home.bundle
        path = f"{outer.name}.{name}" if outer is not None else name
        bundle = self.bundles.setdefault(path, BundleValue(path, place, spelling=name))
        scope.home.define(name, bundle, place)
        return bundle

    def is_batched(self, tensor: TensorValue) -> bool:
        """Whether the first axis is the batch."""
        return (
            bool(tensor.shape)
            and "batch" in self.builder.symbols
            and self.builder.resolve(tensor.shape[0]) == Integer.atom(self.builder.symbols["batch"])
        )

    @abstractmethod
    def block(self, statements: tuple[syntax.Statement, ...], scope: Scope) -> None:
        """Run statements in order; see `elaborate`."""

    @abstractmethod
    def _attempt(self, action: Any, poison: tuple[syntax.Name, ...] = (), scope: Scope | None = None) -> None:
        """Run one statement and report its mistake; see `elaborate`."""
