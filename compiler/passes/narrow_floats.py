"""Keep float32 tensors between equations in 16 bits: half the memory to move, and what tensor cores multiply.

Inputs, outputs and weights of the program stay what they are; copies of weights in 16 bits are made when a module
is loaded.  Sums are carried out in float32, and sums that are no products of two tensors (means, variances, the
denominator of a softmax) are kept in it, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import replace

from ...dsl.equations import (
    Apply,
    Axis,
    Equation,
    Expression,
    Operation,
    Partial,
    Read,
    Reshape,
    reads,
    transform,
)
from ..graph import Graph, Note
from ..rewriting import new_name, plain


def narrow_floats(graph: Graph, dtype: str, precomputed: Set[str] = frozenset()) -> Graph:
    """The graph with tensors of float32 in "float16" or "bfloat16".

    Equations in `precomputed` run once before any call and stay in float32.
    """
    operations = graph.operations()
    narrow = _narrow(graph, operations, precomputed)
    made: dict[str, Operation] = {}
    copies: dict[str, str] = {}

    def copy_of(name: str) -> str:
        """The tensor in 16 bits of one that stays in 32."""
        if name not in copies:
            copies[name] = new_name(f"{name}.{dtype}", {**operations, **made})
            axes = tuple(Axis(f"i{k}", size) for k, size in enumerate(graph.tensor(name).shape))
            value = Read(name, tuple(plain(axis.name) for axis in axes), "float32")
            made[copies[name]] = Equation(axes, Apply("cast", (value,), dtype), dtype)
        return copies[name]

    for name, operation in operations.items():
        if name in precomputed:
            made[name] = operation
        elif isinstance(operation, Equation):
            made[name] = _equation(operation, dtype, narrow, name in narrow, copy_of)
        elif name in narrow:
            assert isinstance(operation, Partial | Reshape)
            made[name] = replace(operation, dtype=dtype)
        else:
            made[name] = operation
    told = f"{len(narrow)} tensors are kept in {dtype}, and copies of {len(copies)} more"
    return graph.replace(made, (Note("narrow_floats", next(iter(graph.roots), ""), told),))


def _narrow(graph: Graph, operations: Mapping[str, Operation], precomputed: Set[str]) -> set[str]:
    """The tensors that may be kept in 16 bits."""
    roots = {graph.resolve(root) for root in graph.roots}
    found = {
        name
        for name, operation in operations.items()
        if name not in roots and name not in precomputed and _may_be_narrow(operation)
    }
    while True:  # a reshape is another name of its source
        apart = {
            other
            for name, operation in operations.items()
            if isinstance(operation, Reshape) and (name in found) != (operation.source in found)
            for other in (name, operation.source)
        }
        if not apart & found:
            return found
        found -= apart


def _may_be_narrow(operation: Operation) -> bool:
    if isinstance(operation, Equation):
        plain_sum = operation.combiner in ("sum", "prod") and not multiplies(operation)
        return operation.dtype == "float32" and not operation.accumulator and not plain_sum
    return isinstance(operation, Partial | Reshape) and operation.dtype == "float32"


def multiplies(equation: Equation) -> bool:
    """Whether an equation sums products of two tensors; squares, whose sums are large, are none."""
    body = equation.body
    while isinstance(body, Apply) and body.operation in ("select", "cast"):
        body = body.arguments[1 if body.operation == "select" else 0]
    if equation.combiner != "sum" or not isinstance(body, Apply) or body.operation != "mul":
        return False
    left, right = ({read.tensor for read in reads(factor)} for factor in body.arguments)
    return bool(left) and bool(right) and left != right


def _equation(
    equation: Equation, dtype: str, narrow: Set[str], becomes_narrow: bool, copy_of: Callable[[str], str]
) -> Equation:
    """The equation with reads of what is narrow now, its result narrow if that is asked for."""
    factors = multiplies(equation)

    def node(found: Expression) -> Expression | None:
        if not isinstance(found, Read) or found.dtype != "float32":
            return None
        if found.tensor in narrow:
            return Apply("cast", (replace(found, dtype=dtype),), "float32")
        if factors:
            return Apply("cast", (replace(found, tensor=copy_of(found.tensor), dtype=dtype),), "float32")
        return None

    body = transform(equation.body, node)
    guard = None if equation.guard is None else transform(equation.guard, node)
    if becomes_narrow and equation.combiner is None:
        body = Apply("cast", (body,), dtype)
    return replace(equation, body=body, guard=guard, dtype=dtype if becomes_narrow else equation.dtype)
