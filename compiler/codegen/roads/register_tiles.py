"""Register tiles: parts of the output that are computed in registers, and what they cost.

A tile is some vectors along one index times several elements of another, so that each number that
is loaded serves many multiplications.  The cost counts, for one step of the reduction, arithmetic,
loads and registers.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from ....dsl.equations import Read
from ....dsl.integers import FloorDiv, Integer, Symbol
from .. import machine
from ..joining import steps
from ..kernel import Kernel
from ..schedule import cut
from ..target import Target
from . import analysis, operands
from .reduction_parts import parts_of

WORTH_THREADS = 1 << 18
"""Products; one core computes fewer in the time that starting another one takes."""

_FROM_THIRD_CACHE = 3.0  # the cost of a load that the second cache cannot serve, against other loads
_LOAD = 1.0  # the cost of a load against that of one multiply-add on vectors
_MAXIMAL_TILE = 14
_FAR = 4.0  # the cost of loading what no known index lets stay in a cache, against other loads
_FAR_APART = 1e-4
_WINDOW = 7  # the longest window that is written out
_LINES = 8.0  # of a set of the first cache, if it has so many, that a register tile may fill
_FEW_SUMS = 16  # that a tile along two indices can hold, below which it may have a third
_BALANCED = 8  # tasks of each core, by which all are busy to the end
_LONG = 3  # tiles along an axis of open size by which it is long enough for them
_OPEN_SHARE = 0.5  # of the work in full tiles along an axis whose size only a call gives


@dataclass(frozen=True)
class Candidate:
    """A register tile, its cost per output element and reduction step, and how many axes of it are open."""

    cost: float
    opened: int
    vector: str
    lanes: int
    tiles: tuple[tuple[str, int], ...]

    def expected(self) -> float:
        """The cost if open axes are mostly short."""
        return self.cost / _OPEN_SHARE**self.opened


class Tiles:
    """All register tiles of a kernel that fit, with their costs."""

    def __init__(self, kernel: Kernel, target: Target, lengths: Mapping[str, int] | None = None) -> None:
        self.kernel = kernel
        self.target = target
        self.outputs = [axis.name for axis in kernel.domain]
        self.reduction = [axis.name for axis in kernel.reduction]
        self.lengths = lengths or {}
        self.sizes = {axis.name: analysis.estimate(axis.size) for axis in (*kernel.domain, *kernel.reduction)}
        self.sizes |= self.lengths
        self.operands = operands.body_reads(kernel)
        self.reads = [
            (
                {i for s in read.subscripts for i in s.indices()},
                {n: analysis.stride(kernel, read, n) for n in self.sizes},
            )
            for read in self.operands
        ]
        self.window = window(
            kernel, max(stepped(kernel, name, analysis.lanes_for(kernel, name, target)) for name in self.outputs)
        )
        self.loads = [self._load(read) for read in self.operands]
        self.steps = math.prod(self.sizes[name] for name in self.reduction)
        parts, length = parts_of(kernel, target)
        around = analysis.by_reads(kernel)[: parts + (length > 0)]
        turns = math.prod(self.sizes[name] for name in around) / max(length, 1)
        self.visits = 2 * turns if around else 1  # of each output element
        described = machine.of(target)
        self.cache = described.l2_bytes
        self.lines = min(_LINES, described.l1_ways)
        self.page = described.l1_bytes // described.l1_ways
        self.machine = described
        self.works = analysis.work(kernel) >= WORTH_THREADS
        self._coverage: dict[tuple[str, int, int], float | None] = {}
        self._prices: dict[tuple[Read, str, int], float] = {}

    def candidates(self) -> Iterator[Candidate]:
        """Tiles along two output indices, or three short ones; vectors along one or along a reduction index."""
        for name in self.outputs:
            lanes = analysis.lanes_along(self.kernel, name, self.target)
            if lanes == 1 or not analysis.can_vectorise(self.kernel, name):
                continue
            for other in (None, *(n for n in self.outputs if n != name)):
                for wide, tall in itertools.product(range(1, 9), range(1, _MAXIMAL_TILE + 1) if other else (1,)):
                    yield from self._scored(name, lanes, {name: wide} | ({other: tall} if other else {}))
            others = [n for n in self.outputs if n != name and self.sizes[n] > 1]
            if max(self.sizes[name] // lanes, 1) * max((self.sizes[n] for n in others), default=1) < _FEW_SUMS:
                for first, second in itertools.combinations(others, 2):
                    for one, two in itertools.product(range(2, 9), range(2, 9)):
                        yield from self._scored(name, lanes, {name: 1, first: one, second: two})
        for name in self.reduction:
            if self.sizes[name] < 4 * self.target.lanes(32) or not analysis.can_vectorise(self.kernel, name):
                continue
            lanes = analysis.lanes_for(self.kernel, name, self.target)
            for first, second in itertools.combinations_with_replacement(self.outputs, 2):
                for one, two in itertools.product(range(1, 9), range(1, 9) if first != second else (1,)):
                    yield from self._scored(name, lanes, {second: two, first: one})

    def one(self, vector: str, lanes: int, tiles: dict[str, int]) -> Candidate | None:
        """One tile with its cost, if it fits."""
        return next(self._scored(vector, lanes, tiles), None)

    def _loaded(self, name: str, tile: int, strides: dict[str, int | None]) -> float:
        """Loads along an index of the tile for each step of the reduction; a window slides over those before."""
        if self.window is None or strides[self.window[0]] is None or strides[self.window[0]] != strides[name]:
            return tile
        return (tile + self.window[1] - 1) / self.window[1]

    def _load(self, read: Read) -> float:
        """The cost of a load, far more where an operand is large and only an index of open size uses it again."""
        names = {i for s in read.subscripts for i in s.indices()}
        again = [axis for axis in self.kernel.domain if axis.name not in names]
        if self.lengths:
            return _LOAD
        few = all(operands.may_be_few(axis.size) for axis in again)
        return _FAR if few and operands.is_large(self.kernel, read, self.target) else _LOAD

    def _scored(self, vector: str, lanes: int, tiles: dict[str, int]) -> Iterator[Candidate]:
        """The candidate, if its tile fits the axes and the registers."""
        if any(t > max(self.sizes[n] // (lanes if n == vector else 1), 1) for n, t in tiles.items()):
            return
        accumulators, loads, held = math.prod(tiles.values()), 0.0, 0
        share = self.machine.share(lanes / self.target.lanes(32))
        for (used, strides), load, read in zip(self.reads, self.loads, self.operands, strict=True):
            count = math.prod(self._loaded(name, tile, strides) for name, tile in tiles.items() if name in used)
            far = 1.0 if self.lengths or self._stays(used, strides, tiles, vector, lanes) else _FROM_THIRD_CACHE
            crowd = max(
                (_crowd(tile, strides[name] or 0, self.page) for name, tile in tiles.items() if name != vector),
                default=1,
            )
            slow = max(1.0, crowd / self.lines, far)
            each = share if strides[vector] else self.machine.unit_share
            loads += each * load * count * self._price(read, strides[vector], vector, lanes) * slow
            held = max(held, int(count)) if strides[vector] == 0 else held + min(int(count), 4)
        if accumulators + min(held, 5) + 1 > self.target.registers:
            return
        # Fewer than eight independent additions leave the units waiting for each other.
        per_step = max(share * accumulators, loads, 8.0) + 0.15 * loads
        cost, opened = per_step / (accumulators * lanes), 0
        for name, tile in tiles.items():
            covered = self._share(name, tile, lanes if name == vector else 1)
            opened += covered is None
            cost /= covered or 1.0
        if vector in self.reduction:
            cost += 3.0 / self.steps
        elif analysis.output_stride(self.kernel, vector) != 1:
            cost += 2.0 / self.steps * self.visits
        if not self.lengths:  # else who asks counts cores
            cost *= self._idle(vector, lanes, tiles)
        reach = max((abs(by or 0) for _, by_index in self.reads for n, by in by_index.items() if n in tiles), default=0)
        cost *= 1 + _FAR_APART * math.log2(reach + 1)  # among equals, neighbours in memory
        yield Candidate(cost, opened, vector, lanes, tuple(tiles.items()))

    def _idle(self, vector: str, lanes: int, tiles: dict[str, int]) -> float:
        """How many times as long it takes as if all cores were busy to the end."""
        extents = {name: tile * (lanes if name == vector else 1) for name, tile in tiles.items()}
        counts = {name: -(-self.sizes[name] // extents.get(name, 1)) for name in self.outputs}
        if self.visits > 1:  # see `in_parts`
            outer = max(extents.keys() & counts.keys(), key=counts.__getitem__)
            counts = {outer: counts[outer]}
        tasks, cores = math.prod(counts.values()), self.target.cores
        if not self.works or tasks >= _BALANCED * cores:
            return 1.0
        unequal = math.prod(count * extents.get(name, 1) / self.sizes[name] for name, count in counts.items())
        return -(-tasks // cores) * cores / tasks * unequal

    def _stays(
        self, used: set[str], strides: dict[str, int | None], tiles: dict[str, int], vector: str, lanes: int
    ) -> bool:
        """Whether what tiles read again and again of an operand, for other tiles along the vectors another part, is
        small enough for the second cache."""
        if vector not in tiles or strides[vector] != 1 or any(name in used for name in tiles if name != vector):
            return True
        rows = math.prod(self.sizes[name] for name in self.reduction if name in used)
        return operands.ELEMENT * lanes * tiles[vector] * rows <= self.cache

    def _price(self, read: Read, stride: int | None, vector: str, lanes: int) -> float:
        """The cost of a load of a vector against one from places next to each other."""
        if stride in (0, 1):
            return 1.0
        if (read, vector, lanes) not in self._prices:
            self._prices[read, vector, lanes] = 1.0 if steps(self.kernel, read, vector, lanes) else 1.5 * lanes
        return self._prices[read, vector, lanes]

    def _share(self, name: str, tile: int, lanes: int) -> float | None:
        """How much of the work along an axis lies in full tiles; None if only a call can tell."""
        key = name, tile, lanes
        if key not in self._coverage:
            size = self.kernel.size(name) if name not in self.lengths else Integer.of(self.lengths[name])
            self._coverage[key] = coverage(size, tile, lanes)
        return self._coverage[key]


def window(kernel: Kernel, inside: int = 0) -> tuple[str, int] | None:
    """The innermost reduction index, but for `inside` others, and its size, if it is short enough to be written out."""
    order = analysis.by_reads(kernel)[: len(kernel.reduction) - inside]
    size = kernel.size(order[-1]).constant if order else None
    return (order[-1], size) if size is not None and 1 < size <= _WINDOW else None


def stepped(kernel: Kernel, vector: str, lanes: int) -> int:
    """How many of the innermost reduction indices choose the number in a step, where operands are read in steps."""
    found = [steps(kernel, read, vector, lanes) for read in operands.body_reads(kernel)]
    order = analysis.by_reads(kernel)
    return max((len(order) - order.index(name) for s in found if s is not None for name in s.fine), default=0)


def coverage(size: Integer, tile: int, lanes: int) -> float | None:
    """The share of work along an axis that full tiles do, 1 if all; None if the size is open and may be short.

    Of an open size the least that it may be counts.
    """
    pieces = cut(size, tile, lanes)
    if len(pieces) == 1 and pieces[0].step == tile * lanes:
        return (pieces[0].used or lanes) / lanes
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


@lru_cache(maxsize=1 << 12)
def _crowd(tile: int, stride: int, page: int) -> int:
    """How many lines of the first cache, a stride of elements apart, compete for the same set of it.

    `page` are the bytes after which addresses fall into the same sets.
    """
    sets = Counter(place * stride * operands.ELEMENT % page // 64 for place in range(tile))
    return max(sets.values()) if stride else 1
