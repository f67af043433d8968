"""The notation that graphs are printed in."""

from __future__ import annotations

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
    within,
)

from majuscule.compiler.printer import equation_text, expression_text, text
from majuscule.dsl.equations import Apply, Carried, Carry, Equation, Expression, Operation, Piece, Recurrence, Step

A, B, C = (read(name, "i") for name in "abc")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (apply("add", mul(A, B), C), "a[i] * b[i] + c[i]"),
        (mul(A, apply("add", B, C)), "a[i] * (b[i] + c[i])"),
        (apply("sub", A, apply("sub", B, C)), "a[i] - (b[i] - c[i])"),
        (apply("sub", apply("sub", A, B), C), "a[i] - b[i] - c[i]"),
        (apply("div", A, mul(B, C)), "a[i] / (b[i] * c[i])"),
        (apply("neg", apply("add", A, B)), "-(a[i] + b[i])"),
        (apply("pow", apply("neg", A), literal(2.0)), "(-a[i])^2"),
        (apply("neg", apply("pow", A, literal(2.0))), "-a[i]^2"),
        (mul(A, literal(-0.5)), "a[i] * -0.5"),
        (apply("pow", literal(-2.0), A), "(-2)^a[i]"),
        (mul(number("2*i + 1", "float32"), A), "(2*i + 1) * a[i]"),
        (apply("max", literal(0.0), A), "relu(a[i])"),
        (apply("max", A, B), "max(a[i], b[i])"),
        (Apply("cast", (A,), "int32"), "int32(a[i])"),
        (apply("select", apply("lt", number("i"), number("4")), A, literal(0.0)), "{ a[i] if i < 4 ; 0 otherwise }"),
        (
            apply("select", apply("lt", A, B), A, apply("select", apply("not", apply("eq", A, C)), B, C)),
            "{ a[i] if a[i] < b[i] ; b[i] if not a[i] == c[i] ; c[i] otherwise }",
        ),
        (apply("or", apply("lt", A, B), apply("and", apply("le", A, B), apply("ne", B, C))),
         "a[i] < b[i] or a[i] <= b[i] and b[i] != c[i]"),
        (read("s"), "s"),
        (read("L", "x//2, 3*x - 1"), "L[x//2, 3*x - 1]"),
        (read("L", "-x + 8, -((1 - x)//2)"), "L[8 - x, -((1 - x)//2)]"),
        (number("2*((x + 1)//3) - x"), "2*((x + 1)//3) - x"),
        (mul(A, number("x//2", "float32")), "a[i] * (x//2)"),
    ],
)  # fmt: skip
def test_expressions_have_the_parentheses_they_need(expression: Expression, expected: str) -> None:
    assert expression_text(expression) == expected


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (convolution(3, 2, "5", "4", "6"),
         "y[b, x, y, j] = L[b, 2*x + DX, 2*y + DY, I] * W[DX, DY, I, j] for x < 5, y < 5"),
        (equation("x<4, j<2", mul(read("W", "Δx, j"), read("L", "x + Δx - 1")), "Δx<3"),
         "y[x, j] = W[ΔX, j] * L[x + ΔX - 1] for x < 4"),
        (equation("b<B", read("L", "b, i"), "i<4"), "y[b] = sum[i < 4](L[b, i])"),
        (equation("i<3", mul(read("u", "I"), read("v", "i + k"), read("w", "k")), "k<4"),
         "y[i] = u[I] * v[i + K] * w[K] for i < 3"),
        (equation("n<3", mul(read("u", "n, k"), read("v", "K, k")), "k<4"), "y[n] = sum[k < 4](u[n, k] * v[K, k])"),
        (equation("n<3", mul(apply("exp", read("u", "n, k")), read("v", "k")), "k<4"),
         "y[n] = sum[k < 4](exp(u[n, k]) * v[k])"),
        (equation("x<3", read("L", "2*x + d - 1"), "d<3", "max", within("2*x + d - 1", 0, 5)),
         "y[x] = max[d < 3 if 0 <= d + 2*x - 1 and d + 2*x - 1 < 5](L[d + 2*x - 1]) for x < 3"),
        (equation("", literal(1.0)), "y[] = 1"),
    ],
)  # fmt: skip
def test_equations(made: Equation, expected: str) -> None:
    assert equation_text("y", made) == expected


def test_a_graph_has_a_line_for_each_operation_with_shape_and_dtype() -> None:
    operations: dict[str, Operation] = {
        "x": given("B, 3"),
        "y": equation("b<B, i<3", apply("exp", read("x", "b, i"))),
    }
    assert text(graph(operations, "y")).splitlines() == [
        "Given x[B, 3]  # float32[B, 3]",
        "y[b, i] = exp(x[b, i])  # float32[B, 3]",
    ]


def test_a_recurrence_is_a_loop() -> None:
    start = Piece("h0", axes("b<B"), integers("b, 0"))
    step = Step("h", equation("b<B", apply("tanh", read("h", "b, t"))), integers("b, t + 1"))
    size = integers("B, 6")
    operations: dict[str, Operation] = {
        "h0": given("B"),
        "loop": Recurrence("t", integer(0), integer(5), False, (Carried("h", size, "float32", 1, (start,)),), (step,)),
        "y": Carry("loop", 0, size, "float32"),
    }
    assert text(graph(operations, "y")).splitlines()[1:4] == [
        "h[b, 0] = h0[b]",
        "loop: for t in 0..5:",
        "    h[b, t + 1] = tanh(h[b, t])  # float32[B]",
    ]
