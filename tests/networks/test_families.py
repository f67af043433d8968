"""The networks of `examples/networks/` against PyTorch: numbers of parameters as published, and the same outputs.

The interpreter, in float64, tells what a program means, at a small image; compiled modules are
compared within 1e-4 of the largest output.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy
import pytest
from levels import EXHAUSTIVE, sparse

import majuscule
from majuscule.compiler.graph import Graph
from majuscule.compiler.interpreter import evaluate
from majuscule.dsl import check_text
from majuscule.dsl.equations import Parameter, Program

torch = pytest.importorskip("torch")
peers = pytest.importorskip("peers")
import costs  # noqa: E402 (needs the two)
import network_table  # noqa: E402
import peer_families as families  # noqa: E402
import published  # noqa: E402
import published_further  # noqa: E402
import published_inception  # noqa: E402
import published_networks  # noqa: E402
import published_small  # noqa: E402

FOLDER = peers.EXAMPLES / "networks"
Build = Callable[..., Any]


GROUPED, WIDE = published_networks.GROUPED, published_networks.WIDE
NETWORKS = published_networks.NETWORKS
SECOND_BIASES = {"language_rnn": 2 * 256, "language_lstm": 2 * 4 * 256}
"""PyTorch's recurrent cells have two biases where one does."""
TWICE = {"inception_v3": sum(64 * (i * 384 + i * 448 + 9 * 448 * 384) for i in (1280, 2048))}
"""Work that PyTorch's counterpart does once more: layers that two roads share are computed for each of them there."""
TRANSPOSED = {"fcn32s", "fcn16s", "fcn8s"}
"""Networks with overlapping transposed convolutions, where zeros beyond the edges are counted, too."""


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
    "resnet34": sample(32, "[3, 4, 6, 3]", "[1, 2, 1, 1]", families.resnet, FEW),
    "plain34": sample(32, "[3, 4, 6, 3]", "[1, 2, 1, 1]", families.resnet, FEW, families.plain),
    "resnet101": sample(32, "[3, 4, 23, 3]", "[1, 2, 1, 1]", families.resnet, FEW, families.bottleneck, 256),
    "preactivation_resnet50": sample(32, "[3, 4, 6, 3]", "[2, 2, 1, 1]", published.preactivation_resnet, (2, 2, 1, 1)),
    "resnext101_32x8d": sample(32, "[3, 4, 23, 3]", "[1, 2, 1, 1]", families.resnet, FEW, GROUPED, 256),
    "wide_resnet50_2": sample(32, "[3, 4, 6, 3]", "[1, 2, 1, 1]", families.resnet, FEW, WIDE, 256),
    "vgg11_lrn": sample(32, "", "", families.vgg, ([3], [3], [3, 3], [3, 3], [3, 3]), normalise=True),
    "vgg16_c": sample(32, "", "", families.vgg, ([3, 3], [3, 3], [3, 3, 1], [3, 3, 1], [3, 3, 1])),
    "squeezenet1_0": sample(64, "", "", families.squeezenet, 96, 7, (4, 8)),
    "densenet169": sample(32, "[6, 12, 32, 32]", "[2, 1, 3, 1]", families.densenet, (2, 1, 3, 1)),
    "shufflenet_v2_x0_5": sample(64, "", "", published.shufflenet_v2, (48, 96, 192)),
    "mnasnet0_5": sample(64, "", "", published.mnasnet, (16, 8, 16, 24, 40, 48, 96, 160)),
    "linear_classifier": sample(32, "", "", published_small.linear_classifier),
    "mlp": sample(28, "", "", published_small.mlp),
    "cifar_convnet": sample(32, "", "", published_small.cifar_convnet),
    "zfnet": sample(96, "", "", published_small.zfnet),
    "classifier_32": sample(32, "", "", published_small.lenet_of_convolutions),
    "classifier_everywhere": sample(40, "", "", published_small.lenet_of_convolutions, True),
    "plain32_cifar": sample(32, "blocks 5", "blocks 2", published_small.small_resnet, 2, families.plain),
    "resnet32_cifar": sample(32, "blocks 5", "blocks 2", published_small.small_resnet, 2),
    "preactivation_resnet32_cifar": sample(32, "blocks 5", "blocks 2", published_small.small_preactivation_resnet, 2),
    "mobilenet_v2_0_35": sample(64, "", "", families.mobilenet_v2, 0.35),
    "segnet_camvid": sample(32, "(image)", "(image, filters 4)", published_small.segnet, 4),
    "hypercolumns": sample(64, "filters 64", "filters 4, units 16", published_small.hypercolumns, 4, 16),
    "googlenet_paper": sample(32, "", "", published_inception.googlenet),
    "inception_v3": sample(75, "", "", published_inception.inception_v3),
    "vit_b_16": sample(
        32,
        "length 768, blocks 12, heads 12",
        "length 48, blocks 2, heads 4",
        published_further.vision_transformer,
        16,
        48,
        2,
        4,
    ),
    "alphago_zero": sample(19, "blocks 19", "blocks 2, filters 16", published_further.alphago_zero, 2, 16),
    "alphazero_chess": sample(8, "blocks 19", "blocks 2, filters 16", published_further.alphazero_chess, 2, 16),
    "unet": sample(204, "filters 64", "filters 4", published_further.unet, 4),
    "fcn32s": sample(40, "stride 32", "stride 32, filters 4, units 16", published_further.fcn, 32, 4, 16),
    "fcn16s": sample(40, "stride 16", "stride 16, filters 4, units 16", published_further.fcn, 16, 4, 16),
    "fcn8s": sample(40, "stride 8", "stride 8, filters 4, units 16", published_further.fcn, 8, 4, 16),
}
"""Of each family, and of each kind of block, a network whose outputs are compared."""

