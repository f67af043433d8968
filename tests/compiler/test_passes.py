"""What each pass does to a program that it is made for."""

from __future__ import annotations

import time

import numpy
import pytest
from building import (
    apply,
    axes,
    convolution,
    equation,
    given,
    graph,
    integer,
    integers,
    literal,
    mul,
    number,
    read,
    statistics,
    weights,
    within,
)

from majuscule.compiler.canonical import anonymous, canonical
from majuscule.compiler.checker import check
from majuscule.compiler.dependence import data_free, weight_only
from majuscule.compiler.graph import Graph
from majuscule.compiler.groups import Group, plan_groups
from majuscule.compiler.interpreter import evaluate
from majuscule.compiler.passes.eliminate_common import eliminate_common
from majuscule.compiler.passes.eliminate_dead import eliminate_dead
from majuscule.compiler.passes.fold_constants import fold_constants
from majuscule.compiler.passes.fold_normalization import fold_normalization
from majuscule.compiler.passes.fuse_elementwise import fuse_elementwise
from majuscule.compiler.passes.hoist_invariants import hoist_invariants
from majuscule.compiler.passes.simplify import simplify, simplify_equation
from majuscule.compiler.passes.sink_reshapes import sink_reshapes
from majuscule.compiler.pipeline import optimize, stages
from majuscule.compiler.printer import equation_text
from majuscule.compiler.scalar_identities import simplify_expression
from majuscule.dsl.equations import (
    Apply,
    Carried,
    Carry,
    Constant,
    Equation,
    Expression,
    Input,
    Operation,
    Piece,
    Random,
    Recurrence,
    Reshape,
    Step,
)

X = read("x", "i")
HALF = read("h", "i", "float16")
THROUGH_HALF = Apply("cast", (Apply("cast", (X,), "float16"),), "float32")


def relu(expression: Expression) -> Expression:
    return apply("max", literal(0.0), expression)


# -- scalar identities ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (apply("mul", X, literal(1.0)), X),
        (apply("add", literal(0.0), X), X),
        (apply("sub", literal(0.0), X), apply("neg", X)),
        (apply("neg", apply("neg", X)), X),
        (apply("add", X, apply("neg", read("y", "i"))), apply("sub", X, read("y", "i"))),
        (apply("div", X, literal(4.0)), apply("mul", X, literal(0.25))),
        (apply("div", X, literal(3.0)), apply("div", X, literal(3.0))),
        (apply("mul", X, literal(0.0)), apply("mul", X, literal(0.0))),
        (apply("pow", X, literal(2.0)), apply("mul", X, X)),
        (apply("add", literal(1.0), literal(2.0)), literal(3.0)),
        (apply("div", literal(1.0), literal(0.0)), apply("div", literal(1.0), literal(0.0))),
        (Apply("cast", (X,), "float32"), X),
        (Apply("cast", (Apply("cast", (HALF,), "float32"),), "float16"), HALF),
        (THROUGH_HALF, THROUGH_HALF),
        (apply("select", literal(True, "bool"), X, literal(2.0)), X),
        (apply("select", apply("lt", number("i"), number("4")), X, literal(2.0)), X),
        (apply("select", apply("le", number("4"), number("i")), X, literal(2.0)), literal(2.0)),
        (apply("and", literal(True, "bool"), apply("lt", X, literal(1.0))), apply("lt", X, literal(1.0))),
        (apply("add", number("i"), number("2*i - 1")), number("3*i - 1")),
    ],
)  # fmt: skip
def test_identities(before: Expression, after: Expression) -> None:
    assert simplify_expression(before, {"i": (integer(0), integer(4))}) == after


def test_literals_fold_at_the_precision_of_their_dtype() -> None:
    folded = simplify_expression(apply("add", literal(1.0, "float16"), literal(2.0**-12, "float16")), {})
    assert folded == literal(1.0, "float16")


# -- simplify -----------------------------------------------------------------------------------


def test_axes_of_size_one_leave_subscripts_and_reductions() -> None:
    before = equation("b<1, x<5", mul(read("L", "b, x + d, k"), read("W", "d, k")), "d<1, k<4")
    after = simplify_equation(before, {})
    assert after == equation("b<1, x<5", mul(read("L", "0, x, k"), read("W", "0, k")), "k<4")


