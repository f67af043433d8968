"""The networks of `examples/`, compiled, at their full sizes, against PyTorch in float64.

Every layer of a program, and every block of its stages, is compared, within 1e-4 of the layer's largest absolute
value; so is what the program gives as it stands, where layers are fused with each other.
"""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy
import pytest
from levels import EXHAUSTIVE, SLOW, sparse

import majuscule
from majuscule.dsl.equations import Program

torch = pytest.importorskip("torch")
peers = pytest.importorskip("peers")
import costs  # noqa: E402 (needs the two)

Array = numpy.ndarray[Any, Any]
TOLERANCE = 1e-4
PARAMETERS = {
    "lenet": 61_706,
    "alexnet": 62_378_344,
    "alexnet_pytorch": 61_100_840,
    "vgg16": 138_357_544,
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "resnext50_32x4d": 25_028_904,
    "mobilenet_v2": 3_504_872,
    "squeezenet1_1": 1_235_496,
    "googlenet": 6_624_904,
    "densenet121": 7_978_856,
}

QUICK = {("lenet", 1), ("lenet", 4), ("squeezenet1_1", 1)}
"""Networks and batches that every run of the tests has time for."""

LARGE = {
    "alexnet",
    "alexnet_pytorch",
    "vgg16",
    "googlenet",
    "densenet121",
    "resnext50_32x4d",
    "resnet50",
    "mobilenet_v2",
}
"""Networks that take longest."""


def test_every_network_is_compared() -> None:
    assert set(PARAMETERS) == set(peers.NETWORKS)


@pytest.mark.parametrize("name", PARAMETERS)
def test_networks_cost_what_is_published_and_what_the_table_says(name: str) -> None:
    network = peers.NETWORKS[name]
    program = majuscule.check(network.path).require()
    row = costs.in_the_table(network, program)
    parameters, work = costs.in_pytorch(network)
    assert parameters == PARAMETERS[name]
    assert (row.parameters, row.multiply_adds) == (f"{parameters:,}", f"{work:,}")
    text = network.path.read_text(encoding="utf-8")
    assert f"{parameters:,} parameters" in " ".join(text.replace("#", "").split())


@dataclass(frozen=True)
class Subject:
    """A network as it stands, with layers as outputs (their tensors by name), and in PyTorch, with equal weights."""

    module: majuscule.Module
    inside: majuscule.Module
    layers: dict[str, str]
    peer: Any


@functools.lru_cache(maxsize=1)  # VGG16 takes gigabytes
def subject(name: str) -> Subject:
    network = peers.NETWORKS[name]
    peer = network.peer()
    weights, report = majuscule.import_weights(network.path, peer.state_dict(), by="order")
    assert all(name.endswith("num_batches_tracked") for name in report.left_in_file)
    program = majuscule.check(network.path).require()
    layers = layer_tensors(program)
    return Subject(
        majuscule.compile(network.path, weights=weights),
        majuscule.compile_program(replace(program, outputs=tuple(dict.fromkeys(layers.values()))), weights=weights),
        layers,
        peer.double(),
    )


def layer_tensors(program: Program) -> dict[str, str]:
    """The tensors that layers give, by their full names: `scores.pool1`, and the blocks of stages."""
    found: dict[str, str] = {}
    path: list[str] = []
    for statement in program.statements:
        path[statement.depth :] = [statement.name]
        below = statement.depth - program.layer_depth
        if below == 0 or (below == 1 and re.fullmatch(r"(block|conv)_\d+", statement.name)):
            found[".".join(path)] = statement.tensor
    return {name: tensor for name, tensor in found.items() if tensor in program.operations}


@pytest.mark.parametrize(
    ("name", "batch"),
    [
        pytest.param(name, batch, marks=[] if (name, batch) in QUICK else EXHAUSTIVE if name in LARGE else SLOW)
        for name in PARAMETERS
        for batch in (1, 4)
    ],
)
def test_every_layer_is_that_of_pytorch(name: str, batch: int) -> None:
    network = subject(name)
    images = peers.NETWORKS[name].images(batch)
    expected = peers.layer_outputs(network.peer, images.astype(numpy.float64))
    outputs = network.inside(images)
    for layer, tensor in network.layers.items():
        # Numbers that vanish or explode would be close for no reason.
        assert 0.05 < expected[layer].std() < 50, layer
        _close(outputs[tensor], expected[layer], layer)
    (scores,) = (info.name for info in network.module.outputs)
    _close(network.module(images), expected[scores], "the network as it stands")


def _close(found: Array, expected: Array, what: str) -> None:
    assert found.shape == expected.shape, what
    assert found.dtype == numpy.float32
    error = numpy.abs(found - expected).max() / numpy.abs(expected).max()
    assert error < TOLERANCE, f"{what}: {error:.2e} of the largest value"


CALL = """\
import sys, numpy, majuscule
module = majuscule.load(sys.argv[1])
numpy.save(sys.argv[3], module(numpy.load(sys.argv[2])))
assert "tvm" not in sys.modules and "majuscule.compiler" not in sys.modules and "torch" not in sys.modules
"""


@pytest.mark.parametrize("name", sparse(["lenet", "resnet18"], 2))
def test_a_file_with_weights_from_pytorch_gives_the_same_in_another_process(name: str, tmp_path: Path) -> None:
    network = peers.NETWORKS[name]
    peer, images = network.peer(), network.images(2)
    torch.save(peer.state_dict(), tmp_path / "net.pt")
    for arguments in (
        ["import-weights", str(network.path), "net.pt", "-o", "net.safetensors"],
        ["compile", str(network.path), "-o", "net.mod", "--weights", "net.safetensors"],
    ):
        command = [sys.executable, "-m", "majuscule", *arguments]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    numpy.save(tmp_path / "images.npy", images)
    command = [sys.executable, "-c", CALL, "net.mod", "images.npy", "scores.npy"]
    subprocess.run(command, cwd=tmp_path, check=True)
    elsewhere = numpy.load(tmp_path / "scores.npy")
    assert numpy.array_equal(elsewhere, majuscule.load(tmp_path / "net.mod")(images))
    expected = peers.layer_outputs(peer.double(), images.astype(numpy.float64))
    _close(elsewhere, expected["scores"], "scores")
