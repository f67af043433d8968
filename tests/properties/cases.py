"""A case: the text of one equation or a few, the tensors it takes, and what it must give.

Cases are independent of each other; several stand in one program so that they share the
cost of compiling.  Tensors are described in canonical order; a layout says in which order
of axes the text declares them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy
from rounding import PRECISIONS, Array, Precision, Rounded

FLOATS = ("float32", "float64", "float16", "bfloat16")
INTEGERS = ("int32", "int64", "uint8")
INTERPRETED = PRECISIONS["float64"]


def numpy_dtype(name: str) -> numpy.dtype[Any]:
    """The NumPy dtype of one of the language's dtypes."""
    return numpy.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else numpy.dtype(name)


@dataclass(frozen=True)
class Tensor:
    """An input or a parameter.

    `shape` is canonical, without the batch; `order` the axes of the text by canonical
    position (the batch not counted).  `values` is "normal", "positive", "distinct" (no two
    equal), or a number n for whole numbers below n.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    kind: str = "input"
    order: tuple[int, ...] | None = None
    values: str | int = "normal"
    axes: tuple[str, ...] | None = None
    """Names of the axes, by canonical position, where the text gives them."""

    @property
    def layout(self) -> tuple[int, ...]:
        return self.order if self.order is not None else tuple(range(len(self.shape)))

    def declaration(self, name: str) -> str:
        """The statement that declares it."""
        parts = [f"{self.axes[k]} {self.shape[k]}" if self.axes else str(self.shape[k]) for k in self.layout]
        dtype = "" if self.dtype == "float32" else f": {self.dtype}"
        word = "param" if self.kind == "parameter" else "Given"
        return f"{word} {name}[{', '.join(parts)}]{dtype}{' without batch' if self.kind == 'single' else ''}"

    def canonical(self, name: str, batch: int) -> Array:
        """Values in canonical order, a function of name and batch size alone."""
        shape = (batch, *self.shape) if self.kind == "input" else self.shape
        generator = numpy.random.default_rng([zlib.crc32(name.encode()), batch if self.kind == "input" else 0])
        dtype = numpy_dtype(self.dtype)
        if self.dtype == "bool":
            return generator.random(shape) < 0.5
        if isinstance(self.values, int):
            return generator.integers(0, self.values, shape).astype(dtype)
        if self.values == "distinct":
            count = int(numpy.prod(shape))
            return (generator.permutation(count).reshape(shape) - count // 2).astype(dtype)
        if self.dtype == "uint8":  # sums of products stay below 256
            return (generator.random(shape) < 0.25).astype(dtype)
        if self.dtype in INTEGERS:
            return generator.integers(-3, 4, shape).astype(dtype)
        if self.values == "positive":
            return generator.uniform(0.5, 2.0, shape).astype(dtype)
        return generator.normal(size=shape).astype(dtype)

    def as_given(self, canonical: Array) -> Array:
        """The axes in the order of the text."""
        if self.kind == "input":
            return canonical.transpose(0, *(1 + k for k in self.layout)).copy(order="C")
        return canonical.transpose(self.layout).copy(order="C")


Expected = Callable[[Mapping[str, Rounded]], Rounded]


@dataclass
class Case:
    """Lines of a program that define the tensor `name`.

    `expected` gives its value from the tensors in canonical order; `order` are the
    output's axes in the text by canonical position.  `peer` computes the same with
    PyTorch's own operation, where there is one.
    """

    name: str
    lines: list[str]
    tensors: dict[str, Tensor]
    expected: Expected
    dtype: str = "float32"
    order: tuple[int, ...] | None = None
    peer: Callable[[Mapping[str, Array]], Array] | None = None
    features: dict[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """The case as a program of its own."""
        return program([self])

    def canonical(self, batch: int) -> dict[str, Array]:
        """Values of all its tensors in canonical order."""
        return {name: tensor.canonical(name, batch) for name, tensor in self.tensors.items()}

    def wanted(self, canonical: Mapping[str, Array], precision: Precision | None = None) -> Rounded:
        """The result in the order of the text, with bounds for the dtype's precision or the one given."""
        chosen = PRECISIONS[self.dtype] if precision is None else precision
        exact = {name: Rounded.given(array.astype(numpy.float64), chosen) for name, array in canonical.items()}
        result = self.expected(exact).stored()
        return result if self.order is None else result.transpose(self.order)


def program(cases: Sequence[Case]) -> str:
    """The text of all cases together."""
    return "\n".join(
        # a name with a point is a layer's own parameter, which the layer declares
        [t.declaration(name) for case in cases for name, t in case.tensors.items() if "." not in name]
        + [line for case in cases for line in case.lines]
        + [f"output {', '.join(case.name for case in cases)}"]
    ) + "\n"  # fmt: skip
