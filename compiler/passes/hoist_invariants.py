"""Take dear parts that depend on few of an equation's indices out of it, to be computed once for those.

The square root in `(x[b, j] - m[j]) / sqrt(v[j] + ε)` is one per channel, not one per
element.  Nothing is reassociated, and numbers of 16 bits are kept in float32, in which
they are computed: every number stays what it was.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

from ...dsl.equations import Apply, Axis, Equation, Expression, Operation, Read, element_count, reads
from ..graph import Graph, Note
from ..rewriting import TRANSCENDENTAL, exchange, indices_of, new_name, plain

REPEATED = 16
"""A part is taken out if it would be computed at least this often for each value that it has."""


def hoist_invariants(graph: Graph, precomputed: Set[str] = frozenset()) -> Graph:
    """The graph with invariant dear parts of equations as equations of their own.

    Equations in `precomputed` run once before any call and stay as they are.
    """
    operations: dict[str, Operation] = dict(graph.operations())
    notes: list[Note] = []
    for name, equation in graph.operations().items():
        if not isinstance(equation, Equation) or name in precomputed:
            continue
        for part in dict.fromkeys(_invariants(equation, equation.body)):
            axes = tuple(axis for axis in (*equation.domain, *equation.reduction) if axis.name in indices_of(part))
            hoisted = new_name(f"{name}.{part.operation}", operations)
            dtype = "float32" if part.dtype in ("float16", "bfloat16") else part.dtype
            operations[hoisted] = Equation(axes, _cast(part, dtype), dtype)
            value = _cast(_read(hoisted, axes, dtype), part.dtype)
            equation = replace(equation, body=exchange(equation.body, part, value))
            operations[name] = equation
            over = f" for each {', '.join(axis.name for axis in axes)}" if axes else ""
            notes.append(Note("hoist_invariants", name, f"its {part.operation} is computed once{over}, as {hoisted}"))
    return graph.replace(operations, tuple(notes)) if notes else graph


def _invariants(equation: Equation, node: Expression) -> list[Apply]:
    """The largest dear parts that lack indices; not inside of cases, which guard what they read."""
    if not isinstance(node, Apply) or equation.guard is not None:
        return []
    value = node.arguments[0] if node.operation == "cast" else node
    dear = isinstance(value, Apply) and value.operation in TRANSCENDENTAL
    if dear and reads(node) and _is_repeated(equation, node):
        return [node]  # with its cast, so that a wide number does not make narrow ones wait
    arguments = node.arguments[:1] if node.operation == "select" else node.arguments
    return [part for argument in arguments for part in _invariants(equation, argument)]


def _is_repeated(equation: Equation, node: Apply) -> bool:
    used = indices_of(node)
    absent = [axis.size for axis in (*equation.domain, *equation.reduction) if axis.name not in used]
    times = element_count(tuple(absent)).constant
    return bool(absent) and (times is None or times >= REPEATED)


def _cast(part: Expression, dtype: str) -> Expression:
    return part if part.dtype == dtype else Apply("cast", (part,), dtype)


def _read(name: str, axes: tuple[Axis, ...], dtype: str) -> Read:
    return Read(name, tuple(plain(axis.name) for axis in axes), dtype)
