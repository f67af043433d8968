"""Graphs that break a rule, and what the checker says of each."""

from __future__ import annotations

import re
from dataclasses import replace

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
    within,
)

from majuscule.compiler.checker import MalformedGraph, check
from majuscule.compiler.graph import Graph
from majuscule.dsl.equations import (
    Apply,
    Carried,
    Carry,
    Constant,
    Operation,
    Partial,
    Piece,
    Read,
    Recurrence,
    Reshape,
    Step,
)
from majuscule.dsl.integers import Element, Integer, Unknown

X: dict[str, Operation] = {"x": given("B, 4")}


def refuse(message: str, **operations: Operation) -> None:
    made = graph({**X, **operations}, list(operations)[-1])
    with pytest.raises(MalformedGraph, match=re.escape(message)):
        check(made)


def accept(**operations: Operation) -> None:
    check(graph({**X, **operations}, list(operations)[-1]))


def test_roots_must_exist() -> None:
    made = graph(X, "x")
    with pytest.raises(MalformedGraph, match="y must exist at the end"):
        check(Graph(made.program, made.network, ("y",)))


def test_rank() -> None:
    refuse("y: x[b] has 1 subscripts for the axes [B, 4]", y=equation("b<B", read("x", "b")))


def test_dtype_of_a_read() -> None:
    refuse("taken for float16, but x is float32", y=equation("b<B", read("x", "b, 0", "float16"), dtype="float16"))


def test_unbound_index() -> None:
    refuse("y: the index i in i is not bound", y=equation("b<B", read("x", "b, i")))


def test_index_bound_twice() -> None:
    refuse("the index b is bound twice", y=equation("b<B", read("x", "b, 0"), "b<4"))


def test_unknown_size() -> None:
    size = Integer.atom(Unknown(1, "width"))
    refuse("the size ?width was never inferred", y=Reshape("x", (size,), "float32"))


def test_reads_out_of_bounds() -> None:
    refuse("x[b, i + 1]: the subscript i + 1 goes up to 4, but the axis has size 4",
           y=equation("b<B, i<4", read("x", "b, i + 1")))  # fmt: skip
    refuse("the subscript i - 1 goes down to -1", y=equation("b<B, i<4", read("x", "b, i - 1")))
    refuse("goes up to B, but", y=equation("b<B + 1, i<4", read("x", "b, i")))


def test_guarded_reads_may_leave_the_axis() -> None:
    accept(y=equation("b<B, i<4", apply("select", within("i - 1", 0, 4), read("x", "b, i - 1"), literal(0.0))))
    accept(y=equation("b<B, i<4", read("x", "b, i + d - 1"), "d<3", "max", within("i + d - 1", 0, 4)))
    accept(y=equation("b<B, i<4", read("x", "b, i - 3*(i//3)")))


def test_dtypes_of_operations() -> None:
    refuse("add of float32, float64 does not give float64",
           y=equation("b<B", apply("add", read("x", "b, 0"), literal(1.0, "float64")), dtype="float64"))  # fmt: skip
    refuse("exp of int64 does not give int64", y=equation("b<3", apply("exp", number("b")), dtype="int64"))
    refuse("select of float32", y=equation("b<B", apply("select", *[read("x", "b, 0")] * 3)))
    refuse("no operation exp of 2", y=equation("b<B", apply("exp", literal(1.0), literal(1.0))))


def test_dtype_of_the_result() -> None:
    refuse("y: is float64, but its body is float32", y=equation("b<B", read("x", "b, 0"), dtype="float64"))
    refuse("a position is an integer", y=equation("b<B", read("x", "b, i"), "i<4", "argmax"))
    half = replace(equation("b<B", Apply("cast", (read("x", "b, i"),), "float16"), "i<4", dtype="float16"))
    accept(y=half)


def test_reductions_have_combiners() -> None:
    refuse("but no combiner", y=replace(equation("b<B", read("x", "b, i"), "i<4"), combiner=None))
    refuse("xor is not a combiner", y=equation("b<B", read("x", "b, i"), "i<4", "xor"))


def test_gathers_read_integers() -> None:
    gather = Read("x", (Integer.atom(Element(read("x", "b, 0"))), integer(0)), "float32")
    refuse("a subscript must be an integer", y=equation("b<B", gather))


def test_partial_definitions() -> None:
    whole = Piece("x", axes("b<B, i<4"), integers("b, i"))
    accept(y=Partial(integers("B, 4"), "float32", (whole,)))
    refuse("the piece x of shape [B, 4] is taken over b < B",
           y=Partial(integers("B"), "float32", (Piece("x", axes("b<B"), integers("b")),)))  # fmt: skip
    refuse("what it writes: the subscript i + 1 goes up to 4",
           y=Partial(integers("B, 4"), "float32", (replace(whole, target=integers("b, i + 1")),)))  # fmt: skip
    piece = Piece("c", axes("i<2"), integers("i"))
    refuse("its pieces have 2 elements, but it has 3",
           c=equation("i<2", literal(1.0)), y=Partial(integers("3"), "float32", (piece,)))  # fmt: skip


def test_reshapes_and_constants_keep_their_elements() -> None:
    accept(y=Reshape("x", integers("2, B, 2"), "float32"))
    refuse("another number of elements", c=equation("i<6", literal(1.0)), y=Reshape("c", integers("4"), "float32"))
    refuse("reshapes float32 to float16", y=Reshape("x", integers("4, B"), "float16"))
    refuse("holds 2 values in the shape [3]", y=Constant(integers("3"), "float32", (1.0, 2.0)))


def recurrence(at: str, target: str = "b, t + 1", reverse: bool = False) -> dict[str, Operation]:
    start = Piece("h0", axes("b<B"), integers("b, 5" if reverse else "b, 0"))
    step = Step("h", equation("b<B", mul(read("h", at), literal(2.0))), integers(target))
    size = integers("B, 6")
    carried = (Carried("h", size, "float32", 1, (start,)),)
    return {
        "h0": equation("b<B", read("x", "b, 0")),
        "loop": Recurrence("t", integer(0), integer(5), reverse, carried, (step,)),
        "y": Carry("loop", 0, size, "float32"),
    }


def test_recurrences_are_causal() -> None:
    accept(**recurrence("b, t"))
    accept(**recurrence("b, t + 1", "b, t", reverse=True))
    refuse("reads h[b, t + 1] before it is computed", **recurrence("b, t + 1"))
    refuse("reads h[b, t] before it is computed", **recurrence("b, t", "b, t", reverse=True))


def test_carries_are_tensors_of_their_recurrence() -> None:
    made = recurrence("b, t")
    refuse("carries no tensor number 1", **{**made, "y": Carry("loop", 1, integers("B, 6"), "float32")})
    refuse("but the recurrence makes float32[B, 6]", **{**made, "y": Carry("loop", 0, integers("B, 5"), "float32")})