COMPILED = ("plain34", "shufflenet_v2_x0_5", "mnasnet0_5", "segnet_camvid")
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
    """The program as it is compared: smaller, and shapes that hold for the full size are not asserted."""
    found = SAMPLES[name]
    program = (FOLDER / f"{name}.maj").read_text(encoding="utf-8")
    assert found.old in program
    if found.old:
        program = program.replace(found.old, found.new)
    if found.rows != NETWORKS[name].image[0]:
        program = re.sub(r"^(Given \w+)\[\w+, \w+,", rf"\1[{found.rows}, {found.rows},", program, flags=re.MULTILINE)
        program = re.sub(r"^(\w+)\[\d+x\d+x\d+\]", r"\1", program, flags=re.MULTILINE)
        program = re.sub(r"^when training:\n(    .*\n)+", "", program, flags=re.MULTILINE)
    return program


def peer(name: str, channels: int = 3, count: int = 2) -> tuple[Any, Any]:
    """Images and the network in PyTorch, with random weights and statistics of random images."""
    found = SAMPLES[name]
    subject = peers.Network(name, found.build, (found.rows, found.rows, channels))
    return subject.images(count), subject.peer(count=32)


def outputs(model: Any, images: Any) -> tuple[Any, ...]:
    """What PyTorch gives in float64."""
    with torch.inference_mode():
        found = model.double()(peers.channels_first(images.astype(numpy.float64)))
    return tuple(peers.channels_last(tensor) for tensor in (found if isinstance(found, tuple) else (found,)))


def compare(found: Any, expected: Any, tolerance: float) -> None:
    assert found.shape == expected.shape
    assert 0.001 < expected.std() < 50  # numbers that vanish or explode would be close for no reason
    assert abs(found - expected).max() < tolerance * abs(expected).max()


def test_every_program_is_compared() -> None:
    programs = {path.stem for path in FOLDER.glob("*.maj") if "Given " in path.read_text(encoding="utf-8")}
    assert programs == {name for name, network in NETWORKS.items() if network.folder == FOLDER}


