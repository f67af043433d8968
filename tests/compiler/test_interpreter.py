"""The interpreter against NumPy written by hand and against PyTorch's convolutions."""

from __future__ import annotations

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
    program,
    read,
    weights,
    within,
)  # fmt: skip

from majuscule.compiler import interpreter
from majuscule.compiler.graph import Graph
from majuscule.compiler.interpreter import evaluate, initial_values
from majuscule.dsl.equations import (
    Apply,
    Carried,
    Carry,
    Constant,
    Partial,
    Piece,
    Program,
    Random,
    Read,
    Recurrence,
    Requirement,
    Reshape,
    Step,
)
from majuscule.dsl.integers import Element, Integer

rng = numpy.random.default_rng(0)


def normal(*shape: int) -> numpy.ndarray:
    return rng.standard_normal(shape)


def test_sum_of_products_with_bias_and_relu() -> None:
    operations = {
        "x": given("B, 5"),
        "W": weights("5, 3"),
        "c": weights("3"),
        "s": equation("b<B, j<3", mul(read("W", "i, j"), read("x", "b, i")), "i<5"),
        "y": equation("b<B, j<3", apply("max", literal(0.0), apply("sub", read("s", "b, j"), read("c", "j")))),
    }
    x, w, c = normal(4, 5), normal(5, 3), normal(3)
    found = evaluate(graph(operations, "y"), {"x": x}, {"W": w, "c": c}, keep=["s"])
    numpy.testing.assert_allclose(found["s"], x @ w)
    numpy.testing.assert_allclose(found["y"], numpy.maximum(0, x @ w - c))
    assert set(found) == {"s", "y"}
    assert "c" in evaluate(graph(operations, "y"), {"x": x}, {"W": w, "c": c}, keep="all")


