"""Sums of products: convolutions and matrix products of all sorts against NumPy in float64."""

from __future__ import annotations

import numpy
import pytest
from harness import (
    BATCH,
    Array,
    Runner,
    apply,
    axes,
    between,
    compiled,
    index,
    literal,
    number,
    parameter,
    product_sum,
    rand,
    read,
    run,
    shape,
)
from levels import sparse

from majuscule.compiler.codegen import Target
from majuscule.dsl.equations import Equation, Input, Operation
from majuscule.dsl.integers import Integer


def convolve(x: Array, w: Array, stride: int = 1, dilation: int = 1) -> Array:
    """NHWC input, weights [window, window, in, out], no padding."""
    x, w = x.astype(numpy.float64), w.astype(numpy.float64)
    k0, k1, _, channels = w.shape
    rows = (x.shape[1] - (k0 - 1) * dilation - 1) // stride + 1
    columns = (x.shape[2] - (k1 - 1) * dilation - 1) // stride + 1
    result = numpy.zeros((x.shape[0], rows, columns, channels))
    for i in range(k0):
        for j in range(k1):
            part = x[:, i * dilation :, j * dilation :][:, : rows * stride : stride, : columns * stride : stride]
            result += part @ w[i, j]
    return result


def convolution(
    rows: int, columns: int, inputs: int, outputs: int, window: int, stride: int, dilation: int
) -> dict[str, Operation]:
    reach = (window - 1) * dilation
    domain = axes(b=BATCH, x=(rows - reach - 1) // stride + 1, y=(columns - reach - 1) // stride + 1, j=outputs)
    a = read("A", "b", index("x") * stride + index("p") * dilation, index("y") * stride + index("q") * dilation, "i")
    w = read("W", "p", "q", "i", "j")
    return {
        "A": Input(shape(BATCH, rows, columns, inputs), "float32"),
        "W": parameter(window, window, inputs, outputs),
        "O": product_sum(domain, axes(p=window, q=window, i=inputs), a, w),
    }


@pytest.mark.parametrize(
    ("rows", "columns", "inputs", "outputs", "window", "stride", "dilation"),
    [
        (8, 8, 16, 64, 3, 1, 1),
        (9, 13, 5, 21, 3, 1, 1),
        (13, 11, 3, 10, 5, 1, 1),
        (15, 15, 3, 6, 3, 2, 1),
        (23, 19, 4, 96, 11, 4, 1),
        (12, 12, 8, 40, 3, 1, 2),
        (7, 7, 32, 100, 1, 1, 1),
        (9, 9, 17, 3, 3, 1, 1),
        (6, 6, 2, 1, 3, 1, 1),
    ],
)
def test_convolutions_of_any_extent(
    rows: int, columns: int, inputs: int, outputs: int, window: int, stride: int, dilation: int
) -> None:
    runner = Runner(compiled(convolution(rows, columns, inputs, outputs, window, stride, dilation), "O"))
    w = rand(window, window, inputs, outputs)
    for batch in (1, 3):
        x = rand(batch, rows, columns, inputs)
        found = runner({"batch": batch}, A=x, W=w)["O"]
        numpy.testing.assert_allclose(found, convolve(x, w, stride, dilation), atol=2e-4)


@pytest.mark.parametrize("cpu", ["x86-64-v3", "core2"])
def test_narrower_vectors_give_the_same(cpu: str) -> None:
    x, w = rand(2, 9, 9, 8), rand(3, 3, 8, 24)
    operations = convolution(9, 9, 8, 24, 3, 1, 1)
    (found,) = run(operations, "O", symbols={"batch": 2}, target=Target.named(cpu), A=x, W=w)
    numpy.testing.assert_allclose(found, convolve(x, w), atol=1e-4)


def test_grouped_and_depthwise_convolutions() -> None:
    x, w, d = rand(2, 8, 9, 3, 8), rand(3, 3, 3, 8, 20), rand(3, 3, 24)
    domain = axes(b=BATCH, x=6, y=7)
    place = (index("x") + index("p"), index("y") + index("q"))
    operations: dict[str, Operation] = {
        "A": Input(shape(BATCH, 8, 9, 3, 8), "float32"),
        "W": parameter(3, 3, 3, 8, 20),
        "D": parameter(3, 3, 24),
        "grouped": product_sum(
            (*domain, *axes(g=3, j=20)),
            axes(p=3, q=3, i=8),
            read("A", "b", *place, "g", "i"),
            read("W", "p", "q", "g", "i", "j"),
        ),
        "depthwise": product_sum(
            (*domain, *axes(c=24)),
            axes(p=3, q=3),
            read("A", "b", *place, index("c") // 8, index("c") % 8),
            read("D", "p", "q", "c"),
        ),
    }
    grouped, depthwise = run(operations, "grouped", "depthwise", symbols={"batch": 2}, A=x, W=w, D=d)
    for group in range(3):
        expected = convolve(x[:, :, :, group], w[:, :, group])
        numpy.testing.assert_allclose(grouped[:, :, :, group], expected, atol=1e-4)
    flat = x.reshape(2, 8, 9, 24).astype(numpy.float64)
    expected = sum(flat[:, p : p + 6, q : q + 7] * d[p, q] for p in range(3) for q in range(3))
    numpy.testing.assert_allclose(depthwise, expected, atol=1e-5)


@pytest.mark.parametrize("channels", sparse([32, 7], 2))
def test_padding_inside_the_convolution(channels: int) -> None:
    row, column = index("x") + index("p") - 1, index("y") + index("q") - 1
    inside = apply("and", between(0, row, 9), between(0, column, 10), dtype="bool")
    padded = apply("select", inside, read("A", "b", row, column, "i"), literal(0.0))
    domain, window = axes(b=BATCH, x=9, y=10, j=channels), axes(p=3, q=3, i=6)
    operations: dict[str, Operation] = {
        "A": Input(shape(BATCH, 9, 10, 6), "float32"),
        "W": parameter(3, 3, 6, channels),
        "O": product_sum(domain, window, padded, read("W", "p", "q", "i", "j")),
        "G": Equation(
            domain,
            apply("mul", read("A", "b", row, column, "i"), read("W", "p", "q", "i", "j")),
            "float32",
            window,
            "sum",
            inside,
        ),
    }
    x, w = rand(2, 9, 10, 6), rand(3, 3, 6, channels)
    selected, guarded = run(operations, "O", "G", symbols={"batch": 2}, A=x, W=w)
    expected = convolve(numpy.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), w)
    numpy.testing.assert_allclose(selected, expected, atol=1e-4)
    numpy.testing.assert_allclose(guarded, expected, atol=1e-4)


def test_channels_first_convolution() -> None:
    x, w = rand(2, 6, 12, 21), rand(13, 6, 3, 3)
    a = read("A", "b", "i", index("x") + index("p"), index("y") + index("q"))
    operations: dict[str, Operation] = {
        "A": Input(shape(BATCH, 6, 12, 21), "float32"),
        "W": parameter(13, 6, 3, 3),
        "O": product_sum(axes(b=BATCH, j=13, x=10, y=19), axes(i=6, p=3, q=3), a, read("W", "j", "i", "p", "q")),
    }
    (found,) = run(operations, "O", symbols={"batch": 2}, A=x, W=w)
    expected = convolve(x.transpose(0, 2, 3, 1), w.transpose(2, 3, 1, 0)).transpose(0, 3, 1, 2)
    numpy.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("inputs", "outputs"), [(64, 96), (37, 10), (300, 1), (1, 50), (400, 120), (515, 602)])
