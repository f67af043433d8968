"""Leave out operations that no root needs; inputs stay, since the caller gives them anyway."""

from __future__ import annotations

import networkx

from ...dsl.equations import Input
from ..graph import Graph, Note


def eliminate_dead(graph: Graph) -> Graph:
    """The graph of the roots, what they depend on, and the inputs."""
    needed = set(graph.roots).union(*(networkx.ancestors(graph.network, root) for root in graph.roots))
    operations = graph.operations()
    kept = {name: o for name, o in operations.items() if name in needed or isinstance(o, Input)}
    if len(kept) == len(operations):
        return graph
    notes = tuple(
        Note("eliminate_dead", name, "left out: no output, loss, metric or state needs it")
        for name in operations
        if name not in kept
    )
    return graph.replace(kept, notes)
