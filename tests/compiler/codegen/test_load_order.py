"""The order in which weights are prepared: the largest first, and nothing before what it is made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from majuscule.compiler.codegen import tvm_loading  # noqa: F401 (comes first)
from majuscule.compiler.codegen.actions import Launch, Plan, touched
from majuscule.compiler.codegen.load_order import order_of_loading
from majuscule.compiler.codegen.plan import make_plan
from majuscule.compiler.codegen.target import Target
from majuscule.compiler.graph import Graph
from majuscule.compiler.pipeline import optimize
from majuscule.dsl.front_end import check_text

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


def planned(text: str) -> Plan:
    graph = optimize(Graph.from_program(check_text(text, "test.maj", folder=EXAMPLES).require()), fold_weights=True)
    return make_plan(graph, Target.named("x86-64-v4", cores=2))


def test_the_largest_weight_goes_first() -> None:
    text = "\n".join(
        [
            "Given x[200]",
            *(f"param {name}[200, {size}]" for name, size in (("A", 200), ("B", 1000))),
            "param C[1000, 300]",
            "y[b,j] = A[I,j] * x[b,I]",
            "z[b,j] = relu(B[I,j] * y[b,I])",
            "s[b,j] = C[I,j] * z[b,I]",
        ]
    )
    plan = planned(text)
    first = [action.operands[0] for action in order_of_loading(plan) if isinstance(action, Launch)]
    assert first == ["C", "B", "A"]


@pytest.mark.parametrize("network", ["resnet18", "mobilenet_v2"])
def test_nothing_is_read_before_it_is_made(network: str) -> None:
    plan = planned((EXAMPLES / f"{network}.maj").read_text(encoding="utf-8"))
    order = order_of_loading(plan)
    assert sorted(map(id, order)) == sorted(map(id, plan.prepare))
    assert order != plan.prepare
    made = {name for name, kind in plan.places.items() if kind in ("parameter", "state", "constant")}
    for action in order:
        assert isinstance(action, Launch)
        assert set(action.operands) <= made
        made.add(action.result)


def test_loading_needs_little_more_than_the_largest_weight_and_its_panels() -> None:
    plan = planned((EXAMPLES / "vgg16.maj").read_text(encoding="utf-8"))
    peaks = [_peak(plan, actions) for actions in (plan.prepare, order_of_loading(plan))]
    # The weights of the first matrix are 411 MB, and so are its panels: nothing can need less.
    assert peaks[0] > 1_050_000_000
    assert 822_000_000 < peaks[1] < 840_000_000


def _peak(plan: Plan, actions: list[Launch]) -> int:
    """The most bytes that are held while weights are prepared: those that an action uses and those that calls read."""
    kept = {name for action in plan.run for name in touched(action)}
    held: set[str] = set()
    most = 0
    for position, action in enumerate(actions):
        held |= set(touched(action))
        most = max(most, sum(4 * (plan.buffers[name].count.constant or 0) for name in held))
        later = {name for other in actions[position + 1 :] for name in touched(other)}
        held &= kept | later
    return most
