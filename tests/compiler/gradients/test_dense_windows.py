"""Gradients of convolutions are convolutions: dense, exact in size, on the roads that convolutions take."""

from __future__ import annotations

import math

import pytest
from differences import program_of

from majuscule.compiler.codegen.winograd import roles
from majuscule.compiler.gradients import gradients
from majuscule.compiler.graph import Graph
from majuscule.compiler.pipeline import optimize
from majuscule.dsl.equations import Axis, Equation, Operation, Partial


def derived(text: str) -> dict[str, Operation]:
    """The operations of the gradients of a layer R, as they are compiled."""
    found = gradients(program_of(text), ["R"], ["L", "Φ1.W"])
    graph = optimize(Graph.from_program(found.program), fold_weights=False, verify=True)
    return graph.operations()


def test_of_a_convolution_with_stride_1() -> None:
    made = derived("Given L[28, 28, 16]\nR = Conv(L, Φ1, width 3, pad 1, filters 32)\n")
    image, weights = made["d_L"], made["d_Φ1.W"]
    assert isinstance(image, Equation)
    assert roles(image) is not None, "a convolution that Winograd's algorithm can compute"
    assert [axis.size.constant for axis in image.domain] == [None, 28, 28, 16]
    assert isinstance(weights, Equation)
    assert weights.guard is None
    assert [str(axis.size) for axis in weights.reduction] == ["batch", "28", "28"]


@pytest.mark.parametrize(("width", "stride"), [(3, 2), (5, 2), (4, 3), (11, 4)])
def test_of_a_convolution_with_a_stride(width: int, stride: int) -> None:
    made = derived(f"Given L[47, 47, 3]\nR = Conv(L, Φ1, width {width}, stride {stride}, filters 8)\n")
    image = made["d_L"]
    assert isinstance(image, Partial)
    parts = [made[piece.source] for piece in image.pieces]
    sums = [part for part in parts if isinstance(part, Equation) and part.combiner == "sum"]
    assert len(sums) == stride**2
    assert all(part.guard is None for part in sums), "no test of divisibility within the sums"
    per_element = sum(
        count * size for part in sums for count, size in [(_count(part.domain[1:3]), _count(part.reduction))]
    )
    assert per_element <= 47**2 * (width / stride + 1) ** 2 * 8


def _count(axes: tuple[Axis, ...]) -> int:
    return math.prod(axis.size.constant or 0 for axis in axes)


def test_of_rows_read_in_full_steps() -> None:
    made = derived("Given L[8, 8, 3]\nR = Conv(L, Φ1, width 1, stride 2, filters 8)\n")
    image = made["d_L"]
    assert isinstance(image, Partial)
    parts = [made[piece.source] for piece in image.pieces]
    assert sum(isinstance(part, Equation) and part.combiner == "sum" for part in parts) == 1, "the others are zeros"
