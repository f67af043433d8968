"""Batches in small parts: some actions in a row run for a few samples, then for the next few.

Where each sample of a result depends on the same sample of what it is made of, layers need
not wait until the one before is done with the whole batch.  Done for a few samples at a
time, what one layer leaves is still in a cache when the next one reads it, and takes the
memory of a few samples; but each part reads the weights again.  How many samples to take
at a time, layer by layer, is what costs the least time of memory, as far as bandwidths tell
it: the shortest path through all layers, where a change costs that tensors go through memory.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import groupby

from ...dsl.integers import Integer, Symbol
from ..graph import Note
from .actions import Action, Launch, MicroBatches, Plan, Several, touched
from .machine import of as machine_of
from .storage import BYTES
from .target import Target

PARTS = (1, 2, 4, 8, 16)
"""How many samples may be taken at a time."""
_ALL = 0
_NEAR = 16  # actions between two uses of a tensor that may find it in a cache


def with_micro_batches(plan: Plan, target: Target) -> Plan:
    """The plan with those stretches of `run` that gain by it in loops over parts of the batch."""
    if target.gpu is not None:
        return plan  # its caches are too small for it
    batches = _Costs(plan, target).batches()
    return replace(plan, batches=batches, notes=(*plan.notes, *(_note(plan, found) for found in batches)))


def _note(plan: Plan, batches: MicroBatches) -> Note:
    first, last = plan.run[batches.during[0]].origin, plan.run[batches.during[-1]].origin
    samples = "one sample" if batches.most == 1 else f"{batches.most} samples"
    return Note("codegen", first, f"all up to {last} run for {samples} of {batches.symbol} at a time")


@dataclass(frozen=True)
class _Work:
    """What an action moves, in bytes: `weights` whatever the batch, and `data` for each sample."""

    symbol: Symbol
    weights: int
    data: int
    launches: int


class _Costs:
    """The times of memory of a plan's actions in seconds for each sample of a large batch."""

    def __init__(self, plan: Plan, target: Target) -> None:
        self._plan = plan
        self._machine = machine_of(target)
        self._lanes = target.lanes(32)
        self._works = [self._work(action) for action in plan.run]
        self._crossing = self._tensors_between()

    def batches(self) -> tuple[MicroBatches, ...]:
        """The stretches of actions that are done for some samples at a time."""
        users: defaultdict[str, list[int]] = defaultdict(list)
        for place, action in enumerate(self._plan.run):
            for name in touched(action):
                users[name].append(place)
        found = []
        counts = self._cheapest()
        kinds = [
            (count, work.symbol) if work and count else None for count, work in zip(counts, self._works, strict=True)
        ]
        for kind, places in groupby(range(len(kinds)), key=kinds.__getitem__):
            first, *others = places
            if kind is None or not others:
                continue
            during = range(first, others[-1] + 1)
            inside = frozenset(
                name
                for name, where in users.items()
                if where[0] in during and where[-1] in during and self._plan.places[name] == "arena"
            )
            found.append(MicroBatches(during, kind[1], kind[0], inside))
        return tuple(found)

    def _work(self, action: Action) -> _Work | None:
        """What an action moves, if it treats samples one by one."""
        if isinstance(action, Several):
            parts = [self._work(inner) for inner in action.actions]
            symbols = {part.symbol for part in parts if part is not None}
            if None in parts or len(symbols) != 1:
                return None
            known = [part for part in parts if part is not None]
            return _Work(symbols.pop(), sum(p.weights for p in known), sum(p.data for p in known), len(known))
        if not isinstance(action, Launch) or action.samples is None:
            return None
        weights = data = 0
        for name in {*action.operands, action.result}:
            count, symbol = self._plan.buffers[name].count, action.samples
            each = count.substitute({symbol: 1})
            if symbol not in count.atoms():
                weights += self._bytes(name)
            elif each * Integer.atom(symbol) == count:
                data += self._bytes(name)
            else:
                return None
        return _Work(action.samples, weights, data, 1)

    def _bytes(self, name: str) -> int:
        """The size of a buffer for one sample, open sizes being as small as they can be."""
        stored = self._plan.buffers[name]
        least = {atom: atom.minimum for atom in stored.count.atoms() if isinstance(atom, Symbol)}
        return (stored.count.substitute(least).constant or 0) * BYTES[stored.dtype]

    def _tensors_between(self) -> list[int]:
        """Bytes that an action leaves for one not far behind it, summed where they pass the start of each action."""
        crossing = [0] * len(self._works)
        last: dict[str, int] = {}
        for number, (action, work) in enumerate(zip(self._plan.run, self._works, strict=True)):
            for name in dict.fromkeys(touched(action)):
                before = last.get(name)
                batched = work is not None and work.symbol in self._plan.buffers[name].count.atoms()
                if batched and before is not None and number - before <= _NEAR:
                    for place in range(before + 1, number + 1):
                        crossing[place] += self._bytes(name)
                last[name] = number
        return crossing

    def _cheapest(self) -> list[int]:
        """How many samples each action takes at a time, 0 for all: the shortest path."""
        best: dict[int, float] = {_ALL: 0.0}
        came: list[dict[int, int]] = []
        for number, work in enumerate(self._works):
            reached: dict[int, float] = {}
            origin: dict[int, int] = {}
            for count in (_ALL,) if work is None else (_ALL, *PARTS):
                own = self._cost(work, count)
                ways = {before: cost + self._change(number, before, count) for before, cost in best.items()}
                origin[count] = min(ways, key=ways.__getitem__)
                reached[count] = ways[origin[count]] + own
            best = reached
            came.append(origin)
        counts: list[int] = []
        count = min(best, key=best.__getitem__) if best else _ALL
        for origin in reversed(came):
            counts.append(count)
            count = origin[count]
        return counts[::-1]

    def _cost(self, work: _Work | None, count: int) -> float:
        """An action's own time for a sample, if its data are where parts of so many samples leave them."""
        if work is None:
            return 0.0
        if count == _ALL:
            return self._reading(work.data, None)
        again = self._reading(work.weights, work.weights) + work.launches * self._machine.launch_seconds
        return self._reading(work.data, count * work.data + work.weights) + again / count

    def _change(self, number: int, before: int, after: int) -> float:
        """The time that it takes to hand tensors over through memory, where the size of the parts changes."""
        if before == after:
            return 0.0
        moved, slow = self._crossing[number], self._reading(self._crossing[number], None)
        sides = ((before, self._works[number - 1] if number else None), (after, self._works[number]))
        return sum(
            slow - self._reading(moved, count * work.data + work.weights)
            for count, work in sides
            if count != _ALL and work is not None
        )

    def _reading(self, size: int, reach: int | None) -> float:
        """The time to move `size` bytes where `reach` bytes are in use between two uses, or far more if None."""
        known = self._machine
        if reach is None:
            speed = known.memory_bytes_per_cycle
        elif reach <= known.l2_bytes * known.cores:
            speed = known.l2_bytes_per_cycle
        elif reach <= known.shared_l3_bytes:
            speed = known.l3_bytes_per_cycle
        else:
            speed = known.memory_bytes_per_cycle
        return known.seconds(size / (speed * known.cores), self._lanes)
