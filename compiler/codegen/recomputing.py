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
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

import numpy

from ..graph import Note
from .actions import Action, Draw, Guarded, Launch, Loop, Plan, Several, renamed, touched, written
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
        self._sources = {
            name: list(dict.fromkeys(o for w in self._writers[name] for o in _operands(self._actions[w])))
            for name in self._again
        }
        self._in_arena = [[name for name in names if name in self._size] for names in self._touched]
        self._last: dict[str, int] = {}
        self._begun, self._over = (numpy.zeros(len(self._actions), numpy.int64) for _ in range(2))
        for position, names in enumerate(self._in_arena):
            for name in names:
                self._begun[position] += self._size[name] if name not in self._last else 0
                self._last[name] = position
        for name, position in self._last.items():
            self._over[position] += self._size[name]

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
        for gap in sorted(chosen, key=lambda gap: (-sum(self._work[w] for w in self._writers[gap[0]]), gap)):
            if not (self._measured(chosen - {gap}) > goal).any():
                chosen -= {gap}
        return chosen

    def with_gaps(self, gaps: AbstractSet[Gap]) -> Plan:
        """The plan in which results are let go in these gaps, and made again."""
        buffers, places = dict(self.plan.buffers), dict(self.plan.places)
        run: list[Action] = []
        notes: list[Note] = []
        current: dict[str, str] = {}
        versions: Counter[str] = Counter()
        made = deque(self._made_again(gaps))
        for position, action in enumerate(self._actions):
            while made and made[0][0] == position:
                _, name = made.popleft()
                versions[name] += 1
                for number in self._writers[name]:
                    again = self._actions[number]
                    fresh = {other: f"{other} again {versions[name]}" for other in self._written[number]}
                    current[name] = fresh[name]
                    for other, version in fresh.items():
                        buffers[version], places[version] = buffers[other], places[other]
                    text = "is computed again, to keep to the limit of memory"
                    notes.append(Note("recomputing", again.origin, text))
                    run.append(renamed(again, {**current, **fresh}))
            run.append(renamed(action, current))
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
        if gaps <= chosen or not self._may_save(chosen, gaps, live > goal):
            return 0.0, live
        after = self._measured(chosen | gaps)
        if ((after > goal) & (live <= goal)).any():
            return 0.0, live
        saved = float(numpy.maximum(live - goal, 0).sum() - numpy.maximum(after - goal, 0).sum())
        work = sum(self._work[number] for name, _ in gaps for number in self._writers[name])
        return saved / max(work, 1), after

    def _may_save(self, chosen: frozenset[Gap], gaps: frozenset[Gap], above: _Truths) -> bool:
        """Whether further gaps might take something off the actions that are above the limit; False is certain.

        Where nothing that is let go already is needed to make them again, all that is made again already still
        is, where it was: then fewer bytes are in use in the gaps alone.
        """
        let_go = {name for name, _ in chosen}
        for name, count in gaps:
            readers = self._readers[name]
            end = readers[count + 1] + 1 if count + 1 < len(readers) else len(above)
            if above[readers[count] + 1 : end].any() or not let_go.isdisjoint(self._sources[name]):
                return True
        return False

    def _measured(self, gaps: AbstractSet[Gap]) -> _Numbers:
        """For each action the most bytes in use while it, and what must be made again for it, runs."""
        made = self._made_again(gaps)
        before = numpy.zeros(len(self._actions), numpy.int64)
        for anchor, name in made:
            before[anchor] += len(self._writers[name])
        places = numpy.arange(len(self._actions)) + numpy.cumsum(before)  # of the actions, among all that run
        change = numpy.zeros(len(self._actions) + int(before.sum()) + 1, numpy.int64)
        change[places] = self._begun
        change[places + 1] -= self._over
        where, amounts = self._moved(gaps, made, places)
        numpy.add.at(change, where, amounts)
        return numpy.maximum.reduceat(numpy.cumsum(change)[:-1], places - before)

    def _moved(
        self, gaps: AbstractSet[Gap], made: Sequence[tuple[int, str]], places: _Numbers
    ) -> tuple[list[int], list[int]]:
        """Where more or fewer bytes are in use from then on than if all were kept, and how many more."""
        where: list[int] = []
        amounts: list[int] = []
        held: dict[str, bool] = {}  # of all that is let go or read by what is made again
        last: dict[str, int] = {}  # places where what is held was read by what is made again

        def add(place: int, amount: int) -> None:
            where.append(place)
            amounts.append(amount)

        def let_go(until: int) -> None:
            while ends and ends[-1][0] < until:
                position, name = ends.pop()
                add(int(places[position]) + 1, -self._size[name])
                held[name] = False

        ends = sorted(((self._readers[name][count], name) for name, count in gaps), reverse=True)
        for done, (anchor, name, number) in enumerate((a, n, w) for a, n in made for w in self._writers[n]):
            let_go(anchor)
            place = anchor + done
            for other in self._in_arena[number]:
                if other != name and other in self._written[number]:  # working memory
                    add(place, self._size[other])
                    add(place + 1, -self._size[other])
                elif other == name and not held[name]:
                    add(place, self._size[name])
                    held[name] = True
                else:
                    held.setdefault(other, True)
                last[other] = place
        let_go(len(self._actions))
        for name, is_held in held.items():
            end = int(places[self._last[name]])
            add(end + 1, self._size[name])
            if is_held:
                add(max(end, last.get(name, 0)) + 1, -self._size[name])
        return where, amounts

    def _made_again(self, gaps: AbstractSet[Gap]) -> list[tuple[int, str]]:
        """What is made again, in order, each with the action before which it is."""
        found: list[tuple[int, str]] = []
        gone: set[str] = set()
        ends: defaultdict[int, list[str]] = defaultdict(list)
        for name, count in gaps:
            ends[self._readers[name][count]].append(name)
        again = {self._readers[name][count + 1] for name, count in gaps if count + 1 < len(self._readers[name])}
        for position in sorted(again.union(ends)):
            waiting = [name for name in reversed(self._touched[position]) if name in gone]
            while waiting:
                name = waiting[-1]
                missing = [operand for operand in self._sources[name] if operand in gone] if name in gone else []
                if missing:
                    waiting += missing
                    continue
                waiting.pop()
                if name in gone:
                    gone.discard(name)
                    found.append((position, name))
            if position in ends:
                gone.update(ends[position])
        return found


_Numbers = numpy.ndarray[tuple[int], numpy.dtype[numpy.int64]]
_Truths = numpy.ndarray[tuple[int], numpy.dtype[numpy.bool_]]


def _operands(action: Action) -> tuple[str, ...]:
    """Names of the buffers that an action reads."""
    if isinstance(action, Launch):
        return action.operands
    if isinstance(action, Draw):
        return ()
    if isinstance(action, Guarded):
        return (*_operands(action.action), action.condition)
    return tuple(name for inner in action.actions for name in _operands(inner))


def _work(plan: Plan, action: Action, sizes: Mapping[str, int]) -> int:
    """How long an action takes, in arithmetic operations."""
    if isinstance(action, Launch):
        return action.flops().evaluate(sizes) + _BYTE * action.bytes_moved().evaluate(sizes)
    if isinstance(action, Draw):
        return _BYTE * plan.buffers[action.result].count.evaluate(sizes)
    if isinstance(action, Several):
        return sum(_work(plan, inner, sizes) for inner in action.actions)
    return 0  # it is never made again