def test_a_reduction_over_one_point_is_none() -> None:
    before = equation("x<5", read("L", "x + d"), "d<1", "max")
    assert simplify_equation(before, {}) == equation("x<5", read("L", "x"))
    position = equation("x<5", read("L", "x + d"), "d<1", "argmax", dtype="int64")
    assert simplify_equation(position, {}) == equation("x<5", literal(0, "int64"), dtype="int64")


def test_floors_with_one_value_are_that_value() -> None:
    before = equation("x<5, d<4", read("L", "(4*x + d)//4, d//2 + d//4"))
    assert simplify_equation(before, {}).body == read("L", "x, d//2")


def test_a_guard_that_always_holds_goes() -> None:
    before = equation("x<5", read("L", "x + d"), "d<3", "max", within("x + d", 0, 7))
    assert simplify_equation(before, {}).guard is None


def test_copies_and_identical_reshapes_become_aliases() -> None:
    operations: dict[str, Operation] = {
        "x": given("B, 4"),
        "a": equation("b<B, i<4", read("x", "b, i")),
        "r": Reshape("a", integers("B, 2, 2"), "float32"),
        "q": Reshape("r", integers("B, 4"), "float32"),
        "y": equation("b<B, i<4", apply("exp", read("q", "b, i"))),
        "z": equation("p<B, k<4", read("y", "p, k")),
    }
    simpler = simplify(graph(operations, "z"))
    assert simpler.resolve("a") == simpler.resolve("q") == "x"
    assert simpler.resolve("y") == "z"
    assert set(eliminate_dead(simpler)) == {"x", "z"}
    assert simpler.operation("z") == equation("b<B, i<4", apply("exp", read("x", "b, i")))


def test_an_output_that_copies_an_input_stays() -> None:
    operations: dict[str, Operation] = {"x": given("B, 4"), "z": equation("b<B, i<4", read("x", "b, i"))}
    assert set(simplify(graph(operations, "z"))) == {"x", "z"}


def test_a_chain_of_copies_that_is_an_output_takes_the_name_of_its_source() -> None:
    operations: dict[str, Operation] = {
        "x": given("B, 4"),
        "y": equation("b<B, i<4", apply("exp", read("x", "b, i"))),
        "u": equation("b<B, i<4", read("y", "b, i")),
        "z": equation("b<B, i<4", read("u", "b, i")),
        "w": equation("b<B, i<4", apply("neg", read("y", "b, i"))),
    }
    simpler = simplify(graph(operations, "z", "w"))
    assert set(simpler) == {"x", "z", "w"}
    assert simpler.resolve("u") == simpler.resolve("y") == "z"


def loop(body: Expression) -> dict[str, Operation]:
    start = Piece("h0", axes("b<B"), integers("b, 0"))
    steps = (
        Step("m", equation("b<B", body), None),
        Step("h", equation("b<B", apply("tanh", read("m", "b"))), integers("b, t + 1")),
    )
    size = integers("B, 6")
    carried = (Carried("h", size, "float32", 1, (start,)),)
    return {
        "h0": given("B"),
        "loop": Recurrence("t", integer(0), integer(5), False, carried, steps),
        "y": Carry("loop", 0, size, "float32"),
    }


def test_simplify_and_fusion_reach_into_recurrences() -> None:
    operations = loop(
        apply("select", apply("le", number("0"), number("t")), mul(read("h", "b, t"), literal(1.0)), literal(0.0))
    )
    passed = fuse_elementwise(simplify(graph(operations, "y")))
    check(passed)
    recurrence = passed.operation("loop")
    assert isinstance(recurrence, Recurrence)
    assert [step.equation.body for step in recurrence.steps] == [apply("tanh", read("h", "b, t"))]
    start = {"h0": numpy.array([0.5, -1.0])}
    expected = evaluate(graph(operations, "y"), start)["y"]
    numpy.testing.assert_allclose(evaluate(passed, start)["y"], expected)


# -- common, dead, constant ------------------------------------------------------------------------


