"""What programs for a GPU, which is emulated, compute: layers of the library, their gradients, whole networks."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
from levels import EXHAUSTIVE, sparse
from library_layers import LAYERS, OTHERS

import majuscule
from majuscule.api import compile_program
from majuscule.compiler.graph import Graph
from majuscule.compiler.interpreter import evaluate
from majuscule.networks import known_networks

pytestmark = pytest.mark.usefixtures("emulated_gpu")
NETWORKS = (
    "lenet", "mobilenet_v2", "resnet18", "squeezenet1_1", "vit_ti_16", "language_lstm", "densenet121", "googlenet",
)  # fmt: skip


def results(program: Any, batch: int) -> tuple[majuscule.Module, dict[str, Any], list[Any], list[Any]]:
    """A module for the CPU, inputs, and the outputs from there and from a GPU, which takes other kernels."""
    here = compile_program(program, exact=True)
    there = compile_program(program, target="cuda", weights=here.weights)
    inputs = here.random_inputs(batch)
    pair = [found if isinstance(found, tuple) else (found,) for found in (there(**inputs), here(**inputs))]
    return here, inputs, list(pair[0]), list(pair[1])


def agree(program: Any) -> None:
    """A GPU rounds no worse than some times what the CPU does, both measured by the interpreter's float64."""
    here, inputs, found, others = results(program, 2)
    names = [info.name for info in here.outputs]
    weights = {name: array.copy() for name, array in here.weights.items()}
    exact = evaluate(Graph.from_program(program), inputs, weights, keep=names)
    for name, one, other in zip(names, found, others, strict=True):
        wanted = exact[name].astype(numpy.float64)
        finite = numpy.isfinite(wanted)
        numpy.testing.assert_array_equal(one[~finite], wanted[~finite], err_msg=name)
        errors = [numpy.abs(array[finite] - wanted[finite]).max(initial=0.0) for array in (one, other)]
        assert errors[0] <= 4 * errors[1] + 1e-6 * numpy.abs(wanted[finite]).max(initial=0.0), name


@pytest.mark.parametrize("layer", sparse(sorted(LAYERS | OTHERS), 5))
def test_layers(layer: str) -> None:
    agree(majuscule.check((LAYERS | OTHERS)[layer] + "\n", mode="training").require())


@pytest.mark.parametrize("layer", sparse(sorted(LAYERS), 9))
def test_gradients_of_layers(layer: str) -> None:
    agree(majuscule.gradient(LAYERS[layer] + "\n").program)


@pytest.mark.parametrize("network", sparse(NETWORKS, len(NETWORKS), EXHAUSTIVE))
def test_networks(network: str) -> None:
    _, _, found, wanted = results(majuscule.check(known_networks()[network].path).require(), 1)
    for one, other in zip(found, wanted, strict=True):
        numpy.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4 * numpy.abs(other).max())
