"""What is computed together: equations that are fused, groups that share a kernel, reshapes that make way."""

from __future__ import annotations

import numpy
import pytest
from building import (
    apply,
    convolution,
    equation,
    given,
    graph,
    integers,
    literal,
    mul,
    read,
    relu,
    weights,
    within,
)
from normalised_convolution import network, same_meaning

from majuscule.compiler.checker import check
from majuscule.compiler.groups import Group, plan_groups
from majuscule.compiler.interpreter import evaluate
from majuscule.compiler.passes.eliminate_dead import eliminate_dead
from majuscule.compiler.passes.fuse_elementwise import fuse_elementwise
from majuscule.compiler.passes.sink_reshapes import sink_reshapes
from majuscule.dsl.equations import (
    Apply,
    Equation,
    Operation,
    Reshape,
)

# -- fusion ----------------------------------------------------------------------------------------------


def test_a_chain_of_elementwise_equations_becomes_one() -> None:
    operations = network(y=equation("b<B, x<5, y<5, j<6", relu(read("n", "b, x, y, j"))))
    fused = fuse_elementwise(graph(operations, "y"))
    assert [n for n in fused if isinstance(fused.operation(n), Equation)] == ["s", "y"]
    same_meaning(graph(operations, "y"), fused, operations)


def test_relu_before_a_convolution_is_not_repeated_in_its_sum() -> None:
    operations: dict[str, Operation] = {
        "x": given("B, 7, 7, 4"),
        "L": equation("b<B, x<7, y<7, i<4", relu(read("x", "b, x, y, i"))),
        "W": weights("3, 3, 4, 6"),
        "y": convolution(3, 1, "5", "4", "6"),
    }
    before = graph(operations, "y")
    assert fuse_elementwise(before) is before


def test_padding_is_not_fused_into_a_sum_of_products() -> None:
    padded = apply(
        "select",
        apply("and", within("x - 1", 0, 1), within("y - 1", 0, 1)),
        read("x", "b, x - 1, y - 1, i"),
        literal(0.0),
    )
    operations: dict[str, Operation] = {
        "x": given("B, 1, 1, 4"),
        "L": equation("b<B, x<3, y<3, i<4", padded),
        "W": weights("3, 3, 4, 1"),
        "y": convolution(3, 1, "1", "4", "1"),
    }
    before = graph(operations, "y")
    assert fuse_elementwise(before) is before


def test_casts_and_transpositions_are_fused_even_into_sums() -> None:
    operations: dict[str, Operation] = {
        "x": given("B, 4, 7, 7", "float16"),
        "L": equation("b<B, x<7, y<7, i<4", Apply("cast", (read("x", "b, i, x, y", "float16"),), "float32")),
        "W": weights("3, 3, 4, 6"),
        "y": convolution(3, 1, "5", "4", "6"),
    }
    fused = fuse_elementwise(graph(operations, "y"))
    assert set(fused) == {"x", "W", "y"}


def test_upsampling_is_fused_into_maps_but_not_into_sums_of_products() -> None:
    enlarged = equation("b<B, x<6, i<4", read("x", "b, x//2, i"))
    operations: dict[str, Operation] = {
        "x": given("B, 3, 4"),
        "u": enlarged,
        "W": weights("3, 4"),
        "y": equation("b<B, x<4", mul(read("W", "d, i"), read("u", "b, x + d, i")), "d<3, i<4"),
    }
    before = graph(operations, "y")
    assert fuse_elementwise(before) is before
    operations["y"] = equation("b<B, x<6, i<4", apply("exp", read("u", "b, x, i")))
    assert set(fuse_elementwise(graph(operations, "y"))) == {"x", "W", "y"}


def test_an_elementwise_tensor_with_two_dear_readers_stays() -> None:
    operations: dict[str, Operation] = {
        "x": given("B, 4"),
        "e": equation("b<B, i<4", apply("exp", read("x", "b, i"))),
        "s": equation("b<B", read("e", "b, i"), "i<4"),
        "y": equation("b<B, i<4", apply("div", read("e", "b, i"), read("s", "b"))),
    }
    assert set(fuse_elementwise(graph(operations, "y"))) == {"x", "e", "s", "y"}


def test_a_dear_expression_is_not_written_twice() -> None:
    operations: dict[str, Operation] = {
        "x": given("B, 4"),
        "e": equation("b<B, i<4", apply("exp", read("x", "b, i"))),
        "y": equation("b<B, i<4", mul(read("e", "b, i"), read("e", "b, i"))),
    }
    before = graph(operations, "y")
    assert fuse_elementwise(before) is before
    assert Group("e", ("y",)) in plan_groups(before)


