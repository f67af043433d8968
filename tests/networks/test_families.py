"""The networks of `examples/networks/` against PyTorch: numbers of parameters as published, and the same outputs.

The interpreter, in float64, tells what a program means, at a small image; compiled modules are
compared within 1e-4 of the largest output.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy
import pytest

import majuscule
from majuscule.compiler.graph import Graph
from majuscule.compiler.interpreter import evaluate
from majuscule.dsl import check_text
from majuscule.dsl.equations import Parameter, Program

torch = pytest.importorskip("torch")
peers = pytest.importorskip("peers")
import published  # noqa: E402 (needs the two)

FOLDER = peers.EXAMPLES / "networks"
Build = Callable[..., Any]


@dataclass(frozen=True)
class Network:
    """A program, its published number of parameters, and how it is built in PyTorch for an image of so many rows."""

    parameters: int
    build: Build
    rows: int = 224


def network(parameters: int, build: Build, *arguments: Any, rows: int = 224, **options: Any) -> Network:
    return Network(parameters, lambda rows: build(rows, *arguments, **options), rows)


GROUPED = functools.partial(published.bottleneck, narrowing=1, groups=32)
WIDE = functools.partial(published.bottleneck, narrowing=2)
NETWORKS = {
    "resnet34": network(21_797_672, published.resnet, (3, 4, 6, 3)),
    "plain34": network(21_623_848, published.resnet, (3, 4, 6, 3), published.plain),
    "resnet101": network(44_549_160, published.resnet, (3, 4, 23, 3), published.bottleneck, 256),
    "resnet152": network(60_192_808, published.resnet, (3, 8, 36, 3), published.bottleneck, 256),
    "preactivation_resnet50": network(25_549_352, published.preactivation_resnet, (3, 4, 6, 3)),
    "resnext101_32x8d": network(88_791_336, published.resnet, (3, 4, 23, 3), GROUPED, 256),
    "wide_resnet50_2": network(68_883_240, published.resnet, (3, 4, 6, 3), WIDE, 256),
    "vgg11": network(132_863_336, published.vgg, ([3], [3], [3, 3], [3, 3], [3, 3])),
    "vgg11_lrn": network(132_863_336, published.vgg, ([3], [3], [3, 3], [3, 3], [3, 3]), normalise=True),
    "vgg13": network(133_047_848, published.vgg, [[3, 3]] * 5),
    "vgg16_c": network(133_638_952, published.vgg, ([3, 3], [3, 3], [3, 3, 1], [3, 3, 1], [3, 3, 1])),
    "vgg19": network(143_667_240, published.vgg, ([3, 3], [3, 3], [3] * 4, [3] * 4, [3] * 4)),
    "squeezenet1_0": network(1_248_424, published.squeezenet, 96, 7, (4, 8)),
    "densenet161": network(28_681_000, published.densenet, (6, 12, 36, 24), growth=48),
    "densenet169": network(14_149_480, published.densenet, (6, 12, 32, 32)),
    "densenet201": network(20_013_928, published.densenet, (6, 12, 48, 32)),
    "shufflenet_v2_x0_5": network(1_366_792, published.shufflenet_v2, (48, 96, 192)),
    "shufflenet_v2_x1_0": network(2_278_604, published.shufflenet_v2, (116, 232, 464)),
    "shufflenet_v2_x1_5": network(3_503_624, published.shufflenet_v2, (176, 352, 704)),
    "shufflenet_v2_x2_0": network(7_393_996, published.shufflenet_v2, (244, 488, 976), last=2048),
    "mnasnet0_5": network(2_218_512, published.mnasnet, (16, 8, 16, 24, 40, 48, 96, 160)),
    "mnasnet0_75": network(3_170_208, published.mnasnet, (24, 16, 24, 32, 64, 72, 144, 240)),
    "mnasnet1_0": network(4_383_312, published.mnasnet, (32, 16, 24, 40, 80, 96, 192, 320)),
    "mnasnet1_3": network(6_282_256, published.mnasnet, (40, 24, 32, 56, 104, 128, 248, 416)),
}

SLOW = {
    "resnet152",
    "resnext101_32x8d",
    "vgg13",
    "densenet161",
    "densenet201",
    "shufflenet_v2_x1_5",
    "mnasnet0_75",
    "mnasnet1_3",
}
"""Networks with more of what others of their family have, whose numbers every run of the tests need not count."""


@dataclass(frozen=True)
class Sample:
    """A network that is made smaller before its outputs are compared: its images, and what its text says instead."""

    rows: int
    build: Build
    old: str = ""
    new: str = ""


def sample(rows: int, old: str, new: str, build: Build, *arguments: Any, **options: Any) -> Sample:
    return Sample(rows, lambda: build(rows, *arguments, **options), old, new)


FEW = (1, 2, 1, 1)
SAMPLES = {
    "resnet34": sample(32, "[3, 4, 6, 3]", "[1, 2, 1, 1]", published.resnet, FEW),
    "plain34": sample(32, "[3, 4, 6, 3]", "[1, 2, 1, 1]", published.resnet, FEW, published.plain),
    "resnet101": sample(32, "[3, 4, 23, 3]", "[1, 2, 1, 1]", published.resnet, FEW, published.bottleneck, 256),
    "preactivation_resnet50": sample(32, "[3, 4, 6, 3]", "[2, 2, 1, 1]", published.preactivation_resnet, (2, 2, 1, 1)),
    "resnext101_32x8d": sample(32, "[3, 4, 23, 3]", "[1, 2, 1, 1]", published.resnet, FEW, GROUPED, 256),
    "wide_resnet50_2": sample(32, "[3, 4, 6, 3]", "[1, 2, 1, 1]", published.resnet, FEW, WIDE, 256),
    "vgg11_lrn": sample(32, "", "", published.vgg, ([3], [3], [3, 3], [3, 3], [3, 3]), normalise=True),
    "vgg16_c": sample(32, "", "", published.vgg, ([3, 3], [3, 3], [3, 3, 1], [3, 3, 1], [3, 3, 1])),
    "squeezenet1_0": sample(64, "", "", published.squeezenet, 96, 7, (4, 8)),
    "densenet169": sample(32, "[6, 12, 32, 32]", "[2, 1, 3, 1]", published.densenet, (2, 1, 3, 1)),
    "shufflenet_v2_x0_5": sample(64, "", "", published.shufflenet_v2, (48, 96, 192)),
    "mnasnet0_5": sample(64, "", "", published.mnasnet, (16, 8, 16, 24, 40, 48, 96, 160)),
}
"""Of each family, and of each kind of block, a network whose outputs are compared."""

COMPILED = ("plain34", "shufflenet_v2_x0_5", "mnasnet0_5")
"""Networks that are compiled, too."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Layers this small take longer in several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def parameters(program: Program) -> int:
    shapes = [operation.shape for operation in program.operations.values() if isinstance(operation, Parameter)]
    return sum(math.prod(size.constant or 0 for size in shape) for shape in shapes)


