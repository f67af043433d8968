"""What a module tells of its inputs beyond shape and dtype: whether batched, and which axes they select from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...dsl.equations import Equation, Input, Program, Recurrence, equation_reads
from ...dsl.integers import Element, Integer
from .sizes import encode_size


def describe(program: Program, name: str) -> dict[str, Any]:
    """An input's entries in the manifest.

    `selects` are the sizes of the axes that its values are places in, such as the number of
    rows of an embedding's table: with values below all of them no check of the program fails.
    """
    operation = program.operations[name]
    assert isinstance(operation, Input)
    sizes = dict.fromkeys(size for equation in _equations(program) for size in _selected(program, equation, name))
    return {"batched": operation.batched, "selects": [encode_size(size) for size in sizes]}


def _equations(program: Program) -> Iterator[Equation]:
    for operation in program.operations.values():
        if isinstance(operation, Equation):
            yield operation
        elif isinstance(operation, Recurrence):
            yield from (step.equation for step in operation.steps)


def _selected(program: Program, equation: Equation, name: str) -> Iterator[Integer]:
    """Sizes of the axes that an equation reads at places that an input gives."""
    for read in equation_reads(equation):
        places = [
            position
            for position, subscript in enumerate(read.subscripts)
            if any(isinstance(atom, Element) and atom.read.tensor == name for atom in subscript.atoms())
        ]
        if places:  # tensors that a recurrence carries are no operations, and are not selected from
            shape = program.tensor(read.tensor).shape if read.tensor in program.operations else ()
            yield from (shape[place] for place in places if place < len(shape))
