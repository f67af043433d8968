"""Say the same with less: identities of arithmetic, axes of size 1, copies and reshapes that do nothing.

Every rule keeps each number, up to the sign of a zero.  Rules that could change a rounding
(reassociation, `x/3` as `x * (1/3)`) or hide a NaN (`x * 0`) are not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ...dsl.equations import (
    Apply,
    Constant,
    Equation,
    Expression,
    Input,
    Literal,
    Operation,
    Parameter,
    Partial,
    Random,
    Read,
    Recurrence,
    Reshape,
    State,
    substitute_indices,
)
from ...dsl.integers import ONE, Range
from ..graph import Graph, Note
from ..rewriting import has_shape, is_identity, map_expressions, ranges_of, rename_operands
from ..scalar_identities import simplify_expression


def simplify(graph: Graph) -> Graph:
    """The graph with simpler equations, and without copies and identical reshapes."""
    operations: dict[str, Operation] = {}
    notes: list[Note] = []
    for name, operation in graph.operations().items():
        simpler = simplify_operation(operation)
        if simpler != operation:
            notes.append(Note("simplify", name, _describe(operation, simpler)))
        operations[name] = simpler
    return _without_copies(graph.replace(operations, tuple(notes)) if notes else graph)


def simplify_operation(operation: Operation) -> Operation:
    """The same operation with a simpler body; inside a recurrence, of every step."""
    if isinstance(operation, Equation):
        return simplify_equation(operation, {})
    if isinstance(operation, Recurrence):
        time = {operation.index: (operation.lower, operation.upper)}
        steps = tuple(replace(s, equation=simplify_equation(s.equation, time)) for s in operation.steps)
        return replace(operation, steps=steps)
    return operation


def simplify_equation(equation: Equation, outer: Mapping[str, Range]) -> Equation:
    """Simplify body and guard; `outer` are ranges of indices bound outside (the time of a recurrence)."""
    axes = (*equation.domain, *equation.reduction)
    single = {axis.name: 0 for axis in axes if axis.size == ONE}
    ranges = {**outer, **ranges_of(*axes)}

    def simpler(expression: Expression) -> Expression:
        return simplify_expression(substitute_indices(expression, single) if single else expression, ranges)

    equation = map_expressions(equation, simpler)
    equation = replace(equation, reduction=tuple(axis for axis in equation.reduction if axis.size != ONE))
    if isinstance(equation.guard, Literal) and equation.guard.value:
        equation = replace(equation, guard=None)
    return equation if equation.reduction or equation.combiner is None else _without_reduction(equation)


def _without_reduction(equation: Equation) -> Equation:
    """An element-wise equation instead of a reduction over one point."""
    body = equation.body
    if equation.combiner in ("argmax", "argmin"):
        body = Literal(0, equation.dtype)
    elif equation.guard is not None and equation.combiner == "sum":
        body = Apply("select", (equation.guard, body, Literal(0, body.dtype)), body.dtype)
    if body.dtype != equation.dtype:
        body = Apply("cast", (body,), equation.dtype)
    return Equation(equation.domain, body, equation.dtype)


def _describe(before: Operation, after: Operation) -> str:
    if isinstance(before, Equation) and isinstance(after, Equation):
        if before.combiner is not None and after.combiner is None:
            return f"the {before.combiner} runs over one point and is none"
        dropped = [axis.name for axis in before.reduction if axis not in after.reduction]
        if dropped:
            return f"no reduction over {', '.join(dropped)}, of size 1"
        if before.guard is not None and after.guard is None:
            return "the guard always holds and is gone"
    return "simplified by identities that change no number"


# -- copies and reshapes --------------------------------------------------------------------------


def _without_copies(graph: Graph) -> Graph:
    """Let readers of a copy read its source; a root that is a copy takes its source's place."""
    operations = graph.operations()
    aliases: dict[str, str] = {}
    notes: list[Note] = []
    for name, operation in graph.operations().items():
        operation = operations[name] = _shorter_reshape(rename_operands(operation, aliases), operations)
        source = _copied(operation, operations)
        if source is None:
            continue
        if name not in graph.roots:
            aliases[name] = source
            notes.append(Note("simplify", source, f"serves as {name}, which is the same tensor"))
        elif source not in graph.roots and _may_be_renamed(operations[source]):
            aliases[source] = name
            operations[name] = operations.pop(source)
            aliases |= {old: name for old, new in aliases.items() if new == source}
            notes.append(Note("simplify", name, f"is computed directly and not copied from {source}"))
    if not aliases and operations == graph.operations():
        return graph
    kept = {name: rename_operands(operation, aliases) for name, operation in operations.items() if name not in aliases}
    return graph.replace(kept, tuple(notes), aliases)


def _shorter_reshape(operation: Operation, operations: Mapping[str, Operation]) -> Operation:
    while isinstance(operation, Reshape):
        source = operations[operation.source]
        if not isinstance(source, Reshape):
            break
        operation = replace(operation, source=source.source)
    return operation


def _copied(operation: Operation, operations: Mapping[str, Operation]) -> str | None:
    """The name of the tensor of which an operation makes an exact copy."""
    name: str | None = None
    if isinstance(operation, Equation) and operation.combiner is None and isinstance(operation.body, Read):
        if is_identity(operation.body.subscripts, operation.domain):
            name = operation.body.tensor
    elif isinstance(operation, Partial) and len(operation.pieces) == 1:
        piece = operation.pieces[0]
        if is_identity(piece.target, piece.domain) and has_shape(piece.domain, operation.shape):
            name = piece.source
    elif isinstance(operation, Reshape):
        name = operation.source
    if name is None:
        return None
    source = operations[name]
    if isinstance(source, Recurrence) or isinstance(operation, Recurrence):
        return None
    return name if (source.shape, source.dtype) == (operation.shape, operation.dtype) else None


def _may_be_renamed(operation: Operation) -> bool:
    return not isinstance(operation, (Input, Parameter, State, Constant, Random))
