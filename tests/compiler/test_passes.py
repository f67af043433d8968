"""What becomes of normalisation, of what runs once and of invariants; and all passes in their order."""

from __future__ import annotations

import sys
from types import FrameType

from building import (
    apply,
    equation,
    given,
    graph,
    integers,
    literal,
    mul,
    number,
    read,
    relu,
    statistics,
    weights,
)
from normalised_convolution import network, normalised, same_meaning

from majuscule.compiler.checker import check
from majuscule.compiler.dependence import data_free, weight_only
from majuscule.compiler.groups import plan_groups
from majuscule.compiler.passes.fold_normalization import fold_normalization
from majuscule.compiler.passes.hoist_invariants import hoist_invariants
from majuscule.compiler.pipeline import optimize, stages
from majuscule.compiler.printer import equation_text
from majuscule.dsl.equations import (
    Apply,
    Equation,
    Input,
    Operation,
    Random,
    Reshape,
)

# -- normalisation ------------------------------------------------------------------------------------


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


# -- the pipeline --------------------------------------------------------------------------------------------------


def test_stages_begin_with_the_program_and_end_with_what_optimize_gives() -> None:
    operations = network()
    shown = list(stages(graph(operations, "n"), fold_weights=True, verify=True))
    assert shown[0][0] == "program"
    assert shown[-1][1].operations() == optimize(graph(operations, "n"), fold_weights=True).operations()


def test_the_work_grows_with_the_program_and_not_faster() -> None:
    counts = [_calls_to_optimize(blocks) for blocks in (10, 20, 40)]
    assert counts[2] - counts[1] < 2.3 * (counts[1] - counts[0])  # twice as much if linear, four times if quadratic


def _calls_to_optimize(blocks: int) -> int:
    """Calls of Python functions while a chain of normalised convolutions with shortcuts is optimised."""
    operations: dict[str, Operation] = {"t0": given("B, 7, 7, 4")}
    for k in range(blocks):
        operations |= {f"W{k}": weights("1, 1, 4, 4"), f"m{k}": statistics("4"), f"v{k}": statistics("4")}
        product = mul(read(f"W{k}", "dx, dy, i, j"), read(f"t{k}", "b, x + dx, y + dy, i"))
        operations[f"s{k}"] = equation("b<B, x<7, y<7, j<4", product, "dx<1, dy<1, i<4")
        deviation = apply("sqrt", read(f"v{k}", "j"))
        centred = apply("sub", read(f"s{k}", "b, x, y, j"), read(f"m{k}", "j"))
        operations[f"n{k}"] = equation("b<B, x<7, y<7, j<4", apply("div", centred, deviation))
        shortcut = apply("add", read(f"n{k}", "b, x, y, j"), read(f"t{k}", "b, x, y, j"))
        operations[f"a{k}"] = equation("b<B, x<7, y<7, j<4", shortcut)
        operations[f"t{k + 1}"] = equation("b<B, x<7, y<7, j<4", relu(read(f"a{k}", "b, x, y, j")))
    before, calls = graph(operations, f"t{blocks}"), 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        after = optimize(before, fold_weights=True)
    finally:
        sys.setprofile(None)
    assert sum(group.result.startswith("t") and group.root.startswith("s") for group in plan_groups(after)) == blocks
    return calls
