"""The nodes and constants of an ONNX graph as it grows; equal ones are made once."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = numpy.ndarray[Any, Any]

TYPES: Mapping[str, int] = {
    "float64": TensorProto.DOUBLE, "float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16, "int64": TensorProto.INT64, "int32": TensorProto.INT32,
    "uint8": TensorProto.UINT8, "bool": TensorProto.BOOL,
}  # fmt: skip
"""ONNX's numbers for the language's dtypes."""


def working(dtype: str) -> str:
    """The dtype in which equations over a dtype are computed: short floats are short in memory alone."""
    return "float32" if dtype in ("float16", "bfloat16") else dtype


Attribute = int | float | str | tuple[int, ...] | onnx.GraphProto


class Builder:
    """A graph under construction; `taken` are names that its values must not have."""

    def __init__(self, taken: Sequence[str]) -> None:
        self.constants: dict[str, onnx.TensorProto] = {}
        self.nodes: list[onnx.NodeProto] = []
        self._taken = set(taken)
        self._known: ChainMap[Any, str] = ChainMap()
        self._constant_names: dict[Any, str] = {}
        self._hint = ""

    @contextmanager
    def making(self, tensor: str) -> Iterator[None]:
        """Values made inside are called after a tensor of the program."""
        before, self._hint = self._hint, tensor
        yield
        self._hint = before

    @contextmanager
    def body(self) -> Iterator[list[onnx.NodeProto]]:
        """Nodes made inside belong to the body of a loop, which is given; it sees what is outside."""
        nodes, known = self.nodes, self._known
        self.nodes, self._known = [], known.new_child()
        yield self.nodes
        self.nodes, self._known = nodes, known

    def new_name(self, wanted: str) -> str:
        """A name that nothing has."""
        name, number = wanted, 2
        while name in self._taken:
            name, number = f"{wanted}.{number}", number + 1
        self._taken.add(name)
        return name

    def node(self, operator: str, *inputs: str, **attributes: Attribute) -> str:
        """The name of an operator's result; an empty name is an input that is left out."""
        plain = not any(isinstance(value, onnx.GraphProto) for value in attributes.values())
        key = (operator, inputs, tuple(sorted(attributes.items()))) if plain else None
        if key is not None and key in self._known:
            return self._known[key]
        name = self.nodes_of(operator, inputs, 1, **attributes)[0]
        if key is not None:
            self._known[key] = name
        return name

    def nodes_of(self, operator: str, inputs: Sequence[str], count: int, **attributes: Attribute) -> list[str]:
        """The names of an operator's results, several of them."""
        names = [self.new_name(f"{self._hint}/{operator}") for _ in range(count)]
        given: dict[str, Any] = attributes
        self.nodes.append(helper.make_node(operator, list(inputs), names, name=names[0], **given))
        return names

    def constant(self, array: Array) -> str:
        """The name of literal numbers."""
        array = numpy.asarray(array)
        key = (array.dtype.str, array.dtype.name, array.shape, array.tobytes())
        if key not in self._constant_names:
            name = self.new_name(f"constant/{array.dtype.name}{list(array.shape)}")
            self.constants[name] = numpy_helper.from_array(numpy.ascontiguousarray(array).reshape(array.shape), name)
            self._constant_names[key] = name
        return self._constant_names[key]

    def integers(self, *values: int) -> str:
        """A vector of int64."""
        return self.constant(numpy.array(values, numpy.int64))

    def literal(self, value: float | int | bool, dtype: str) -> str:
        """A single number of one of the language's dtypes."""
        return self.constant(numpy.array(value, numpy_type(dtype)))


def numpy_type(dtype: str) -> numpy.dtype[Any]:
    """NumPy's dtype for one of the language's."""
    return helper.tensor_dtype_to_np_dtype(TYPES[dtype])


def needed(nodes: Sequence[onnx.NodeProto], outputs: Sequence[str]) -> list[onnx.NodeProto]:
    """The nodes on which the outputs depend, in their order."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted |= names_read(node)
            kept.append(node)
    return kept[::-1]


def names_read(node: onnx.NodeProto) -> set[str]:
    """The values that a node takes, those that the bodies in it take from outside among them."""
    found = set(node.input)
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            for inner in attribute.g.node:
                found |= names_read(inner)
            found |= {output.name for output in attribute.g.output}
    return found
