"""Sums of products and other reductions in which operands are used again and again.

A convolution or a matrix product computes a tile of its output in registers: some vectors
along one index times several elements of another, so that each number that is loaded
serves many multiplications.  Which index takes which part follows from the strides; tile
sizes come from counting, for one step of the reduction, arithmetic, loads and registers.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ....dsl.equations import Read
from ....dsl.integers import FloorDiv, Integer, Symbol
from .. import machine
from ..joining import steps
from ..kernel import Kernel
from ..schedule import Road, Schedule, cut
from ..target import Target
from . import analysis

_FROM_THIRD_CACHE = 3.0  # the cost of a load that the second cache cannot serve, against other loads
_LOAD = 1.0  # the cost of a load against that of one multiply-add on vectors
_MAXIMAL_TILE = 14
_WORTH_A_VARIANT = 0.8  # of the cost that a second schedule must stay below
_WORTH_THREADS = 1 << 18  # products; one core computes fewer in the time that starting another one takes
_LARGE = 1 << 18  # elements of an operand that does not stay in the second cache
_FAR = 4.0  # the cost of loading what no known index lets stay in a cache, against other loads
_FAR_APART = 1e-4
_FEW = 2  # elements of an open axis from which on a tile along it pays, since its rest is cut into tiles too
_SOME = 8  # elements of an axis by which loads are used often enough
_FIRST_CACHE = 1 << 12  # elements of an operand that stay in the first cache whatever the order
_WINDOW = 7  # the longest window that is written out
_PAGE = 1 << 12  # bytes after which addresses fall into the same sets of the first cache
_WAYS = 8.0  # lines of a set that a register tile may fill without driving others out
_LONG = 3  # tiles along an axis of open size by which it is long enough for them
_OPEN_SHARE = 0.5  # of the work in full tiles along an axis whose size only a call gives


@dataclass(frozen=True)
class _Candidate:
    """A register tile, its cost per output element and reduction step, and how many axes of it are open."""

    cost: float
    opened: int
    vector: str
    lanes: int
    tiles: tuple[tuple[str, int], ...]

    def expected(self) -> float:
        """The cost if open axes are mostly short."""
        return self.cost / _OPEN_SHARE**self.opened


def road(kernel: Kernel, target: Target) -> Road | None:
    """The cheapest register tile, or None if there is nothing to gain by one.

    Where a size is known only at run time (the batch), there may be two: a tile along that
    axis if it is long enough for one, and what suits a batch of one.
    """
    if kernel.combiner in ("argmax", "argmin") or not _reuses(kernel):
        return None
    candidates = list(_Tiles(kernel, target).candidates())
    if not candidates:
        return None
    few = min(candidates, key=_Candidate.expected)
    variants: list[tuple[Integer | None, Schedule]] = [(None, _schedule(kernel, target, few))]
    if _streams(kernel, few):
        stretch = min(max(analysis.estimate(kernel.size(few.vector)) // (2 * target.cores), 256), 1024) // 64 * 64
        variants = [(None, replace(variants[0][1], stretch=stretch, parallel=1))]
    many = min(candidates, key=lambda found: found.cost)
    axis = next(((n, t) for n, t in many.tiles if kernel.size(n).constant is None and t > 1), None)
    if many.cost < _WORTH_A_VARIANT * few.cost and axis is not None:
        variants.insert(0, (kernel.size(axis[0]) - _FEW, _schedule(kernel, target, many)))
    return Road("streaming" if variants[-1][1].stretch else "contraction", tuple(variants))


def _schedule(kernel: Kernel, target: Target, found: _Candidate) -> Schedule:
    order = _order(kernel, found)
    reduction = analysis.by_reads(kernel)
    if found.vector in reduction:
        reduction = (*(name for name in reduction if name != found.vector), found.vector)
    written, slid = _written_out(kernel, found)
    schedule = Schedule(order, reduction, found.vector, found.lanes, dict(found.tiles), written_out=written, slid=slid)
    return analysis.on_threads(kernel, schedule, target, _WORTH_THREADS)


def window(kernel: Kernel, inside: int = 0) -> tuple[str, int] | None:
    """The innermost reduction index, but for `inside` others, and its size, if it is short enough to be written out."""
    order = analysis.by_reads(kernel)[: len(kernel.reduction) - inside]
    size = kernel.size(order[-1]).constant if order else None
    return (order[-1], size) if size is not None and 1 < size <= _WINDOW else None


def _stepped(kernel: Kernel, vector: str, lanes: int) -> int:
    """How many of the innermost reduction indices choose the number in a step, where operands are read in steps."""
    found = [steps(kernel, read, vector, lanes) for read in body_reads(kernel)]
    order = analysis.by_reads(kernel)
    return max((len(order) - order.index(name) for s in found if s is not None for name in s.fine), default=0)


def _written_out(kernel: Kernel, found: _Candidate) -> tuple[int, Integer | None]:
    """How many of the innermost reduction indices to write out, and the offset at which a window among them slides."""
    inside = _stepped(kernel, found.vector, found.lanes)
    written = window(kernel, inside)
    slid = _slid(kernel, found, written[0]) if written is not None else None
    return inside + (slid is not None), slid


def _slid(kernel: Kernel, found: _Candidate, index: str) -> Integer | None:
    """The offset of what neighbours in the register tile read at the next place of the window, if there is such."""
    for read in body_reads(kernel):
        step = analysis.stride(kernel, read, index)
        if step and any(n > 1 and analysis.stride(kernel, read, t) == step for t, n in found.tiles):
            return read.subscripts[0]
    return None


def _streams(kernel: Kernel, found: _Candidate) -> bool:
    """Whether nearly all the time goes into reading one large operand whose rows run along the vectors."""
    others = [axis for axis in kernel.domain if axis.name != found.vector]
    if found.vector in {axis.name for axis in kernel.reduction} or kernel.guard is not None:
        return False
    if not all(_may_be_few(axis.size) for axis in others) or analysis.widest(kernel) > 64:
        return False
    needed = {found.vector, *(axis.name for axis in kernel.reduction)}
    return any(
        {i for s in read.subscripts for i in s.indices()} == needed
        and analysis.stride(kernel, read, found.vector) == 1
        and analysis.estimate(kernel.tensors[read.tensor].count) >= _LARGE
        for read in body_reads(kernel)
    )


def _may_be_few(size: Integer) -> bool:
    """Whether a size is open and may be small in a call."""
    return size.constant is None and analysis.estimate(size, 1) < _SOME


def _reuses(kernel: Kernel) -> bool:
    """Whether some operand is independent of some output index, beside another that depends on it."""
    dependence = _dependence(kernel)
    return len(dependence) > 1 and any(
        any(axis.name in used for used in dependence) and any(axis.name not in used for used in dependence)
        for axis in kernel.domain
    )


def _dependence(kernel: Kernel) -> list[frozenset[str]]:
    """For each read of the body: the indices it depends on."""
    return [frozenset(i for s in read.subscripts for i in s.indices()) for read in body_reads(kernel)]


def body_reads(kernel: Kernel) -> list[Read]:
    """Reads that the reduction repeats (those of the epilogue happen once)."""
    return replace(kernel, stages=(), guard=None).reads()


class _Tiles:
    """All register tiles of a kernel that fit, with their costs."""

    def __init__(self, kernel: Kernel, target: Target) -> None:
        self.kernel = kernel
        self.target = target
        self.outputs = [axis.name for axis in kernel.domain]
        self.reduction = [axis.name for axis in kernel.reduction]
        self.sizes = {axis.name: analysis.estimate(axis.size) for axis in (*kernel.domain, *kernel.reduction)}
        self.reads = [
            (
                {i for s in read.subscripts for i in s.indices()},
                {n: analysis.stride(kernel, read, n) for n in self.sizes},
            )
            for read in body_reads(kernel)
        ]
        self.window = window(
            kernel, max(_stepped(kernel, name, analysis.lanes_for(kernel, name, target)) for name in self.outputs)
        )
        self.loads = [self._load(read) for read in body_reads(kernel)]
        self.cache = machine.of(target).l2_bytes
        self.steps = math.prod(self.sizes[name] for name in self.reduction)
        self._coverage: dict[tuple[str, int, int], float | None] = {}

    def candidates(self) -> Iterator[_Candidate]:
        """Tiles along two output indices; vectors along one of them or along a reduction index."""
        for name in self.outputs:
            lanes = analysis.lanes_for(self.kernel, name, self.target)
            if lanes == 1 or not analysis.can_vectorise(self.kernel, name):
                continue
            for other in (None, *(n for n in self.outputs if n != name)):
                for wide, tall in itertools.product(range(1, 9), range(1, _MAXIMAL_TILE + 1) if other else (1,)):
                    yield from self._scored(name, lanes, {name: wide} | ({other: tall} if other else {}))
        for name in self.reduction:
            if self.sizes[name] < 4 * self.target.lanes(32) or not analysis.can_vectorise(self.kernel, name):
                continue
            lanes = analysis.lanes_for(self.kernel, name, self.target)
            for first, second in itertools.combinations_with_replacement(self.outputs, 2):
                for one, two in itertools.product(range(1, 9), range(1, 9) if first != second else (1,)):
                    yield from self._scored(name, lanes, {second: two, first: one})

    def _loaded(self, name: str, tile: int, strides: dict[str, int | None]) -> float:
        """Loads along an index of the tile for each step of the reduction; a window slides over those before."""
        if self.window is None or strides[self.window[0]] is None or strides[self.window[0]] != strides[name]:
            return tile
        return (tile + self.window[1] - 1) / self.window[1]

    def _load(self, read: Read) -> float:
        """The cost of a load, far more where an operand is large and only an index of open size uses it again."""
        names = {i for s in read.subscripts for i in s.indices()}
        again = [axis for axis in self.kernel.domain if axis.name not in names]
        large = analysis.estimate(self.kernel.tensors[read.tensor].count) >= _LARGE
        return _FAR if large and all(_may_be_few(axis.size) for axis in again) else _LOAD

    def _scored(self, vector: str, lanes: int, tiles: dict[str, int]) -> Iterator[_Candidate]:
        """The candidate, if its tile fits the axes and the registers."""
        if any(t > max(self.sizes[n] // (lanes if n == vector else 1), 1) for n, t in tiles.items()):
            return
        accumulators, loads, held = math.prod(tiles.values()), 0.0, 0
        for (used, strides), load, read in zip(self.reads, self.loads, body_reads(self.kernel), strict=True):
            count = math.prod(self._loaded(name, tile, strides) for name, tile in tiles.items() if name in used)
            far = 1.0 if self._stays(used, strides, tiles, vector, lanes) else _FROM_THIRD_CACHE
            crowd = max((_crowd(tile, strides[name] or 0) for name, tile in tiles.items() if name != vector), default=1)
            loads += load * count * self._price(read, strides[vector], vector, lanes) * max(1.0, crowd / _WAYS, far)
            held = max(held, int(count)) if strides[vector] == 0 else held + min(int(count), 4)
        if accumulators + min(held, 5) + 1 > self.target.registers:
            return
        # Fewer than eight independent additions leave the units waiting for each other.
        per_step = max(float(accumulators), loads, 8.0) + 0.15 * loads
        cost, opened = per_step / (accumulators * lanes), 0
        for name, tile in tiles.items():
            share = self._share(name, tile, lanes if name == vector else 1)
            opened += share is None
            cost /= share or 1.0
        if vector in self.reduction:
            cost += 3.0 / self.steps
        elif analysis.output_stride(self.kernel, vector) != 1:
            cost += 2.0 / self.steps
        reach = max((abs(by or 0) for _, by_index in self.reads for n, by in by_index.items() if n in tiles), default=0)
        cost *= 1 + _FAR_APART * math.log2(reach + 1)  # among equals, neighbours in memory
        yield _Candidate(cost, opened, vector, lanes, tuple(tiles.items()))

    def _stays(
        self, used: set[str], strides: dict[str, int | None], tiles: dict[str, int], vector: str, lanes: int
    ) -> bool:
        """Whether what tiles read again and again of an operand, for other tiles along the vectors another part, is
        small enough for the second cache."""
        if vector not in tiles or strides[vector] != 1 or any(name in used for name in tiles if name != vector):
            return True
        return 4 * lanes * tiles[vector] * math.prod(self.sizes[n] for n in self.reduction if n in used) <= self.cache

    def _price(self, read: Read, stride: int | None, vector: str, lanes: int) -> float:
        """The cost of a load of a vector against one from places next to each other."""
        return 1.0 if stride in (0, 1) or steps(self.kernel, read, vector, lanes) else 1.5 * lanes

    def _share(self, name: str, tile: int, lanes: int) -> float | None:
        """How much of the work along an axis lies in full tiles; None if only a call can tell."""
        key = name, tile, lanes
        if key not in self._coverage:
            self._coverage[key] = coverage(self.kernel.size(name), tile, lanes)
        return self._coverage[key]


def _crowd(tile: int, stride: int) -> int:
    """How many lines of the first cache, a stride of elements apart, compete for the same set of it."""
    sets = Counter(place * stride * 4 % _PAGE // 64 for place in range(tile))
    return max(sets.values()) if stride else 1


def coverage(size: Integer, tile: int, lanes: int) -> float | None:
    """The share of work along an axis that full tiles do, 1 if all; None if the size is open and may be short.

    Of an open size the least that it may be counts.
    """
    pieces = cut(size, tile, lanes)
    if len(pieces) == 1 and pieces[0].step == tile * lanes:
        return 1.0
    if any(not isinstance(atom, Symbol | FloorDiv) for atom in size.atoms()):
        return None  # it depends on the turn of a loop around the kernel
    least = {atom.name: atom.minimum for atom in size.atoms() if isinstance(atom, Symbol)}
    length = size.evaluate(least)
    if least and length < _LONG * tile * lanes:
        return None
    cost = 0.0
    for piece in pieces:
        vectors = piece.trips.evaluate(least) * len(piece.shifts)
        slow = 1.0 + 0.6 * (1.0 - len(piece.shifts) / tile)
        cost += vectors * lanes * (slow if piece.lanes == lanes else lanes)
    return length / cost


def _order(kernel: Kernel, best: _Candidate) -> tuple[str, ...]:
    """Outermost the tiled index whose operand depends on the fewest others: that operand stays in cache.

    What walks through the same operands as the vectors do, as panels of packed weights do,
    belongs to them.
    """
    reads = _dependence(kernel)
    outputs = {axis.name for axis in kernel.domain}
    by_output = analysis.by_output(kernel)

    def used_by(name: str) -> frozenset[int]:
        return frozenset(position for position, used in enumerate(reads) if name in used)

    panels = [n for n in by_output if n not in dict(best.tiles) and used_by(n) == used_by(best.vector)]
    panels = panels if len(used_by(best.vector)) < len(reads) and best.vector in outputs else []
    counted = outputs.difference(panels)
    tiled = [name for name, _ in best.tiles if name in outputs]

    def company(name: str) -> int:
        return min((len(used & counted) for used in reads if name in used), default=len(counted))

    innermost = [name for name in tiled if company(name) == max(map(company, tiled))][-1:] if len(tiled) > 1 else []
    first = [name for name in tiled if name not in innermost and company(name) < len(counted)]
    first = [name for name in first if _fills_cache(kernel, name)]
    if not first:
        return tuple(by_output)
    if best.vector not in first:
        panels = []
    middle = [name for name in by_output if name not in (*panels, *first, *innermost)]
    return (*panels, *first, *middle, *innermost)


def _fills_cache(kernel: Kernel, name: str) -> bool:
    """Whether all operands that depend on an index are too large to stay in the first cache."""
    found = [read for read in body_reads(kernel) if any(name in s.indices() for s in read.subscripts)]
    return all(analysis.estimate(kernel.tensors[read.tensor].count) > _FIRST_CACHE for read in found)
