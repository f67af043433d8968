"""What the tests of the language share: from source text to the values that the interpreter gives.

Every text is checked twice, as written and in ASCII; both must give the same operations.
Oracles are in the tests: NumPy in float64 written from the formula, or PyTorch.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy

from majuscule.compiler.graph import Graph
from majuscule.compiler.interpreter import evaluate, initial_values
from majuscule.dsl import check_text
from majuscule.dsl.diagnostics import Diagnostic, render_all
from majuscule.dsl.equations import Parameter, Program
from majuscule.dsl.formatter import format_text

Array = numpy.ndarray[Any, Any]


def numbers(*shape: int, seed: int = 0) -> Array:
    """Normal random numbers in float64, the same for the same seed and shape."""
    return numpy.random.default_rng([seed, *shape]).standard_normal(shape)


def checked(text: str, mode: str = "inferring", folder: Path | None = None) -> Program:
    """The program of a text that must be right, in both spellings; `folder` is where its imports are."""
    program = _program(text, mode, folder)
    plain = format_text(text, ascii=True)
    assert all(c.isascii() or unicodedata.combining(c) for c in plain), plain
    respelled = _program(plain, mode, folder)
    assert list(respelled.operations) == list(program.operations)
    assert respelled.operations == program.operations
    assert respelled.initializers == program.initializers
    assert (respelled.outputs, respelled.updates) == (program.outputs, program.updates)
    return program


def _program(text: str, mode: str, folder: Path | None) -> Program:
    result = check_text(text, "test.maj", mode=mode, folder=folder)
    assert result.program is not None, render_all(result.diagnostics, result.sources)
    return result.program


def values(
    text: str, inputs: Mapping[str, Array] | None = None, weights: Mapping[str, Array] | None = None,
    *, mode: str = "inferring", seed: int = 0, step: int = 0,
) -> dict[str, Array]:  # fmt: skip
    """All named tensors of a program: `weights` not given have their initial values."""
    program = checked(text, mode)
    return evaluate(Graph.from_program(program), inputs or {}, weights, seed=seed, step=step, keep="all")


def refused(text: str, code: str, mode: str = "inferring") -> Diagnostic:
    """The error with this code, which checking the text must report."""
    result = check_text(text, "test.maj", mode=mode)
    assert result.program is None
    found = [d for d in result.diagnostics if d.code == code]
    assert found, render_all(result.diagnostics, result.sources)
    return found[0]


def notes(text: str, code: str, folder: Path | None = None) -> list[Diagnostic]:
    """The notes with this code on a text that is right; `folder` is where its imports are."""
    return [d for d in check_text(text, "test.maj", folder=folder).diagnostics if d.code == code]


def weights_of(program: Program, seed: int = 0) -> dict[str, Array]:
    """First values of all parameters and state, as float64."""
    return {name: value.astype(numpy.float64) for name, value in initial_values(program, seed).items()}


def parameters(program: Program) -> dict[str, tuple[int, ...]]:
    """Shapes of all parameters, in the order of the program."""
    return {n: shape(program, n) for n, o in program.operations.items() if isinstance(o, Parameter)}


def shape(program: Program, name: str) -> tuple[int, ...]:
    """The sizes of a tensor without its batch axis."""
    sizes = program.tensor(name).shape
    if sizes and str(sizes[0]) == "batch":
        sizes = sizes[1:]
    return tuple(int(size.constant) for size in sizes if size.constant is not None)


def close(actual: Array, expected: Any, tolerance: float = 1e-9) -> None:
    """Equal shapes, and values equal up to rounding in float64."""
    expected = numpy.asarray(expected, numpy.float64)
    assert actual.shape == expected.shape, f"{actual.shape} is not {expected.shape}"
    numpy.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def loops(shape: tuple[int, ...], element: Callable[..., float]) -> Array:
    """The array of `element(*position)` for every position: an equation carried out by hand."""
    result = numpy.empty(shape)
    for position in numpy.ndindex(*shape):
        result[position] = element(*position)
    return result
