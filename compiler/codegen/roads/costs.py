"""What a road is expected to cost: the one model by which roads are compared.

A kernel with a schedule is counted in cycles of the vector units and in bytes that each level
of the memory has to deliver, given what stays in the caches before it.  The parts overlap, so
the largest binds and the others count in part.  Sizes that a call gives are taken as they are
given here, else for the least that they may be.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from ....dsl.equations import Read
from ....dsl.integers import Integer, Symbol
from .. import machine
from ..kernel import Kernel, has_gather
from ..schedule import Road, Schedule
from ..storage import BYTES
from ..target import Target
from . import analysis, contraction, operands

_OVERLAPPED = 0.15  # of the parts that do not bind
_STAYS = 0.9  # of a cache, for what is to stay there
_NOT_IN_STEP = 1.5  # vectors of numbers that lie apart, for each of them, against one vector
_IN_FLIGHT = 8  # vector operations that must be independent for the units not to wait


@dataclass(frozen=True)
class Estimate:
    """Seconds that parts of the machine are busy, by name, the `flops` that are asked for, and seconds to start."""

    parts: Mapping[str, float]
    flops: float
    start: float

    @property
    def seconds(self) -> float:
        """What all takes together."""
        most = max(self.parts.values(), default=0.0)
        return most + _OVERLAPPED * (sum(self.parts.values()) - most) + self.start

    @property
    def bound(self) -> str:
        """The part that takes most."""
        everything = {**self.parts, "starting": self.start}
        return max(everything, key=everything.__getitem__)

    def __add__(self, other: Estimate) -> Estimate:
        """One after the other."""
        names = dict.fromkeys((*self.parts, *other.parts))
        parts = {name: self.parts.get(name, 0.0) + other.parts.get(name, 0.0) for name in names}
        return Estimate(parts, self.flops + other.flops, self.start + other.start)


ARITHMETIC, SECOND, THIRD, MEMORY = "multiply-adds", "second cache", "third cache", "memory"

Sizes = Mapping[str, int]
"""Run-time sizes by name of the symbol."""


def known(size: Integer, sizes: Sizes) -> int:
    """A size as a number, at least 1; what nobody gives is as small as it may be."""
    symbols = {atom.name: sizes.get(atom.name, atom.minimum) for atom in size.atoms() if isinstance(atom, Symbol)}
    try:
        return max(size.evaluate(symbols), 1)
    except (KeyError, ZeroDivisionError):
        return analysis.estimate(size, 1)


def estimate(kernel: Kernel, road: Road, target: Target, sizes: Sizes, fixed: Collection[str] = ()) -> Estimate:
    """The cost of a kernel on a road with schedules; operands that are `fixed` come from memory."""
    schedule = _taken(road, sizes)
    described = machine.of(target)
    lengths = {axis.name: known(axis.size, sizes) for axis in (*kernel.domain, *kernel.reduction)}
    points = math.prod(lengths.values())
    busy = _balance(schedule, lengths, target.cores if _on_threads(schedule, sizes) else 1)
    cycles = points * _per_point(kernel, road, schedule, target, lengths) / described.fma_ports / busy
    parts = {ARITHMETIC: described.seconds(cycles, target.lanes(32))}
    traffic = _Traffic(kernel, schedule, lengths, sizes)
    speeds = (
        (SECOND, described.l1_bytes, described.l2_bytes_per_cycle),
        (THIRD, described.l2_bytes, described.l3_bytes_per_cycle),
        (MEMORY, described.shared_l3_bytes, described.memory_bytes_per_cycle),
    )
    for name, cache, speed in speeds:
        size = traffic.missing(cache, fixed if name == MEMORY else ())
        parts[name] = described.seconds(size / speed / busy, target.lanes(32))
    products = 2 if kernel.combiner == "sum" and len(operands.body_reads(kernel)) > 1 else 1
    start = described.launch_seconds if _on_threads(schedule, sizes) else described.call_seconds
    return Estimate(parts, float(points * products), start)


def _taken(road: Road, sizes: Sizes) -> Schedule:
    """The schedule that is taken at these sizes."""
    return next(schedule for condition, schedule in road.variants if _holds(condition, sizes))


def _holds(condition: Integer | None, sizes: Sizes) -> bool:
    """Whether an expression of run-time sizes is at least 0; true if there is none."""
    if condition is None:
        return True
    symbols = {atom.name: sizes.get(atom.name, atom.minimum) for atom in condition.atoms() if isinstance(atom, Symbol)}
    try:
        return condition.evaluate(symbols) >= 0
    except (KeyError, ZeroDivisionError):
        return False


def _on_threads(schedule: Schedule, sizes: Sizes) -> bool:
    return schedule.parallel > 0 and _holds(schedule.threads_from, sizes)


def _balance(schedule: Schedule, lengths: Mapping[str, int], cores: int) -> float:
    """How many cores are busy on average."""
    if cores == 1:
        return 1.0
    tasks = 1
    for name in schedule.order[: schedule.parallel]:
        step = schedule.stretch or _extent(schedule, name)
        tasks *= -(-lengths[name] // min(step, lengths[name]))
    return tasks / -(-tasks // cores)


def _extent(schedule: Schedule, name: str) -> int:
    """How many elements of an index a tile has, or a part of a reduction."""
    if schedule.part and name == schedule.reduction_order[schedule.parts]:
        return schedule.part
    return schedule.tiles.get(name, 1) * (schedule.lanes if name == schedule.vector else 1)


def _per_point(kernel: Kernel, road: Road, schedule: Schedule, target: Target, lengths: Mapping[str, int]) -> float:
    """Vector operations for each point, those of loads included."""
    lanes = schedule.lanes
    if schedule.stretch:
        return 1.5 / lanes  # a product; a sum in the first cache is read and written every fourth time
    if kernel.combiner is not None and road.name != "reduction" and schedule.vector is not None:
        return contraction.cost(kernel, target, schedule, lengths)
    tile = math.prod(schedule.tiles.values())
    share = machine.of(target).share(lanes / target.lanes(32))
    loads = sum(_price(kernel, read, schedule) for read in operands.body_reads(kernel))
    if kernel.combiner is None:
        return share * (loads + 1.0 + 0.5 * len(kernel.stages)) / lanes
    return share * max(1.0 + loads, _IN_FLIGHT / tile) / lanes


def _price(kernel: Kernel, read: Read, schedule: Schedule) -> float:
    """A load of a vector against one from places next to each other."""
    if schedule.vector is None or schedule.lanes == 1:
        return 1.0
    return 1.0 if analysis.stride(kernel, read, schedule.vector) in (0, 1) else _NOT_IN_STEP * schedule.lanes


@dataclass(frozen=True)
class _Access:
    """A read, or the write of the output: strides of its indices in elements, bytes of an element, its tensor."""

    tensor: str
    strides: Mapping[str, int]
    width: int
    most: int


class _Traffic:
    """Bytes that pass between levels of the memory, all cores together.

    Loops are nested as the schedule says.  What one turn of a loop touches and a cache holds is
    read into the cache once a turn; of loops around it, those count on which an operand depends,
    or within which others drive it out.
    """

    def __init__(self, kernel: Kernel, schedule: Schedule, lengths: Mapping[str, int], sizes: Sizes) -> None:
        summed = schedule.reduction_order or tuple(axis.name for axis in kernel.reduction)
        tasks, parts = schedule.order[: schedule.parallel], summed[: schedule.parts + (schedule.part > 0)]
        order = (*tasks, *parts, *schedule.order[schedule.parallel :], *summed[len(parts) :])
        self.trips = [(name, -(-lengths[name] // min(_extent(schedule, name), lengths[name]))) for name in order]
        self.lengths = lengths
        self.accesses = list(_accesses(kernel, sizes))
        self.inner = [self._touched(depth) for depth in range(len(order) + 1)]

    def missing(self, cache: int, fixed: Collection[str]) -> float:
        """Bytes that a cache of this size asks of what lies behind it; those of `fixed` operands at least once."""
        depth = next((d for d, sizes in enumerate(self.inner) if sum(sizes) <= _STAYS * cache), len(self.trips))
        total = 0.0
        for place, access in enumerate(self.accesses):
            if depth == 0:
                total += self.inner[0][place] if access.tensor in fixed else 0
                continue
            outer = list(self.trips[:depth])
            while outer and outer[-1][0] not in access.strides:
                outer.pop()  # it stays while this loop turns
            total += self.inner[depth][place] * math.prod(count for _, count in outer)
        return total

    def _touched(self, depth: int) -> list[float]:
        """Bytes of each access that all loops from one on inwards touch."""
        fixed = {name for name, _ in self.trips[:depth]}
        found = []
        for access in self.accesses:
            lengths = {name: self._tile(name) if name in fixed else self.lengths[name] for name in access.strides}
            found.append(float(access.width * min(_distinct(access.strides, lengths), access.most)))
        return found

    def _tile(self, name: str) -> int:
        trips = dict(self.trips)[name]
        return -(-self.lengths[name] // trips)


def _distinct(strides: Mapping[str, int], lengths: Mapping[str, int]) -> int:
    """How many places are reached: no more than combinations, and no more than lie between the first and the last."""
    count, reach = 1, 0
    for name in sorted(strides, key=lambda name: abs(strides[name])):
        reach += (lengths[name] - 1) * abs(strides[name])
        count = min(count * lengths[name], reach + 1)
    return count


def _accesses(kernel: Kernel, sizes: Sizes) -> Iterator[_Access]:
    own = {axis.name for axis in (*kernel.domain, *kernel.reduction)}
    for read in kernel.reads():
        stored = kernel.tensors[read.tensor]
        used = {name for subscript in read.subscripts for name in subscript.indices()} & own
        strides = {} if has_gather(read) else {name: analysis.stride(kernel, read, name) or 1 for name in used}
        yield _Access(read.tensor, strides, BYTES[stored.dtype], known(stored.count, sizes))
    names = {axis.name for axis in kernel.domain}
    strides = {name: analysis.output_stride(kernel, name) or 1 for name in names}
    count = math.prod(known(axis.size, sizes) for axis in kernel.domain)
    yield _Access("", strides, BYTES[kernel.output.dtype], count)
