"""What is read part by part, each several times, is asked for before it is needed; nothing else is."""

from __future__ import annotations

import re

import pytest

from majuscule.compiler.codegen import tvm_loading  # noqa: F401 (comes first)
from majuscule.compiler.codegen.actions import Launch
from majuscule.compiler.codegen.lower import lower
from majuscule.compiler.codegen.plan import make_plan
from majuscule.compiler.codegen.roads import choose
from majuscule.compiler.codegen.target import Target
from majuscule.compiler.graph import Graph
from majuscule.compiler.pipeline import optimize
from majuscule.dsl.front_end import check_text

TARGET = Target.named("x86-64-v4", cores=2)


def fetched(text: str) -> list[set[str]]:
    """The operands that the kernels of a program ask for ahead, one set for each kernel."""
    graph = optimize(Graph.from_program(check_text(text, "test.maj").require()), fold_weights=True)
    found = []
    for action in make_plan(graph, TARGET).run:
        if isinstance(action, Launch):
            function, _ = lower(action.kernel, choose(action.kernel, TARGET), "kernel")
            lines = [line for line in str(function.script()).splitlines() if "llvm.prefetch" in line]
            names = {re.sub(r"\W", "_", tensor): tensor for tensor in action.kernel.tensors}
            found.append({t for name, t in names.items() for line in lines if re.search(rf"\b{name}\b", line)})
            assert bool(lines) == bool(found[-1])
    return found


@pytest.mark.parametrize(
    "text",
    [
        "Given x[7, 7, 512]\nparam W[512, 2048]\ny[b,h,w,j] = W[I,j] * x[b,h,w,I]\n",
        "Given x[9, 9, 128]\nparam W[3, 3, 128, 256]\ny[b,h,w,j] = W[P,Q,I,j] * x[b,2*h+P,2*w+Q,I]\n",
        "Given x[9, 9, 512]\nparam W[3, 3, 512, 512]\ny[b,h,w,j] = W[P,Q,I,j] * x[b,h+P,w+Q,I]\n",
    ],
)
def test_weights_of_few_positions_are_fetched_ahead(text: str) -> None:
    (found,) = fetched(text)
    assert [name[0] for name in found] == ["W"]


@pytest.mark.parametrize(
    "text",
    [
        "Given x[56, 56, 64]\nparam W[64, 256]\ny[b,h,w,j] = W[I,j] * x[b,h,w,I]\n",
        "Given x[9, 9, 16]\nparam W[16, 32]\ny[b,h,w,j] = W[I,j] * x[b,h,w,I]\n",
        "Given x[28, 28, 512]\ny[b,h,w,j] = max[P in 0..2, Q in 0..2](x[b,2*h+P,2*w+Q,j])\n",
    ],
)
def test_what_stays_in_a_cache_is_not_fetched(text: str) -> None:
    (found,) = fetched(text)
    assert not found


def test_filters_of_places_are_fetched_ahead_while_several_groups_use_them() -> None:
    """Involution: all groups of channels read the same lines of memory."""
    (found,) = fetched("""Given L[30, 34, 64], K[24, 28, 7, 7, 4]
S[b,x,y,(g,i)] = K[b,x,y,ΔX,ΔY,g] * L[b,x+ΔX,y+ΔY,(g,i)]
""")
    assert found == {"K"}


def test_what_one_group_uses_is_left_to_the_hardware() -> None:
    (found,) = fetched("""Given L[30, 34, 16], K[24, 28, 7, 7]
S[b,x,y,i] = K[b,x,y,ΔX,ΔY] * L[b,x+ΔX,y+ΔY,i]
""")
    assert not found
