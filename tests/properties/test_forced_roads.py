"""Every road that may be asked for, over programs of all families that it might compute and over small networks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import pytest
from answers import results
from cases import Case, program
from contractions import contraction_case
from levels import EXHAUSTIVE, sparse
from numpy.typing import NDArray
from reductions import reduction_case
from windows import window_case

import majuscule
from majuscule.compiler.graph import Graph
from majuscule.compiler.interpreter import evaluate
from majuscule.compiler.road_names import ROADS, Forced

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SEEDS = (3, 11)
TOLERANCES = {"float64": 1e-11, "float32": 2e-5, "float16": 4e-3, "bfloat16": 4e-2}
"""In parts of the largest value, Winograd's rounding included; other dtypes must agree."""

RESIDUAL = """\
Given Image[20, 20, 3]
A = relu(BatchNorm(Conv(Image, filters 32, width 5, stride 2, pad 2)))
B = relu(Conv(A, filters 32, width 3, pad 1))
C = relu(A + Conv(B, filters 32, width 3, pad 1, groups 2))
D = MaxPool(C, width 2, stride 2)
E = relu(Conv(D, filters 48, width 2))
P[b,j] = mean[x,y](E[b,x,y,j])
scores[10] = FC(P)
"""
MOBILE = """\
Given Image[12, 9, 8]
A = relu(Conv(Image, filters 48, width 1))
B = relu(Conv(A, filters 48, width 3, pad 1, groups 48))
C = Conv(B, filters 16, width 1)
D = Conv(C, filters 20, width 3, dilation 2, pad 2)
scores[7] = FC(D)
"""


def cases() -> list[Case]:
    """A few cases of each family whose equations sum products."""
    made = [(window_case, seed) for seed in (*SEEDS, 21)] + [(contraction_case, seed) for seed in SEEDS]
    return [make(seed, number) for number, (make, seed) in enumerate([*made, (reduction_case, 5)])]


def roads(module: majuscule.Module) -> set[str]:
    """Names of the roads of a module's steps."""
    return {step["road"].partition(":")[0] for step in module._manifest["steps"]}


def agrees(text: str, road: Forced, inputs: Mapping[str, NDArray[Any]], seed: int = 0) -> majuscule.Module:
    """The module of a text on a road, whose outputs are those of the interpreter."""
    program_ = majuscule.check(text).require()
    module = majuscule.compile(text, road=road, seed=seed)
    inputs = inputs or module.random_inputs(2, seed=seed)
    names = [tensor.name for tensor in module.outputs]
    found = results(module, inputs, names)
    weights = {name: array.copy() for name, array in module.weights.items()}
    expected = evaluate(Graph.from_program(program_), inputs, weights, keep=names)
    for name in names:
        wanted = expected[name].astype(numpy.float64)
        error = numpy.abs(found[name].astype(numpy.float64) - wanted).max(initial=0.0)
        allowed = TOLERANCES.get(str(found[name].dtype), 0.0) * numpy.abs(wanted).max(initial=0.0)
        assert error <= allowed, f"{name}: {error:.3g}, more than {allowed:.3g}\n{text}"
    return module


@pytest.mark.parametrize("road", sparse(ROADS, 3))
def test_random_programs_mean_the_same_on_every_road(road: Forced) -> None:
    found = cases()
    inputs = {
        name: tensor.as_given(tensor.canonical(name, 3))
        for case in found
        for name, tensor in case.tensors.items()
        if tensor.kind != "parameter"
    }
    assert road in roads(agrees(program(found), road, inputs)) | {"winograd", "depthwise"}


@pytest.mark.parametrize("road", sparse(ROADS, 3))
@pytest.mark.parametrize("text", [RESIDUAL, MOBILE], ids=["residual", "mobile"])
def test_small_networks_mean_the_same_on_every_road(text: str, road: Forced) -> None:
    module = agrees(text, road, {})
    assert road in roads(module) or (text, road) in {(RESIDUAL, "depthwise"), (MOBILE, "winograd")}


@pytest.mark.slow
@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("name", sparse(["lenet", "mobilenet_v2", "resnet18"], 3, EXHAUSTIVE))
def test_networks_mean_the_same_on_every_road(name: str, road: Forced) -> None:
    text = (EXAMPLES / f"{name}.maj").read_text(encoding="utf-8").replace("224, 224", "64, 64")
    agrees(text.replace('import "', f'import "{EXAMPLES.as_posix()}/'), road, {})
