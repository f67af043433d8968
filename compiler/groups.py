"""Which operations share a kernel: a reduction and the element-wise equations that follow it.

A group is a root and its epilogue: a chain of equations over the root's domain, each of
which reads the one before at the same point and is its only reader.  The root's value
then never goes to memory; the epilogue is applied while it is still in registers.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..dsl.equations import Equation, equation_reads
from .dependence import data_free
from .graph import Graph
from .rewriting import is_identity


@dataclass(frozen=True, slots=True)
class Group:
    """Operations that become one kernel; the last of `members` is the only tensor it leaves."""

    root: str
    epilogue: tuple[str, ...] = ()

    @property
    def members(self) -> tuple[str, ...]:
        """All operations, in order of evaluation."""
        return (self.root, *self.epilogue)

    @property
    def result(self) -> str:
        """The name of the tensor that the group leaves."""
        return self.members[-1]


def plan_groups(graph: Graph) -> tuple[Group, ...]:
    """Groups that hold every operation of the graph once, in an order of execution.

    Operations that take no kernel (inputs, weights, reshapes, …) are groups by themselves.
    Where an equation could follow either of two reductions, it follows the later one.
    Operations on weights alone, which run once at load, share no kernel with others.
    """
    free = data_free(graph)
    order = list(graph)
    position = {name: i for i, name in enumerate(order)}
    follower: dict[str, str] = {}
    for name in order:
        for operand in sorted(graph.network.predecessors(name), key=position.__getitem__, reverse=True):
            if can_follow(graph, operand, name) and (operand in free) == (name in free):
                follower[operand] = name
                break
    taken = set(follower.values())
    chains = [_chain(name, follower) for name in order if name not in taken]
    # Everything outside reads only the last member of a group, so the order of the last members is one of the groups.
    chains.sort(key=lambda chain: position[chain[-1]])
    return tuple(Group(chain[0], tuple(chain[1:])) for chain in chains)


def can_follow(graph: Graph, producer: str, consumer: str) -> bool:
    """Whether `consumer` is element-wise, over the producer's domain, reads it only at the same point and alone."""
    first, second = graph.operation(producer), graph.operation(consumer)
    return (
        isinstance(first, Equation)
        and isinstance(second, Equation)
        and second.combiner is None
        and first.shape == second.shape
        and producer not in graph.roots
        and graph.consumers(producer) == [consumer]
        and all(is_identity(r.subscripts, second.domain) for r in equation_reads(second) if r.tensor == producer)
    )


def _chain(name: str, follower: dict[str, str]) -> list[str]:
    chain = [name]
    while chain[-1] in follower:
        chain.append(follower[chain[-1]])
    return chain
