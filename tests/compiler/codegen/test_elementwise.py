"""Scalar functions, dtypes in memory, selects, gathers."""

from __future__ import annotations

import math

import numpy
import pytest
from harness import BATCH, Array, Runner, apply, axes, compiled, literal, number, parameter, rand, read, run, shape

from majuscule.dsl.equations import Apply, Equation, Input, Operation
from majuscule.dsl.integers import Element, Integer


def unary(operation: str, x: Array, dtype: str = "float32") -> Array:
    equation = Equation(axes(i=len(x)), Apply(operation, (read("A", "i", dtype=dtype),), dtype), dtype)
    return run({"A": Input(shape(len(x)), dtype, batched=False), "O": equation}, "O", A=x)[0]


SPECIAL = numpy.array([0.0, -0.0, math.inf, -math.inf, math.nan, 1e-40, -1e-40, 1e-38, 3e38, -3e38], numpy.float32)
ORACLES = {
    "exp": numpy.exp,
    "log": numpy.log,
    "tanh": numpy.tanh,
    "sigmoid": lambda x: numpy.where(x >= 0, 1, numpy.exp(-numpy.abs(x))) / (1 + numpy.exp(-numpy.abs(x))),
    "erf": numpy.vectorize(math.erf),
    "sqrt": numpy.sqrt,
    "sin": numpy.sin,
    "cos": numpy.cos,
    "abs": numpy.abs,
    "sign": numpy.sign,
    "floor": numpy.floor,
    "ceil": numpy.ceil,
    "round": numpy.rint,
    "neg": numpy.negative,
}


@pytest.mark.parametrize("operation", ORACLES)
def test_functions_are_within_four_units_in_the_last_place(operation: str) -> None:
    generator = numpy.random.default_rng(5)
    spread = [generator.uniform(-110, 100, 9001), generator.normal(size=9001), generator.normal(size=9001) * 1e-3]
    x = numpy.concatenate([*spread, [0.5, 1.5, 2.5, -0.5]]).astype(numpy.float32)
    with numpy.errstate(all="ignore"):
        expected = ORACLES[operation](x.astype(numpy.float64))
        found = unary(operation, x)
        unit = numpy.maximum(numpy.spacing(numpy.abs(expected).astype(numpy.float32)), numpy.float32(1.5e-45))
        wrong = numpy.abs(found - expected) / unit
    wrong[numpy.isnan(found) & numpy.isnan(expected)] = 0
    wrong[numpy.isinf(found) & (numpy.abs(expected) > 3.402823e38)] = 0
    assert wrong.max() < 4, (x[wrong.argmax()], found[wrong.argmax()], expected[wrong.argmax()])


@pytest.mark.parametrize("operation", [name for name in ORACLES if name not in ("sin", "cos")])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions_of_special_values(operation: str, dtype: str) -> None:
    with numpy.errstate(all="ignore"):
        x = SPECIAL.astype(dtype)
        expected = ORACLES[operation](x.astype(numpy.float64)).astype(dtype)
        numpy.testing.assert_allclose(unary(operation, numpy.tile(x, 5), dtype), numpy.tile(expected, 5), rtol=1e-6)


