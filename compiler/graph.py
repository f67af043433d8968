"""The graph of a program: a networkx directed graph whose nodes hold immutable operations.

A node's key is the name of the tensor it makes (a `Recurrence` makes none and is read by
its `Carry` nodes); its attribute `operation` is a value from `dsl.equations`.  An edge
runs from an operand to each operation that needs it.  Passes never edit a node: they
build a new graph with `Graph.replace` or `Graph.of`, and what is decided about a node
(fusion groups, roads, layouts) lives in tables beside the graph, keyed by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import networkx

from ..dsl.equations import Operation, Program, Recurrence, Tensor, operands


@dataclass(frozen=True)
class Note:
    """What a pass changed and why, for `maj explain`."""

    pass_name: str
    tensor: str
    text: str


@dataclass(frozen=True)
class Graph:
    """A program's operations as a graph, with the program it came from for names and places.

    `roots` are the tensors that must exist at the end: outputs, losses, metrics, the next
    values of state and what is stored.  `aliases` maps a name that a pass removed to the one that holds
    the same tensor now.
    """

    program: Program
    network: networkx.DiGraph[str]
    roots: tuple[str, ...]
    aliases: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()

    @staticmethod
    def from_program(program: Program) -> Graph:
        """The graph of a checked program, before any pass."""
        roots = (
            *program.outputs,
            *(tensor for parts in program.losses.values() for tensor in parts[:1]),
            *program.metrics,
            *program.updates.values(),
            *(name for store in program.stores for name in (store.source, store.condition) if name is not None),
        )
        return Graph(program, _network(program.operations), tuple(dict.fromkeys(roots)))

    @staticmethod
    def initializers(program: Program) -> Graph:
        """The graph that computes first values of parameters and state."""
        roots = tuple(
            dict.fromkeys(
                operation.initial for operation in program.operations.values() if hasattr(operation, "initial")
            )
        )
        return Graph(program, _network(program.initializers), roots)

    def __contains__(self, name: str) -> bool:
        return name in self.network

    def __iter__(self) -> Iterator[str]:
        """Names in an order in which operands come first; stable against the order of the text."""
        position = {name: i for i, name in enumerate(self.network)}
        return iter(networkx.lexicographical_topological_sort(self.network, key=position.__getitem__))

    def __len__(self) -> int:
        return len(self.network)

    def operation(self, name: str) -> Operation:
        """The operation of a node; KeyError if there is none."""
        found: Operation = self.network.nodes[name]["operation"]
        return found

    def tensor(self, name: str) -> Tensor:
        """The operation that makes tensor `name`, which has a shape and a dtype."""
        found = self.operation(name)
        if isinstance(found, Recurrence):
            raise KeyError(name)
        return found

    def operations(self) -> dict[str, Operation]:
        """All operations in topological order."""
        return {name: self.operation(name) for name in self}

    def consumers(self, name: str) -> list[str]:
        """Names of the operations that need `name`."""
        return list(self.network.successors(name))

    def resolve(self, name: str) -> str:
        """The name that holds now what `name` held in the program."""
        while name in self.aliases:
            name = self.aliases[name]
        return name

    def replace(
        self,
        operations: Mapping[str, Operation],
        notes: tuple[Note, ...] = (),
        aliases: Mapping[str, str] | None = None,
        roots: tuple[str, ...] | None = None,
    ) -> Graph:
        """A graph of the given operations (in any order), keeping program, roots and earlier notes."""
        return replace(
            self,
            network=_network(operations),
            notes=(*self.notes, *notes),
            aliases={**self.aliases, **(aliases or {})},
            roots=self.roots if roots is None else roots,
        )


def _network(operations: Mapping[str, Operation]) -> networkx.DiGraph[str]:
    network: networkx.DiGraph[str] = networkx.DiGraph()
    for name, operation in operations.items():
        network.add_node(name, operation=operation)
    for name, operation in operations.items():
        for operand in operands(operation):
            if operand not in operations:
                raise KeyError(f"{name} reads {operand}, which is not in the graph")
            network.add_edge(operand, name)
    return network
