"""The program that an import writes: inputs, statements, outputs and weights, in the language's notation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy

from .errors import CannotSay
from .model_files import DTYPES
from .naming import Names
from .repeats import folded
from .sizes import Dim, Size
from .values import Array, Constant, Tensor, letters

LAYERS_DTYPE = "float32"
"""The dtype of the weights of the library's layers, and of tensors that do not say theirs."""


def dtype_of(array: Array) -> str:
    """The dtype of an array by its name in the language; raises `CannotSay` if it has none."""
    if array.dtype.name not in DTYPES:
        raise CannotSay(f"{array.dtype.name} is no dtype of the language")
    return str(array.dtype.name)


def number(value: object, dtype: str) -> str:
    """A number as a literal; raises `CannotSay` for infinities, which the language does not write."""
    if dtype == "bool":
        return "true" if value else "false"
    if dtype.startswith(("int", "uint")):
        return str(int(value))  # type: ignore[call-overload]
    found = float(value)  # type: ignore[arg-type]
    if not math.isfinite(found):
        raise CannotSay(f"{found} cannot be written as a number")
    if dtype == "float32":
        found = float(str(numpy.float32(found)))
    if found == int(found) and abs(found) < 1e15:
        return str(int(found))
    return repr(found)


def pair(values: Sequence[int]) -> str:
    """One number where all are equal, else all of them in brackets."""
    return str(values[0]) if len(set(values)) == 1 else f"({', '.join(map(str, values))})"


class Program:
    """Statements in their order, and the weights that go with them."""

    def __init__(self) -> None:
        self.names = Names()
        self.weights: dict[str, Array] = {}
        self._layers: list[str] = []
        self._inputs: list[str] = []
        self._lines: list[str] = []
        self._outputs: list[str] = []
        self._parameters: dict[int, tuple[Constant, Tensor]] = {}

    def fold(self, inputs: Sequence[str]) -> Program:
        """The same program with layers for what comes again in it; `inputs` are the names of its inputs."""
        found = Program()
        found.names, found._inputs, found._outputs = self.names, self._inputs, self._outputs
        lines = self._lines
        found._layers, found._lines, found.weights = folded(lines, inputs, self._outputs, self.weights, self.names)
        return found

    def text(self, head: Sequence[str]) -> str:
        """The whole program below some lines of comment."""
        parts = [[f"# {line}".rstrip() for line in head], self._layers, self._inputs, self._lines]
        outputs = [f"output {', '.join(self._outputs)}"] if self._outputs else []
        return "\n\n".join("\n".join(part) for part in [*parts, outputs] if part) + "\n"

    def write(self, *lines: str) -> None:
        """Add lines as they are."""
        self._lines += lines

    def output(self, name: str) -> None:
        """Make a tensor an output."""
        self._outputs.append(name)

    def given(self, tensor: Tensor, axes: Sequence[str], *, batched: bool, note: str = "") -> None:
        """Declare an input with these sizes, the batch left out."""
        line = f"Given {tensor.name}[{', '.join(axes)}]" + _typed(tensor.dtype) + ("" if batched else " without batch")
        self._inputs.append(f"{line}    # {note}" if note else line)

    def parameter(self, constant: Constant) -> Tensor:
        """A weight of the program that holds these numbers, declared once."""
        if id(constant) in self._parameters:
            return self._parameters[id(constant)][1]
        if constant.is_open:
            raise CannotSay("sizes that are open cannot be computed with")
        dtype = dtype_of(constant.array)
        array = constant.array if constant.array.ndim else constant.array.reshape(1)
        if not array.size:
            raise CannotSay(f"{constant.name} has no elements")
        name = self.names.give(constant.name)
        trained = constant.is_learnt and dtype.endswith(("float64", "float32", "float16"))
        self.write(f"param {name}[{', '.join(map(str, array.shape))}]{_typed(dtype)}{'' if trained else ' untrained'}")
        self.weights[name] = array
        shape = constant.shape
        tensor = Tensor(name, shape, tuple(range(len(shape))), dtype)
        if not shape:
            tensor = self.define(Tensor(self.names.give(f"{name}_only"), (), (), dtype), (), f"{name}[0]")
        self._parameters[id(constant)] = (constant, tensor)
        return tensor

    def layer(
        self, name: str, layer: str, tensor: Tensor, options: Mapping[str, object], weights: Mapping[str, Array]
    ) -> str:
        """A call of a layer, with its weights; gives the name of its result."""
        arguments = [tensor.name, *(f"{key} {value}" for key, value in options.items())]
        self.write(f"{name} = {layer}({', '.join(arguments)})")
        for key, array in weights.items():
            if array.dtype.name != tensor.dtype:
                raise CannotSay(f"weights of {array.dtype.name} meet data of {tensor.dtype}")
            self.weights[f"{name}.{key}"] = array
        return name

    def define(
        self, tensor: Tensor, indices: Sequence[str], body: str, ranges: Mapping[str, int] | None = None
    ) -> Tensor:
        """A tensor by an equation: an index for each of the model's axes, and the ranges that do not follow."""
        left = list(indices)
        prefix = dict(ranges or {})
        for axis in tensor.order:
            if left[axis] in prefix:
                left[axis] = f"{indices[axis]} in 0..{prefix.pop(indices[axis])}"
        loops = f"for {', '.join(f'{name} in 0..{count}' for name, count in prefix.items())}: " if prefix else ""
        self.write(f"{loops}{tensor.read(left)} = {body}")
        names = tuple(indices[axis] for axis in tensor.order)
        named = names if all(name.isidentifier() for name in names) else None
        return replace(tensor, names=named, filled_with=None)

    def whole(self, tensor: Tensor, name: str, order: Sequence[int]) -> Tensor:
        """The tensor with all of its axes, in this order, and with names for them."""
        found = replace(tensor, name=name, order=tuple(order))
        marks = letters(found)
        ranges = {marks[axis]: known(tensor.shape[axis]) for axis in order if axis not in tensor.order}
        return self.define(found, marks, tensor.read(marks), ranges)


def known(size: Dim) -> int:
    """A size as a number; raises `CannotSay` if it is open."""
    if isinstance(size, Size):
        raise CannotSay(f"a range would depend on the open size {size}")
    return size


def _typed(dtype: str) -> str:
    return "" if dtype == LAYERS_DTYPE else f": {dtype}"