def text(name: str) -> str:
    """The program as it is compared."""
    found, rows = SAMPLES[name], NETWORKS[name].rows
    changes = {f"Given image[{rows}, {rows}, ": f"Given image[{found.rows}, {found.rows}, ", found.old: found.new}
    program: str = (FOLDER / f"{name}.maj").read_text(encoding="utf-8")
    for old, new in changes.items():
        assert old in program
        program = program.replace(old, new) if old else program
    return program


def peer(name: str) -> tuple[Any, Any]:
    """Two images and the network in PyTorch, with random weights and statistics of random images."""
    found = SAMPLES[name]
    subject = peers.Network(name, found.build, (found.rows, found.rows, 3))
    return subject.images(2), subject.peer(count=32)


def outputs(model: Any, images: Any) -> Any:
    """What PyTorch gives in float64."""
    with torch.inference_mode():
        return model.double()(peers.channels_first(images.astype(numpy.float64))).numpy()


def compare(found: Any, expected: Any, tolerance: float) -> None:
    assert found.shape == expected.shape
    assert 0.05 < expected.std() < 50  # numbers that vanish or explode would be close for no reason
    assert abs(found - expected).max() < tolerance * abs(expected).max()


def test_every_program_is_compared() -> None:
    programs = {path.stem for path in FOLDER.glob("*.maj") if "Given " in path.read_text(encoding="utf-8")}
    assert programs == set(NETWORKS)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in NETWORKS]
)
def test_networks_have_as_many_parameters_as_published(name: str) -> None:
    found = NETWORKS[name]
    path = FOLDER / f"{name}.maj"
    assert parameters(majuscule.check(path).require()) == found.parameters
    assert f"{found.parameters:,} parameters" in " ".join(path.read_text(encoding="utf-8").replace("#", "").split())
    with torch.device("meta"):  # shapes alone
        assert sum(parameter.numel() for parameter in found.build(found.rows).parameters()) == found.parameters


@pytest.mark.parametrize("name", SAMPLES)
def test_networks_mean_what_pytorch_computes(name: str) -> None:
    images, model = peer(name)
    program = check_text(text(name), folder=FOLDER).require()
    found = evaluate(Graph.from_program(program), {"image": images}, peers.program_weights(model))["scores"]
    compare(found, outputs(model, images), 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPILED)
def test_compiled_networks_give_the_outputs_of_pytorch(name: str) -> None:
    images, model = peer(name)
    program = text(name).replace('import "', f'import "{FOLDER.as_posix()}/')
    module = majuscule.compile(program, weights=peers.program_weights(model))
    compare(module(images), outputs(model, images), 1e-4)
