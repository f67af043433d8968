"""What a kernel costs by the layouts of what it reads and writes.

A kernel walks along one of its indices in vectors.  Reading and storing is cheap where that
index is contiguous in memory (or does not matter at all), and goes element by element where it
is not; an operand that serves several elements of a register tile is read that much less often.
This is how `codegen.roads` look at strides, without the details of a machine: costs are in
cycles of one core with vectors of 16 numbers, and only their ratios count.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from ..dsl.equations import Apply, Equation, Read, Shape, equation_reads, reads, substitute_indices, walk
from ..dsl.integers import Integer
from .codegen.winograd import roles
from .graph import Graph
from .groups import Group
from .layouts import Order, as_declared, innermost
from .rewriting import estimate, indices_of, plain

LANES = 16
_OPEN = 8  # what a size that only a call gives is taken for
_SHARED = 6.0  # products for which a register tile uses what it has loaded
_SLIDING = 2.0  # vectors along a window do not keep to cache lines
_SCATTERED = 2.0  # storing an element by itself, against storing a vector
_ACROSS = 1.3  # reading numbers one by one where neighbours in memory are not the next to be read
_TILED = 0.65  # Winograd's algorithm against the sum as it stands
_OVERLAP = 2.0  # how often it reads an element
_LANES_TOGETHER = 16.0  # adding up the lanes of a vector
_TRAFFIC = 0.5  # reading and writing an element of a copy
_LAUNCH = 4000.0
_SHORTEST_SUM = 2 * LANES  # along which vectors pay


@dataclass(frozen=True, slots=True)
class Walk:
    """The index along which vectors run; `tiled` if by Winograd's algorithm."""

    index: str
    tiled: bool = False


@dataclass(frozen=True, slots=True)
class Access:
    """A read of a kernel: how often, and how many products use what one load brings."""

    tensor: str
    subscripts: tuple[Integer, ...]
    times: float
    uses: float
    of_sum: bool


class Kernel:
    """A group of equations as one loop nest, in the names of the first one's indices."""

    def __init__(self, graph: Graph, group: Group, fixed: Collection[str]) -> None:
        """`fixed` are tensors of weights, whose layout is chosen afterwards."""
        root = graph.operation(group.root)
        assert isinstance(root, Equation)
        self.root = root
        self.result = group.result
        self.sizes = {axis.name: estimate(axis.size, _OPEN) for axis in (*root.domain, *root.reduction)}
        self.domain = [axis.name for axis in root.domain]
        self.reduction = [axis.name for axis in root.reduction]
        self.elements = float(math.prod(self.sizes[name] for name in self.domain))
        self.points = self.elements * math.prod(self.sizes[name] for name in self.reduction)
        found = [*_accesses_of_sum(self, root), *_accesses_of_epilogue(self, graph, group)]
        self.weights = [access for access in found if access.tensor in fixed]
        self.data = [access for access in found if access.tensor not in fixed]
        self.shapes = {access.tensor: graph.tensor(access.tensor).shape for access in found}
        # A sum over samples goes part by part (see `codegen.roads.contraction`), so that all it reads is near.
        self.over_samples = any(axis.size.constant is None for axis in root.reduction)
        self.tests = {name for equation in _equations(graph, group) for name in _tested(equation)}
        parts = roles(root)
        tiled = parts is not None and parts.weight.tensor in fixed and self._suits_tiles(parts.contracted, parts.free)
        self.contracted = parts.contracted if parts is not None and tiled else None
        walks = [Walk(name) for name in (*self.domain, *self._long_sums()) if self.sizes[name] > 1]
        self.joined = self._joined()
        self.walks = [*walks, *([Walk(parts.free, tiled=True)] if parts is not None and tiled else [])]

    # -- what depends on the walk alone ----------------------------------------------------------

    def computing(self, along: Walk) -> float:
        """Arithmetic, and reading weights, which are laid out to suit if they can be."""
        vectors = self._vectors(along.index)
        if along.tiled:
            return _TILED * self.points * vectors
        cost = self.points * vectors if self.root.combiner is not None else 0.0
        cost += _LANES_TOGETHER * self.elements if along.index in self.reduction else 0.0
        for access in self.weights:
            suits = self._suits_weight(access, along.index)
            cost += self._loads(access, along) * (1 if suits else self._lanes(along.index))
        return cost

    def fills_vectors(self, index: str) -> bool:
        """Whether an index is of known size and at least as long as a vector."""
        axis = next(axis for axis in self.root.domain if axis.name == index)
        return (axis.size.constant or 0) >= LANES

    # -- what depends on layouts -----------------------------------------------------------------

    def reading(self, along: Walk, tensor: str, order: Order) -> float:
        """Reading an operand that is stored in an order."""
        last = innermost(self.shapes[tensor], order)
        cost = 0.0
        for access in self.data:
            if access.tensor != tensor:
                continue
            index = along.index
            if along.tiled and access.of_sum and self.contracted is not None:
                index, outputs = self.contracted, self.sizes[along.index]
                times = _OVERLAP * self.elements / outputs * self.sizes[index] / LANES
            else:
                times = self._loads(access, along)
            cost += times * self._load(access, index, last)
        return cost

    def storing(self, along: Walk, order: Order) -> float:
        """Storing the result in an order."""
        if along.index in self.reduction:
            return self.elements
        last = innermost(self.root.shape, order)
        contiguous = last is not None and self.domain[last] == along.index and along.index not in self.tests
        return self.elements * self._vectors(along.index) * (1 if contiguous else _SCATTERED * self._lanes(along.index))

    def puts_in_order(self, along: Walk) -> bool:
        """Whether weights are put into the order of a walk: not for walks along a sum, which gain too little."""
        return along.index in self.domain

    # -- parts -------------------------------------------------------------------------------------

    def _load(self, access: Access, index: str, last: int | None) -> float:
        """One load along an index, of a tensor whose innermost axis is `last`."""
        step = _stride(access, index)
        if step == 0:
            along = None if last is None else access.subscripts[last].plain_index
            return 1.0 if along in self.reduction or not access.of_sum or self.over_samples else _ACROSS
        subscript = None if last is None else access.subscripts[last]
        if step != 1 or subscript is None or index not in subscript.indices() or index in self.tests:
            return self._lanes(index)
        return 1.0 if len(subscript.indices()) == 1 else _SLIDING

    def _loads(self, access: Access, along: Walk) -> float:
        """How often an operand is loaded."""
        if not access.of_sum and along.index in self.reduction:
            return access.times
        return access.times * self._vectors(along.index) / access.uses

    def _joined(self) -> str | None:
        """An index shorter than a vector that has one together with the index around it (see `codegen.joining`)."""
        if self.root.combiner != "sum" or len(self.domain) < 2:
            return None
        outer, inner = self.domain[-2:]
        short = self.sizes[inner]
        if LANES % short or self.sizes[outer] * short % LANES:
            return None
        steps = [_stride(access, outer) for access in self.data if access.of_sum]
        alone = all(_stride(access, inner) == 0 for access in self.data if access.of_sum)
        return inner if alone and all(step is not None and 0 <= step <= short for step in steps) else None

    def _lanes(self, index: str) -> float:
        if index == self.joined:
            return float(LANES)
        return float(min(LANES, 1 << (self.sizes[index] - 1).bit_length()))

    def _vectors(self, index: str) -> float:
        """Vectors for each element along an index."""
        if index == self.joined:
            return 1 / LANES
        return math.ceil(self.sizes[index] / self._lanes(index)) / self.sizes[index]

    def _long_sums(self) -> Iterator[str]:
        """Reduction indices along which vectors can run."""
        if self.root.combiner in ("argmax", "argmin"):
            return
        for name in self.reduction:
            of_sum = [access for access in (*self.data, *self.weights) if access.of_sum]
            if self.sizes[name] >= _SHORTEST_SUM and all(_stride(access, name) in (0, 1) for access in of_sum):
                yield name

    def _suits_weight(self, access: Access, index: str) -> bool:
        """Whether a weight is contiguous along an index, or may be."""
        step = _stride(access, index)
        if step != 1 or self.puts_in_order(Walk(index)):
            return step in (0, 1)
        shape = self.shapes[access.tensor]
        last = innermost(shape, as_declared(shape))
        return last is not None and index in access.subscripts[last].indices()

    def _suits_tiles(self, contracted: str, free: str) -> bool:
        return self.sizes[contracted] >= LANES and self.sizes[free] % LANES == 0


