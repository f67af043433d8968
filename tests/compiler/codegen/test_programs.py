"""Whole programs: memory, partial definitions, recurrences, random numbers, what runs once."""

from __future__ import annotations

import numpy
import pytest
from harness import (
    BATCH,
    Runner,
    apply,
    axes,
    compiled,
    index,
    literal,
    number,
    parameter,
    product_sum,
    program,
    rand,
    read,
    run,
    shape,
)

from majuscule.compiler.codegen import CompilationFailed, Target, compile_graph
from majuscule.compiler.codegen.sizes import encode_size
from majuscule.compiler.graph import Graph
from majuscule.compiler.random_numbers import uniform
from majuscule.dsl.equations import (
    Carried,
    Carry,
    Constant,
    Equation,
    Input,
    Operation,
    Parameter,
    Partial,
    Piece,
    Random,
    Recurrence,
    Reshape,
    Step,
)
from majuscule.dsl.integers import Integer


def scaled(tensor: str, by: float, *indices: str, domain) -> Equation:  # type: ignore[no-untyped-def]
    return Equation(domain, apply("mul", read(tensor, *indices), literal(by)), "float32")


def test_concatenation_is_written_in_place() -> None:
    first, second = axes(b=BATCH, i=5), axes(b=BATCH, i=4)
    operations: dict[str, Operation] = {
        "A": Input(shape(BATCH, 5), "float32"),
        "B": Input(shape(BATCH, 4), "float32"),
        "D": scaled("A", 2.0, "b", "i", domain=first),
        "P": Partial(
            shape(BATCH, 13),
            "float32",
            (
                Piece("D", first, (index("b"), index("i"))),
                Piece("B", second, (index("b"), index("i") * 2 + 5)),
                Piece("B", second, (index("b"), index("i") * 2 + 6)),
            ),
        ),
        "O": scaled("P", 10.0, "b", "i", domain=axes(b=BATCH, i=13)),
    }
    runner = Runner(compiled(operations, "O", "P"))
    for batch in (1, 3):
        a, b = rand(batch, 5), rand(batch, 4)
        found = runner({"batch": batch}, A=a, B=b)
        expected = numpy.concatenate([2 * a, numpy.repeat(b, 2, 1)], 1)
        numpy.testing.assert_array_equal(found["P"], expected)
        numpy.testing.assert_array_equal(found["O"], 10 * expected)


def test_reshapes_cost_nothing_and_outputs_may_repeat() -> None:
    operations: dict[str, Operation] = {
        "A": Input(shape(BATCH, 4, 6), "float32"),
        "R": Reshape("A", shape(BATCH, 24), "float32"),
        "S": scaled("R", 3.0, "b", "i", domain=axes(b=BATCH, i=24)),
        "T": Reshape("S", shape(BATCH, 2, 12), "float32"),
    }
    program = compiled(operations, "T", "R", "S", "A")
    x = rand(2, 4, 6)
    found = Runner(program)({"batch": 2}, A=x)
    numpy.testing.assert_array_equal(found["T"], 3 * x.reshape(2, 2, 12))
    numpy.testing.assert_array_equal(found["S"], 3 * x.reshape(2, 24))
    numpy.testing.assert_array_equal(found["R"], x.reshape(2, 24))
    numpy.testing.assert_array_equal(found["A"], x)
    assert program.manifest["arena"] == 0


def test_a_long_chain_shares_memory() -> None:
    """Twelve layers that do not fuse need two temporaries, not twelve."""
    operations: dict[str, Operation] = {"T0": Input(shape(BATCH, 64), "float32"), "W": parameter(64, 64)}
    for layer in range(12):
        factors = read(f"T{layer}", "b", "i"), read("W", "i", "j")
        operations[f"T{layer + 1}"] = product_sum(axes(b=BATCH, j=64), axes(i=64), *factors)
    program = compiled(operations, "T12")
    assert program.manifest["arena"] == encode_size(Integer.symbol("batch") * (2 * 64 * 4))
    assert sum("majuscule_kernel_" in str(m) for m in program._modules) == 2  # one kernel, called twelve times
    x, w = rand(3, 64), rand(64, 64) / 8
    expected = x.astype(float)
    for _ in range(12):
        expected = expected @ w
    numpy.testing.assert_allclose(Runner(program)({"batch": 3}, T0=x, W=w)["T12"], expected, atol=1e-4)