def test_equal_equations_become_one_and_roots_keep_their_names() -> None:
    operations: dict[str, Operation] = {
        "x": given("B, 4"),
        "a": equation("b<B, i<4", apply("exp", read("x", "b, i"))),
        "c": equation("p<B, q<4", apply("exp", read("x", "p, q"))),
        "s": equation("b<B", read("a", "b, i"), "i<4"),
        "t": equation("b<B", read("c", "b, k"), "k<4"),
        "y": equation("b<B", apply("add", read("s", "b"), read("t", "b"))),
        "o": equation("b<B", read("c", "b, k"), "k<4"),
    }
    passed = eliminate_common(graph(operations, "y", "o"))
    assert set(passed) == {"x", "a", "y", "o"}
    assert passed.resolve("c") == "a"
    assert passed.resolve("s") == passed.resolve("t") == "o"


def test_random_tensors_of_different_streams_stay_apart() -> None:
    operations: dict[str, Operation] = {
        "a": Random(integers("4"), "float32", 0),
        "b": Random(integers("4"), "float32", 1),
        "c": Random(integers("4"), "float32", 0),
        "y": equation("i<4", mul(read("a", "i"), read("b", "i"), read("c", "i"))),
    }
    assert set(eliminate_common(graph(operations, "y"))) == {"a", "b", "y"}


def test_what_no_root_needs_goes_but_inputs_stay() -> None:
    operations: dict[str, Operation] = {
        "x": given("B"), "z": given("B"), "W": weights("3"),
        "d": equation("i<3", apply("neg", read("W", "i"))),
        "y": equation("b<B", apply("neg", read("x", "b"))),
    }  # fmt: skip
    passed = eliminate_dead(graph(operations, "y"))
    assert set(passed) == {"x", "z", "y"}
    assert {note.tensor for note in passed.notes} == {"W", "d"}


def test_operations_on_constants_are_computed() -> None:
    operations: dict[str, Operation] = {
        "c": Constant(integers("3"), "float32", (0.1, 0.2, 0.3)),
        "d": equation("i<3", mul(read("c", "i"), literal(3.0))),
        "e": equation("i<3, j<3", mul(read("d", "i"), read("d", "j"))),
        "ones": Constant(integers("3"), "float32", (1.0, 1.0, 1.0)),
        "x": given("B, 3"),
        "y": equation("b<B, i<3", apply("add", mul(read("e", "i, 2 - i"), read("x", "b, i")), read("ones", "i"))),
    }
    passed = eliminate_dead(fold_constants(graph(operations, "y")))
    assert set(passed) == {"e", "x", "y"}
    folded = passed.operation("e")
    assert isinstance(folded, Constant)
    c = numpy.float32([0.1, 0.2, 0.3]).astype(float) * 3
    numpy.testing.assert_array_equal(folded.array(), numpy.outer(c, c).astype(numpy.float32))
    changed = passed.operation("y")
    assert isinstance(changed, Equation)
    assert isinstance(changed.body, Apply)
    assert changed.body.arguments[1] == literal(1.0)


# -- normalisation ------------------------------------------------------------------------------------


def normalised(source: str, domain: str = "b<B, x<5, y<5, j<6", at: str = "b, x, y, j") -> Equation:
    deviation = apply("sqrt", apply("add", read("v", "j"), literal(1e-5)))
    centred = apply("div", apply("sub", read(source, at), read("m", "j")), deviation)
    return equation(domain, apply("add", mul(centred, read("g", "j")), read("h", "j")))


def network(**more: Operation) -> dict[str, Operation]:
    return {
        "L": given("B, 7, 7, 4"), "W": weights("3, 3, 4, 6"), "c": weights("6"), "g": weights("6"), "h": weights("6"),
        "m": statistics("6"), "v": statistics("6"),
        "s": convolution(3, 1, "5", "4", "6"),
        "t": equation("b<B, x<5, y<5, j<6", apply("add", read("s", "b, x, y, j"), read("c", "j"))),
        "n": normalised("t"),
        **more,
    }  # fmt: skip


def values(operations: dict[str, Operation]) -> dict[str, numpy.ndarray]:
    rng = numpy.random.default_rng(0)
    shapes = {"W": (3, 3, 4, 6), "c": (6,), "g": (6,), "h": (6,), "m": (6,), "v": (6,)}
    return {name: 0.1 + rng.random(shape) for name, shape in shapes.items() if name in operations}


