"""A small checked program, built by hand, and what it computes in NumPy float64.

R[b,x,y,j] = max(0, W[ΔX,ΔY,I,j] * L[b, x+ΔX, y+ΔY, I] + shift[j])
picked[b]  = R[b, 0, 0, label[b]]
noise[b,j] = a random number
"""

from __future__ import annotations

from typing import Any

import numpy

from majuscule.dsl.equations import (
    Apply,
    Axis,
    Equation,
    Input,
    Literal,
    Operation,
    Parameter,
    Program,
    Random,
    Read,
    State,
)
from majuscule.dsl.integers import Element, Integer, Symbol

BATCH = Symbol("batch")
B = Integer.atom(BATCH)


def _sizes(*sizes: int | Integer) -> tuple[Integer, ...]:
    return tuple(map(Integer.of, sizes))


def _axes(**sizes: int | Integer) -> tuple[Axis, ...]:
    return tuple(Axis(name, Integer.of(size)) for name, size in sizes.items())


def _read(tensor: str, *subscripts: Integer | str, dtype: str = "float32") -> Read:
    return Read(tensor, tuple(Integer.index(s) if isinstance(s, str) else s for s in subscripts), dtype)


def _apply(operation: str, *arguments: Any) -> Apply:
    return Apply(operation, arguments, "float32")


def make_program() -> Program:
    """The program above, with random first values of W and shift."""
    x, y, dx, dy = map(Integer.index, ("x", "y", "dx", "dy"))
    zero = Integer.of(0)
    label = Integer.atom(Element(_read("label", "b", dtype="int32")))
    product = _apply("mul", _read("W", "dx", "dy", "i", "j"), _read("L", "b", x + dx, y + dy, "i"))
    operations: dict[str, Operation] = {
        "L": Input(_sizes(B, 12, 12, 3), "float32"),
        "label": Input(_sizes(B), "int32"),
        "W": Parameter(_sizes(3, 3, 3, 8), "float32", "W first"),
        "shift": State(_sizes(8), "float32", "shift first"),
        "C": Equation(
            _axes(b=B, x=10, y=10, j=8), product, "float32", _axes(dx=3, dy=3, i=3), "sum", accumulator="float32"
        ),
        "R": Equation(
            _axes(b=B, x=10, y=10, j=8),
            _apply("max", Literal(0.0, "float32"), _apply("add", _read("C", "b", "x", "y", "j"), _read("shift", "j"))),
            "float32",
        ),
        "picked": Equation(_axes(b=B), _read("R", "b", zero, zero, label), "float32"),
        "noise": Random(_sizes(B, 5), "float32", 3),
    }
    initializers: dict[str, Operation] = {
        "W first": Random(_sizes(3, 3, 3, 8), "float32", 0),
        "shift first": Random(_sizes(8), "float32", 1),
    }
    return Program(
        "small", "inferring", operations, ("L", "label"), ("R", "picked", "noise"), initializers, symbols=(BATCH,)
    )


def expected(weights: Any, images: numpy.ndarray, label: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """R and picked."""
    kernel, shift = numpy.asarray(weights["W"], float), numpy.asarray(weights["shift"], float)
    result = numpy.zeros((len(images), 10, 10, 8))
    for dx in range(3):
        for dy in range(3):
            result += images[:, dx : dx + 10, dy : dy + 10].astype(float) @ kernel[dx, dy]
    result = numpy.maximum(0, result + shift)
    return result, result[numpy.arange(len(images)), 0, 0, label]


def samples(batch: int, seed: int = 0) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Random images and labels."""
    generator = numpy.random.default_rng(seed)
    images = generator.normal(size=(batch, 12, 12, 3)).astype(numpy.float32)
    return images, generator.integers(0, 8, batch).astype(numpy.int32)