@pytest.mark.parametrize("limit", [1 << 22, 100])
@pytest.mark.parametrize(("stride", "dilation", "outputs"), [(1, 1, 9), (2, 1, 5), (1, 3, 5), (2, 2, 4)])
def test_convolution_as_pytorch(
    monkeypatch: pytest.MonkeyPatch, limit: int, stride: int, dilation: int, outputs: int
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(interpreter, "LIMIT", limit)
    operations = {
        "L": given("B, 11, 11, 4"),
        "W": weights("3, 3, 4, 6"),
        "y": convolution(3, stride, str(outputs), "4", "6", dilation),
    }
    image, kernel = normal(2, 11, 11, 4), normal(3, 3, 4, 6)
    found = evaluate(graph(operations, "y"), {"L": image}, {"W": kernel})["y"]
    expected = torch.nn.functional.conv2d(
        torch.tensor(image).permute(0, 3, 1, 2),
        torch.tensor(kernel).permute(3, 2, 0, 1),
        stride=stride,
        dilation=dilation,
    )
    numpy.testing.assert_allclose(found, expected.permute(0, 2, 3, 1).numpy(), atol=1e-12)


@pytest.mark.parametrize("limit", [1 << 22, 50])
def test_grouped_padded_convolution_as_pytorch(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(interpreter, "LIMIT", limit)
    padded = apply(
        "select",
        apply("and", within("x + dx - 1", 0, 7), within("y + dy - 1", 0, 7)),
        read("L", "b, x + dx - 1, y + dy - 1, 2*(j//3) + i"),
        literal(0.0),
    )
    operations = {
        "L": given("B, 7, 7, 4"),
        "W": weights("3, 3, 2, 6"),
        "y": equation("b<B, x<7, y<7, j<6", mul(padded, read("W", "dx, dy, i, j")), "dx<3, dy<3, i<2"),
    }
    image, kernel = normal(2, 7, 7, 4), normal(3, 3, 2, 6)
    found = evaluate(graph(operations, "y"), {"L": image}, {"W": kernel})["y"]
    expected = torch.nn.functional.conv2d(
        torch.tensor(image).permute(0, 3, 1, 2), torch.tensor(kernel).permute(3, 2, 0, 1), padding=1, groups=2
    )
    numpy.testing.assert_allclose(found, expected.permute(0, 2, 3, 1).numpy(), atol=1e-12)


@pytest.mark.parametrize("limit", [1 << 22, 20])
def test_guarded_max_leaves_the_padded_places_out(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(interpreter, "LIMIT", limit)
    operations = {
        "L": given("B, 6"),
        "y": equation("b<B, x<3", read("L", "b, 2*x + d - 1"), "d<3", "max", within("2*x + d - 1", 0, 6)),
        "p": equation(
            "b<B, x<3", read("L", "b, 2*x + d - 1"), "d<3", "argmax", within("2*x + d - 1", 0, 6), dtype="int64"
        ),
        "s": equation("b<B, x<3", read("L", "b, 2*x + d - 1"), "d<3", "sum", within("2*x + d - 1", 0, 6)),
    }
    line = -1 - numpy.abs(normal(3, 6))
    padded = numpy.pad(line, ((0, 0), (1, 0)), constant_values=-numpy.inf)
    windows = numpy.stack([padded[:, 0:3], padded[:, 2:5], padded[:, 4:7]], 1)
    found = evaluate(graph(operations, "y", "p", "s"), {"L": line})
    numpy.testing.assert_array_equal(found["y"], windows.max(2))
    numpy.testing.assert_array_equal(found["p"], windows.argmax(2))
    numpy.testing.assert_allclose(found["s"], numpy.where(numpy.isinf(windows), 0, windows).sum(2))


def test_argmax_and_argmin_take_the_lowest_row_major_position() -> None:
    operations = {
        "L": given("2, 3", "int64"),
        "high": equation("", read("L", "i, j", "int64"), "i<2, j<3", "argmax", dtype="int64"),
        "low": equation("", read("L", "j, i", "int64"), "i<3, j<2", "argmin", dtype="int64"),
    }
    found = evaluate(graph(operations, "high", "low"), {"L": numpy.array([[1, 5, 0], [5, 0, 5]])})
    assert found["high"] == 1
    assert found["low"] == 3  # L[j, i] with i outermost: (i, j) = (1, 1)


def test_max_gives_its_first_argument_on_a_tie_and_reducers_cover_any_all_prod_min() -> None:
    operations = {
        "L": given("4"),
        "tie": equation("", apply("max", literal(0.0), literal(-0.0))),
        "any": equation("", apply("lt", read("L", "i"), literal(1.5)), "i<4", "any", dtype="bool"),
        "all": equation("", apply("lt", read("L", "i"), literal(1.5)), "i<4", "all", dtype="bool"),
        "prod": equation("", read("L", "i"), "i<4", "prod"),
        "min": equation("", read("L", "i"), "i<4", "min"),
    }
    found = evaluate(graph(operations, "tie", "any", "all", "prod", "min"), {"L": numpy.array([1.0, 2.0, 3.0, 4.0])})
    assert not numpy.signbit(found["tie"])
    assert (found["any"], found["all"], found["prod"], found["min"]) == (True, False, 24.0, 1.0)


def test_sum_adds_terms_that_miss_reduction_indices_once_per_point() -> None:
    body = apply("sub", mul(read("u", "i"), read("v", "k"), literal(2.0)), apply("add", literal(1.0), read("u", "i")))
    operations = {"u": given("3"), "v": given("4"), "y": equation("", body, "i<3, k<4")}
    u, v = normal(3), normal(4)
    found = evaluate(graph(operations, "y"), {"u": u, "v": v})["y"]
    numpy.testing.assert_allclose(found, (2 * u[:, None] * v - (1 + u[:, None])).sum())


def test_product_of_three_with_a_shared_axis() -> None:
    body = mul(read("a", "n, i"), read("b", "n, i, k"), read("c", "k, j"))
    operations = {
        "a": given("2, 3"), "b": given("2, 3, 4"), "c": given("4, 5"),
        "y": equation("n<2, j<5", body, "i<3, k<4"),
    }  # fmt: skip
    a, b, c = normal(2, 3), normal(2, 3, 4), normal(4, 5)
    found = evaluate(graph(operations, "y"), {"a": a, "b": b, "c": c})["y"]
    numpy.testing.assert_allclose(found, numpy.einsum("ni,nik,kj->nj", a, b, c))


def test_empty_sums_are_zero() -> None:
    operations = {"u": given("0, 3"), "y": equation("j<3", mul(read("u", "i, j"), read("u", "i, j")), "i<0")}
    assert evaluate(graph(operations, "y"), {"u": numpy.zeros((0, 3))})["y"].tolist() == [0, 0, 0]


def gather(table: str, subscripts: str, position: Read) -> Read:
    return Read(table, (Integer.atom(Element(position)), *integers(subscripts)), "float32")


def test_gather_and_its_error() -> None:
    operations = {
        "T": given("5, 2"),
        "n": given("B", "int64"),
        "y": equation("b<B, j<2", gather("T", "j", read("n", "b", "int64"))),
    }
    table = normal(5, 2)
    found = evaluate(graph(operations, "y"), {"T": table, "n": numpy.array([4, 0, 1])})["y"]
    numpy.testing.assert_array_equal(found, table[[4, 0, 1]])
    with pytest.raises(IndexError, match=r"reads index 5 of axis 0 of T, whose size is 5"):
        evaluate(graph(operations, "y"), {"T": table, "n": numpy.array([4, 5])})


def test_the_arm_not_taken_may_read_outside() -> None:
    position = read("n", "b", "int64")
    safe = apply("select", apply("le", literal(0, "int64"), position), gather("T", "j", position), literal(0.0))
    operations = {"T": given("5, 2"), "n": given("B", "int64"), "y": equation("b<B, j<2", safe)}
    table = normal(5, 2)
    found = evaluate(graph(operations, "y"), {"T": table, "n": numpy.array([-7, 1])})["y"]
    numpy.testing.assert_array_equal(found, [[0, 0], table[1]])


def test_an_affine_read_outside_is_an_error() -> None:
    operations = {"L": given("4"), "y": equation("x<4", read("L", "x + 1"))}
    with pytest.raises(IndexError, match="index 4 of axis 0 of L"):
        evaluate(graph(operations, "y"), {"L": normal(4)})


def test_partial_definitions_reshape_and_negative_strides() -> None:
    even, odd = Piece("u", axes("i<3"), integers("2*i")), Piece("v", axes("i<3"), integers("5 - 2*i"))
    operations = {
        "u": given("3"), "v": given("3"),
        "y": Partial(integers("6"), "float32", (even, odd)),
        "z": Reshape("y", integers("2, 3"), "float32"),
        "w": equation("x<6", read("y", "5 - x")),
    }  # fmt: skip
    found = evaluate(graph(operations, "z", "w"), {"u": numpy.array([0, 2, 4.0]), "v": numpy.array([5, 3, 1.0])})
    assert found["z"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["w"].tolist() == [5, 4, 3, 2, 1, 0]


def recurrence(reverse: bool) -> dict[str, object]:
    """`h[b,t] = tanh(h[b,t-1] V + x[b,t])` with a temporary, forwards or backwards."""
    earlier = "b, t + 1, k" if reverse else "b, t, k"
    now = "b, t, j" if reverse else "b, t + 1, j"
    steps = (
        Step("m", equation("b<B, j<3", mul(read("h", earlier), read("V", "k, j")), "k<3"), None),
        Step(
            "h",
            equation("b<B, j<3", apply("tanh", apply("add", read("m", "b, j"), read("x", "b, t, j")))),
            integers(now),
        ),
    )
    size = integers("B, T + 1, 3")
    start = Piece("h0", axes("b<B, j<3"), integers("b, T, j" if reverse else "b, 0, j"))
    carried = Carried("h", size, "float32", 1, (start,))
    return {
        "x": given("B, T, 3"), "h0": given("B, 3"), "V": weights("3, 3"),
        "loop": Recurrence("t", integer(0), integer("T"), reverse, (carried,), steps),
        "y": Carry("loop", 0, size, "float32"),
    }  # fmt: skip


@pytest.mark.parametrize("reverse", [False, True])
def test_recurrence(reverse: bool) -> None:
    x, start, v = normal(2, 4, 3), normal(2, 3), normal(3, 3)
    found = evaluate(graph(recurrence(reverse), "y"), {"x": x, "h0": start}, {"V": v})["y"]  # type: ignore[arg-type]
    h, rows = start, [start]
    for t in reversed(range(4)) if reverse else range(4):
        h = numpy.tanh(h @ v + x[:, t])
        rows.append(h)
    numpy.testing.assert_allclose(found, numpy.stack(rows[::-1] if reverse else rows, 1))


def test_scalar_operations() -> None:
    a, b = normal(20), normal(20)
    expected = {
        "add": a + b, "sub": a - b, "mul": a * b, "div": a / b, "floordiv": numpy.floor(a / b),
        "mod": a - b * numpy.floor(a / b), "max": numpy.maximum(a, b), "min": numpy.minimum(a, b),
    }  # fmt: skip
    unary = {
        "neg": -a, "exp": numpy.exp(a), "abs": abs(a), "sign": numpy.sign(a), "tanh": numpy.tanh(a),
        "sigmoid": 1 / (1 + numpy.exp(-a)), "sin": numpy.sin(a), "cos": numpy.cos(a), "floor": numpy.floor(a),
        "ceil": numpy.ceil(a), "round": numpy.round(a),
    }  # fmt: skip
    operations = {"a": given("20"), "b": given("20")}
    operations |= {name: equation("i<20", apply(name, read("a", "i"), read("b", "i"))) for name in expected}  # type: ignore[misc]
    operations |= {name: equation("i<20", apply(name, read("a", "i"))) for name in unary}  # type: ignore[misc]
    found = evaluate(graph(operations, *expected, *unary), {"a": a, "b": b})
    for name, values in (expected | unary).items():
        numpy.testing.assert_allclose(found[name], values, err_msg=name)


def test_casts_truncate_and_wrap() -> None:
    operations = {
        "a": given("4"),
        "i": equation("k<4", Apply("cast", (read("a", "k"),), "int32"), dtype="int32"),
        "u": equation("k<4", Apply("cast", (read("i", "k", "int32"),), "uint8"), dtype="uint8"),
        "n": equation("k<4", number("3*k + 1", "float32")),
    }
    found = evaluate(graph(operations, "i", "u", "n"), {"a": numpy.array([1.9, -1.9, 255.5, 256.0])})
    assert found["i"].tolist() == [1, -1, 255, 256]
    assert found["u"].tolist() == [1, 255, 255, 0]
    assert found["n"].tolist() == [1, 4, 7, 10]


def test_random_numbers_follow_seed_and_step() -> None:
    operations = {"r": Random(integers("3, 4"), "float32", 5)}
    first = evaluate(graph(operations, "r"), {}, seed=1, step=2)["r"]
    assert first.shape == (3, 4)
    assert numpy.array_equal(first, evaluate(graph(operations, "r"), {}, seed=1, step=2)["r"])
    assert not numpy.array_equal(first, evaluate(graph(operations, "r"), {}, seed=1, step=3)["r"])


def test_parameters_start_from_their_initializers() -> None:
    operations = {"W": weights("2"), "y": equation("i<2", mul(read("W", "i"), literal(3.0)))}
    made = program(operations, "y", initializers={"zero": Constant(integers("2"), "float32", (0.1, 2.0))})
    assert initial_values(made)["W"].dtype == numpy.float32
    numpy.testing.assert_array_equal(
        evaluate(Graph.from_program(made), {})["y"], 3 * numpy.float32([0.1, 2]).astype(float)
    )


def test_errors_name_the_input_and_both_shapes() -> None:
    operations = {"x": given("B, 2*N + 1"), "y": equation("b<B, i<N", read("x", "b, 2*i"))}
    assert evaluate(graph(operations, "y"), {"x": normal(2, 7)})["y"].shape == (2, 3)
    with pytest.raises(ValueError, match=r"input x has shape \(2, 6\), but the program declares \[B, 2\*N \+ 1\]"):
        evaluate(graph(operations, "y"), {"x": normal(2, 6)})
    with pytest.raises(ValueError, match="no value is given for x"):
        evaluate(graph(operations, "y"), {})
    with pytest.raises(ValueError, match="no input named z"):
        evaluate(graph(operations, "y"), {"z": normal(2)})


def test_requirements_are_checked() -> None:
    operations = {"x": given("B, N"), "y": equation("b<B, i<N - 4", read("x", "b, i"))}
    made = Program(
        "test",
        "infer",
        operations,
        ("x",),
        ("y",),
        requirements=(Requirement(integer("N - 5"), "x must be 5 or longer"),),
    )
    with pytest.raises(ValueError, match="x must be 5 or longer"):
        evaluate(Graph.from_program(made), {"x": normal(2, 4)})


def test_layers_of_alexnet_are_evaluated_as_they_are() -> None:
    operations = {
        "L": given("B, 31, 31, 96"), "W": weights("5, 5, 96, 256"), "F": weights("4096, 9216"), "v": given("B, 9216"),
        "y": convolution(5, 1, "27", "96", "256"),
        "z": equation("b<B, j<4096", mul(read("F", "j, i"), read("v", "b, i")), "i<9216"),
    }  # fmt: skip
    values = {"W": numpy.ones((5, 5, 96, 256), "float32"), "F": numpy.ones((4096, 9216), "float32")}
    found = evaluate(graph(operations, "y", "z"), {"L": normal(1, 31, 31, 96), "v": numpy.ones((1, 9216))}, values)
    assert found["z"].tolist() == [[9216.0] * 4096]
