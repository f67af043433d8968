"""Layouts: what is chosen for programs of either order, and that no choice changes what a program means."""

from __future__ import annotations

import random
from unittest.mock import patch

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_programs import programs, values_for

import majuscule
from majuscule.compiler import layout_choice
from majuscule.compiler.checker import check
from majuscule.compiler.graph import Graph
from majuscule.compiler.interpreter import evaluate
from majuscule.compiler.labelling import Labelling
from majuscule.compiler.passes.choose_layouts import choose_layouts
from majuscule.dsl.equations import Recurrence


def every_axis(graph: Graph, kernels: object) -> set[tuple[str, int]]:
    """All axes of all tensors, in place of those worth a thought."""
    tensors = [name for name in graph if not isinstance(graph.operation(name), Recurrence)]
    return {(name, axis) for name in tensors for axis in range(len(graph.tensor(name).shape))}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(graph=programs(), seed=st.integers(0, 1 << 20), fold=st.booleans())
def test_any_choice_of_layouts_keeps_the_meaning(graph: Graph, seed: int, fold: bool) -> None:
    rng = random.Random(seed)

    def any_labels(problem: Labelling) -> dict[str, int]:
        return {name: rng.randrange(count) for name, count in problem.labels.items()}

    with patch.object(Labelling, "solve", any_labels), patch.object(layout_choice, "wanted_axes", every_axis):
        laid_out = choose_layouts(graph, fold_weights=fold)
    check(laid_out)
    assert laid_out.roots == graph.roots
    inputs, weights = values_for(graph)
    before, after = evaluate(graph, inputs, weights), evaluate(laid_out, inputs, weights)
    for root in graph.roots:
        numpy.testing.assert_allclose(after[root], before[root], rtol=1e-9, atol=1e-9)
