"""Sums of products and other reductions in which operands are used again and again.

A convolution or a matrix product computes a tile of its output in registers: some vectors
along one index times several elements of another, so that each number that is loaded
serves many multiplications.  Which index takes which part follows from the strides; tile
sizes come from counting, for one step of the reduction, arithmetic, loads and registers.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from ....dsl.equations import Read
from ....dsl.integers import FloorDiv, Integer, Symbol
from .. import machine
from ..cache import fingerprint
from ..joining import steps
from ..kernel import Kernel, has_gather
from ..schedule import Road, Schedule, cut
from ..target import Target
from . import analysis

TILED, STREAMING = "matrix", "vector-matrix"
"""Names of roads: results in registers, whatever their sum is called (see `windows.kind`), and in the first cache."""

_FROM_THIRD_CACHE = 3.0  # the cost of a load that the second cache cannot serve, against other loads
_LOAD = 1.0  # the cost of a load against that of one multiply-add on vectors
_MAXIMAL_TILE = 14
_WORTH_A_VARIANT = 0.8  # of the cost that a second schedule must stay below
_WORTH_THREADS = 1 << 18  # products; one core computes fewer in the time that starting another one takes
_FAR = 4.0  # the cost of loading what no known index lets stay in a cache, against other loads
_FAR_APART = 1e-4
_FEW = 2  # elements of an open axis from which on a tile along it pays, since its rest is cut into tiles too
_SAMPLES = 8  # of a batch, where it matters how far apart its uses are
_SHORTEST_PART = 24  # steps of a reduction in which the sums of a register tile are worth reading and writing
_SOME = 8  # elements of an axis by which loads are used often enough
_STAYS = 1 / 3  # of the first cache: operands that stay there whatever the order
_WINDOW = 7  # the longest window that is written out
_LINES = 8.0  # of a set of the first cache, if it has so many, that a register tile may fill
_ELEMENT = 4  # bytes of an element, where caches are told in elements
_FEW_SUMS = 16  # that a tile along two indices can hold, below which it may have a third
_BALANCED = 8  # tasks of each core, by which all are busy to the end
_INDEPENDENT = 8  # sums beside which it does not matter how long a unit takes for one addition
_MOST_ROADS = 12  # alternatives of a kernel
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
    """The cheapest register tile, or None if there is nothing to gain by one."""
    return next(roads(kernel, target), None)


def roads(kernel: Kernel, target: Target) -> Iterator[Road]:
    """Register tiles, the cheapest first; none if there is nothing to gain by them.

    Where a size is known only at run time (the batch), each has two schedules perhaps: a tile
    along that axis if it is long enough for one, and what suits a batch of one.  Where nearly all
    time goes into reading one operand, the first road reads it row by row (see `streaming`).
    """
    many, best = _best(kernel, target)
    if many is None:
        return
    axis = next(((n, t) for n, t in many.tiles if kernel.size(n).constant is None and t > 1), None)
    pays = axis is not None and many.cost < _WORTH_A_VARIANT * best[0].cost
    first = [(kernel.size(axis[0]) - _FEW, _schedule(kernel, target, many))] if axis is not None and pays else []
    streaming = next((found for found in best if _streamed(kernel, found)), None)
    streams = streaming is not None and _streams(kernel, best[0], target)
    if streaming is not None and streams:
        yield Road(STREAMING, (*first, (None, _rows(kernel, streaming, target))))
    for few in best:
        yield Road(TILED, (*first, (None, _schedule(kernel, target, few))))
    if streaming is not None and not streams:
        yield Road(STREAMING, ((None, _rows(kernel, streaming, target)),))


def _best(kernel: Kernel, target: Target) -> tuple[_Candidate | None, tuple[_Candidate, ...]]:
    """The cheapest tile if open axes are long, and the cheapest ones if they are short; none if there are none."""
    key = fingerprint(kernel, target)
    if key not in _known:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        useful = kernel.combiner not in ("argmax", "argmin") and _reuses(kernel)
        found = list(_Tiles(kernel, target).candidates()) if useful else []
        many = min(found, key=lambda candidate: candidate.cost, default=None)
        _known[key] = many, tuple(heapq.nsmallest(_MOST_ROADS, found, key=_Candidate.expected))
    return _known[key]


_known: dict[str, tuple[_Candidate | None, tuple[_Candidate, ...]]] = {}
_MOST_KNOWN = 1 << 12
"""Kernels whose tiles this process remembers: the choice of roads and that of packings ask for them several times."""


def cost(kernel: Kernel, target: Target, schedule: Schedule, lengths: Mapping[str, int]) -> float:
    """Vector operations for each output element and reduction step of a register tile, axes being so long.

    What caches add is not counted.
    """
    vector = str(schedule.vector)
    short = kernel.size(vector).constant is None and lengths[vector] < schedule.lanes
    lanes = 1 if short else schedule.lanes  # too few: one after the other
    vectors = {name: lanes if name == vector else 1 for name in schedule.tiles}
    fitting = {name: min(tile, max(lengths[name] // vectors[name], 1)) for name, tile in schedule.tiles.items()}
    found = _Tiles(kernel, target, lengths).one(vector, lanes, fitting)
    return math.inf if found is None else found.cost


def _schedule(kernel: Kernel, target: Target, found: _Candidate) -> Schedule:
    order = _order(kernel, found, target)
    reduction = analysis.by_reads(kernel)
    if found.vector in reduction:
        reduction = (*(name for name in reduction if name != found.vector), found.vector)
    written, slid = _written_out(kernel, found)
    schedule = Schedule(order, reduction, found.vector, found.lanes, dict(found.tiles), written_out=written, slid=slid)
    many = math.prod(schedule.tiles.values()) >= _INDEPENDENT
    schedule = replace(schedule, multiplied=many and analysis.leaves_multipliers_idle(kernel, target))
    schedule = analysis.on_threads(kernel, schedule, target, _WORTH_THREADS)
    return _in_parts(kernel, schedule, target)


def _in_parts(kernel: Kernel, schedule: Schedule, target: Target) -> Schedule:
    """The schedule with a long reduction in parts, all of whose operands stay in the second cache.

    Where every operand moves with the outermost reduction indices (the weights' gradient, a sum over
    all positions of all samples), each register tile would read all of them from afar.  In parts, a task
    computes all its tiles over one part of the reduction before it goes on to the next.
    """
    count, length = _parts(kernel, target)
    tiled = [name for name, tile in schedule.tiles.items() if tile > 1]
    if (
        not (count or length)
        or schedule.vector not in schedule.order
        or not set(tiled) <= set(schedule.order)
        or not tiled
    ):
        return schedule

    def tasks(name: str) -> int:
        lanes = schedule.lanes if name == schedule.vector else 1
        return sum(analysis.estimate(piece.trips) for piece in cut(kernel.size(name), schedule.tiles[name], lanes))

    outer = max(tiled, key=tasks)
    order = (outer, *_without(schedule.order, outer))
    return replace(schedule, order=order, parallel=min(schedule.parallel, 1), parts=count, part=length)


def _parts(kernel: Kernel, target: Target) -> tuple[int, int]:
    """How to go through a reduction part by part: see `parts` and `part` of a schedule; zeros if that gains nothing."""
    reads = body_reads(kernel)
    order = analysis.by_reads(kernel)
    sizes = {axis.name: analysis.estimate(axis.size, _SAMPLES) for axis in kernel.reduction}
    if kernel.guard is not None or kernel.stages or kernel.combiner != "sum" or any(map(has_gather, reads)):
        return 0, 0
    if kernel.output.dtype != kernel.accumulator or all(axis.size.constant is not None for axis in kernel.reduction):
        return 0, 0  # what is not summed over samples is short enough
    if any(isinstance(atom, FloorDiv) for atom in kernel.offset.atoms()):
        return 0, 0  # some columns are computed twice, which may not be added twice
    amount = sum(4 * analysis.estimate(kernel.tensors[read.tensor].count, _SAMPLES) for read in reads)
    if amount < 4 * math.prod(analysis.estimate(axis.size, _SAMPLES) for axis in kernel.domain):
        return 0, 0  # the sums between parts would cost more than the operands
    near = machine.of(target).l2_bytes // 2
    for count, name in enumerate(order):
        inner = math.prod(sizes[other] for other in order[count + 1 :])
        if amount <= near or sizes[name] * inner < 2 * _SHORTEST_PART:
            return count, 0
        if any(not read.subscripts or name not in read.subscripts[0].indices() for read in reads):
            return 0, 0
        amount //= sizes[name]
        length = near // max(amount, 1)
        if length > 1 or inner < _SHORTEST_PART:
            return count, max(length, -(-_SHORTEST_PART // inner))
    return 0, 0


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


def _rows(kernel: Kernel, found: _Candidate, target: Target) -> Schedule:
    """The schedule that reads an operand row by row."""
    stretch = min(max(analysis.estimate(kernel.size(found.vector)) // (2 * target.cores), 256), 1024) // 64 * 64
    schedule = _schedule(kernel, target, found)
    return replace(schedule, stretch=stretch, parallel=1, order=(found.vector, *_without(schedule.order, found.vector)))


def _without(names: Iterable[str], name: str) -> tuple[str, ...]:
    return tuple(other for other in names if other != name)


def _streamed(kernel: Kernel, found: _Candidate) -> list[Read]:
    """Operands that have all that is summed and the index of the vectors, along which their rows run."""
    if found.vector in {axis.name for axis in kernel.reduction} or kernel.guard is not None:
        return []
    if found.lanes > analysis.estimate(kernel.size(found.vector)):
        return []
    needed = {found.vector, *(axis.name for axis in kernel.reduction)}
    return [
        read
        for read in body_reads(kernel)
        if {i for s in read.subscripts for i in s.indices()} == needed
        and analysis.stride(kernel, read, found.vector) == 1
        and analysis.widest(kernel) <= 64
    ]


def _streams(kernel: Kernel, found: _Candidate, target: Target) -> bool:
    """Whether nearly all the time goes into reading one large operand whose rows run along the vectors."""
    others = [axis for axis in kernel.domain if axis.name != found.vector]
    return all(_may_be_few(axis.size) for axis in others) and any(
        _is_large(kernel, read, target) for read in _streamed(kernel, found)
    )


def _is_large(kernel: Kernel, read: Read, target: Target) -> bool:
    """Whether an operand does not stay in the second cache."""
    return _ELEMENT * analysis.estimate(kernel.tensors[read.tensor].count) >= machine.of(target).l2_bytes


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

    def __init__(self, kernel: Kernel, target: Target, lengths: Mapping[str, int] | None = None) -> None:
        self.kernel = kernel
        self.target = target
        self.outputs = [axis.name for axis in kernel.domain]
        self.reduction = [axis.name for axis in kernel.reduction]
        self.lengths = lengths or {}
        self.sizes = {axis.name: analysis.estimate(axis.size) for axis in (*kernel.domain, *kernel.reduction)}
        self.sizes |= self.lengths
        self.operands = body_reads(kernel)
        self.reads = [
            (
                {i for s in read.subscripts for i in s.indices()},
                {n: analysis.stride(kernel, read, n) for n in self.sizes},
            )
            for read in self.operands
        ]
        self.window = window(
            kernel, max(_stepped(kernel, name, analysis.lanes_for(kernel, name, target)) for name in self.outputs)
        )
        self.loads = [self._load(read) for read in self.operands]
        self.steps = math.prod(self.sizes[name] for name in self.reduction)
        parts, length = _parts(kernel, target)
        around = analysis.by_reads(kernel)[: parts + (length > 0)]
        turns = math.prod(self.sizes[name] for name in around) / max(length, 1)
        self.visits = 2 * turns if around else 1  # of each output element
        described = machine.of(target)
        self.cache = described.l2_bytes
        self.lines = min(_LINES, described.l1_ways)
        self.page = described.l1_bytes // described.l1_ways
        self.machine = described
        self.works = analysis.work(kernel) >= _WORTH_THREADS
        self._coverage: dict[tuple[str, int, int], float | None] = {}
        self._prices: dict[tuple[Read, str, int], float] = {}

    def candidates(self) -> Iterator[_Candidate]:
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

    def one(self, vector: str, lanes: int, tiles: dict[str, int]) -> _Candidate | None:
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
        return (
            _FAR
            if _is_large(self.kernel, read, self.target) and all(_may_be_few(axis.size) for axis in again)
            else _LOAD
        )

    def _scored(self, vector: str, lanes: int, tiles: dict[str, int]) -> Iterator[_Candidate]:
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
        yield _Candidate(cost, opened, vector, lanes, tuple(tiles.items()))

    def _idle(self, vector: str, lanes: int, tiles: dict[str, int]) -> float:
        """How many times as long it takes as if all cores were busy to the end."""
        extents = {name: tile * (lanes if name == vector else 1) for name, tile in tiles.items()}
        counts = {name: -(-self.sizes[name] // extents.get(name, 1)) for name in self.outputs}
        if self.visits > 1:  # see `_in_parts`
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
        return _ELEMENT * lanes * tiles[vector] * rows <= self.cache

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


@lru_cache(maxsize=1 << 12)
def _crowd(tile: int, stride: int, page: int) -> int:
    """How many lines of the first cache, a stride of elements apart, compete for the same set of it.

    `page` are the bytes after which addresses fall into the same sets.
    """
    sets = Counter(place * stride * _ELEMENT % page // 64 for place in range(tile))
    return max(sets.values()) if stride else 1


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


def _order(kernel: Kernel, best: _Candidate, target: Target) -> tuple[str, ...]:
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
    counted = {name for name in outputs.difference(panels) if _turns(kernel, best, name) > 1}
    tiled = [name for name, _ in best.tiles if name in outputs]

    def company(name: str) -> int:
        return min((len(used & counted) for used in reads if name in used), default=len(counted))

    innermost = [name for name in tiled if company(name) == max(map(company, tiled))][-1:] if len(tiled) > 1 else []
    first = [name for name in tiled if name not in innermost and company(name) < len(counted)]
    first = [name for name in first if _fills_cache(kernel, name, target)]
    if not first:
        return tuple(by_output)
    if best.vector not in first:
        panels = []
    middle = [name for name in by_output if name not in (*panels, *first, *innermost)]
    return (*panels, *first, *middle, *innermost)


def _turns(kernel: Kernel, best: _Candidate, name: str) -> int:
    """About how many register tiles there are along an index."""
    extent = dict(best.tiles).get(name, 1) * (best.lanes if name == best.vector else 1)
    return -(-analysis.estimate(kernel.size(name)) // extent)


def _fills_cache(kernel: Kernel, name: str, target: Target) -> bool:
    """Whether all operands that depend on an index are too large to stay in the first cache."""
    found = [read for read in body_reads(kernel) if any(name in s.indices() for s in read.subscripts)]
    stays = _STAYS * machine.of(target).l1_bytes
    return all(_ELEMENT * analysis.estimate(kernel.tensors[read.tensor].count) > stays for read in found)
