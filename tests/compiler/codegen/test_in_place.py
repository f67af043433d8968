"""Results that are written over an operand: only where that is safe, and then right."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
from levels import sparse

import majuscule
from majuscule.compiler.codegen import compile_graph
from majuscule.compiler.graph import Graph
from majuscule.compiler.pipeline import optimize
from majuscule.dsl.front_end import check_text
from majuscule.runtime.sizes import THREADS, evaluate

RESIDUAL = """\
Given x[{n}]
param A[{n}, {n}]
param U[{n}, {n}]
param V[{n}, {n}]
y[b,j] = relu(A[I,j] * x[b,I])
h[b,j] = relu(U[I,j] * y[b,I])
r[b,j] = U[I,j] * h[b,I] + y[b,j]
z[b,j] = V[I,j] * r[b,I]
"""


def arena(text: str, batch: int) -> int:
    graph = optimize(Graph.from_program(check_text(text, "test.maj").require()), fold_weights=True)
    return evaluate(compile_graph(graph).manifest["arena"], {"batch": batch, THREADS: 2})


def weights(n: int) -> dict[str, Any]:
    generator = numpy.random.default_rng(n)
    return {name: generator.normal(size=(n, n)).astype(numpy.float32) / n**0.5 for name in "AUV"}


def residual(x: Any, given: dict[str, Any]) -> Any:
    a, u, v = (given[name].astype(float) for name in "AUV")
    y = numpy.maximum(x @ a, 0)
    return (numpy.maximum(y @ u, 0) @ u + y) @ v


@pytest.mark.parametrize("n", sparse([13, 1, 3, 16, 24, 31, 64, 48, 100], 3))
def test_a_sum_over_its_shortcut_is_right_at_every_size(n: int) -> None:
    given = weights(n)
    module = majuscule.compile(RESIDUAL.format(n=n), weights=given)
    for batch in (1, 2, 7, 64, 301):
        x = numpy.random.default_rng(batch).normal(size=(batch, n)).astype(numpy.float32)
        numpy.testing.assert_allclose(module(x), residual(x.astype(float), given), rtol=1e-4, atol=1e-4)


def test_a_sum_over_its_shortcut_takes_no_memory() -> None:
    assert arena(RESIDUAL.format(n=64), batch=10) == 2 * 10 * 64 * 4


def test_elements_that_are_computed_twice_are_not_written_over_their_operand() -> None:
    # The last of two vectors of 16 reaches back over the first.
    assert arena(RESIDUAL.format(n=17), batch=16) == 3 * 16 * 17 * 4


def test_an_operand_that_is_read_elsewhere_too_stays() -> None:
    turned = RESIDUAL.format(n=64).replace("+ y[b,j]", "+ y[b,63-j]")
    assert arena(turned, batch=10) == 3 * 10 * 64 * 4
    given, x = weights(64), numpy.random.default_rng(1).normal(size=(10, 64)).astype(numpy.float32)
    y = numpy.maximum(x @ given["A"].astype(float), 0)
    u, v = given["U"].astype(float), given["V"].astype(float)
    wanted = (numpy.maximum(y @ u, 0) @ u + y[:, ::-1]) @ v
    numpy.testing.assert_allclose(majuscule.compile(turned, weights=given)(x), wanted, rtol=1e-4, atol=1e-4)


def test_an_operand_that_is_needed_later_stays() -> None:
    later = RESIDUAL.format(n=64) + "w[b,j] = V[I,j] * y[b,I]\n"
    given, x = weights(64), numpy.random.default_rng(1).normal(size=(5, 64)).astype(numpy.float32)
    scores = majuscule.compile(later, weights=given)(x)
    numpy.testing.assert_allclose(scores.z, residual(x.astype(float), given), rtol=1e-4, atol=1e-4)
    y = numpy.maximum(x @ given["A"].astype(float), 0)
    numpy.testing.assert_allclose(scores.w, y @ given["V"].astype(float), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("road", sparse(["direct", "winograd"], 2))
def test_blocks_of_a_residual_network_are_right(road: Any) -> None:
    torch = pytest.importorskip("torch")
    text = """\
Given x[13, 14, 16]
y = ReLU(CONV(x, Φ1, width 3, pad 1, filters 32))
h = ReLU(CONV(y, Φ2, width 3, pad 1, filters 32))
r = ReLU(CONV(h, Φ3, width 3, pad 1, filters 32) + y)
g = ReLU(CONV(r, Φ4, width 3, pad 1, filters 32))
z = CONV(g, Φ5, width 3, pad 1, filters 32) + r
"""
    module = majuscule.compile(text, road=road)
    filters = {name: torch.from_numpy(array.astype(float)) for name, array in module.weights.items()}

    def convolved(image: Any, layer: str) -> Any:
        kernel = filters[f"{layer}.W"].permute(3, 2, 0, 1)
        return torch.nn.functional.conv2d(image, kernel, filters[f"{layer}.B"], padding=1)

    for batch in (1, 3):
        x = numpy.random.default_rng(batch).normal(size=(batch, 13, 14, 16)).astype(numpy.float32)
        y = convolved(torch.from_numpy(x.astype(float)).permute(0, 3, 1, 2), "Φ1").relu()
        r = (convolved(convolved(y, "Φ2").relu(), "Φ3") + y).relu()
        z = convolved(convolved(r, "Φ4").relu(), "Φ5") + r
        wanted = z.permute(0, 2, 3, 1).numpy()
        numpy.testing.assert_allclose(module(x), wanted, rtol=1e-3, atol=1e-3 * abs(wanted).max())
