"""Which order each tensor's axes are stored in, and which index each kernel walks along: the cheapest together.

The labels of a tensor are the order in which it is made and perhaps another into which it is
copied, those of a kernel the indices along which its vectors may run.  What a kernel costs by
its walk and by the orders of what it reads and stores (see `layout_costs`) are edges between
them, so the choice is one `Labelling`.  Candidates are few: the declared order, and those that
have an axis innermost along which some sum of products could walk, or what is computed from it.

Weights that are fixed when they are loaded take no part: whatever walk is chosen, they are put
into the order of it afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial

import networkx

from ..dsl.equations import Equation, Partial, Piece, Recurrence, Shape, equation_reads
from ..dsl.integers import ONE
from . import layout_costs
from .dependence import data_free
from .graph import Graph
from .groups import plan_groups
from .labelling import Labelling
from .layout_costs import Access, Kernel
from .layouts import Order, as_declared, innermost, same_memory, with_innermost

_SHORTEST = 4
"""Elements of an axis from which on it may be moved to the innermost place."""

Axes = set[tuple[str, int]]
Storage = tuple[Order, ...]
"""The order in which a tensor is made, and the one into which it is copied, if it is."""


class Choice:
    """The problem and its solution.

    `storage` are the orders of tensors but fixed ones and those inside of groups, `walks` those of
    kernels.  Kernels are named by their `results`, which are known for all members of groups.
    """

    def __init__(self, graph: Graph, fixed: Collection[str]) -> None:
        self.graph = graph
        self.fixed = frozenset(fixed)
        groups = [group for group in plan_groups(graph) if isinstance(graph.operation(group.root), Equation)]
        self.kernels = {g.result: Kernel(graph, g, self.fixed) for g in groups if g.result not in self.fixed}
        self.results = {name: group.result for group in groups for name in group.members}
        self.inside = frozenset(name for name, result in self.results.items() if name != result)
        self.roots = frozenset(graph.resolve(root) for root in graph.roots)
        self._labels = self._candidates()
        labels = self._problem().solve()
        self.storage = {name: found[labels[f"store {name}"]] for name, found in self._labels.items()}
        self.walks = {
            name: kernel.walks[labels[f"walk {name}"]] for name, kernel in self.kernels.items() if kernel.walks
        }

    def order_read(self, reader: str, name: str) -> Order:
        """The order in which a kernel or a partial definition reads a tensor: the better one of its storage."""
        if isinstance(operation := self.graph.operation(reader), Partial):
            target = self.storage[reader][0]
            pieces = [piece for piece in operation.pieces if piece.source == name]
            return min(
                self.storage[name], key=lambda o: sum(self._moving(reader, target, piece, o) for piece in pieces)
            )
        return min(self.storage[name], key=lambda order: self._reading(reader, name, order))

    def _reading(self, reader: str, name: str, order: Order) -> float:
        walk = self.walks.get(reader)
        return 0.0 if walk is None else self.kernels[reader].reading(walk, name, order)

    def _storages(self, name: str, wanted: Sequence[int]) -> list[Storage]:
        """Ways to store a tensor, that of its declaration first."""
        operation = self.graph.tensor(name)
        declared = as_declared(operation.shape)
        orders = [declared]
        for axis in wanted:
            order = with_innermost(operation.shape, axis)
            if not any(same_memory(operation.shape, order, other) for other in orders):
                orders.append(order)
        movable = isinstance(operation, (Equation, Partial))
        found: list[Storage] = [(order,) for order in (orders if movable else orders[:1])]
        found += [(*first, other) for first in found for other in orders if other not in first]
        as_is = name in self.roots or not all(map(self._reads_any_order, self.graph.consumers(name)))
        return [storage for storage in found if declared in storage or not as_is]

    def _reads_any_order(self, name: str) -> bool:
        return isinstance(self.graph.operation(name), (Equation, Partial)) and name not in self.fixed

    def _candidates(self) -> dict[str, list[Storage]]:
        wanted = wanted_axes(self.graph, self.kernels)
        found = {}
        for name in self.graph:
            tensor = not isinstance(self.graph.operation(name), Recurrence)
            if tensor and name not in self.fixed and name not in self.inside:
                found[name] = self._storages(name, wanted.get(name, ()))
        return found

    def _problem(self) -> Labelling:
        problem = Labelling()
        for name, storages in self._labels.items():
            copy = layout_costs.copying(layout_costs.count(self.graph.tensor(name).shape))
            problem.node(f"store {name}", [copy * (len(storage) - 1) for storage in storages])
        for name, kernel in self.kernels.items():
            if kernel.walks:
                self._add_kernel(problem, name, kernel)
        for name in self._labels:
            if isinstance(operation := self.graph.operation(name), Partial):
                for piece in operation.pieces:
                    self._add_piece(problem, name, piece)
        return problem

    def _add_kernel(self, problem: Labelling, name: str, kernel: Kernel) -> None:
        problem.node(f"walk {name}", [kernel.computing(walk) for walk in kernel.walks])
        costs = [[kernel.storing(walk, storage[0]) for storage in self._labels[name]] for walk in kernel.walks]
        problem.edge(f"walk {name}", f"store {name}", costs)
        for tensor in dict.fromkeys(access.tensor for access in kernel.data):
            costs = [self._least(tensor, partial(kernel.reading, walk, tensor)) for walk in kernel.walks]
            problem.edge(f"walk {name}", f"store {tensor}", costs)

    def _add_piece(self, problem: Labelling, name: str, piece: Piece) -> None:
        if piece.source in self._labels:
            costs = [self._least(piece.source, partial(self._moving, name, s[0], piece)) for s in self._labels[name]]
            problem.edge(f"store {name}", f"store {piece.source}", costs)

    def _least(self, tensor: str, cost: Callable[[Order], float]) -> list[float]:
        """For each way to store a tensor: the cost of reading it in the better order."""
        storages = self._labels[tensor]
        costs = {order: cost(order) for order in dict.fromkeys(order for storage in storages for order in storage)}
        return [min(costs[order] for order in storage) for storage in storages]

    def _moving(self, name: str, target: Order, piece: Piece, source: Order) -> float:
        """What it costs to put a piece into a tensor that is stored in the order `target`."""
        shape, own = self.graph.tensor(name).shape, tuple(axis.size for axis in piece.domain)
        alone = self.graph.consumers(piece.source) == [name] and piece.source not in self.roots
        computed = isinstance(self.graph.operation(piece.source), Equation)
        first, last = innermost(own, source), innermost(shape, target)
        contiguous = first is None or last is None or piece.target[last].coefficient(piece.domain[first].name) == ONE
        return layout_costs.moving(layout_costs.count(own), contiguous, alone and computed)


def wanted_axes(graph: Graph, kernels: Mapping[str, Kernel]) -> dict[str, list[int]]:
    """Axes that may be worth having innermost: those along which sums of products walk, and what meets them."""
    free = data_free(graph)
    seeds: Axes = set()
    for kernel in kernels.values():
        for name in _channels(kernel, free):
            seeds |= _met(kernel, name)
    neighbours: networkx.Graph[tuple[str, int]] = networkx.Graph()
    neighbours.add_nodes_from(seeds)
    for first, *others in filter(None, _meetings(graph, kernels)):
        neighbours.add_edges_from((first, other) for other in others)
    found: dict[str, list[int]] = {}
    for component in networkx.connected_components(neighbours):
        if component & seeds:
            for name, axis in sorted(component):
                if (graph.tensor(name).shape[axis].constant or 0) >= _SHORTEST:
                    found.setdefault(name, []).append(axis)
    return {name: sorted(axes) for name, axes in found.items()}


def _channels(kernel: Kernel, free: Collection[str]) -> Iterator[str]:
    """Indices of a sum of products that stand alone in all subscripts of theirs, and in some weight if there is one."""
    if kernel.root.combiner != "sum":
        return
    reads = equation_reads(kernel.root)
    weights = [read for read in reads if read.tensor in free]
    if len({read.tensor for read in reads}) < 2:
        return
    for name in (*kernel.domain, *kernel.reduction):
        used = [s for read in reads for s in read.subscripts if name in s.indices()]
        weighted = any(name in s.indices() for read in weights for s in read.subscripts)
        if used and all(s.plain_index == name for s in used) and (weighted or not weights):
            yield name


def _met(kernel: Kernel, index: str) -> Axes:
    """The axes of data and result along which an index of a kernel walks alone."""
    met = {(a.tensor, axis) for a in kernel.data for axis, s in enumerate(a.subscripts) if s.plain_index == index}
    return met | {(kernel.result, axis) for axis, name in enumerate(kernel.domain) if name == index}


def _meetings(graph: Graph, kernels: Mapping[str, Kernel]) -> Iterator[Axes]:
    """Axes along which one index walks: what suits one of them suits the others."""
    for kernel in kernels.values():
        for name in (*kernel.domain, *kernel.reduction):
            yield _met(kernel, name)
    for name in graph:
        if isinstance(operation := graph.operation(name), Partial):
            for piece in operation.pieces:
                for axis, own in enumerate(piece.domain):
                    places = enumerate(piece.target)
                    along = {(name, position) for position, place in places if place.coefficient(own.name) == ONE}
                    yield along | {(piece.source, axis)}


# -- weights -------------------------------------------------------------------------------------------


def weight_orders(choice: Choice) -> dict[tuple[str, str], Order]:
    """For readers (groups, by their results) and weights: orders other than declared that let the readers walk."""
    found: dict[tuple[str, str], Order] = {}
    for name, walk in choice.walks.items():
        kernel, places = choice.kernels[name], ranks(choice, name)
        for access in kernel.weights if kernel.puts_in_order(walk) else ():
            order = _walked(choice.graph.tensor(access.tensor).shape, access, walk.index, places)
            if order is not None:
                found.setdefault((name, access.tensor), order)
    return found


def _walked(shape: Shape, access: Access, index: str, places: Mapping[str, int]) -> Order | None:
    """A weight's axes as its reader comes by them, that of the vectors innermost; None if that one is already."""
    along = [axis for axis, s in enumerate(access.subscripts) if index in s.indices()]
    if len(along) != 1 or access.subscripts[along[0]].coefficient(index) != ONE:
        return None
    if innermost(shape, as_declared(shape)) == along[0]:
        return None

    def rank(axis: int) -> int:
        return min((places.get(name, -1) for name in access.subscripts[axis].indices()), default=-1)

    return (*sorted((axis for axis in range(len(shape)) if axis != along[0]), key=rank), along[0])


def ranks(choice: Choice, name: str) -> dict[str, int]:
    """Indices of a kernel by the axes in which they stand, from the outermost of its data (or its result) on."""
    kernel = choice.kernels[name]
    data = next((access for access in kernel.data if access.of_sum), None)
    if data is None:
        return {kernel.domain[axis]: rank for rank, axis in enumerate(choice.storage[name][0])}
    found: dict[str, int] = {}
    for rank, axis in enumerate(choice.order_read(name, data.tensor)):
        for index in data.subscripts[axis].indices():
            found.setdefault(index, rank)
    return found
