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

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial

import networkx

from ..dsl.equations import Equation, Partial, Piece, Recurrence, Reshape, Shape, equation_reads, operands
from ..dsl.integers import ONE
from . import layout_costs
from .dependence import data_free
from .graph import Graph
from .groups import plan_groups
from .labelling import Labelling
from .layout_costs import Access, Kernel
from .layouts import (
    Blocks,
    Order,
    as_declared,
    block_order,
    blocks,
    innermost,
    order_of_blocks,
    same_memory,
    with_innermost,
)

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
        self._blocks = self._reshapes()
        self._labels = self._candidates()
        problem = self._problem()
        labels = problem.solve()
        if math.isinf(problem.cost(labels)):  # possible only beyond `LARGEST_TABLE`
            labels = dict.fromkeys(labels, 0)
        self.storage = {name: found[labels[f"store {name}"]] for name, found in self._labels.items()}
        self.walks = {
            name: kernel.walks[labels[f"walk {name}"]] for name, kernel in self.kernels.items() if kernel.walks
        }

    def order_read(self, reader: str, name: str) -> Order:
        """The order in which a kernel, a partial definition or a reshape reads a tensor: the better of its storage."""
        operation = self.graph.operation(reader)
        if isinstance(operation, Reshape):
            made = self.storage[reader][0]
            return min(self.storage[name], key=lambda order: self._reshaping(reader, made, order))
        if isinstance(operation, Partial):
            target = self.storage[reader][0]
            pieces = [piece for piece in operation.pieces if piece.source == name]
            return min(
                self.storage[name], key=lambda o: sum(self._moving(reader, target, piece, o) for piece in pieces)
            )
        return min(self.storage[name], key=lambda order: self._reading(reader, name, order))

    def _reading(self, reader: str, name: str, order: Order) -> float:
        walk = self.walks.get(reader)
        return 0.0 if walk is None else self.kernels[reader].reading(walk, name, order)

    def _storages(self, name: str, orders: Sequence[Order]) -> list[Storage]:
        """Ways to store a tensor, that of its declaration first."""
        operation = self.graph.tensor(name)
        movable = isinstance(operation, (Equation, Partial)) or name in self._blocks
        found: list[Storage] = [(order,) for order in (orders if movable else orders[:1])]
        found += [(*first, other) for first in found for other in orders if other not in first]
        as_is = name in self.roots or not all(map(self._reads_any_order, self.graph.consumers(name)))
        return [storage for storage in found if orders[0] in storage or not as_is]

    def _reads_any_order(self, name: str) -> bool:
        movable = isinstance(self.graph.operation(name), (Equation, Partial)) or name in self._blocks
        return movable and name not in self.fixed

    def _candidates(self) -> dict[str, list[Storage]]:
        free = [name for name in self.graph if name not in self.fixed and name not in self.inside]
        names = [name for name in free if not isinstance(self.graph.operation(name), Recurrence)]
        wanted = wanted_axes(self.graph, self.kernels, self._blocks)
        orders = {name: _distinct_orders(self.graph.tensor(name).shape, wanted.get(name, ())) for name in names}
        for name in (*self._blocks, *reversed(self._blocks)):
            self._exchange_orders(name, orders)
        return {name: self._storages(name, found) for name, found in orders.items()}

    def _exchange_orders(self, name: str, orders: dict[str, list[Order]]) -> None:
        """Orders of a reshape and of its source that the other may want, too."""
        source = self._source(name)
        sides = [(source, [one for one, _ in self._blocks[name]]), (name, [two for _, two in self._blocks[name]])]
        for (here, own), (there, other) in (sides, sides[::-1]):
            shape = self.graph.tensor(there).shape
            for order in orders[here]:
                positions = block_order(self.graph.tensor(here).shape, order, own)
                if positions is not None:
                    _add_order(orders[there], shape, order_of_blocks(shape, other, positions))

    def _reshapes(self) -> dict[str, Blocks]:
        """Reshapes that keep axes together which may be permuted as a whole."""
        found = {}
        for name in self.graph:
            operation = self.graph.operation(name)
            if isinstance(operation, Reshape) and name not in self.fixed and operation.source not in self.fixed:
                parts = blocks(self.graph.tensor(operation.source).shape, operation.shape)
                if parts is not None:
                    found[name] = parts
        return found

    def _source(self, name: str) -> str:
        operation = self.graph.operation(name)
        assert isinstance(operation, Reshape)
        return operation.source

    def _reshaping(self, name: str, made: Order, read: Order) -> float:
        """0 if a reshape is only another name for its source, in these orders; else it cannot be."""
        if name not in self._blocks:
            return 0.0 if read == as_declared(self.graph.tensor(self._source(name)).shape) else math.inf
        own = block_order(self.graph.tensor(name).shape, made, [two for _, two in self._blocks[name]])
        its = block_order(self.graph.tensor(self._source(name)).shape, read, [one for one, _ in self._blocks[name]])
        return 0.0 if own is not None and own == its else math.inf

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
        for name in self._blocks:
            source = self._source(name)
            costs = [self._least(source, partial(self._reshaping, name, s[0])) for s in self._labels[name]]
            problem.edge(f"store {name}", f"store {source}", costs)
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


def _distinct_orders(shape: Shape, innermost_axes: Sequence[int]) -> list[Order]:
    """The declared order, and those with one of these axes innermost."""
    orders = [as_declared(shape)]
    for axis in innermost_axes:
        _add_order(orders, shape, with_innermost(shape, axis))
    return orders


def _add_order(orders: list[Order], shape: Shape, order: Order) -> None:
    if not any(same_memory(shape, order, other) for other in orders):
        orders.append(order)


def wanted_axes(graph: Graph, kernels: Mapping[str, Kernel], reshapes: Mapping[str, Blocks]) -> dict[str, list[int]]:
    """Axes that may be worth having innermost: those along which sums of products walk, and what meets them."""
    free = data_free(graph)
    seeds: Axes = set()
    for kernel in kernels.values():
        for name in (*_channels(kernel, free), *_windows(kernel, free)):
            seeds |= _met(kernel, name)
    neighbours: networkx.Graph[tuple[str, int]] = networkx.Graph()
    neighbours.add_nodes_from(seeds)
    for first, *others in filter(None, _meetings(graph, kernels, reshapes)):
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


def _windows(kernel: Kernel, free: Collection[str]) -> list[str]:
    """The innermost index over which a window slides, of a sum of products of data whose channels fill no vectors."""
    channels = [name for name in _channels(kernel, free) if name in kernel.domain]
    reads = equation_reads(kernel.root)
    if not channels or any(read.tensor in free for read in reads) or any(map(kernel.fills_vectors, channels)):
        return []

    def slides(name: str) -> bool:
        used = [s for read in reads for s in read.subscripts if name in s.indices()]
        return name not in channels and kernel.fills_vectors(name) and all(s.coefficient(name) == ONE for s in used)

    return [name for name in kernel.domain if slides(name)][-1:]


def _met(kernel: Kernel, index: str) -> Axes:
    """The axes of data and result along which an index of a kernel walks by single steps."""
    met = {(a.tensor, axis) for a in kernel.data for axis, s in enumerate(a.subscripts) if s.coefficient(index) == ONE}
    return met | {(kernel.result, axis) for axis, name in enumerate(kernel.domain) if name == index}


def _meetings(graph: Graph, kernels: Mapping[str, Kernel], reshapes: Mapping[str, Blocks]) -> Iterator[Axes]:
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
    for name, parts in reshapes.items():
        for one, two in parts:
            yield {(operand, one[-1]) for operand in operands(graph.operation(name))} | {(name, two[-1])}


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