def test_matrix_products_with_bias_and_relu(inputs: int, outputs: int, transposed: bool) -> None:
    weight = read("W", "j", "i") if transposed else read("W", "i", "j")
    total = product_sum(axes(b=BATCH, j=outputs), axes(i=inputs), read("A", "b", "i"), weight)
    biased = Equation(axes(b=BATCH, j=outputs), apply("add", read("S", "b", "j"), read("B", "j")), "float32")
    relu = Equation(axes(b=BATCH, j=outputs), apply("max", read("T", "b", "j"), literal(0.0)), "float32")
    operations: dict[str, Operation] = {
        "A": Input(shape(BATCH, inputs), "float32"),
        "W": parameter(*((outputs, inputs) if transposed else (inputs, outputs))),
        "B": parameter(outputs),
        "S": total,
        "T": biased,
        "O": relu,
    }
    runner = Runner(compiled(operations, "O"))
    w, b = rand(inputs, outputs), rand(outputs)
    for batch in (1, 3, 17, 40):
        x = rand(batch, inputs)
        expected = numpy.maximum(x.astype(numpy.float64) @ w + b, 0)
        found = runner({"batch": batch}, A=x, W=w.T if transposed else w, B=b)["O"]
        numpy.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float16", 2e-2), ("int32", 0), ("int64", 0)])
