"""The order of actions: each sees what it would have seen before, and less is in memory at once."""

from __future__ import annotations

import pytest

import majuscule
from majuscule.compiler.codegen.actions import Action, Plan, touched, written
from majuscule.compiler.codegen.plan import make_plan
from majuscule.compiler.codegen.storage import BYTES
from majuscule.compiler.codegen.storing import with_stores
from majuscule.compiler.codegen.target import Target
from majuscule.compiler.codegen.waiting import with_late_actions
from majuscule.compiler.codegen.winograd import THREADS
from majuscule.compiler.graph import Graph
from majuscule.compiler.pipeline import optimize
from majuscule.steps import write_step

NETWORK = """\
Given image[16, 16, 3]
first = relu(BatchNorm(CONV(image, width 3, pad 1, filters 16)))
second = relu(BatchNorm(CONV(first, width 3, pad 1, filters 16))) + first
third = MaxPool(Dropout(CONV(second, width 3, pad 1, filters 32)), width 2, stride 2)
scores = FC(third, units 10)
when training:
    Given label[]: int64
    loss cost = cross_entropy(scores, label)
"""
RECURRENT = """\
Given x[8, 4]
h, c = LSTM(x, units 5)
last[b,j] = h[b,7,j]
scores[3] = FC(last, Φ)
when training:
    Given label[]: int64
    loss cost = cross_entropy(scores, label)
"""


def step_plan(text: str, optimiser: str = "Adam") -> Plan:
    step = write_step(majuscule.check(text, mode="training").require(), optimiser)
    target = Target.named("x86-64-v4", cores=2)
    return with_stores(make_plan(optimize(Graph.from_program(step.program), fold_weights=True), target), target)


def seen(run: list[Action]) -> dict[int, dict[str, int]]:
    """For each action the one that wrote each of its buffers before, by identity."""
    last: dict[str, int] = {}
    found = {}
    for action in run:
        found[id(action)] = {name: last[name] for name in touched(action) if name in last}
        last |= dict.fromkeys(written(action), id(action))
    return found


def most_live(plan: Plan, batch: int) -> int:
    uses: dict[str, list[int]] = {}
    for position, action in enumerate(plan.run):
        for name in touched(action):
            uses.setdefault(name, []).append(position)
    sizes = {
        name: (plan.buffers[name].count * BYTES[plan.buffers[name].dtype]).evaluate({"batch": batch, THREADS.name: 2})
        for name in uses
        if plan.places[name] == "arena"
    }
    return max(
        sum(size for name, size in sizes.items() if uses[name][0] <= position <= uses[name][-1])
        for position in range(len(plan.run))
    )


@pytest.mark.parametrize("text", [NETWORK, RECURRENT])
def test_actions_see_what_they_saw_before(text: str) -> None:
    plan = step_plan(text)
    assert seen(with_late_actions(plan).run) == seen(plan.run)


@pytest.mark.parametrize("text", [NETWORK, RECURRENT])
def test_nothing_is_read_that_was_never_written(text: str) -> None:
    plan = step_plan(text)
    ready = {name for name, kind in plan.places.items() if kind != "arena"}
    for action in plan.run:
        ready |= written(action)
        assert not set(touched(action)) - ready, action.origin


def test_less_is_in_memory_at_once() -> None:
    plan = step_plan(NETWORK)
    assert most_live(with_late_actions(plan), 8) < most_live(plan, 8)