def same_meaning(before: Graph, after: Graph, operations: dict[str, Operation]) -> None:
    check(after)
    image = {"L": numpy.random.default_rng(1).standard_normal((2, 7, 7, 4))}
    expected = evaluate(before, image, values(operations))
    found = evaluate(after, image, values(operations))
    for root in before.roots:
        numpy.testing.assert_allclose(found[root], expected[root], rtol=1e-10)


def test_normalisation_after_bias_folds_into_the_weights_of_a_convolution() -> None:
    y = equation("b<B, x<5, y<5, j<6", relu(read("n", "b, x, y, j")))
    operations = network(y=y)
    before = graph(operations, "y")
    after = optimize(before, fold_weights=True, verify=True)
    same_meaning(before, after, operations)
    data = [name for name in after if name not in weight_only(after) and isinstance(after.operation(name), Equation)]
    assert data == ["s", "y"]
    assert after.operation("y") == equation(
        "b<B, x<5, y<5, j<6", relu(apply("add", read("s", "b, x, y, j"), read("y.shift", "j")))
    )
    assert weight_only(after) == {"W.scaled", "y.shift"}
    assert any("multiplied into W.scaled" in note.text for note in after.notes)


def test_training_keeps_the_normalisation() -> None:
    operations = network()
    after = optimize(graph(operations, "n"), fold_weights=False, verify=True)
    assert "W.scaled" not in after


def test_a_convolution_with_another_reader_keeps_its_weights() -> None:
    operations = network(z=equation("b<B", read("s", "b, x, y, j"), "x<5, y<5, j<6", "max"))
    before = graph(operations, "n", "z")
    after = optimize(before, fold_weights=True, verify=True)
    same_meaning(before, after, operations)
    assert "W.scaled" not in after
    assert "n.scale" in weight_only(after)  # one multiplication and one addition at least


def test_normalisation_of_an_input_becomes_one_multiplication_and_one_addition() -> None:
    operations = network(L=given("B, 7, 7, 6"), W=weights("3, 3, 6, 6"))
    operations["n"] = normalised("L", "b<B, x<7, y<7, j<6")
    after = fold_normalization(graph(operations, "n"))
    body = apply("add", mul(read("L", "b, x, y, j"), read("n.scale", "j")), read("n.shift", "j"))
    assert after.operation("n") == equation("b<B, x<7, y<7, j<6", body)


def test_a_scale_by_data_is_not_folded() -> None:
    scale = equation("b<B, j<6", read("L", "b, x, 0, j - j//4*4"), "x<7", "max")
    operations = network(q=scale)
    operations["n"] = equation("b<B, x<5, y<5, j<6", mul(read("s", "b, x, y, j"), read("q", "b, j")))
    assert fold_normalization(graph(operations, "n")).notes == ()


def test_a_scale_over_an_index_that_the_weights_lack_is_not_folded() -> None:
    operations = network()
    operations["n"] = equation("b<B, x<5, y<5, j<6", mul(read("s", "b, x, y, j"), read("c", "x")))
    assert fold_normalization(graph(operations, "n")).notes == ()


# -- what runs once ----------------------------------------------------------------------------------------


def test_what_depends_on_weights_alone_runs_once() -> None:
    operations: dict[str, Operation] = {
        "x": given("B, 4"), "W": weights("4"), "r": Random(integers("4"), "float32", 0),
        "a": equation("i<4", apply("exp", read("W", "i"))),
        "f": Reshape("a", integers("2, 2"), "float32"),
        "n": equation("b<B, i<4", read("W", "i")),  # as long as the batch
        "d": equation("i<4", mul(read("a", "i"), read("r", "i"))),
        "y": equation("b<B", mul(read("f", "i//2, i - i//2*2"), read("n", "b, i"), read("d", "i")), "i<4"),
    }  # fmt: skip
    made = graph(operations, "y")
    assert weight_only(made) == {"a", "f"}
    assert data_free(made) == {"W", "a", "f"}


# -- invariants --------------------------------------------------------------------------------------------


def test_the_square_root_of_a_channel_is_taken_once() -> None:
    operations = network()
    after = hoist_invariants(graph(operations, "n"))
    same_meaning(graph(operations, "n"), after, operations)
    deviation = apply("sqrt", apply("add", read("v", "j"), literal(1e-5)))
    assert after.operation("n.sqrt") == equation("j<6", deviation)
    assert "n.sqrt[j]" in equation_text("n", after.operation("n"))  # type: ignore[arg-type]
    assert hoist_invariants(after) is after


