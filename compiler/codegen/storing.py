"""How a training step keeps its results: new values of parameters and state, written when nobody needs the old ones.

What only conditional stores need comes last, and runs only where their condition holds: a step
that goes wrong changes nothing, and costs nothing more.  A result is computed where it is kept if
no action after it reads the old value, and its own kernel reads it only at the element that it
writes; others are computed aside and copied at the end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ...dsl.equations import Axis, Equation, Read
from ...dsl.integers import Integer
from . import roads
from .actions import Action, Guarded, Launch, Plan, Storing, renamed, touched, written
from .cache import fingerprint
from .in_place import overwritten
from .kernel import Kernel, Stored, canonical, make_kernel
from .objects import KernelSource
from .schedule import Road
from .target import Target


def with_stores(plan: Plan, target: Target) -> Plan:
    """The plan with the actions of `run` in the order that stores need, and with the stores themselves."""
    return _Planner(plan, target).plan() if plan.stores else plan


@dataclass
class _Part:
    """Actions that run together, always or where a condition holds."""

    condition: str | None
    actions: list[Action]


class _Planner:
    def __init__(self, plan: Plan, target: Target) -> None:
        self.plan_ = replace(plan, buffers=dict(plan.buffers), places=dict(plan.places))
        self.target = target
        self.roads: dict[str, Road] = {}
        self.stores = list(plan.stores)

    def plan(self) -> Plan:
        first = self._saved()
        parts = self._parts()
        parts[0].actions[:0] = first
        order = [action for part in parts for action in part.actions]
        conditions = {id(action): part.condition for part in parts for action in part.actions}
        moved: dict[str, str] = {}  # buffer -> the kept buffer in whose place it is
        copies: list[tuple[Launch, str | None]] = []
        for store in self.stores:
            source = moved.get(store.source, store.source)
            if source == store.target:
                continue
            if store.source not in moved and self._in_place(store, order, conditions):
                moved[store.source] = store.target
            else:
                copies.append((self._copy(source, store.target), store.condition))
        run = [_guarded(renamed(action, moved), conditions[id(action)]) for action in order]
        run += [_guarded(renamed(copy, moved), condition) for copy, condition in copies]
        for name in moved:
            del self.plan_.places[name]
        return replace(self.plan_, run=run, stores=[])

    def _saved(self) -> list[Action]:
        """Copies of old values that are to be kept under another name, made before anything changes."""
        targets = {store.target for store in self.stores}
        saved: dict[str, Launch] = {}
        for position, store in enumerate(self.stores):
            if store.source in targets and store.source != store.target:
                aside = f"arena old {store.source}"
                if aside not in saved:
                    self.plan_.buffers[aside] = self.plan_.buffers[store.source]
                    self.plan_.places[aside] = "arena"
                    saved[aside] = self._copy(store.source, aside)
                self.stores[position] = replace(store, source=aside)
        return list(saved.values())

    # -- what runs when ------------------------------------------------------------------------

    def _parts(self) -> list[_Part]:
        """What always runs, then for each condition what only its stores need."""
        actions = self.plan_.run
        conditions = dict.fromkeys(store.condition for store in self.stores if store.condition is not None)
        always = {name for name, kind in self.plan_.places.items() if kind == "output"}
        always |= {*conditions, *(store.source for store in self.stores if store.condition is None)}
        users: defaultdict[int, set[str | None]] = defaultdict(set)
        for condition, wanted in ((None, always), *((c, self._sources(c)) for c in conditions)):
            for position in _needed(actions, wanted):
                users[position].add(condition)
        parts = {condition: _Part(condition, []) for condition in (None, *conditions)}
        for position, action in enumerate(actions):
            asked = users[position]
            parts[next(iter(asked)) if len(asked) == 1 else None].actions.append(action)
        return list(parts.values())

    def _sources(self, condition: str) -> set[str]:
        return {store.source for store in self.stores if store.condition == condition}

    # -- where results are kept ----------------------------------------------------------------

    def _in_place(self, store: Storing, order: list[Action], conditions: Mapping[int, str | None]) -> bool:
        """Whether what is to be kept can be computed where the old value is."""
        source, target = self.plan_.buffers[store.source], self.plan_.buffers[store.target]
        if self.plan_.places[store.source] != "arena" or source.dtype != target.dtype or source.count != target.count:
            return False
        writers = [position for position, action in enumerate(order) if store.source in written(action)]
        readers = [position for position, action in enumerate(order) if store.target in touched(action)]
        if any(conditions[id(order[position])] != store.condition for position in writers):
            return False
        if all(reader < writers[0] for reader in readers):
            return True
        if len(writers) > 1 or max(readers) > writers[0]:
            return False
        action = order[writers[0]]
        if not isinstance(action, Launch):
            return False
        return overwritten(action, self._source(action.kernel), self.plan_.buffers, [store.target]) is not None

    def _source(self, kernel: Kernel) -> KernelSource:
        """The kernel and the road that it takes; equal kernels take the same."""
        found, _ = canonical(kernel)
        key = fingerprint(found)
        if key not in self.roads:
            self.roads[key] = roads.choose(found, self.target)
        return KernelSource(found, self.roads[key])

    def _copy(self, source: str, target: str) -> Launch:
        stored = self.plan_.buffers[source]
        flat, index = Stored((stored.count,), stored.dtype), Axis("i", stored.count)
        equation = Equation((index,), Read(source, (Integer.index("i"),), stored.dtype), stored.dtype)
        kernel = make_kernel([(target, equation)], {source: flat}, flat)
        return Launch(kernel, (source,), target, target)


def _needed(actions: list[Action], wanted: Iterable[str]) -> set[int]:
    """Positions of the actions on which some buffers depend."""
    needed, found = set(wanted), set()
    for position in reversed(range(len(actions))):
        if not needed.isdisjoint(written(actions[position])):
            found.add(position)
            needed |= set(touched(actions[position]))
    return found


def _guarded(action: Action, condition: str | None) -> Action:
    return action if condition is None or isinstance(action, Guarded) else Guarded(action, condition)
