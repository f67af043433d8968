"""What the passes that make a program smaller do: identities, one-point axes, common, dead and constant parts."""

from __future__ import annotations

import numpy
import pytest
from building import (
    apply,
    axes,
    equation,
    given,
    graph,
    integer,
    integers,
    literal,
    mul,
    number,
    read,
    weights,
    within,
)

from majuscule.compiler.canonical import anonymous, canonical
from majuscule.compiler.checker import check
from majuscule.compiler.interpreter import evaluate
from majuscule.compiler.passes.eliminate_common import eliminate_common
from majuscule.compiler.passes.eliminate_dead import eliminate_dead
from majuscule.compiler.passes.fold_constants import fold_constants
from majuscule.compiler.passes.fuse_elementwise import fuse_elementwise
from majuscule.compiler.passes.simplify import simplify, simplify_equation
from majuscule.compiler.scalar_identities import simplify_expression
from majuscule.dsl.equations import (
    Apply,
    Carried,
    Carry,
    Constant,
    Equation,
    Expression,
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
