"""A softmax stands over several equations; ONNX has one operator for it.

M = max over j of x[j],   E[j] = exp(x[j] - M),   S = sum over j of E[j],   y[j] = E[j] / S
"""

from __future__ import annotations

from collections.abc import Sequence

from ..compiler.graph import Graph
from ..dsl.equations import Apply, Equation, Expression, Read, substitute_indices
from ..dsl.integers import Integer


def softmax(graph: Graph, equation: Equation) -> tuple[Expression, str] | None:
    """What an equation is the softmax of, and over which of its indices; None if it is none."""
    quotient = _arguments(equation.body, "div")
    if equation.combiner is not None or quotient is None:
        return None
    exponential, total = quotient
    names = [axis.name for axis in equation.domain]
    if not isinstance(exponential, Read) or exponential.subscripts != tuple(map(Integer.index, names)):
        return None
    made = graph.operation(exponential.tensor)
    axis = _missing(total, names)
    if axis is None or not isinstance(made, Equation) or made.combiner is not None:
        return None
    power = _arguments(_over(made, made.body, names), "exp")
    difference = None if power is None else _arguments(power[0], "sub")
    if difference is None or _missing(difference[1], names) != axis:
        return None
    found = difference[0]
    is_softmax = (
        {made.dtype, found.dtype} == {equation.dtype}
        and _reduced(graph, total, "sum", names, axis) == exponential
        and _reduced(graph, difference[1], "max", names, axis) == found
    )
    return (found, names[axis]) if is_softmax else None


def _arguments(expression: Expression, operation: str) -> tuple[Expression, ...] | None:
    return expression.arguments if isinstance(expression, Apply) and expression.operation == operation else None


def _over(equation: Equation, expression: Expression, names: Sequence[str]) -> Expression:
    """An expression of an equation with other names for its domain and its reduction."""
    own = [axis.name for axis in (*equation.domain, *equation.reduction)]
    return substitute_indices(expression, {old: Integer.index(new) for old, new in zip(own, names, strict=True)})


def _missing(expression: Expression, names: Sequence[str]) -> int | None:
    """The place of the one index that a read lacks, if its subscripts are all others in their order."""
    places = list(map(Integer.index, names))
    for axis in range(len(places)):
        if isinstance(expression, Read) and list(expression.subscripts) == places[:axis] + places[axis + 1 :]:
            return axis
    return None


def _reduced(graph: Graph, read: Expression, combiner: str, names: Sequence[str], axis: int) -> Expression | None:
    """What a tensor sums or is the maximum of over one index, which it is read without, in the reader's indices."""
    made = graph.operation(read.tensor) if isinstance(read, Read) else None
    if not isinstance(made, Equation) or made.combiner != combiner or made.guard is not None:
        return None
    if made.dtype != read.dtype or len(made.reduction) != 1:
        return None
    return _over(made, made.body, [*names[:axis], *names[axis + 1 :], names[axis]])