@pytest.mark.parametrize("operation", ["add", "sub", "mul", "div", "pow", "floordiv", "mod", "max", "min"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32"])
def test_arithmetic(operation: str, dtype: str) -> None:
    if operation == "div" and dtype.startswith("int"):
        pytest.skip("division is of floats")
    generator = numpy.random.default_rng(7)
    x = generator.uniform(-9, 9, 77).astype(dtype)
    y = generator.uniform(1, 5, 77).astype(dtype) * (
        1 if operation == "pow" else generator.choice([-1, 1], 77).astype(dtype)
    )
    if operation == "pow":
        x = numpy.abs(x)
    body = Apply(operation, (read("A", "i", dtype=dtype), read("B", "i", dtype=dtype)), dtype)
    operations: dict[str, Operation] = {
        "A": Input(shape(77), dtype, batched=False),
        "B": Input(shape(77), dtype, batched=False),
        "O": Equation(axes(i=77), body, dtype),
    }
    names = {
        "div": "true_divide",
        "sub": "subtract",
        "mul": "multiply",
        "pow": "power",
        "floordiv": "floor_divide",
        "max": "maximum",
        "min": "minimum",
    }
    expected = getattr(numpy, names.get(operation, operation))(x, y)
    numpy.testing.assert_allclose(run(operations, "O", A=x, B=y)[0], expected, rtol=1e-6, atol=1e-6)


def test_infinity_times_zero_is_not_a_number() -> None:
    body = apply("mul", read("A", "i"), literal(0.0))
    (found,) = run(
        {"A": Input(shape(20), "float32", batched=False), "O": Equation(axes(i=20), body, "float32")},
        "O",
        A=numpy.full(20, numpy.inf, numpy.float32),
    )
    assert numpy.isnan(found).all()


def bfloat16(x: Array) -> Array:
    bits = x.astype(numpy.float32).view(numpy.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(numpy.uint16)


def test_bfloat16_rounds_to_the_nearest_even() -> None:
    x = rand(1000)
    operations: dict[str, Operation] = {
        "A": Input(shape(1000), "float32", batched=False),
        "H": Equation(axes(i=1000), apply("cast", read("A", "i"), dtype="bfloat16"), "bfloat16"),
        "F": Equation(axes(i=1000), apply("cast", read("H", "i", dtype="bfloat16")), "float32"),
    }
    half, full = run(operations, "H", "F", A=x)
    numpy.testing.assert_array_equal(half, bfloat16(x))
    numpy.testing.assert_array_equal(full, (bfloat16(x).astype(numpy.uint32) << 16).view(numpy.float32))


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("float32", "int32"),
        ("int64", "uint8"),
        ("float64", "float16"),
        ("uint8", "float32"),
        ("bool", "int64"),
        ("int32", "bool"),
    ],
)
def test_casts(source: str, target: str) -> None:
    x = (numpy.random.default_rng(8).uniform(-300, 300, 100)).astype("int64" if source == "int64" else "float64")
    x = numpy.abs(x).astype(source) if source == "uint8" else (x > 0) if source == "bool" else x.astype(source)
    body = Apply("cast", (read("A", "i", dtype=source),), target)
    (found,) = run({"A": Input(shape(100), source, batched=False), "O": Equation(axes(i=100), body, target)}, "O", A=x)
    numpy.testing.assert_array_equal(found, x.astype(target))


def test_gathers_and_their_failures() -> None:
    place = Integer.atom(Element(read("T", "b", "t", dtype="int64")))
    operations: dict[str, Operation] = {
        "T": Input(shape(BATCH, 5), "int64"),
        "E": parameter(11, 24),
        "O": Equation(axes(b=BATCH, t=5, c=24), read("E", place, "c"), "float32"),
        "L": Equation(axes(b=BATCH), read("E", place, 3), "float32", axes(t=5), "sum"),
    }
    table, tokens = rand(11, 24), numpy.random.default_rng(1).integers(0, 11, (3, 5))
    runner = Runner(compiled(operations, "O", "L"))
    found = runner({"batch": 3}, T=tokens, E=table)
    numpy.testing.assert_array_equal(found["O"], table[tokens])
    numpy.testing.assert_allclose(found["L"], table[tokens][:, :, 3].sum(1), rtol=1e-5)
    assert runner.failed == []
    tokens[1, 2], tokens[2, 4] = -7, 11
    found = runner({"batch": 3}, T=tokens, E=table)
    numpy.testing.assert_array_equal(found["O"], table[tokens.clip(0, 10)])
    assert len(runner.failed) == 2
    assert "axis 1 of E" in runner.failed[0]


def test_an_arm_that_is_not_taken_is_not_read() -> None:
    """The gather in the arm would fail; the row in it lies far outside the table."""
    safe = apply("lt", read("T", "i", dtype="int64"), number(4), dtype="bool")
    place = Integer.atom(Element(read("T", "i", dtype="int64")))
    body = apply("select", safe, read("E", place), literal(-1.0))
    far = apply(
        "select",
        apply("lt", number(Integer.index("i")), number(8), dtype="bool"),
        read("E", Integer.index("i") * 1_000_000_000 - 7_000_000_000 + 0 * 1),
        literal(2.0),
    )
    operations: dict[str, Operation] = {
        "T": Input(shape(9), "int64", batched=False),
        "E": parameter(4),
        "O": Equation(axes(i=9), body, "float32"),
        "P": Equation(
            axes(i=9),
            apply("select", apply("eq", number(Integer.index("i")), number(7), dtype="bool"), far, literal(3.0)),
            "float32",
        ),
    }
    tokens, table = numpy.array([0, 9, 1, 2, 50, 3, 3, 7, 0]), rand(4)
    runner = Runner(compiled(operations, "O", "P"))
    found = runner(T=tokens, E=table)
    numpy.testing.assert_array_equal(found["O"], numpy.where(tokens < 4, table[tokens % 4], -1))
    numpy.testing.assert_array_equal(found["P"], [3, 3, 3, 3, 3, 3, 3, table[0], 3])
    assert runner.failed == []
