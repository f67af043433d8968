"""What a module takes and gives: names, shapes and dtypes, and whether arguments fit them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import sizes
from .errors import ArgumentError, RequirementError, ShapeError
from .sizes import Size

Lengths = tuple[int, ...]


@dataclass(frozen=True)
class TensorInfo:
    """Name, shape and dtype of an input, output or weight; `batched` if the first axis is the batch.

    A size known only when the module is called stands in `shape` as text, such as "batch".
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    batched: bool = False

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join(map(str, self.shape))}]"


def describe_tensor(entry: Mapping[str, Any]) -> TensorInfo:
    """The public description of a tensor in the manifest."""
    shape = tuple(size if isinstance(size, int) else sizes.describe(size) for size in entry["shape"])
    return TensorInfo(entry["name"], shape, entry["dtype"], bool(entry.get("batched", False)))


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint at the most similar name, or nothing; capitals are no difference."""
    spellings = {other.casefold(): other for other in names}
    found = difflib.get_close_matches(name.casefold(), spellings, n=1)
    return f" (did you mean {spellings[found[0]]}?)" if found else ""


class Signature:
    """The inputs of a module and the sizes that their shapes settle."""

    def __init__(self, manifest: Mapping[str, Any]) -> None:
        self.names: tuple[str, ...] = tuple(entry["name"] for entry in manifest["inputs"])
        self._inputs: Sequence[Mapping[str, Any]] = manifest["inputs"]
        self._minimums: dict[str, int] = {entry["name"]: entry["minimum"] for entry in manifest["symbols"]}
        self._requirements: Sequence[Mapping[str, Any]] = manifest["requirements"]

    def arrange(self, positional: Sequence[object], named: Mapping[str, object]) -> list[object]:
        """The arguments of a call in the order of the inputs; raises `ArgumentError`."""
        if len(positional) == len(self.names) and not named:
            return list(positional)
        if len(positional) > len(self.names):
            raise ArgumentError(f"{len(positional)} were given, but the program takes {self._listed(self.names)}")
        given = dict(zip(self.names, positional, strict=False))
        for name, value in named.items():
            if name not in self.names:
                hint = nearest(name, self.names) or f"; the program takes {self._listed(self.names)}"
                raise ArgumentError(f"there is no input called {name}{hint}")
            if name in given:
                raise ArgumentError(f"input {name} was given twice, by position and by name")
            given[name] = value
        missing = [name for name in self.names if name not in given]
        if missing:
            raise ArgumentError(f"missing: {self._listed(missing)}; the program takes {self._listed(self.names)}")
        return [given[name] for name in self.names]

    def bind(self, shapes: Sequence[Lengths]) -> dict[str, int]:
        """The run-time sizes, from the inputs' shapes; raises `ShapeError` or `RequirementError`."""
        symbols: dict[str, int] = {}
        origins: dict[str, str] = {}
        for entry, shape in zip(self._inputs, shapes, strict=True):
            if len(shape) != len(entry["shape"]):
                raise self._mismatch(entry, shape, f"it has {len(shape)} axes and must have {len(entry['shape'])}")
            for axis, (size, length) in enumerate(zip(entry["shape"], shape, strict=True)):
                solution = sizes.solve(size, length)
                if solution is not None and solution[0] not in symbols:
                    symbols[solution[0]] = solution[1]
                    origins[solution[0]] = f"axis {axis} of {entry['name']}"
        for name, minimum in self._minimums.items():
            if name not in symbols:
                raise ShapeError(f"the shapes of the inputs do not settle the size {name}")
            if symbols[name] < minimum:
                what = "empty" if symbols[name] == 0 else f"{symbols[name]} long"
                raise ShapeError(f"{origins[name]} ({name}) is {what}; it must be at least {minimum}")
        for entry, shape in zip(self._inputs, shapes, strict=True):
            self._require_shape(entry, shape, symbols, origins)
        self._require_conditions(symbols)
        return symbols

    def _require_shape(
        self, entry: Mapping[str, Any], shape: Lengths, symbols: Mapping[str, int], origins: Mapping[str, str]
    ) -> None:
        for axis, (size, length) in enumerate(zip(entry["shape"], shape, strict=True)):
            expected = sizes.evaluate(size, symbols)
            if expected != length:
                used = list(dict.fromkeys(sizes.symbols_of(size)))
                reason = "; ".join(f"{name} is {symbols[name]} by {origins[name]}" for name in used)
                text = f"axis {axis} is {length} and must be {expected}"
                raise self._mismatch(entry, shape, f"{text} ({reason})" if reason else text)

    def _require_conditions(self, symbols: Mapping[str, int]) -> None:
        for requirement in self._requirements:
            if sizes.evaluate(requirement["value"], symbols) < 0:
                used = dict.fromkeys(sizes.symbols_of(requirement["value"]))
                known = ", ".join(f"{name} = {symbols[name]}" for name in used)
                raise RequirementError(f"the inputs' sizes do not fit: {requirement['reason']} (here {known})")

    def _mismatch(self, entry: Mapping[str, Any], shape: Lengths, detail: str) -> ShapeError:
        expected: list[Size] = entry["shape"]
        hint = ""
        if entry.get("batched") and _fits(shape, expected[1:]):
            detail, hint = "the batch axis is missing", "; for one sample give x[None]"
        elif len(shape) == len(expected) > 2 and _fits((shape[0], *shape[2:], shape[1]), expected):
            order = (0, *range(2, len(shape)), 1)
            hint = f"; channels come last here: give numpy.transpose(x, {order})"
        return ShapeError(
            f"input {entry['name']} has shape {list(shape)}, but the program takes "
            f"{sizes.describe_shape(expected)}: {detail}{hint}"
        )

    @staticmethod
    def _listed(names: Sequence[str]) -> str:
        if not names:
            return "no inputs"
        return f"{'input' if len(names) == 1 else 'inputs'} {', '.join(names)}"


def _fits(shape: Lengths, expected: Sequence[Size]) -> bool:
    """Whether a shape could be meant for the expected one, whatever the open sizes."""
    return len(shape) == len(expected) and all(
        size == length if isinstance(size, int) else sizes.solve(size, length) is not None
        for size, length in zip(expected, shape, strict=True)
    )
