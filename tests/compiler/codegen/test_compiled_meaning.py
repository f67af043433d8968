"""Compiled random programs compute what the interpreter says, before and after the passes."""

from __future__ import annotations

import numpy
import pytest
from harness import Runner
from hypothesis import HealthCheck, given, settings
from random_programs import programs, values_for

from majuscule.compiler.codegen import compile_graph
from majuscule.compiler.graph import Graph
from majuscule.compiler.interpreter import evaluate
from majuscule.compiler.pipeline import optimize
from majuscule.compiler.run_time_sizes import bind_symbols


@pytest.mark.parametrize("optimized", [False, True])
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(graph=programs())
def test_compiled_programs_mean_what_the_interpreter_says(optimized: bool, graph: Graph) -> None:
    _compare(optimized, graph)


@pytest.mark.slow
@pytest.mark.parametrize("optimized", [False, True])
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(graph=programs())
def test_many_compiled_programs_mean_what_the_interpreter_says(optimized: bool, graph: Graph) -> None:
    _compare(optimized, graph)


def _compare(optimized: bool, graph: Graph) -> None:
    inputs, weights = values_for(graph)
    expected = evaluate(graph, inputs, weights)
    compiled = compile_graph(optimize(graph, fold_weights=True) if optimized else graph)
    found = Runner(compiled)(bind_symbols(graph, inputs), **inputs, **weights)
    for root in graph.roots:
        numpy.testing.assert_allclose(found[root], expected[root], rtol=1e-9, atol=1e-9, err_msg=root)
