"""What an operation depends on: the data of a call, or only weights and constants."""

from __future__ import annotations

from collections.abc import Iterator

from ..dsl.equations import (
    Constant,
    Equation,
    Input,
    Number,
    Operation,
    Parameter,
    Partial,
    Random,
    Read,
    Recurrence,
    State,
    walk,
)
from ..dsl.integers import Integer, Symbol
from .graph import Graph


def data_free(graph: Graph, *, changing: bool = False) -> set[str]:
    """Names of all nodes, weights and constants included, that depend on no input, random number or run-time size.

    Weights that the program gives new values are as good as inputs, unless `changing` ones are asked for, too.
    """
    found: set[str] = set()
    changed = set() if changing else {*graph.program.updates, *(store.target for store in graph.program.stores)}
    for name in graph:
        operation = graph.operation(name)
        if isinstance(operation, (Input, Random)) or name in changed:
            continue
        if all(operand in found for operand in graph.network.predecessors(name)) and not _has_symbols(operation):
            found.add(name)
    return found


def weight_only(graph: Graph) -> set[str]:
    """Names of the operations that can be evaluated once when weights are loaded: all that
    compute something and depend on no input, random number or run-time size."""
    return {n for n in data_free(graph) if not isinstance(graph.operation(n), (Parameter, State, Constant))}


def _has_symbols(operation: Operation) -> bool:
    return any(isinstance(atom, Symbol) for integer in _integers(operation) for atom in integer.atoms())


def _integers(operation: Operation) -> Iterator[Integer]:
    if isinstance(operation, Recurrence):
        yield from (operation.lower, operation.upper)
        for carried in operation.carried:
            yield from carried.shape
        for step in operation.steps:
            yield from _integers(step.equation)
        return
    yield from operation.shape
    if isinstance(operation, Equation):
        yield from (axis.size for axis in operation.reduction)
        for expression in (operation.body, operation.guard):
            for node in walk(expression) if expression is not None else ():
                if isinstance(node, Number):
                    yield node.value
                elif isinstance(node, Read):
                    yield from node.subscripts
    elif isinstance(operation, Partial):
        for piece in operation.pieces:
            yield from piece.target
