"""Compute equal things once: operations that differ only in the names of their indices become one."""

from __future__ import annotations

from ...dsl.equations import Input, Operation, Parameter, State
from ..canonical import canonical
from ..graph import Graph, Note
from ..rewriting import rename_operands


def eliminate_common(graph: Graph) -> Graph:
    """The graph in which every tensor is computed once.

    Roots keep their names, so of two equal roots both stay.  Inputs and weights are never
    equal to one another; random tensors are if they have the same stream.
    """
    first: dict[Operation, str] = {}
    members: dict[str, list[str]] = {}
    same: dict[str, str] = {}
    for name in graph:
        operation = graph.operation(name)
        if isinstance(operation, (Input, Parameter, State)):
            continue
        same[name] = first.setdefault(canonical(rename_operands(operation, same)), name)
        members.setdefault(same[name], []).append(name)
    aliases: dict[str, str] = {}
    for names in members.values():
        kept = next((name for name in names if name in graph.roots), names[0])
        aliases |= {name: kept for name in names if name != kept and name not in graph.roots}
    if not aliases:
        return graph
    operations = {n: rename_operands(o, aliases) for n, o in graph.operations().items() if n not in aliases}
    notes = tuple(
        Note("eliminate_common", kept, f"is computed once for both {kept} and {name}, which are equal")
        for name, kept in aliases.items()
    )
    return graph.replace(operations, notes, aliases)
