"""Networks that PyTorch exports to ONNX, imported: the same outputs as PyTorch computes in float64.

The interpreter tells what an imported program means; ResNet-18 is compiled, too, at its full size.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import pytest
from levels import EXHAUSTIVE

import majuscule
from majuscule.compiler.graph import Graph
from majuscule.compiler.interpreter import evaluate
from majuscule.dsl import check_text
from majuscule.onnx.importing import ImportedModel, import_model
from majuscule.onnx.sizes import Size

pytest.importorskip("onnx")
torch = pytest.importorskip("torch")
peers = pytest.importorskip("peers")
import peer_families as families  # noqa: E402 (needs the two)
import published  # noqa: E402
import published_further  # noqa: E402
import published_inception  # noqa: E402

Array = numpy.ndarray[Any, Any]
TOLERANCE = 1e-4
FEW = (1, 2, 1, 1)
GROUPED = functools.partial(families.bottleneck, narrowing=1, groups=32)
WIDE = functools.partial(families.bottleneck, narrowing=2)


@dataclass(frozen=True)
class Sample:
    """A network, built for an image of so many rows; some layers in its program."""

    rows: int
    build: Callable[[], Any]
    layers: tuple[str, ...] = ("Conv(",)
    channels: int = 3


def sample(rows: int, build: Callable[..., Any], *arguments: Any, layers: tuple[str, ...] = ("Conv(",), **options: Any):  # type: ignore[no-untyped-def]
    return Sample(rows, lambda: build(rows, *arguments, **options), layers)


NETWORKS = {
    "lenet": Sample(28, peers.lenet, channels=1),
    "alexnet": Sample(224, peers.alexnet_pytorch, ("Conv(", "MaxPool(", "Linear(")),
    "vgg": sample(32, families.vgg, ([3], [3], [3, 3], [3, 3], [3, 3]), layers=("Conv(", "MaxPool(", "Linear(")),
    "vgg_lrn": sample(32, families.vgg, ([3], [3], [3, 3], [3, 3], [3, 3]), normalise=True),
    "resnet18": Sample(64, functools.partial(families.resnet, 64, (2, 2, 2, 2)), ("Conv(", "GlobalMeanPool(")),
    "resnet50": sample(32, families.resnet, FEW, families.bottleneck, 256),
    "preactivation": sample(32, published.preactivation_resnet, (2, 2, 1, 1), layers=("BatchNorm(",)),
    "resnext": sample(32, families.resnet, FEW, GROUPED, 256, layers=("groups 32",)),
    "wide_resnet": sample(32, families.resnet, FEW, WIDE, 256),
    "densenet": sample(32, families.densenet, (2, 1, 3, 1), layers=("BatchNorm(", "MeanPool(")),
    "squeezenet": sample(64, families.squeezenet, 96, 7, (4, 8)),
    "googlenet": sample(32, published_inception.googlenet),
    "inception": sample(75, published_inception.inception_v3, layers=("MeanPool(",)),
    "mobilenet": sample(32, families.mobilenet_v2, 1, layers=("relu6(", "groups 32")),
    "mnasnet": sample(64, published.mnasnet, (16, 8, 16, 24, 40, 48, 96, 160)),
    "shufflenet": sample(64, published.shufflenet_v2, (48, 96, 192)),
    "vision_transformer": sample(32, published_further.vision_transformer, 16, 48, 2, 4, layers=("LayerNorm(",)),
    "alphago_zero": Sample(19, functools.partial(published_further.alphago_zero, 19, 2, 16), channels=17),
    "unet": Sample(204, functools.partial(published_further.unet, 204, 4), channels=1),
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Layers this small take longer in several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def exported(name: str, path: Path, *, symbolic: bool = True) -> tuple[Array, Any]:
    """Write a network with random weights as ONNX; gives three images and the network."""
    found = NETWORKS[name]
    subject = peers.Network(name, found.build, (found.rows, found.rows, found.channels))
    images, model = subject.images(3), subject.peer(count=32)
    axes = {"dynamic_axes": {"image": {0: "batch"}}} if symbolic else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, (peers.channels_first(images[:2]),), path, input_names=["image"], dynamo=False, **axes
        )  # fmt: skip
    return images, model


def expected(model: Any, images: Array) -> list[Array]:
    """What PyTorch gives in float64."""
    with torch.inference_mode():
        found = model.double()(peers.channels_first(images.astype(numpy.float64)))
    return [peers.channels_last(tensor) for tensor in (found if isinstance(found, tuple) else (found,))]


def compare(imported: ImportedModel, found: dict[str, Array], wanted: list[Array]) -> None:
    assert len(imported.outputs) == len(wanted)
    for output, array in zip(imported.outputs, wanted, strict=True):
        assert found[output.name].shape == array.shape
        assert 0.001 < array.std() < 50  # numbers that vanish or explode would be close for no reason
        assert abs(found[output.name] - array).max() < TOLERANCE * abs(array).max()


def interpreted(imported: ImportedModel, images: Array) -> dict[str, Array]:
    graph = Graph.from_program(check_text(imported.text, "imported.maj").require())
    return evaluate(graph, {imported.inputs[0].name: images}, imported.weights)


QUICK = {"lenet", "mobilenet"}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in QUICK else EXHAUSTIVE) for name in NETWORKS])
def test_imported_networks_mean_what_pytorch_computes(name: str, tmp_path: Path) -> None:
    images, model = exported(name, tmp_path / "net.onnx")
    imported = import_model(tmp_path / "net.onnx")
    assert all(layer in imported.text for layer in NETWORKS[name].layers)
    assert imported.inputs[0].shape == (Size(1, ("batch",)), images.shape[3], *images.shape[1:3])
    compare(imported, interpreted(imported, images), expected(model, images))


def test_a_network_for_one_number_of_images_takes_any_on_request(tmp_path: Path) -> None:
    images, model = exported("vision_transformer", tmp_path / "net.onnx", symbolic=False)
    fixed = import_model(tmp_path / "net.onnx")
    assert "[b 2, x 32, y 32, i 3] without batch" in fixed.text
    opened = import_model(tmp_path / "net.onnx", open_batch=True)
    wanted = expected(model, images)
    compare(fixed, interpreted(fixed, images[:2]), [array[:2] for array in wanted])
    compare(opened, interpreted(opened, images), wanted)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_resnet18_is_compiled_at_its_full_size(tmp_path: Path) -> None:
    subject = peers.NETWORKS["resnet18"]
    images, model = subject.images(2), subject.peer()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, (peers.channels_first(images),), tmp_path / "net.onnx", input_names=["image"],
            dynamo=False, dynamic_axes={"image": {0: "batch"}},
        )  # fmt: skip
    imported = import_model(tmp_path / "net.onnx")
    module = majuscule.compile(imported.text, weights=imported.weights)
    compare(imported, {imported.outputs[0].name: module(images)}, expected(model, images))