def test_a_square_is_fused_into_its_sum() -> None:
    operations: dict[str, Operation] = {
        "x": given("B, 4"),
        "q": equation("b<B, i<4", mul(read("x", "b, i"), read("x", "b, i"))),
        "s": equation("b<B", read("q", "b, i"), "i<4"),
    }
    fused = fuse_elementwise(graph(operations, "s"))
    assert fused.operation("s") == equation("b<B", mul(read("x", "b, i"), read("x", "b, i")), "i<4")


def test_an_activation_after_a_sum_stays_with_it_instead_of_moving_into_the_mean() -> None:
    operations = network(
        y=equation("b<B, x<5, y<5, j<6", relu(read("s", "b, x, y, j"))),
        z=equation("b<B, j<6", read("y", "b, x, y, j"), "x<5, y<5"),
    )
    fused = fuse_elementwise(eliminate_dead(graph(operations, "z")))
    assert Group("s", ("y",)) in plan_groups(fused)


# -- groups -----------------------------------------------------------------------------------------------


def test_an_addition_of_two_sums_follows_the_later_one() -> None:
    operations: dict[str, Operation] = {
        "x": given("B, 4"), "U": weights("4, 4"), "V": weights("4, 4"),
        "p": equation("b<B, j<4", mul(read("U", "i, j"), read("x", "b, i")), "i<4"),
        "q": equation("b<B, j<4", mul(read("V", "i, j"), read("x", "b, i")), "i<4"),
        "y": equation("b<B, j<4", relu(apply("add", read("q", "b, j"), read("p", "b, j")))),
        "z": equation("b<B, j<4", apply("exp", read("y", "b, 3 - j"))),
    }  # fmt: skip
    groups = [g for g in plan_groups(graph(operations, "z")) if g.root not in ("x", "U", "V")]
    assert groups == [Group("p"), Group("q", ("y",)), Group("z")]


def test_operations_on_weights_share_no_kernel_with_others() -> None:
    operations: dict[str, Operation] = {
        "x": given("4"), "W": weights("4, 4"),
        "n": equation("j<4", read("W", "i, j"), "i<4"),
        "y": equation("j<4", mul(read("x", "j"), read("n", "j"))),
    }  # fmt: skip
    assert Group("n") in plan_groups(graph(operations, "y"))


def test_outputs_end_their_group() -> None:
    operations = network()
    groups = plan_groups(graph(operations, "t", "n"))
    assert Group("s", ("t",)) in groups
    assert Group("n") in groups


# -- reshapes ----------------------------------------------------------------------------------------


def grouped_channels(**more: Operation) -> dict[str, Operation]:
    """A matrix product in 2 groups, its result (B, 2, 3) read as (B, 6)."""
    return {
        "x": given("B, 2, 4"),
        "w": weights("2, 4, 3"),
        "bias": weights("6"),
        "y": equation("b<B, g<2, j<3", mul(read("x", "b, g, i"), read("w", "g, i, j")), "i<4"),
        "r": Reshape("y", integers("B, 6"), "float32"),
        **more,
    }


def test_element_wise_equations_go_before_a_reshape_that_joins_axes() -> None:
    before = graph(
        grouped_channels(
            z=equation("b<B, c<6", apply("add", read("r", "b, c"), read("bias", "c"))),
            out=equation("b<B, c<6", mul(read("z", "b, c"), read("z", "b, c"))),
        ),
        "out",
    )
    after = eliminate_dead(sink_reshapes(before))
    check(after)
    assert isinstance(after.operation("out"), Reshape)
    assert [group.members for group in plan_groups(after) if group.root == "y"] == [("y", "z.parts", "out.parts")]
    x = numpy.random.default_rng(0).standard_normal((3, 2, 4))
    w, bias = numpy.random.default_rng(1).standard_normal((2, 4, 3)), numpy.arange(6.0)
    expected = (numpy.einsum("bgi,gij->bgj", x, w).reshape(3, 6) + bias) ** 2
    numpy.testing.assert_allclose(evaluate(after, {"x": x}, {"w": w, "bias": bias})["out"], expected)


@pytest.mark.parametrize(
    "more",
    [
        {"out": equation("b<B, c<6", mul(read("r", "b, c"), read("r", "b, 5 - c")))},
        {"out": equation("b<B, c<6", read("r", "b, c")), "s": equation("b<B", read("r", "b, k"), "k<6")},
        {"out": equation("b<B", read("r", "b, k"), "k<6")},
        {"out": equation("b<B, c<5", apply("exp", read("r", "b, c")))},
        {"r": Reshape("y", integers("2, B, 3"), "float32"), "out": equation("g<2, b<B, j<3", read("r", "g, b, j"))},
    ],
)
def test_a_reshape_stays_where_others_need_it_or_axes_are_not_joined(more: dict[str, Operation]) -> None:
    before = graph(grouped_channels(**more), *(name for name in ("out", "s") if name in more))
    assert sink_reshapes(before) is before