def copying(elements: float) -> float:
    """Copying a tensor into another order."""
    return _LAUNCH + elements * (_TRAFFIC + _SCATTERED)


def moving(elements: float, contiguous: bool, in_place: bool) -> float:
    """Putting a piece where it belongs; one that is computed `in_place` is only stored there."""
    if in_place:
        return 0.0 if contiguous else _SCATTERED * elements
    return _LAUNCH + elements * (_TRAFFIC if contiguous else _TRAFFIC + _SCATTERED)


def count(shape: Shape) -> float:
    """About how many elements there are."""
    return float(math.prod(estimate(size, _OPEN) for size in shape))


# -- reads ------------------------------------------------------------------------------------------


def _equations(graph: Graph, group: Group) -> Sequence[Equation]:
    return [found for name in group.members if isinstance(found := graph.operation(name), Equation)]


def _accesses_of_sum(kernel: Kernel, root: Equation) -> Iterator[Access]:
    outputs = {name for name in kernel.domain if kernel.sizes[name] > 1}
    for read in dict.fromkeys(equation_reads(root)):
        used = {index for subscript in read.subscripts for index in subscript.indices()}
        shared = root.combiner is not None and outputs - used
        yield Access(read.tensor, read.subscripts, kernel.points, _SHARED if shared else 1.0, root.combiner is not None)


def _accesses_of_epilogue(kernel: Kernel, graph: Graph, group: Group) -> Iterator[Access]:
    """Reads of the equations that follow, without those of the one before."""
    for name in group.epilogue:
        follower = graph.operation(name)
        assert isinstance(follower, Equation)
        here = {axis.name: plain(index) for axis, index in zip(follower.domain, kernel.domain, strict=True)}
        for read in dict.fromkeys(equation_reads(follower)):
            if read.tensor not in group.members:
                moved = substitute_indices(read, here)
                assert isinstance(moved, Read)
                yield Access(read.tensor, moved.subscripts, kernel.elements, 1.0, False)


def _stride(access: Access, index: str) -> int | None:
    """0 if a read does not depend on an index, its factor if it stands in one subscript, else None."""
    found = [subscript for subscript in access.subscripts if index in subscript.indices()]
    if not found:
        return 0
    coefficient = found[0].coefficient(index) if len(found) == 1 else None
    return None if coefficient is None else coefficient.constant


def _tested(equation: Equation) -> Iterator[str]:
    """Indices on which it depends whether something is read at all."""
    if equation.guard is not None:
        yield from indices_of(equation.guard)
    for node in walk(equation.body):
        if isinstance(node, Apply) and node.operation == "select" and any(map(reads, node.arguments[1:])):
            yield from indices_of(node.arguments[0])