def test_parts_of_sixteen_bits_are_not_rounded_on_the_way_out() -> None:
    root = Apply("sqrt", (read("v", "j", "bfloat16"),), "bfloat16")
    body = Apply("mul", (read("u", "x, j", "bfloat16"), root), "bfloat16")
    operations: dict[str, Operation] = {
        "u": Input(integers("20, 6"), "bfloat16", False),
        "v": Input(integers("6"), "bfloat16", False),
        "y": equation("x<20, j<6", body, dtype="bfloat16"),
    }
    after = hoist_invariants(graph(operations, "y"))
    check(after)
    assert after.tensor("y.sqrt").dtype == "float32"


def test_parts_that_a_case_guards_stay_in_it() -> None:
    guarded = apply("select", apply("lt", number("0"), number("B")), apply("exp", read("u", "0")), literal(1.0))
    operations: dict[str, Operation] = {"u": given("B"), "y": equation("x<20", guarded)}
    before = graph(operations, "y")
    assert hoist_invariants(before) is before


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


# -- canonical forms ------------------------------------------------------------------------------------------


def test_canonical_forms_forget_names_of_indices_only() -> None:
    first = equation("b<B, j<4", mul(read("U", "i, j"), read("x", "b, i")), "i<4")
    renamed = equation("j<B, b<4", mul(read("U", "k, b"), read("x", "j, k")), "k<4")
    other = equation("b<B, j<4", mul(read("V", "i, j"), read("x", "b, i")), "i<4")
    assert canonical(first) == canonical(renamed) != canonical(other)
    assert anonymous(first)[0] == anonymous(other)[0]
    assert anonymous(other)[1] == ("V", "x")


def test_equal_recurrences_have_one_canonical_form() -> None:
    first = loop(read("h", "b, t"))["loop"]
    assert isinstance(first, Recurrence)
    start = Piece("h0", axes("k<B"), integers("k, 0"))
    steps = (
        Step("u", equation("k<B", read("g", "k, n")), None),
        Step("g", equation("p<B", apply("tanh", read("u", "p"))), integers("p, n + 1")),
    )
    carried = (Carried("g", integers("B, 6"), "float32", 1, (start,)),)
    renamed = Recurrence("n", first.lower, first.upper, False, carried, steps)
    assert canonical(first) == canonical(renamed)


# -- the pipeline --------------------------------------------------------------------------------------------------


def test_stages_begin_with_the_program_and_end_with_what_optimize_gives() -> None:
    operations = network()
    shown = list(stages(graph(operations, "n"), fold_weights=True, verify=True))
    assert shown[0][0] == "program"
    assert shown[-1][1].operations() == optimize(graph(operations, "n"), fold_weights=True).operations()


def test_a_thousand_operations_take_about_a_second() -> None:
    operations: dict[str, Operation] = {"t0": given("B, 7, 7, 4")}
    for k in range(250):
        operations |= {f"W{k}": weights("1, 1, 4, 4"), f"m{k}": statistics("4"), f"v{k}": statistics("4")}
        product = mul(read(f"W{k}", "dx, dy, i, j"), read(f"t{k}", "b, x + dx, y + dy, i"))
        operations[f"s{k}"] = equation("b<B, x<7, y<7, j<4", product, "dx<1, dy<1, i<4")
        deviation = apply("sqrt", read(f"v{k}", "j"))
        centred = apply("sub", read(f"s{k}", "b, x, y, j"), read(f"m{k}", "j"))
        operations[f"n{k}"] = equation("b<B, x<7, y<7, j<4", apply("div", centred, deviation))
        shortcut = apply("add", read(f"n{k}", "b, x, y, j"), read(f"t{k}", "b, x, y, j"))
        operations[f"a{k}"] = equation("b<B, x<7, y<7, j<4", shortcut)
        operations[f"t{k + 1}"] = equation("b<B, x<7, y<7, j<4", relu(read(f"a{k}", "b, x, y, j")))
    before = graph(operations, "t250")
    begin = time.perf_counter()
    after = optimize(before, fold_weights=True)
    assert time.perf_counter() - begin < 6  # about one second when the machine is not shared
    assert sum(group.result.startswith("t") and group.root.startswith("s") for group in plan_groups(after)) == 250


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
