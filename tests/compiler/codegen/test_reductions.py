"""Pooling, sums along axes, softmax, argmax and the other combiners."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest
from harness import BATCH, Runner, apply, axes, between, compiled, index, literal, number, rand, read, run, shape

from majuscule.dsl.equations import Apply, Equation, Input, Operation
from majuscule.dsl.integers import Integer


@pytest.mark.parametrize("channels", [3, 16, 70])
def test_max_pooling_that_skips_the_padding(channels: int) -> None:
    row, column = index("x") * 2 + index("p") - 1, index("y") * 2 + index("q") - 1
    guard = apply("and", between(0, row, 9), between(0, column, 12), dtype="bool")
    body = read("A", "b", row, column, "c")
    domain = axes(b=BATCH, x=5, y=6, c=channels)
    operations: dict[str, Operation] = {
        "A": Input(shape(BATCH, 9, 12, channels), "float32"),
        "M": Equation(domain, body, "float32", axes(p=3, q=3), "max", guard),
        "S": Equation(domain, body, "float32", axes(p=3, q=3), "sum", guard),
    }
    x = rand(2, 9, 12, channels)
    largest, total = run(operations, "M", "S", symbols={"batch": 2}, A=x)
    low = numpy.pad(x, ((0, 0), (1, 2), (1, 2), (0, 0)), constant_values=-numpy.inf)
    zero = numpy.pad(x.astype(float), ((0, 0), (1, 2), (1, 2), (0, 0)))
    windows = [(slice(None), slice(p, p + 9, 2), slice(q, q + 11, 2)) for p in range(3) for q in range(3)]
    numpy.testing.assert_array_equal(largest, numpy.max([low[w] for w in windows], 0))
    numpy.testing.assert_allclose(total, numpy.sum([zero[w] for w in windows], 0), atol=1e-5)


def test_global_average_over_places() -> None:
    total = Equation(axes(b=BATCH, c=37), read("A", "b", "x", "y", "c"), "float32", axes(x=7, y=9), "sum")
    mean = Equation(axes(b=BATCH, c=37), apply("div", read("S", "b", "c"), literal(63.0)), "float32")
    x = rand(5, 7, 9, 37)
    operations: dict[str, Operation] = {"A": Input(shape(BATCH, 7, 9, 37), "float32"), "S": total, "M": mean}
    (found,) = run(operations, "M", symbols={"batch": 5}, A=x)
    numpy.testing.assert_allclose(found, x.astype(float).mean((1, 2)), atol=1e-6)


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_softmax_in_parts(classes: int) -> None:
    domain, sums = axes(b=BATCH, j=classes), axes(b=BATCH)
    operations: dict[str, Operation] = {
        "A": Input(shape(BATCH, classes), "float32"),
        "M": Equation(sums, read("A", "b", "j"), "float32", axes(j=classes), "max"),
        "E": Equation(domain, apply("exp", apply("sub", read("A", "b", "j"), read("M", "b"))), "float32"),
        "S": Equation(sums, read("E", "b", "j"), "float32", axes(j=classes), "sum"),
        "P": Equation(domain, apply("div", read("E", "b", "j"), read("S", "b")), "float32"),
    }
    runner = Runner(compiled(operations, "P"))
    for batch in (1, 17):
        x = 20 * rand(batch, classes)
        power = numpy.exp(x.astype(float) - x.max(1, keepdims=True))
        numpy.testing.assert_allclose(
            runner({"batch": batch}, A=x)["P"], power / power.sum(1, keepdims=True), rtol=5e-6
        )


@pytest.mark.parametrize("combiner", ["argmax", "argmin"])
@pytest.mark.parametrize("contiguous", [True, False])
def test_argmax_gives_the_first_of_equals(combiner: str, contiguous: bool) -> None:
    x = numpy.random.default_rng(1).integers(-3, 3, (4, 5, 6, 33)).astype(numpy.float32)
    if contiguous:
        domain, reduction, axis = axes(b=BATCH, p=5), axes(q=6, r=33), (2, 3)
    else:
        domain, reduction, axis = axes(b=BATCH, r=33), axes(p=5, q=6), (1, 2)
    equation = Equation(domain, read("A", "b", "p", "q", "r"), "int64", reduction, combiner)
    (found,) = run({"A": Input(shape(BATCH, 5, 6, 33), "float32"), "O": equation}, "O", symbols={"batch": 4}, A=x)
    moved = numpy.moveaxis(x, axis, (-2, -1))
    flat = moved.reshape(*moved.shape[:-2], -1)
    numpy.testing.assert_array_equal(found, flat.argmax(-1) if combiner == "argmax" else flat.argmin(-1))


def test_argmax_with_a_guard_and_with_infinities() -> None:
    guard = apply("lt", number(index("j")), number(index("i")), dtype="bool")
    equation = Equation(axes(i=6), read("A", "i", "j"), "int32", axes(j=6), "argmax", apply("not", guard, dtype="bool"))
    x = numpy.full((6, 6), -numpy.inf, numpy.float32)
    x[2, 4] = 1.0
    x[3, 5] = numpy.nan
    (found,) = run({"A": Input(shape(6, 6), "float32", batched=False), "O": equation}, "O", A=x)
    numpy.testing.assert_array_equal(found, [0, 1, 4, 5, 4, 5])


@pytest.mark.parametrize(
    ("combiner", "function"), [("sum", numpy.sum), ("prod", numpy.prod), ("max", numpy.max), ("min", numpy.min)]
)
@pytest.mark.parametrize(
    ("dtype", "axis"), [("float32", 0), ("float32", 1), ("float64", 1), ("int32", 0), ("int64", 1), ("uint8", 1)]
)
def test_every_combiner_in_every_dtype(combiner: str, function: Callable[..., Any], dtype: str, axis: int) -> None:
    x = numpy.random.default_rng(2).integers(1, 4, (40, 35)).astype(dtype)
    domain, reduction = (axes(j=35), axes(i=40)) if axis == 0 else (axes(i=40), axes(j=35))
    if combiner == "prod":
        x[numpy.random.default_rng(3).random(x.shape) < 0.8] = 1
    equation = Equation(domain, read("A", "i", "j", dtype=dtype), dtype, reduction, combiner)
    (found,) = run({"A": Input(shape(40, 35), dtype, batched=False), "O": equation}, "O", A=x)
    expected = function(x.astype(numpy.float64), axis=axis)
    if dtype == "uint8":
        expected = expected.astype(numpy.int64).astype(numpy.uint8)
    numpy.testing.assert_allclose(found, expected.astype(dtype), rtol=1e-6)


def test_any_and_all_of_truth_values() -> None:
    x = numpy.random.default_rng(2).random((30, 4)) < 0.4
    operations: dict[str, Operation] = {
        "A": Input(shape(30, 4), "bool", batched=False),
        "any": Equation(axes(i=30), read("A", "i", "j", dtype="bool"), "bool", axes(j=4), "any"),
        "all": Equation(
            axes(j=4), Apply("not", (read("A", "i", "j", dtype="bool"),), "bool"), "bool", axes(i=30), "all"
        ),
    }
    some, every = run(operations, "any", "all", A=x)
    numpy.testing.assert_array_equal(some, x.any(1))
    numpy.testing.assert_array_equal(every, (~x).all(0))


def test_the_maximum_of_nan_is_nan() -> None:
    x = rand(20, 40)
    x[3, 5] = x[7, 39] = numpy.nan
    operations: dict[str, Operation] = {
        "A": Input(shape(20, 40), "float32", batched=False),
        "R": Equation(axes(i=20), read("A", "i", "j"), "float32", axes(j=40), "max"),
        "C": Equation(axes(j=40), read("A", "i", "j"), "float32", axes(i=20), "max"),
    }
    rows, columns = run(operations, "R", "C", A=x)
    numpy.testing.assert_array_equal(rows, x.max(1))
    numpy.testing.assert_array_equal(columns, x.max(0))


@pytest.mark.parametrize(("combiner", "function"), [("max", numpy.max), ("min", numpy.min)])
def test_nan_wins_in_register_tiles_wherever_it_stands(combiner: str, function: Callable[..., Any]) -> None:
    a, w = rand(9, 20), rand(20, 40)
    a[0, 0] = a[1, 7] = a[2, 19] = w[5, 3] = w[19, 39] = numpy.nan
    a[3] = numpy.inf
    a[4, 6] = -numpy.inf
    w[6, 8] = numpy.inf
    w[:, 11] = -numpy.inf
    body = apply("add", read("A", "i", "k"), read("W", "k", "j"))
    operations: dict[str, Operation] = {
        "A": Input(shape(9, 20), "float32", batched=False),
        "W": Input(shape(20, 40), "float32", batched=False),
        "R": Equation(axes(i=9, j=40), body, "float32", axes(k=20), combiner),
    }
    (found,) = run(operations, "R", A=a, W=w)
    with numpy.errstate(invalid="ignore"):
        numpy.testing.assert_array_equal(found, function(a[:, :, None] + w, 1))


def test_a_reduction_whose_size_is_open() -> None:
    length = Integer.symbol("length")
    total = Equation(axes(b=BATCH), read("A", "b", "t"), "float32", axes(t=length), "sum")
    runner = Runner(compiled({"A": Input(shape(BATCH, length), "float32"), "O": total}, "O"))
    for batch, steps in ((1, 1), (2, 15), (3, 1000)):
        x = rand(batch, steps)
        numpy.testing.assert_allclose(
            runner({"batch": batch, "length": steps}, A=x)["O"], x.astype(float).sum(1), atol=1e-4
        )


def test_the_sum_of_all_elements() -> None:
    x = rand(1 << 17)
    equation = Equation((), read("A", "i"), "float32", axes(i=1 << 17), "sum")
    (found,) = run({"A": Input(shape(1 << 17), "float32", batched=False), "O": equation}, "O", A=x)
    numpy.testing.assert_allclose(found, x.astype(float).sum(), atol=2e-2)


def test_what_follows_a_reduction_may_name_an_axis_of_size_1_by_its_only_position() -> None:
    operations: dict[str, Operation] = {
        "A": Input(shape(BATCH, 5, 3), "float32"),
        "S": Equation(axes(b=BATCH, y=1, j=5), read("A", "b", "j", "k"), "float32", axes(k=3), "sum"),
        "E": Equation(axes(b=BATCH, y=1, j=5), apply("exp", read("S", "b", 0, "j")), "float32"),
    }
    x = rand(2, 5, 3)
    (found,) = run(operations, "E", symbols={"batch": 2}, A=x)
    numpy.testing.assert_allclose(found[:, 0], numpy.exp(x.astype(float).sum(2)), rtol=1e-6)