def test_other_dtypes(dtype: str, tolerance: float) -> None:
    generator = numpy.random.default_rng(3)
    x = (generator.uniform(-9, 9, (5, 33))).astype(dtype)
    w = (generator.uniform(-9, 9, (33, 20))).astype(dtype)
    operations: dict[str, Operation] = {
        "A": Input(shape(5, 33), dtype, batched=False),
        "W": parameter(33, 20, dtype=dtype),
        "O": product_sum(
            axes(b=5, j=20), axes(i=33), read("A", "b", "i", dtype=dtype), read("W", "i", "j", dtype=dtype), dtype=dtype
        ),
    }
    (found,) = run(operations, "O", A=x, W=w)
    assert found.dtype == dtype
    numpy.testing.assert_allclose(
        found, x.astype(numpy.float64) @ w.astype(numpy.float64), rtol=tolerance, atol=20 * tolerance
    )


def test_gradient_of_weights_sums_over_batch_and_places() -> None:
    x, g = rand(3, 9, 9, 5), rand(3, 7, 7, 18)
    a = read("A", "b", index("x") + index("p"), index("y") + index("q"), "i")
    operations: dict[str, Operation] = {
        "A": Input(shape(BATCH, 9, 9, 5), "float32"),
        "G": Input(shape(BATCH, 7, 7, 18), "float32"),
        "O": product_sum(axes(p=3, q=3, i=5, j=18), axes(b=BATCH, x=7, y=7), a, read("G", "b", "x", "y", "j")),
    }
    (found,) = run(operations, "O", symbols={"batch": 3}, A=x, G=g)
    expected = numpy.zeros((3, 3, 5, 18))
    for p in range(3):
        for q in range(3):
            expected[p, q] = numpy.einsum("bxyi,bxyj->ij", x[:, p : p + 7, q : q + 7].astype(float), g)
    numpy.testing.assert_allclose(found, expected, atol=1e-4)


