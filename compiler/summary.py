"""What a network consists of, statement by statement: sizes, weights, work, memory, receptive field.

The rows of the tables on the slides (facts F2, F3, F5, F8 there), computed from a checked
program.  Sizes that are known only at run time stay symbols; everything is per sample.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ..dsl.equations import (
    Apply,
    Equation,
    Expression,
    Input,
    Operation,
    Parameter,
    Program,
    Recurrence,
    Shape,
    Statement,
    element_count,
    operands,
    reads,
)
from ..dsl.integers import Integer, Symbol
from .receptive_fields import Windows, receptive_fields

BYTES = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4, "uint8": 1, "bool": 1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One statement, or one input.

    `shape` is the result's without the batch.  `weights` are the elements of the parameters of
    two or more axes that the statement brings in, `biases` those of fewer; a parameter shared
    by several statements counts at the first.  `multiply_adds` are the points of its sums of
    products.  `memory` are the bytes of the result.  `receptive_field` has, for each input, the
    width along its spatial axes: a number, or None for all of it.
    """

    name: str
    text: str
    line: int
    depth: int
    shape: Shape
    neurons: Integer
    weights: Integer
    biases: Integer
    multiply_adds: Integer
    memory: Integer
    receptive_field: Mapping[str, tuple[int | None, ...]]


@dataclass(frozen=True, slots=True)
class Summary:
    """All rows, inputs first, and the totals over the whole program."""

    rows: tuple[Row, ...]
    neurons: Integer
    weights: Integer
    biases: Integer
    multiply_adds: Integer
    memory: Integer


def summarize(program: Program, *, depth: int = 0) -> Summary:
    """Rows for the program's layers (see `Program.layer_depth`) and for the statements up to `depth` layers below."""
    first = program.layer_depth
    sample = _Sample(program)
    fields = receptive_fields(program)
    rows = [sample.row(name, sample.given(name), _line(program, name), 0, name, (), fields) for name in program.inputs]
    owners = _parameters_by_statement(program)
    for statement, parameters in zip(program.statements, owners, strict=True):
        if not first <= statement.depth <= first + depth or statement.tensor not in program.operations:
            continue
        text = " ".join(statement.text.split())
        line = statement.place.line if statement.place is not None else 0
        below = statement.depth - first
        row = sample.row(statement.name, text, line, below, statement.tensor, parameters, fields)
        rows.append(replace(row, multiply_adds=sample.work(statement.operations)))
    top = [row for row in rows if row.depth == 0]
    everything = [name for name, operation in program.operations.items() if isinstance(operation, Parameter)]
    weights, biases = sample.split(everything)
    return Summary(
        tuple(rows),
        _sum(row.neurons for row in top),
        weights,
        biases,
        sample.work(program.operations),
        _sum(row.memory for row in top),
    )


def _line(program: Program, name: str) -> int:
    place = program.places.get(name)
    return place.line if place is not None else 0


def _sum(values: Iterable[Integer]) -> Integer:
    return sum(values, start=Integer.of(0))


