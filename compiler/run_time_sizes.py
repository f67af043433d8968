"""Sizes that are known only when a program runs: bound by the shapes of its inputs, and checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy

from ..dsl.equations import Input, Program
from ..dsl.integers import Symbol
from .graph import Graph

Array = numpy.ndarray[Any, Any]


def bind_symbols(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, int]:
    """Run-time sizes from the shapes of the given inputs; ValueError where a shape does not fit."""
    symbols: dict[str, int] = {}
    for name, array in inputs.items():
        declared = graph.operation(name) if name in graph else graph.program.operations.get(name)
        if not isinstance(declared, Input):
            raise ValueError(f"the program has no input named {name}; its inputs are {', '.join(graph.program.inputs)}")
        wanted = ", ".join(map(str, declared.shape))
        text = f"input {name} has shape {tuple(array.shape)}, but the program declares [{wanted}]"
        if len(declared.shape) != array.ndim:
            raise ValueError(text)
        for size, length in zip(declared.shape, array.shape, strict=True):
            free = {atom.name for atom in size.atoms() if isinstance(atom, Symbol)} - set(symbols)
            if len(free) == 1 and len(size.terms) <= 2 and len(size.terms[0][0]) == 1:
                symbols[free.pop()] = (length - size.offset) // size.terms[0][1]
            if size.evaluate(symbols) != length:
                known = ", ".join(f"{k} = {v}" for k, v in symbols.items())
                raise ValueError(text + (f" with {known}" if known else ""))
    return symbols


def check_requirements(program: Program, symbols: Mapping[str, int]) -> None:
    """ValueError with the reason of the first requirement that the sizes do not meet."""
    for requirement in program.requirements:
        names = {atom.name for atom in requirement.value.atoms() if isinstance(atom, Symbol)}
        if names <= set(symbols) and requirement.value.evaluate(symbols) < 0:
            raise ValueError(requirement.reason)