def test_open_image_sizes() -> None:
    height, width = Integer.symbol("height", 3), Integer.symbol("width", 3)
    a = read("A", "b", index("x") * 2 + index("p"), index("y") * 2 + index("q"), "i")
    domain = axes(b=BATCH, x=(height - 3) // 2 + 1, y=(width - 3) // 2 + 1, j=20)
    operations: dict[str, Operation] = {
        "A": Input(shape(BATCH, height, width, 4), "float32"),
        "W": parameter(3, 3, 4, 20),
        "O": product_sum(domain, axes(p=3, q=3, i=4), a, read("W", "p", "q", "i", "j")),
    }
    runner = Runner(compiled(operations, "O"))
    w = rand(3, 3, 4, 20)
    for rows, columns in ((3, 3), (8, 17), (21, 14)):
        x = rand(2, rows, columns, 4)
        found = runner({"batch": 2, "height": rows, "width": columns}, A=x, W=w)["O"]
        numpy.testing.assert_allclose(found, convolve(x, w, 2), atol=1e-4)


def test_conditions_on_the_lanes_do_not_read_outside() -> None:
    """Padding along the contiguous index, where vectors would straddle the edge."""
    place = index("j") - 3
    body = apply("select", between(0, place, 30), read("A", "b", place), literal(-1.0))
    operations: dict[str, Operation] = {
        "A": Input(shape(BATCH, 30), "float32"),
        "O": Equation(axes(b=BATCH, j=37), body, "float32"),
    }
    x = rand(3, 30)
    (found,) = run(operations, "O", symbols={"batch": 3}, A=x)
    numpy.testing.assert_array_equal(found, numpy.pad(x, ((0, 0), (3, 4)), constant_values=-1))


def test_an_index_as_a_value() -> None:
    body = apply("mul", apply("cast", number(index("i") * 2 + 1)), literal(0.5))
    (found,) = run({"O": Equation(axes(i=37), body, "float32")}, "O")
    numpy.testing.assert_array_equal(found, (numpy.arange(37) * 2 + 1) * 0.5)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("outputs", [5, 72])
def test_gradient_of_the_input_guards_the_edges(stride: int, outputs: int) -> None:
    """Places of the output that a place of the input reaches: whole steps inside the image."""
    row, column = index("x") - index("p"), index("y") - index("q")
    conditions = [between(0, row // stride, 6), between(0, column // stride, 7)]
    conditions += [apply("eq", number(place % stride), number(0), dtype="bool") for place in (row, column)]
    guard = conditions[0]
    for condition in conditions[1:]:
        guard = apply("and", guard, condition, dtype="bool")
    rows, columns = 5 * stride + 3, 6 * stride + 3
    body = apply("mul", read("G", "b", row // stride, column // stride, "j"), read("W", "p", "q", "i", "j"))
    operations: dict[str, Operation] = {
        "G": Input(shape(BATCH, 6, 7, outputs), "float32"),
        "W": parameter(3, 3, 11, outputs),
        "O": Equation(axes(b=BATCH, x=rows, y=columns, i=11), body, "float32", axes(p=3, q=3, j=outputs), "sum", guard),
    }
    g, w = rand(2, 6, 7, outputs), rand(3, 3, 11, outputs)
    (found,) = run(operations, "O", symbols={"batch": 2}, G=g, W=w)
    expected = numpy.zeros((2, rows, columns, 11))
    for p in range(3):
        for q in range(3):
            expected[:, p : p + 6 * stride : stride, q : q + 7 * stride : stride] += g.astype(float) @ w[p, q].T
    numpy.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("sign", ["", "neg"])
def test_sums_of_distances_are_exact_where_their_terms_are_whole(sign: str) -> None:
    """The layer of an adder network: sums of terms that are no products."""
    a = numpy.random.default_rng(0).integers(-99, 99, (2, 12, 13, 19)).astype(numpy.float32)
    w = numpy.random.default_rng(1).integers(-99, 99, (3, 3, 19, 40)).astype(numpy.float32)
    place = read("A", "b", index("x") + index("p"), index("y") + index("q"), "i")
    distance = apply("abs", apply("sub", place, read("W", "p", "q", "i", "j")))
    body = apply(sign, distance) if sign else distance
    operations: dict[str, Operation] = {
        "A": Input(shape(BATCH, 12, 13, 19), "float32"),
        "W": parameter(3, 3, 19, 40),
        "O": Equation(axes(b=BATCH, x=10, y=11, j=40), body, "float32", axes(p=3, q=3, i=19), "sum"),
    }
    (found,) = run(operations, "O", symbols={"batch": 2}, A=a, W=w)
    windows = numpy.lib.stride_tricks.sliding_window_view(a.astype(numpy.float64), (3, 3), (1, 2))
    expected = numpy.abs(windows[..., None] - w.transpose(2, 0, 1, 3)).sum((3, 4, 5))
    numpy.testing.assert_array_equal(found, -expected if sign else expected)