def test_what_weights_determine_is_computed_once() -> None:
    operations: dict[str, Operation] = {
        "A": Input(shape(BATCH, 8), "float32"),
        "W": parameter(8, 5),
        "G": Constant(shape(5), "float32", (1.0, 2.0, 3.0, 4.0, 5.0)),
        "F": Equation(axes(i=8, j=5), apply("mul", read("W", "i", "j"), apply("sqrt", read("G", "j"))), "float32"),
        "O": product_sum(axes(b=BATCH, j=5), axes(i=8), read("A", "b", "i"), read("F", "i", "j")),
    }
    program = compiled(operations, "O")
    assert [entry["name"] for entry in program.manifest["prepared"]] == ["F"]
    x, w = rand(4, 8), rand(8, 5)
    found = Runner(program)({"batch": 4}, A=x, W=w)["O"]
    numpy.testing.assert_allclose(found, x @ (w * numpy.sqrt(numpy.arange(1, 6))), atol=1e-5)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_recurrent_network(reverse: bool) -> None:
    length, hidden, inputs = Integer.symbol("length"), 20, 6
    t = index("t")
    before = t + 1 if reverse else t - 1
    start = Piece("Z", axes(b=BATCH, j=hidden), (index("b"), length if reverse else Integer.of(0), index("j")))
    source = t if reverse else t - 1
    domain = axes(b=BATCH, j=hidden)
    steps = (
        Step("U", product_sum(domain, axes(i=inputs), read("X", "b", source, "i"), read("W", "i", "j")), None),
        Step("V", product_sum(domain, axes(k=hidden), read("H", "b", before, "k"), read("R", "k", "j")), None),
        Step(
            "H",
            Equation(domain, apply("tanh", apply("add", read("U", "b", "j"), read("V", "b", "j"))), "float32"),
            (index("b"), t, index("j")),
        ),
    )
    lower, upper = (Integer.of(0), length) if reverse else (Integer.of(1), length + 1)
    operations: dict[str, Operation] = {
        "X": Input(shape(BATCH, length, inputs), "float32"),
        "W": parameter(inputs, hidden),
        "R": parameter(hidden, hidden),
        "Z": Equation(domain, literal(0.25), "float32"),
        "L": Recurrence(
            "t", lower, upper, reverse, (Carried("H", shape(BATCH, length + 1, hidden), "float32", 1, (start,)),), steps
        ),
        "O": Carry("L", 0, shape(BATCH, length + 1, hidden), "float32"),
        "Q": scaled("O", 2.0, "b", "t", "j", domain=axes(b=BATCH, t=length + 1, j=hidden)),
    }
    runner = Runner(compiled(operations, "Q"))
    w, r = rand(inputs, hidden), rand(hidden, hidden) / 4
    for batch, steps_ in ((1, 1), (3, 30)):
        x = rand(batch, steps_, inputs)
        state = numpy.full((batch, hidden), 0.25)
        states = [state]
        for position in reversed(range(steps_)) if reverse else range(steps_):
            state = numpy.tanh(x[:, position].astype(float) @ w + state @ r)
            states.append(state)
        expected = numpy.stack(states[::-1] if reverse else states, 1)
        found = runner({"batch": batch, "length": steps_}, X=x, W=w, R=r)["Q"]
        numpy.testing.assert_allclose(found, 2 * expected, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_random_numbers_are_those_of_the_reference(dtype: str) -> None:
    operations: dict[str, Operation] = {
        "X": Input(shape(BATCH, 3), "float32"),
        "U": Random(shape(BATCH, 2049, 3), dtype, 5),
    }
    runner = Runner(compiled(operations, "U"))
    for batch, seed, step in ((4, 0, 0), (3, 2**40 + 17, 12), (2, -3, 1), (1, 7, 2)):  # any number of words left over
        found = runner({"batch": batch}, seed=seed, step=step, X=rand(batch, 3))["U"].ravel()
        numpy.testing.assert_array_equal(found, uniform(batch * 6147, seed=seed % 2**64, step=step, stream=5))


def test_sizes_as_json() -> None:
    n = Integer.symbol("n", 3)
    assert encode_size(Integer.of(7)) == 7
    assert encode_size((n - 3) // 2 * 4 + 1) == {
        "terms": [[4, [{"floordiv": [{"terms": [[1, ["n"]], [1, []]]}, 2]}]], [-7, []]]
    }


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(CompilationFailed, match="there is no target called 'x86-64-v9'"):
        Target.named("x86-64-v9")
    assert Target.named("neoverse-n1").vector_bits == 128


def test_no_c_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CC", raising=False)
    operations: dict[str, Operation] = {"O": Equation(axes(i=3), apply("cast", number(index("i"))), "float32")}
    with pytest.raises(CompilationFailed, match="install gcc or clang"):
        compiled(operations, "O")


def test_sixteen_bit_floats_through_a_layer() -> None:
    x, w = rand(5, 40).astype(numpy.float16), rand(40, 33).astype(numpy.float16)
    total = product_sum(
        axes(b=BATCH, j=33),
        axes(i=40),
        read("A", "b", "i", dtype="float16"),
        read("W", "i", "j", dtype="float16"),
        dtype="float16",
    )
    operations: dict[str, Operation] = {
        "A": Input(shape(BATCH, 40), "float16"),
        "W": parameter(40, 33, dtype="float16"),
        "O": total,
    }
    (found,) = run(operations, "O", symbols={"batch": 5}, A=x, W=w)
    numpy.testing.assert_allclose(found, x.astype(float) @ w.astype(float), rtol=1e-3, atol=1e-3)


def test_first_values_of_weights() -> None:
    """The initializers' graph: a scaled uniform draw and a constant."""
    draw = Equation(axes(i=8, j=5), apply("sub", read("U", "i", "j"), literal(0.5)), "float32")
    first: dict[str, Operation] = {
        "U": Random(shape(8, 5), "float32", 3),
        "W0": draw,
        "B0": Equation(axes(j=5), literal(1.5), "float32"),
    }
    operations: dict[str, Operation] = {
        "A": Input(shape(BATCH, 8), "float32"),
        "W": Parameter(shape(8, 5), "float32", "W0"),
        "B": Parameter(shape(5), "float32", "B0"),
        "O": product_sum(axes(b=BATCH, j=5), axes(i=8), read("A", "b", "i"), read("W", "i", "j"), read("B", "j")),
    }
    graph = Graph.initializers(program(operations, "O", initializers=first))
    made = compile_graph(graph)
    assert made.manifest["inputs"] == made.manifest["symbols"] == made.manifest["parameters"] == []
    found = Runner(made)(seed=9)
    numpy.testing.assert_array_equal(found["W0"].ravel(), uniform(40, seed=9, step=0, stream=3) - 0.5)
    numpy.testing.assert_array_equal(found["B0"], numpy.full(5, 1.5))


def test_a_training_step_gives_the_next_weights() -> None:
    """Gradient descent on a least-squares problem; nothing is prepared, since weights change."""
    error = Equation(axes(b=BATCH), apply("sub", read("P", "b"), read("Y", "b")), "float32")
    gradient = product_sum(axes(i=6), axes(b=BATCH), read("E", "b"), read("X", "b", "i"))
    step = Equation(axes(i=6), apply("sub", read("W", "i"), apply("mul", literal(0.01), read("G", "i"))), "float32")
    operations: dict[str, Operation] = {
        "X": Input(shape(BATCH, 6), "float32"),
        "Y": Input(shape(BATCH), "float32"),
        "W": parameter(6),
        "D": Equation(axes(i=6), apply("mul", read("W", "i"), literal(0.5)), "float32"),
        "P": product_sum(axes(b=BATCH), axes(i=6), read("X", "b", "i"), read("W", "i")),
        "E": error,
        "G": gradient,
        "N": step,
        "L": product_sum((), axes(b=BATCH), read("E", "b"), read("E", "b")),
    }
    made = compiled(operations, "L", "D", updates={"W": "N"})
    assert made.manifest["updates"] == {"W": "N"}
    assert made.manifest["prepared"] == []
    x, y, w = rand(50, 6), rand(50), rand(6)
    found = Runner(made)({"batch": 50}, X=x, Y=y, W=w)
    residual = x.astype(float) @ w - y
    numpy.testing.assert_allclose(found["L"], residual @ residual, rtol=1e-5)
    numpy.testing.assert_allclose(found["N"], w - 0.01 * residual @ x, rtol=1e-4, atol=1e-6)
    numpy.testing.assert_allclose(found["D"], w / 2)


def test_bfloat16_through_a_layer() -> None:
    def bits(x: numpy.ndarray) -> numpy.ndarray:  # type: ignore[type-arg]
        return (x.view(numpy.uint32) >> 16).astype(numpy.uint16)

    def values(x: numpy.ndarray) -> numpy.ndarray:  # type: ignore[type-arg]
        return (x.astype(numpy.uint32) << 16).view(numpy.float32)

    x, w = bits(rand(5, 40)), bits(rand(40, 33))
    factors = read("A", "b", "i", dtype="bfloat16"), read("W", "i", "j", dtype="bfloat16")
    operations: dict[str, Operation] = {
        "A": Input(shape(BATCH, 40), "bfloat16"),
        "W": parameter(40, 33, dtype="bfloat16"),
        "C": Constant(shape(33), "bfloat16", tuple(float(i) / 4 for i in range(33))),
        "S": product_sum(axes(b=BATCH, j=33), axes(i=40), *factors, dtype="bfloat16"),
        "O": Equation(
            axes(b=BATCH, j=33),
            apply("add", read("S", "b", "j", dtype="bfloat16"), read("C", "j", dtype="bfloat16"), dtype="bfloat16"),
            "bfloat16",
        ),
    }
    (found,) = run(operations, "O", symbols={"batch": 5}, A=x, W=w)
    expected = values(x).astype(float) @ values(w) + numpy.arange(33) / 4
    numpy.testing.assert_allclose(values(found), expected, rtol=2**-8, atol=1e-3)