@pytest.mark.parametrize("name", sparse(NETWORKS, 5, EXHAUSTIVE))
def test_networks_cost_what_is_published_and_what_the_table_says(name: str) -> None:
    found = NETWORKS[name]
    program = majuscule.check(found.path).require()
    assert parameters(program) == found.parameters
    text = found.path.read_text(encoding="utf-8")
    assert f"{found.parameters:,} parameters" in " ".join(text.replace("#", "").split())
    row = costs.in_the_table(found, program)
    assert row.parameters == f"{found.parameters:,}"
    theirs, work = costs.in_pytorch(found)
    assert theirs - SECOND_BIASES.get(name, 0) == found.parameters
    if name in TRANSPOSED:
        assert 1 <= int(row.multiply_adds.replace(",", "")) / work < 1.001
    else:
        assert row.multiply_adds == f"{work - TWICE.get(name, 0):,}"


def test_the_table_has_every_network_and_all_agree_with_pytorch() -> None:
    rows = network_table.rows_of(network_table.DOCUMENT.read_text(encoding="utf-8"))
    assert list(rows) == sorted(published_networks.KNOWN)
    measured = {name: (float(row.error), float(row.pytorch)) for name, row in rows.items() if row.error}
    assert len(measured) > 60
    for name, (error, theirs) in measured.items():
        assert 0 < error < max(1e-4, 2 * theirs), name  # some networks magnify all rounding


@pytest.mark.parametrize("name", sparse(SAMPLES, 4, EXHAUSTIVE))
def test_networks_mean_what_pytorch_computes(name: str) -> None:
    program = check_text(text(name), folder=FOLDER).require()
    (image,) = program.inputs
    images, model = peer(name, program.operations[image].shape[-1].constant)
    found = evaluate(Graph.from_program(program), {image: images}, published_further.program_weights(model))
    for output, expected in zip(program.outputs, outputs(model, images), strict=True):
        compare(found[output], expected, 1e-6)


AUXILIARY = {
    "googlenet_paper": ((14, 14, 512), published_inception.googlenet_auxiliary, 13_378_280),
    "inception_v3": ((17, 17, 768), published_inception.inception_v3_auxiliary, 27_161_264),
}
"""The layer that an auxiliary classifier takes, the classifier, and all parameters in training."""


@pytest.mark.parametrize("name", AUXILIARY)
def test_training_adds_auxiliary_classifiers(name: str) -> None:
    shape, build, count = AUXILIARY[name]
    path = FOLDER / f"{name}.maj"
    assert parameters(majuscule.check(path, mode="training").require()) == count
    subject = peers.Network(name, build, shape)
    images, model = subject.images(2), subject.peer()
    head = f'import "{name}.maj"\nGiven L[{shape[0]}, {shape[1]}, {shape[2]}]\nside = AuxiliaryClassifier(L)\n'
    program = check_text(head, folder=FOLDER).require()
    found = evaluate(Graph.from_program(program), {"L": images}, published_further.program_weights(model))["side"]
    compare(found, outputs(model, images)[0], 1e-6)


@pytest.mark.parametrize(("name", "cell"), [("rnn", torch.nn.RNN), ("lstm", torch.nn.LSTM), ("gru", torch.nn.GRU)])
def test_language_models_mean_what_pytorch_computes(name: str, cell: Any) -> None:
    program = (FOLDER / f"language_{name}.maj").read_text(encoding="utf-8")
    small = program.replace("words 128, units 256", "words 7, units 6")
    model = published_further.language_model(0, cell, 7, 6).double()
    words = numpy.random.default_rng(0).integers(0, 7, (2, 5))
    graph = Graph.from_program(check_text(small, folder=FOLDER).require())
    found = evaluate(graph, {"text": words}, published_further.program_weights(model))["scores"]
    compare(found, model(torch.from_numpy(words)).detach().numpy(), 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", sparse(COMPILED, 4, EXHAUSTIVE))
def test_compiled_networks_give_the_outputs_of_pytorch(name: str) -> None:
    images, model = peer(name, count=4)
    program = text(name).replace('import "', f'import "{FOLDER.as_posix()}/')
    module = majuscule.compile(program, weights=published_further.program_weights(model))
    expected = outputs(model, images)[0]
    for batch in (1, 4):
        compare(module(images[:batch]), expected[:batch], 1e-4)
