"""Compute what depends on constants alone while compiling, and write small constants into the equations."""

from __future__ import annotations

from ...dsl.equations import (
    Constant,
    Equation,
    Expression,
    Literal,
    Operation,
    Read,
    Recurrence,
    element_count,
    operands,
    transform,
)
from ..dependence import data_free
from ..graph import Graph, Note
from ..interpreter import evaluate
from ..rewriting import map_expressions, map_steps, points
from ..scalar_functions import stored

ELEMENTS = 1 << 12
"""Larger tensors stay operations: they cost compile time and room in the module."""
POINTS = 1 << 18
"""Longer computations stay operations: at inference they run once, when weights are loaded."""


def fold_constants(graph: Graph) -> Graph:
    """Constants in place of small operations on constants; literals in place of reads of one repeated value."""
    return _write_literals(_evaluate_constants(graph))


def _evaluate_constants(graph: Graph) -> Graph:
    independent = data_free(graph)
    constant: set[str] = set()
    for name in graph:
        operation = graph.operation(name)
        foldable = name in independent and _is_small(operation) and constant.issuperset(operands(operation))
        if foldable or isinstance(operation, Constant):
            constant.add(name)
    folded = [
        name
        for name in graph
        if name in constant
        and _worth_folding(graph.operation(name))
        and (name in graph.roots or any(consumer not in constant for consumer in graph.consumers(name)))
    ]
    if not folded:
        return graph
    operations = graph.operations()
    part = graph.replace({n: o for n, o in operations.items() if n in constant}, roots=tuple(folded))
    values = evaluate(part, {})
    for name in folded:
        tensor = graph.tensor(name)
        flat = stored(values[name], tensor.dtype).reshape(-1).tolist()
        operations[name] = Constant(tensor.shape, tensor.dtype, tuple(flat))
    return graph.replace(operations, tuple(Note("fold_constants", n, "computed while compiling") for n in folded))


def _is_small(operation: Operation) -> bool:
    if not isinstance(operation, Equation):
        return False
    elements, work = element_count(operation.shape).constant, points(operation).constant
    return elements is not None and elements <= ELEMENTS and work is not None and work <= POINTS


def _worth_folding(operation: Operation) -> bool:
    """A literal spread over a tensor is better left to be written into its readers."""
    return isinstance(operation, Equation) and not isinstance(operation.body, Literal)


def _write_literals(graph: Graph) -> Graph:
    """Literals for reads of constants that hold one value, wherever they are read."""
    uniform = {}
    for name, operation in graph.operations().items():
        if isinstance(operation, Constant) and operation.values and len(set(map(repr, operation.values))) == 1:
            uniform[name] = Literal(operation.values[0], operation.dtype)
    if not uniform:
        return graph

    def literal(node: Expression) -> Expression | None:
        return uniform.get(node.tensor) if isinstance(node, Read) else None

    def written(equation: Equation) -> Equation:
        return map_expressions(equation, lambda expression: transform(expression, literal))

    operations: dict[str, Operation] = {}
    for name, operation in graph.operations().items():
        if isinstance(operation, Equation):
            operation = written(operation)
        elif isinstance(operation, Recurrence):
            operation = map_steps(operation, written)
        operations[name] = operation
    return graph.replace(operations)
