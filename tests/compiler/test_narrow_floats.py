"""Tensors in 16 bits between equations: what they cost, and what stays in float32."""

from __future__ import annotations

from typing import Any

import numpy
import pytest

import majuscule
from majuscule.compiler.dependence import weight_only
from majuscule.compiler.graph import Graph
from majuscule.compiler.interpreter import evaluate
from majuscule.compiler.passes.narrow_floats import narrow_floats
from majuscule.compiler.pipeline import optimize
from majuscule.dsl.equations import Equation

NETWORK = """\
Given image[20, 18, 8]
first = relu(BatchNorm(CONV(image, width 3, pad 1, filters 24)))
second = relu(CONV(first, width 3, pad 1, filters 24)) + first
third = MaxPool(second, width 2, stride 2)
normed = LayerNorm(FC(third, units 32))
scores = Softmax(FC(relu(normed), units 10))
"""
COST = {"float16": 4e-3, "bfloat16": 4e-2}


def narrowed(text: str, dtype: str) -> Graph:
    graph = optimize(Graph.from_program(majuscule.check(text).require()), fold_weights=True, verify=True)
    return narrow_floats(graph, dtype, weight_only(graph))


def test_tensors_between_equations_are_narrow_and_plain_sums_are_not() -> None:
    graph = narrowed(NETWORK, "float16")
    found = {name: graph.tensor(name).dtype for name in graph if isinstance(graph.operation(name), Equation)}
    assert found[graph.resolve("scores")] == "float32", "what the user gets stays what it was"
    assert {graph.tensor(name).dtype for name in ("image",)} == {"float32"}
    for name in found:
        operation = graph.operation(name)
        assert isinstance(operation, Equation)
        if operation.combiner == "sum" and "mean" in name:
            assert found[name] == "float32", name
    assert found["second"] == "float16"
    assert {dtype for name, dtype in found.items() if name.endswith(".float16")} == {"float16"}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_networks_agree_up_to_rounding(request: pytest.FixtureRequest, target: str, dtype: Any) -> None:
    if target == "cuda":
        request.getfixturevalue("emulated_gpu")
    module = majuscule.compile(NETWORK, target=target, dtype=dtype)
    inputs = module.random_inputs(3)
    weights = {name: array.copy() for name, array in module.weights.items()}
    assert {array.dtype.name for array in weights.values()} == {"float32"}
    found = module(**inputs)
    assert found.dtype == numpy.float32
    program = majuscule.check(NETWORK).require()
    wanted = evaluate(Graph.from_program(program), inputs, weights, keep=["scores"])["scores"]
    error = numpy.abs(found - wanted).max()
    assert 0 < error <= COST[dtype] * numpy.abs(wanted).max()
    if target == "cuda":
        roads = [step["road"] for step in module._manifest["steps"]]
        assert any(f"tensor cores in {dtype}" in road for road in roads), roads


def test_sums_of_squares_stay_in_float32() -> None:
    """A float16 ends at 65504."""
    text = "Given x[2000]\nz[b,i] = 2 * x[b,i]\nn[b] = z[b,I] * relu(z[b,I])\ny[b,i] = z[b,i] / n[b]\n"
    data = numpy.full((1, 2000), 9.0, "float32")
    found = majuscule.compile(text, dtype="float16")(data)
    numpy.testing.assert_allclose(found, 1 / (18 * 2000), rtol=2e-3)


def test_recurrences_take_what_is_narrow() -> None:
    text = "Given x[T, 6]\nz = relu(Linear(x, units 5))\nh = RNN(z, units 4)\ny = Linear(h, units 3)\n"
    plain = majuscule.compile(text)
    inputs = plain.random_inputs(2)
    wanted = plain(**inputs)
    found = majuscule.compile(text, dtype="float16", weights=plain.weights)(**inputs)
    assert 0 < numpy.abs(found - wanted).max() < 5e-3 * numpy.abs(wanted).max()


def test_half_of_the_memory_is_enough() -> None:
    plain, half = (majuscule.compile(NETWORK, dtype=dtype).memory(64) for dtype in ("float32", "float16"))
    assert half.arena < 0.75 * plain.arena


def test_precisions_that_there_are_not() -> None:
    wrong: Any = "float8"
    with pytest.raises(Exception, match="no precision called 'float8': there are float32, tf32, float16, bfloat16"):
        majuscule.compile(NETWORK, dtype=wrong)
    with pytest.raises(Exception, match="tf32 is for GPUs"):
        majuscule.compile(NETWORK, dtype="tf32")
    text = NETWORK + "when training:\n    Given label[]: int64\n    loss J = cross_entropy(scores, label)\n"
    with pytest.raises(Exception, match="not trained in float16"):
        majuscule.Trainer(text, dtype="float16")


def test_tf32_rounds_factors(emulated_gpu: Any) -> None:
    text = "Given x[64, 48]\nparam w[48, 40] ~ xavier\ny[b,i,j] = x[b,i,K] * w[K,j]\n"
    exact, rounded = (majuscule.compile(text, target="cuda", dtype=dtype) for dtype in ("float32", "tf32"))
    inputs = exact.random_inputs(2)
    wanted = numpy.einsum("bik,kj->bij", inputs["x"].astype("float64"), exact.weights["w"].astype("float64"))
    errors = [numpy.abs(module(**inputs) - wanted).max() / numpy.abs(wanted).max() for module in (exact, rounded)]
    assert errors[0] < 1e-6 < errors[1] < 2e-3
    assert "tensor cores in tf32" in rounded._manifest["steps"][-1]["road"]
