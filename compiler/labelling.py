"""The cheapest labels for the nodes of a graph whose nodes and edges have costs.

Every node takes one of its labels; its cost and those of its edges, which depend on the labels
at both ends, are added up.  (The literature calls this the partitioned Boolean quadratic
problem; PBQP.)  Nodes are eliminated one after the other: what the best label of a node costs,
for all labels of its neighbours, becomes a cost of theirs.  For nodes with none, one or two
neighbours that are the reductions R0, RI and RII of Scholz and Eckstein ("Register allocation
for irregular architectures", LCTES 2002), and it is exact for nodes with more, too, as long as
the table over the neighbours has a bearable size.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

Array = numpy.ndarray[Any, Any]

LARGEST_TABLE = 1 << 22
"""Elements of a table up to which nodes are eliminated; beyond, a node is given the label that looks best.

That may not be the best one, and where costs are infinite, may be forbidden in the end."""


@dataclass(frozen=True, eq=False)
class _Table:
    """Costs of the labels of some nodes together, an axis for each."""

    nodes: tuple[str, ...]
    costs: Array


class Labelling:
    """Nodes, how many `labels` each has, and what they cost; `math.inf` forbids."""

    def __init__(self, largest: int = LARGEST_TABLE) -> None:
        self.labels: dict[str, int] = {}
        self._tables: list[_Table] = []
        self._largest = largest

    def node(self, name: str, costs: Sequence[float]) -> None:
        """A new node, with the cost of each of its labels."""
        self.labels[name] = len(costs)
        self._tables.append(_Table((name,), numpy.array(costs, numpy.float64)))

    def edge(self, first: str, second: str, costs: Sequence[Sequence[float]]) -> None:
        """Costs of two nodes' labels together, a row for each label of the first; edges add up."""
        self._tables.append(_Table((first, second), numpy.array(costs, numpy.float64)))

    def cost(self, labels: Mapping[str, int]) -> float:
        """What an assignment of labels costs."""
        return float(sum(table.costs[tuple(labels[name] for name in table.nodes)] for table in self._tables))

    def solve(self) -> dict[str, int]:
        """The cheapest label of every node; the first of those that cost the same."""
        left = _Elimination(self.labels, self._tables)
        for name in [name for name, count in self.labels.items() if count == 1]:
            left.settle(name)
        eliminated: list[_Table] = []
        while left.sizes:
            name = left.easiest()
            if left.sizes[name] > self._largest:
                left.settle(max(left.sizes, key=left.sizes.__getitem__))
                name = left.easiest()
            eliminated.append(left.eliminate(name))
        labels: dict[str, int] = {}
        for table in reversed(eliminated):
            *others, name = table.nodes
            labels[name] = int(table.costs[tuple(labels[other] for other in others)].argmin())
        return labels


class _Elimination:
    """The nodes that are left with the tables that they stand in; `sizes` are those of the tables that remove them."""

    def __init__(self, labels: Mapping[str, int], tables: Sequence[_Table]) -> None:
        self._labels = labels
        self._tables: dict[str, list[_Table]] = {name: [] for name in labels}
        for table in tables:
            self._add(table)
        self.sizes: dict[str, int] = {}
        self._queue: list[tuple[int, str]] = []  # sizes that were, and those that are
        self._measure(labels)

    def easiest(self) -> str:
        """A node that it takes the smallest table to eliminate."""
        while True:
            size, name = self._queue[0]
            if self.sizes.get(name) == size:
                return name
            heapq.heappop(self._queue)

    def eliminate(self, name: str) -> _Table:
        """Take a node out; gives its costs with those of its neighbours, its own axis last."""
        nodes = (*self._neighbours(name), name)
        together = _Table(nodes, self._sum(self._tables[name], nodes))
        for table in list(self._tables[name]):
            self._remove(table)
        del self.sizes[name]
        self._add(_Table(nodes[:-1], together.costs.min(axis=-1)))
        self._measure(nodes[:-1])
        return together

    def settle(self, name: str) -> None:
        """Leave a node the one label that costs least if each table may have its other labels to its liking."""
        axes = [(table, table.nodes.index(name)) for table in self._tables[name]]
        least = sum(table.costs.min(axis=_others(table, axis)) for table, axis in axes)
        label = int(numpy.argmin(least))
        neighbours = self._neighbours(name)
        for table, axis in axes:
            self._remove(table)
            self._add(_Table(table.nodes[:axis] + table.nodes[axis + 1 :], table.costs.take(label, axis=axis)))
        forbidden = numpy.full(self._labels[name], math.inf)
        forbidden[label] = 0.0
        self._add(_Table((name,), forbidden))
        self._measure((name, *neighbours))

    def _add(self, table: _Table) -> None:
        for node in table.nodes:
            self._tables[node].append(table)

    def _remove(self, table: _Table) -> None:
        for node in table.nodes:
            self._tables[node] = [other for other in self._tables[node] if other is not table]

    def _neighbours(self, name: str) -> tuple[str, ...]:
        found = dict.fromkeys(node for table in self._tables[name] for node in table.nodes)
        return tuple(node for node in found if node != name)

    def _measure(self, names: Iterable[str]) -> None:
        for name in names:
            size = math.prod(self._labels[node] for node in (name, *self._neighbours(name)))
            if self.sizes.get(name) != size:
                self.sizes[name] = size
                heapq.heappush(self._queue, (size, name))

    def _sum(self, tables: Sequence[_Table], nodes: tuple[str, ...]) -> Array:
        total = numpy.zeros([self._labels[node] for node in nodes])
        for table in tables:
            axes = sorted(range(len(table.nodes)), key=lambda axis: nodes.index(table.nodes[axis]))
            shape = [self._labels[node] if node in table.nodes else 1 for node in nodes]
            total += table.costs.transpose(axes).reshape(shape)
        return total


def _others(table: _Table, axis: int) -> tuple[int, ...]:
    return tuple(other for other in range(len(table.nodes)) if other != axis)
