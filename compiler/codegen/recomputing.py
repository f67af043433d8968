"""Recomputation: what would stay in memory for long is computed again where it is needed, to keep to a limit.

A result is let go in a gap between two of its readers, and the same actions make it again, in a
buffer of its own, just before the later reader: the same kernels on the same numbers, random ones
from the same stream, so every bit is what it was.  Where they read what was let go too, that is made
again first.  Gaps are chosen greedily: always the one that takes most off what is above the
limit for the work that it costs, and that lifts nothing above the limit that was below.  (The idea
is of Chen et al., "Training deep nets with sublinear memory cost", 2016.)

All this looks at actions and buffers alone, and works for any program.  Loops of recurrences
are not run again, nor is anything once the step has begun to change what it keeps.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace

import numpy

from ..graph import Note
from .plan import Action, Draw, Guarded, Launch, Loop, Plan, Several, renamed, touched, written
from .storage import BYTES

Gap = tuple[str, int]
"""A buffer, and which of its readers is the last before it is let go."""

_BYTE = 10  # arithmetic operations in the time that a byte takes from memory
_ROUNDS = 12  # of the search for the least memory


class Recomputation:
    """What can be done about the memory of a plan."""

    def __init__(self, plan: Plan, sizes: Mapping[str, int]) -> None:
        self.plan = plan
        self._actions = plan.run
        self._size = {
            name: (stored.count * BYTES[stored.dtype]).evaluate(sizes)
            for name, stored in plan.buffers.items()
            if plan.places.get(name) == "arena"
        }
        self._touched = [list(dict.fromkeys(touched(action))) for action in self._actions]
        self._written = [written(action) for action in self._actions]
        self._work = [_work(plan, action, sizes) for action in self._actions]
        self._writers: defaultdict[str, list[int]] = defaultdict(list)
        self._readers: defaultdict[str, list[int]] = defaultdict(list)
        for position, names in enumerate(self._touched):
            for name in names:
                (self._writers if name in self._written[position] else self._readers)[name].append(position)
        self._end = next((p for p, action in enumerate(self._actions) if self._changes(p, action)), len(self._actions))
        self._again = {name for name in self._size if self._can_be_made_again(name)}

    def least_gaps(self) -> frozenset[Gap]:
        """Those gaps with which the fewest bytes are needed at once, of all that are found."""
        low = max((sum(self._size.get(n, 0) for n in names) for names in self._touched), default=0)
        best: frozenset[Gap] = frozenset()
        high = int(self._measured(best).max(initial=0))
        for _ in range(_ROUNDS):
            middle = (low + high) // 2
            found = self.gaps(middle)
            if found is None:
                low = middle + 1
            else:
                best, high = found, int(self._measured(found).max(initial=0))
            if low >= high:
                break
        return best

    def gaps(self, goal: int) -> frozenset[Gap] | None:
        """Gaps with which no more than `goal` bytes are needed at once, or None if none are found."""
        chosen: frozenset[Gap] = frozenset()
        live = self._measured(chosen)
        waiting = [(-numpy.inf, number, gaps) for number, gaps in enumerate(self._candidates())]
        heapq.heapify(waiting)
        refused: list[tuple[float, int, frozenset[Gap]]] = []
        while (live > goal).any():
            if not waiting:
                return None
            _, number, gaps = heapq.heappop(waiting)
            score, after = self._judged(chosen, gaps, live, goal)
            if score <= 0:
                refused.append((-numpy.inf, number, gaps))
            elif waiting and -score > waiting[0][0]:
                heapq.heappush(waiting, (-score, number, gaps))
            else:
                chosen, live = chosen | gaps, after
                waiting += refused
                heapq.heapify(waiting)
                refused = []
        for gap in sorted(chosen, key=lambda gap: -sum(self._work[w] for w in self._writers[gap[0]])):
            if not (self._measured(chosen - {gap}) > goal).any():
                chosen -= {gap}
        return chosen

    def with_gaps(self, gaps: AbstractSet[Gap]) -> Plan:
        """The plan in which results are let go in these gaps, and made again."""
        buffers, places = dict(self.plan.buffers), dict(self.plan.places)
        run: list[Action] = []
        notes: list[Note] = []
        for _, number, names in self._emitted(gaps):
            action = self._actions[number]
            again = {name for name in self._written[number] if names[name] != name}
            for name in again:
                buffers[names[name]], places[names[name]] = buffers[name], places[name]
            if again:
                text = "is computed again, to keep to the limit of memory"
                notes.append(Note("recomputing", action.origin, text))
            run.append(renamed(action, names))
        return replace(self.plan, run=run, buffers=buffers, places=places, notes=(*self.plan.notes, *notes))

    # -- what can be made again ------------------------------------------------------------------

    def _changes(self, position: int, action: Action) -> bool:
        kept = (name for name in self._written[position] if self.plan.places.get(name) in ("parameter", "state"))
        return isinstance(action, Guarded) or any(kept)

    def _can_be_made_again(self, name: str) -> bool:
        """Whether the actions that write a buffer write nothing else, and read what never changes later."""
        writers, readers = self._writers[name], self._readers[name]
        if not writers or not readers or writers[-1] >= min(readers[0], self._end):
            return False
        for number in writers:
            action = self._actions[number]
            scratch = action.scratch if isinstance(action, Launch) else None
            if isinstance(action, Loop) or self._written[number] - {name, scratch} or name in _operands(action):
                return False
            if any(writers[0] <= w < self._end for o in _operands(action) for w in self._writers[o]):
                return False
        return True

    def _candidates(self) -> Iterable[frozenset[Gap]]:
        """Gaps to try: one alone, and one together with all that must be made again for it."""
        for name in self._size:
            if name not in self._again or not self._size[name]:
                continue
            for count, (before, after) in enumerate(zip(self._readers[name], self._readers[name][1:], strict=False)):
                if after - before > 1 and after < self._end:
                    alone = frozenset([(name, count)])
                    yield alone
                    chain = alone | self._dead_operands(name, after)
                    if chain != alone:
                        yield chain

    def _dead_operands(self, name: str, position: int) -> set[Gap]:
        """The ends of buffers that nobody reads from a position on, but which a buffer is made of."""
        found: set[Gap] = set()
        waiting = [name]
        while waiting:
            for number in self._writers[waiting.pop()]:
                for operand in _operands(self._actions[number]):
                    readers = self._readers[operand]
                    end = (operand, len(readers) - 1)
                    if operand in self._again and readers[-1] < position and end not in found:
                        found.add(end)
                        waiting.append(operand)
        return found

    # -- what a choice of gaps means -------------------------------------------------------------

    def _judged(
        self, chosen: frozenset[Gap], gaps: frozenset[Gap], live: _Numbers, goal: int
    ) -> tuple[float, _Numbers]:
        """Bytes above the goal, over all actions, that further gaps save for the work of one action; 0 if refused."""
        if gaps <= chosen:
            return 0.0, live
        after = self._measured(chosen | gaps)
        if ((after > goal) & (live <= goal)).any():
            return 0.0, live
        saved = float(numpy.maximum(live - goal, 0).sum() - numpy.maximum(after - goal, 0).sum())
        work = sum(self._work[number] for name, _ in gaps for number in self._writers[name])
        return saved / max(work, 1), after

    def _measured(self, gaps: AbstractSet[Gap]) -> _Numbers:
        """For each action the most bytes in use while it, and what must be made again for it, runs."""
        first: dict[str, int] = {}
        last: dict[str, int] = {}
        anchors: list[int] = []
        for place, (anchor, number, names) in enumerate(self._emitted(gaps)):
            anchors.append(anchor)
            for name in self._touched[number]:
                if name in self._size:
                    first.setdefault(names[name], place)
                    last[names[name]] = place
        change = numpy.zeros(len(anchors) + 1, numpy.int64)
        for version, place in first.items():
            size = self._size[version.split(_VERSION)[0]]
            change[place] += size
            change[last[version] + 1] -= size
        live = numpy.zeros(len(self._actions), numpy.int64)
        numpy.maximum.at(live, anchors, numpy.cumsum(change)[:-1])
        return live

    def _emitted(self, gaps: AbstractSet[Gap]) -> list[tuple[int, int, dict[str, str]]]:
        """All that runs: for which action, which action it is, and the names of its buffers."""
        current = {name: name for names in self._touched for name in names}
        gone: set[str] = set()
        made: defaultdict[str, int] = defaultdict(int)
        found: list[tuple[int, int, dict[str, str]]] = []
        ends = {self._readers[name][count]: set[str]() for name, count in gaps}
        for name, count in gaps:
            ends[self._readers[name][count]].add(name)

        def make_again(name: str, anchor: int) -> None:
            waiting = [name]
            while waiting:
                name = waiting[-1]
                missing = [
                    operand
                    for number in self._writers[name]
                    for operand in _operands(self._actions[number])
                    if operand in gone
                ]
                if name in gone and missing:
                    waiting += missing
                    continue
                waiting.pop()
                if name in gone:
                    gone.discard(name)
                    made[name] += 1
                    current[name] = f"{name}{_VERSION}{made[name]}"
                    for number in self._writers[name]:
                        names = {n: current[n] for n in self._touched[number]}
                        for scratch in self._written[number] - {name}:
                            names[scratch] = f"{scratch}{_VERSION}{made[name]}"
                        found.append((anchor, number, names))

        for position, names in enumerate(self._touched):
            for name in names:
                if name in gone:
                    make_again(name, position)
            found.append((position, position, {name: current[name] for name in names}))
            gone |= ends.get(position, set())
        return found


_VERSION = " again "
_Numbers = numpy.ndarray[tuple[int], numpy.dtype[numpy.int64]]


def _operands(action: Action) -> set[str]:
    """Names of the buffers that an action reads."""
    if isinstance(action, Launch):
        return set(action.operands)
    if isinstance(action, Draw):
        return set()
    if isinstance(action, Guarded):
        return _operands(action.action) | {action.condition}
    return {name for inner in action.actions for name in _operands(inner)}


def _work(plan: Plan, action: Action, sizes: Mapping[str, int]) -> int:
    """How long an action takes, in arithmetic operations."""
    if isinstance(action, Launch):
        return action.flops().evaluate(sizes) + _BYTE * action.bytes_moved().evaluate(sizes)
    if isinstance(action, Draw):
        return _BYTE * plan.buffers[action.result].count.evaluate(sizes)
    if isinstance(action, Several):
        return sum(_work(plan, inner, sizes) for inner in action.actions)
    return 0  # it is never made again
