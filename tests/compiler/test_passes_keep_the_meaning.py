"""Every pass, and all of them in a row, leave the meaning of random programs alone."""

from __future__ import annotations

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from random_programs import programs, values_for

from majuscule.compiler.checker import check
from majuscule.compiler.dependence import weight_only
from majuscule.compiler.graph import Graph
from majuscule.compiler.groups import plan_groups
from majuscule.compiler.interpreter import evaluate
from majuscule.compiler.passes.choose_layouts import choose_layouts
from majuscule.compiler.passes.eliminate_common import eliminate_common
from majuscule.compiler.passes.eliminate_dead import eliminate_dead
from majuscule.compiler.passes.fold_constants import fold_constants
from majuscule.compiler.passes.fold_normalization import fold_normalization
from majuscule.compiler.passes.fuse_elementwise import fuse_elementwise
from majuscule.compiler.passes.hoist_invariants import hoist_invariants
from majuscule.compiler.passes.simplify import simplify
from majuscule.compiler.pipeline import optimize

PASSES = {
    "choose_layouts": choose_layouts,
    "eliminate_common": eliminate_common,
    "eliminate_dead": eliminate_dead,
    "fold_constants": fold_constants,
    "fold_normalization": fold_normalization,
    "fuse_elementwise": fuse_elementwise,
    "fuse_elementwise_inference": lambda graph: fuse_elementwise(graph, weight_only(graph)),
    "hoist_invariants": hoist_invariants,
    "simplify": simplify,
    "optimize_inference": lambda graph: optimize(graph, fold_weights=True, verify=True),
    "optimize_training": lambda graph: optimize(graph, fold_weights=False, verify=True),
}


@pytest.mark.parametrize("name", PASSES)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(graph=programs())
def test_meaning_is_kept(name: str, graph: Graph) -> None:
    _compare(name, graph)


@pytest.mark.slow
@pytest.mark.parametrize("name", PASSES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(graph=programs())
def test_meaning_of_many_is_kept(name: str, graph: Graph) -> None:
    _compare(name, graph)


def _compare(name: str, graph: Graph) -> None:
    """Raise AssertionError where the pass changes what the graph computes, or leaves a graph that breaks a rule."""
    check(graph)
    inputs, weights = values_for(graph)
    before = evaluate(graph, inputs, weights)
    passed = PASSES[name](graph)
    check(passed)
    assert passed.roots == graph.roots
    after = evaluate(passed, inputs, weights)
    for root in graph.roots:
        numpy.testing.assert_allclose(after[root], before[root], rtol=1e-9, atol=1e-9)
    assert passed is graph or name.startswith("optimize") or PASSES[name](passed) is not None


@settings(max_examples=40, deadline=None, derandomize=True)
@given(graph=programs())
def test_groups_hold_every_operation_once_and_in_order(graph: Graph) -> None:
    optimized = optimize(graph, fold_weights=True)
    groups = plan_groups(optimized)
    members = [name for group in groups for name in group.members]
    assert sorted(members) == sorted(optimized)
    done: set[str] = set()
    for group in groups:
        for name in group.members:
            outside = set(optimized.network.predecessors(name)) - set(group.members)
            assert outside <= done
        done.add(group.result)
