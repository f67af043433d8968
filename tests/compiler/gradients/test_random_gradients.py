"""Random programs: gradients against central differences, printed and read again, differentiated again."""

from __future__ import annotations

import pytest
from differences import assert_gradients, floats
from hypothesis import HealthCheck, given, settings
from random_programs import programs
from reading_back import assert_prints

from majuscule.compiler.graph import Graph

LAX = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@settings(max_examples=12, **LAX)
@given(programs())
def test_gradients(graph: Graph) -> None:
    assert_gradients(graph.program, tolerance=1e-4)


@settings(max_examples=8, **LAX)
@given(programs())
def test_what_is_printed_means_the_same_and_can_be_differentiated(graph: Graph) -> None:
    again = assert_prints(graph.program, ["x"])
    if floats(again):
        assert_gradients(again, with_respect_to=floats(again)[:2], tolerance=1e-3)


@pytest.mark.slow
@pytest.mark.exhaustive
@settings(max_examples=400, **LAX)
@given(programs())
def test_gradients_of_hundreds(graph: Graph) -> None:
    assert_gradients(graph.program, tolerance=1e-4)


@pytest.mark.slow
@pytest.mark.exhaustive
@settings(max_examples=100, **LAX)
@given(programs())
def test_a_hundred_are_printed_and_differentiated_again(graph: Graph) -> None:
    again = assert_prints(graph.program, ["x"])
    if floats(again):
        assert_gradients(again, with_respect_to=floats(again)[:2], tolerance=1e-3)