class _Sample:
    """A program at batch size one."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.batch = {
            operation.shape[0].single_atom
            for operation in program.operations.values()
            if isinstance(operation, Input) and operation.batched and operation.shape
        }

    def row(
        self, name: str, text: str, line: int, depth: int, tensor: str, parameters: Iterable[str],
        fields: Mapping[str, Windows],
    ) -> Row:  # fmt: skip
        """A row without its work."""
        operation = self.program.operations[tensor]
        if isinstance(operation, Recurrence):
            raise KeyError(tensor)
        shape = operation.shape
        if shape and shape[0].single_atom in self.batch and shape[0].single_atom is not None:
            shape = shape[1:]
        neurons = self.once(element_count(shape))
        weights, biases = self.split(parameters)
        memory = neurons * BYTES[operation.dtype]
        seen = _widths(self.program, fields.get(tensor, {}))
        return Row(name, text, line, depth, shape, neurons, weights, biases, Integer.of(0), memory, seen)

    def given(self, name: str) -> str:
        """The declaration of an input."""
        shape = self.program.tensor(name).shape
        if shape and shape[0].single_atom in self.batch:
            shape = shape[1:]
        return f"Given {name}[{', '.join(map(str, shape))}]"

    def once(self, size: Integer) -> Integer:
        """A count for a batch of one."""
        return size.substitute({atom: 1 for atom in self.batch if isinstance(atom, Symbol)})

    def split(self, parameters: Iterable[str]) -> tuple[Integer, Integer]:
        """(weights, biases) among parameters."""
        shapes = [self.program.tensor(name).shape for name in parameters]
        weights = _sum(element_count(shape) for shape in shapes if len(shape) >= 2)
        return weights, _sum(element_count(shape) for shape in shapes if len(shape) < 2)

    def work(self, names: Iterable[str]) -> Integer:
        """Multiplications and additions in sums of products, for one sample."""
        operations = [self.program.operations[name] for name in names if name in self.program.operations]
        return self.once(_sum(map(_multiply_adds, operations)))


def _parameters_by_statement(program: Program) -> list[tuple[str, ...]]:
    """For each statement the parameters that it makes, or that it is the first to read."""
    made = {name for statement in program.statements for name in statement.operations}
    counted: dict[int, set[str]] = {}
    result: list[tuple[str, ...]] = []
    for statement in program.statements:
        seen = counted.setdefault(statement.depth, set())
        own = [name for name in _named(program, statement, made) if name not in seen]
        seen.update(own)
        result.append(tuple(own))
    return result


def _named(program: Program, statement: Statement, made: set[str]) -> list[str]:
    names: dict[str, None] = {}
    for name in statement.operations:
        operation = program.operations.get(name)
        if isinstance(operation, Parameter):
            names[name] = None
        elif operation is not None:
            read = [o for o in operands(operation) if isinstance(program.operations.get(o), Parameter)]
            names.update((operand, None) for operand in read if statement.depth or operand not in made)
    return list(names)


# -- work --------------------------------------------------------------------------------------


def _multiply_adds(operation: Operation) -> Integer:
    if isinstance(operation, Equation):
        if operation.combiner != "sum":
            return Integer.of(0)
        points = math.prod((axis.size for axis in (*operation.domain, *operation.reduction)), start=Integer.of(1))
        return points * product_terms(operation.body)
    if isinstance(operation, Recurrence):
        return (operation.upper - operation.lower) * _sum(_multiply_adds(step.equation) for step in operation.steps)
    return Integer.of(0)


def product_terms(body: Expression) -> int:
    """How many terms of a sum are products of two or more things that are read."""
    if isinstance(body, Apply) and body.operation in ("add", "sub"):
        return sum(map(product_terms, body.arguments))
    if isinstance(body, Apply) and body.operation in ("neg", "cast"):
        return product_terms(body.arguments[0])
    return int(len([factor for factor in _factors(body) if reads(factor)]) >= 2)


def _factors(body: Expression) -> list[Expression]:
    if isinstance(body, Apply) and body.operation == "mul":
        return [factor for argument in body.arguments for factor in _factors(argument)]
    return [body]


# -- receptive fields ----------------------------------------------------------------------------


def _widths(program: Program, windows: Windows) -> dict[str, tuple[int | None, ...]]:
    """For each input that is seen, the widths along its spatial axes: those between batch and channels."""
    result: dict[str, tuple[int | None, ...]] = {}
    for name in program.inputs:
        axes = _spatial_axes(program.operations[name])
        if axes and all((name, axis) in windows for axis in axes):
            result[name] = tuple(None if w.whole else w.width for w in (windows[name, axis] for axis in axes))
    return result


def _spatial_axes(operation: Operation) -> list[int]:
    if not isinstance(operation, Input):
        return []
    axes = list(range(int(operation.batched), len(operation.shape)))
    return axes[:-1] if len(axes) >= 2 else axes
