"""Actions wait until their results are needed, where less memory is in use meanwhile.

A graph says what must come before what, and its order puts early whatever depends on nothing: weights
that are turned for the backward pass, a picture that is padded for the gradient of its filters.
Such an action runs just before the first that needs its result, unless what it reads would have
to stay in memory for it, and takes no less.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from ...dsl.integers import ZERO, Integer, is_nonnegative
from .actions import Action, Guarded, Plan, touched, written
from .storage import BYTES


def with_late_actions(plan: Plan) -> Plan:
    """The plan with the actions of `run` in an order in which results wait as little as possible."""
    return replace(plan, run=_Order(plan).late())


class _Order:
    """The order of the actions, by their numbers in the plan, and who touches what."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.order = list(range(len(plan.run)))
        self.position = list(self.order)
        self.users: defaultdict[str, list[int]] = defaultdict(list)
        self.writers: defaultdict[str, list[int]] = defaultdict(list)
        for number, action in enumerate(plan.run):
            for name in set(touched(action)):
                self.users[name].append(number)
            for name in written(action):
                self.writers[name].append(number)

    def late(self) -> list[Action]:
        """The actions in their new order; those that come last settle first."""
        for number in reversed(range(len(self.plan.run))):
            if not isinstance(self.plan.run[number], Guarded):
                self._postpone(number)
        return [self.plan.run[number] for number in self.order]

    def _postpone(self, number: int) -> None:
        """Put an action just before the first that needs it, if that pays."""
        action = self.plan.run[number]
        results = written(action)
        needed = [self.position[user] for name in results for user in self.users[name] if user > number]
        here = self.position[number]
        if not needed or min(needed) == here + 1:
            return
        there = min(needed)
        operands = set(touched(action)) - results
        if any(here < self.position[writer] < there for name in operands for writer in self.writers[name]):
            return
        if self._pays(number, there, operands, results):
            self.order.insert(there - 1, self.order.pop(here))
            for place in range(here, there):
                self.position[self.order[place]] = place

    def _pays(self, number: int, there: int, operands: set[str], results: set[str]) -> bool:
        """Whether the results take more memory than operands that would be needed for longer."""
        longer = (name for name in operands if self.plan.places[name] == "arena" and self._is_over(name, number, there))
        more, less = self._bytes(longer), self._bytes(name for name in results if len(self.users[name]) > 1)
        return is_nonnegative(less - more - 1)

    def _is_over(self, name: str, number: int, there: int) -> bool:
        """Whether nobody else needs an operand of an action after its new place."""
        return all(self.position[user] < there for user in self.users[name] if user != number)

    def _bytes(self, names: Iterable[str]) -> Integer:
        buffers = (self.plan.buffers[name] for name in names if self.plan.places[name] == "arena")
        return sum((stored.count * BYTES[stored.dtype] for stored in buffers), start=ZERO)
