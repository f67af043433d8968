"""Weights: what kernels may read in another order than the one it is declared in.

What depends on no data may be rearranged for its readers.  Where a program never changes it, that
is done once, when it is loaded.  Where it does (in training), it is done in each run, which pays
only if each element serves many products.
"""

from __future__ import annotations

import math

from ..dsl.equations import Equation, equation_reads
from .dependence import data_free
from .graph import Graph

_WORTH_COPYING = 32  # products for each element of a weight


def rearrangeable(graph: Graph) -> set[str]:
    """Names of the tensors that kernels may read in an order of their own."""
    if not computes_operations(graph):
        return set()
    fixed, free = data_free(graph), data_free(graph, changing=True)
    return fixed | {name for name in free if all(_reads_often(graph, reader, name) for reader in graph.consumers(name))}


def changing(graph: Graph) -> set[str]:
    """Names of the weights that the program gives new values, and of all that depends on one."""
    changed = {*graph.program.updates, *(store.target for store in graph.program.stores)}
    for name in graph:
        if any(operand in changed for operand in graph.network.predecessors(name)):
            changed.add(name)
    return changed


def computes_operations(graph: Graph) -> bool:
    """Whether a graph computes the program's operations, not the first values of its weights."""
    return not graph.roots or any(root in graph.program.operations for root in graph.roots)


def _reads_often(graph: Graph, reader: str, name: str) -> bool:
    """Whether an operation uses each element of a tensor many times, or computes another weight from it."""
    operation = graph.operation(reader)
    if not isinstance(operation, Equation):
        return False
    if operation.combiner is None:
        return True
    for read in equation_reads(operation):
        if read.tensor == name:
            used = {index for subscript in read.subscripts for index in subscript.indices()}
            again = [axis.size.constant or 1 for axis in operation.domain if axis.name not in used]
            if math.prod(again) < _WORTH_COPYING:
                return False
    return True
