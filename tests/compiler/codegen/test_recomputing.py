"""Random trainings under random limits of memory: the same bits as without, in no more bytes than the limit."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_trainings import batch_for, trainings

import majuscule
from majuscule.compiler.codegen.actions import Action, Draw, Guarded, Launch, Plan, touched
from majuscule.compiler.codegen.plan import make_plan
from majuscule.compiler.codegen.recomputing import Recomputation
from majuscule.compiler.codegen.storage import BYTES
from majuscule.compiler.codegen.storing import with_stores
from majuscule.compiler.codegen.target import Target
from majuscule.compiler.codegen.waiting import with_late_actions
from majuscule.compiler.codegen.winograd import THREADS
from majuscule.compiler.graph import Graph
from majuscule.compiler.pipeline import optimize
from majuscule.dsl.integers import Symbol
from majuscule.steps import write_step
from majuscule.trainer import bytes_of

LAX = {"deadline": None, "suppress_health_check": list(HealthCheck)}
PARTS = st.sampled_from((0.0, 0.3, 0.6, 0.9))
"""Of the way from the least memory that is possible to what is needed without a limit."""


# -- plans -------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def plan_of(text: str) -> tuple[Plan, dict[str, int]]:
    """The plan of a program's training step, and sizes for it."""
    step = write_step(majuscule.check(text, mode="training").require(), "Momentum")
    target = Target.named("x86-64-v4", cores=2)
    plan = make_plan(optimize(Graph.from_program(step.program), fold_weights=True), target)
    plan = with_late_actions(with_stores(plan, target))
    names = {atom.name for stored in plan.buffers.values() for atom in stored.count.atoms() if isinstance(atom, Symbol)}
    return plan, dict.fromkeys(names, 100) | {THREADS.name: 2}


def most_live(plan: Plan, sizes: dict[str, int]) -> int:
    """The most bytes of the arena that are needed at once."""
    uses: dict[str, list[int]] = {}
    for position, action in enumerate(plan.run):
        for name in touched(action):
            if plan.places[name] == "arena":
                uses.setdefault(name, []).append(position)
    bytes_ = {n: (plan.buffers[n].count * BYTES[plan.buffers[n].dtype]).evaluate(sizes) for n in uses}
    return max(sum(bytes_[n] for n, at in uses.items() if at[0] <= p <= at[-1]) for p in range(len(plan.run)))


def left(plan: Plan, formulas: dict[tuple[object, ...], int]) -> dict[str, object]:
    """What is in the buffers outside the arena after all actions, as the number of the formula that made it."""
    values: dict[str, object] = {}

    def do(actions: Iterable[Action], *around: object) -> None:
        for action in actions:
            if isinstance(action, Guarded):
                do([action.action], *around, values[action.condition])
            elif isinstance(action, Launch | Draw):
                made: tuple[object, ...] = (action.stream,) if isinstance(action, Draw) else (
                    id(action.kernel), *(values.get(name, name) for name in action.operands)
                )  # fmt: skip
                formula = (*around, *made, values.get(action.result))
                values[action.result] = formulas.setdefault(formula, len(formulas))
            else:
                do(action.actions, *around, type(action))

    do(plan.run)
    return {name: value for name, value in values.items() if plan.places[name] != "arena"}


def check_plan(text: str, part: float) -> bool:
    """Check the plan that keeps to a limit; gives whether it is another one."""
    plan, sizes = plan_of(text)
    recomputation = Recomputation(plan, sizes)
    full = most_live(plan, sizes)
    least = most_live(recomputation.with_gaps(recomputation.least_gaps()), sizes)
    assert least <= full
    goal = int(least + part * (full - least))
    gaps = recomputation.least_gaps() if part == 0 else recomputation.gaps(goal)
    if gaps is None:  # greedy choices for one goal need not lead as far as those for another
        return False
    limited = recomputation.with_gaps(gaps)
    assert most_live(limited, sizes) <= goal
    formulas: dict[tuple[object, ...], int] = {}
    assert left(plan, formulas) == left(limited, formulas)
    return len(limited.run) > len(plan.run)


@settings(max_examples=4, **LAX)
@given(trainings(), PARTS)
def test_what_is_computed_again_follows_from_the_same_and_fits(text: str, part: float) -> None:
    check_plan(text, part)


@pytest.mark.slow
@pytest.mark.exhaustive
@settings(max_examples=100, **LAX)
@given(trainings(), PARTS)
def test_hundreds_of_plans_follow_from_the_same_and_fit(text: str, part: float) -> None:
    check_plan(text, part)


# -- steps -------------------------------------------------------------------------------------


def check_steps(text: str, size: int, part: float, accumulate: int) -> None:
    """Compare two steps without a limit and within one, bit for bit."""
    batch = batch_for(text, size)
    free = majuscule.Trainer(text, rate=0.001, accumulate=accumulate, skip_not_finite=True)
    full = free.memory_of(batch).total
    with pytest.raises(majuscule.ModuleError, match="at least") as caught:
        majuscule.Trainer(text, accumulate=accumulate, memory=1).step(batch)
    found = re.search(r"needs ([\d.]+ [kM]B) at least", str(caught.value))
    assert found is not None
    least = bytes_of(found[1])
    limit = max(least, int(least + part * (full - least)))
    limited = majuscule.Trainer(text, rate=0.001, accumulate=accumulate, skip_not_finite=True, memory=limit)
    for _ in range(2):
        one, other = free.step(batch), limited.step(batch)
        assert numpy.array_equal([one.loss, one.norm], [other.loss, other.norm], equal_nan=True)
    assert limited.memory_of(batch).total <= limit
    for name, array in free.tensors.items():
        assert array.tobytes() == limited.tensors[name].tobytes(), name


@pytest.mark.slow
@pytest.mark.exhaustive
@settings(max_examples=8, **LAX)
@given(trainings(), st.integers(1, 200), PARTS, st.integers(1, 3))
def test_limits_keep_the_bits(text: str, size: int, part: float, accumulate: int) -> None:
    check_steps(text, size, part, accumulate)
