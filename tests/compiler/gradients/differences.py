"""Gradients against central differences of the program itself, in float64.

A result that is no single number is multiplied with random numbers and summed.  Every element
of a small tensor is moved, and some of a large one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy

import majuscule
from majuscule.compiler.checker import check
from majuscule.compiler.gradients import Gradients, gradients
from majuscule.compiler.graph import Graph
from majuscule.compiler.interpreter import evaluate
from majuscule.dsl.equations import FLOATS, Input, Parameter, Program, State
from majuscule.dsl.integers import Symbol

Array = numpy.ndarray[Any, Any]
STEP = 1e-5
MOST = 24
"""Elements of a tensor that are moved, unless told otherwise."""


def program_of(text: str, mode: Any = "inferring") -> Program:
    return majuscule.check(text, mode=mode).require()


def floats(program: Program) -> list[str]:
    """Inputs and parameters with which a gradient can be taken."""
    return [n for n, o in program.operations.items() if isinstance(o, (Input, Parameter)) and o.dtype in FLOATS]


def values_for(
    program: Program, sizes: Mapping[str, int] | None = None, seed: int = 0, spread: int = 3
) -> dict[str, Array]:
    """Random values of inputs, parameters and state; whole numbers lie below `spread`."""
    rng = numpy.random.default_rng(seed)
    known = {"batch": 2, **(sizes or {})}
    values: dict[str, Array] = {}
    for name, operation in program.operations.items():
        if not isinstance(operation, (Input, Parameter, State)):
            continue
        symbols = {a.name for size in operation.shape for a in size.atoms() if isinstance(a, Symbol)}
        shape = [size.evaluate({name: known.get(name, 4) for name in symbols}) for size in operation.shape]
        if operation.dtype in FLOATS:
            values[name] = rng.normal(size=shape) if not isinstance(operation, State) else rng.uniform(0.5, 1.5, shape)
        else:
            values[name] = rng.integers(0, spread, shape)
    return values


def run(program: Program, values: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
    """Tensors of a program at the given values of inputs and weights."""
    graph = Graph.from_program(program)
    graph = graph.replace(graph.operations(), roots=tuple(dict.fromkeys(names)))
    return evaluate(graph, {name: values[name] for name in program.inputs}, values)


def contracted(program: Program, found: Gradients, values: Mapping[str, Array], results: Sequence[str]) -> float:
    """The number that is differentiated."""
    made = run(program, values, results)
    cotangents = {name: values[found.cotangents[name]] if name in found.cotangents else 1.0 for name in results}
    return float(sum((made[name] * cotangents[name]).sum() for name in results))


def assert_gradients(
    source: str | Program,
    *,
    of: Sequence[str] | None = None,
    with_respect_to: Sequence[str] | None = None,
    sizes: Mapping[str, int] | None = None,
    mode: Any = "inferring",
    values: Mapping[str, Array] | None = None,
    spread: int = 3,
    seed: int = 0,
    tolerance: float = 1e-6,
    most: int = MOST,
) -> Gradients:
    """Differentiate a program, run the gradients, and compare them with central differences."""
    program = program_of(source, mode) if isinstance(source, str) else source
    wanted = list(with_respect_to or floats(program))
    found = gradients(program, of, wanted)
    check(Graph.from_program(found.program))
    given = {**values_for(found.program, sizes, seed, spread), **(values or {})}
    results = list(of or ([parts[0] for parts in program.losses.values()] or program.outputs))
    results = [program.losses[name][0] if name in program.losses else name for name in results]
    made = run(found.program, given, list(found.tensors.values()))
    rng = numpy.random.default_rng(seed)
    for name in wanted:
        gradient = made[found.tensors[name]]
        assert gradient.shape == given[name].shape
        for position in rng.permutation(given[name].size)[:most]:
            expected = _difference(program, found, given, results, name, int(position))
            actual = float(gradient.reshape(-1)[position])
            assert abs(actual - expected) <= tolerance * max(1, abs(expected)), (name, position, actual, expected)
    return found


def _difference(
    program: Program, found: Gradients, values: Mapping[str, Array], results: Sequence[str], name: str, position: int
) -> float:
    ends = []
    for sign in (1, -1):
        moved = numpy.array(values[name], float)
        moved.reshape(-1)[position] += sign * STEP
        ends.append(contracted(program, found, {**values, name: moved}, results))
    return (ends[0] - ends[1]) / (2 * STEP)
