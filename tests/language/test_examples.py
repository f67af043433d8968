"""The networks under examples/: the same numbers as PyTorch models built from torch.nn with the same weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy
import pytest
from levels import EXHAUSTIVE
from programs import Array, checked, close, notes, numbers, parameters, shape

from majuscule.compiler.graph import Graph
from majuscule.compiler.interpreter import evaluate
from majuscule.dsl.equations import Program, State

torch = pytest.importorskip("torch")
nn = torch.nn
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
CROPPING = {"squeezenet1_1"}
"""Networks whose windows leave out the last row and column of the image, as published."""


def source(name: str) -> str:
    return (EXAMPLES / f"{name}.maj").read_text(encoding="utf-8")


def random_weights(program: Program) -> dict[str, Array]:
    """Weights of a size that keeps activations near 1; running variances are positive."""
    found: dict[str, Array] = {}
    generator = numpy.random.default_rng(0)
    for name, operation in program.operations.items():
        if name in parameters(program) or isinstance(operation, State):
            size = shape(program, name)
            scale = (2 / numpy.prod(size[:-1])) ** 0.5 if len(size) > 1 else 0.1
            found[name] = (scale * generator.standard_normal(size, numpy.float32)).astype(numpy.float32)
            if name.endswith(("running_var", "γ")):
                found[name] = 1 + abs(found[name])
    return found


def output(program: Program, inputs: Mapping[str, Array], weights: Mapping[str, Array]) -> Array:
    return evaluate(Graph.from_program(program), inputs, weights)[program.outputs[0]]


def dressed(model: Any, program: Program, weights: Mapping[str, Array]) -> Any:
    """The PyTorch model with the weights of a program whose layers stand in the same order."""
    stems = iter(dict.fromkeys(name.rpartition(".")[0] for name in weights))
    channels, pixels = 0, 1
    for module in _layers(model):
        stem = next(stems)
        if isinstance(module, nn.BatchNorm2d):
            for ours, theirs in (
                ("γ", "weight"),
                ("β", "bias"),
                ("running_mean", "running_mean"),
                ("running_var", "running_var"),
            ):
                getattr(module, theirs).data = torch.from_numpy(weights[f"{stem}.{ours}"])
            continue
        W = weights[f"{stem}.W"]
        if isinstance(module, nn.Conv2d):
            module.weight.data = torch.from_numpy(W.transpose(3, 2, 0, 1).copy())
            channels = W.shape[3]
        else:
            # rows are (x, y, channel) here and (channel, x, y) there, after the last convolution
            pixels = len(W) // channels if channels else 1
            rows = W.reshape(pixels, channels, -1).swapaxes(0, 1) if channels else W
            module.weight.data = torch.from_numpy(rows.reshape(W.shape).T.copy())
            channels = 0
        if module.bias is not None:
            module.bias.data = torch.from_numpy(weights[f"{stem}.B"])
    assert next(stems, None) is None
    return model.eval()


def _layers(model: Any) -> Iterator[Any]:
    return (m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear, nn.BatchNorm2d)))


def agree(name: str, model: Any, size: tuple[int, ...], batch: int, replace: tuple[str, str] = ("", "")) -> None:
    """The interpreter's outputs for an example (with other image sizes put in) are the model's."""
    program = checked(source(name).replace(*replace), folder=EXAMPLES)
    weights = random_weights(program)
    image = numbers(batch, *size).astype(numpy.float32)
    found = output(program, {program.inputs[0]: image}, weights)
    with torch.no_grad():
        expected = dressed(model, program, weights)(torch.from_numpy(image.transpose(0, 3, 1, 2).copy()))
    close(found, expected.numpy(), 2e-3)
    assert abs(found).max() > 0.01


def test_lenet() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip
    agree("lenet", model, (28, 28, 1), 3)


def test_lenet_trains_on_labels() -> None:
    program = checked(source("lenet"), "training")
    assert program.inputs == ("image", "label")
    assert list(program.losses) == ["cost"]
    assert program.metrics == ("right",)
    assert checked(source("lenet")).inputs == ("image",)


@pytest.mark.slow
def test_alexnet() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 96, 11, 4), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(96, 256, 5, padding=2), nn.ReLU(),
        nn.MaxPool2d(3, 2), nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Flatten(), nn.Linear(9216, 4096),
        nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 1000), nn.ReLU(),
    )  # fmt: skip
    agree("alexnet", model, (227, 227, 3), 1)


@pytest.mark.slow
def test_alexnet_of_pytorch() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(),
        nn.MaxPool2d(3, 2), nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2), nn.AdaptiveAvgPool2d(6), nn.Flatten(),
        nn.Dropout(), nn.Linear(9216, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(),
        nn.Linear(4096, 1000),
    )  # fmt: skip
    agree("alexnet_pytorch", model, (224, 224, 3), 1)


@pytest.mark.slow
def test_vgg16() -> None:
    layers: list[Any] = []
    channels = 3
    for filters in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
        if filters:
            layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU()]
            channels = filters
        else:
            layers.append(nn.MaxPool2d(2))
    layers += [nn.Flatten(), nn.Linear(512 * 1 * 2, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU()]
    layers += [nn.Dropout(), nn.Linear(4096, 1000)]
    agree("vgg16", nn.Sequential(*layers), (32, 64, 3), 1, ("224, 224", "32, 64"))


class Block(nn.Module):  # type: ignore[misc]
    """The basic block of a residual network."""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.down = nn.Identity()
        if stride != 1 or channels != filters:
            self.down = nn.Sequential(nn.Conv2d(channels, filters, 1, stride, bias=False), nn.BatchNorm2d(filters))

    def forward(self, x: Any) -> Any:
        residual = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(residual + self.down(x))


def test_resnet18() -> None:
    layers: list[Any] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for filters, stride in ((64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1)):
        layers.append(Block(channels, filters, stride))
        channels = filters
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000)]
    agree("resnet18", nn.Sequential(*layers), (64, 96, 3), 1, ("224, 224", "64, 96"))


class Zeros(nn.Module):  # type: ignore[misc]
    """Every other position, with zeros in as many new channels: the shortcut without weights."""

    def forward(self, x: Any) -> Any:
        return nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, x.shape[1]))


def test_resnet_for_small_pictures() -> None:
    layers: list[Any] = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    channels = 16
    for filters in (16, 16, 16, 32, 32, 32, 64, 64, 64):
        layers.append(Block(channels, filters, filters // channels))
        if filters != channels:
            layers[-1].down = Zeros()
        channels = filters
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]
    model = nn.Sequential(*layers)
    assert sum(isinstance(layer, nn.Conv2d | nn.Linear) for layer in model.modules()) == 6 * 3 + 2
    agree("resnet_cifar", model, (32, 32, 3), 2)


def test_resnet18_has_sensible_names() -> None:
    names = parameters(checked(source("resnet18"), folder=EXAMPLES))
    assert list(names)[:3] == ["scores.conv1.W", "scores.norm1.γ", "scores.norm1.β"]
    block = "scores.stage2.block_1"
    assert {f"{block}.conv1.W", f"{block}.norm2.γ", f"{block}.shortcut.conv.W", "scores.classifier.W"} <= set(names)
    assert "scores.stage2.block_2.shortcut.conv.W" not in names


def test_edges_of_images_of_any_size() -> None:
    program = checked(source("edges"))
    image = numbers(2, 9, 7, 3)
    grey = image.mean(3)
    expected = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:] - 4 * grey[:, 1:-1, 1:-1]
    close(output(program, {"image": image}, {}), numpy.minimum(1, 3 * abs(expected)))


LARGE = {"densenet121", "resnet50", "resnext50_32x4d", "googlenet", "vgg16"}
"""Examples that take too long for every run of the tests."""


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=EXHAUSTIVE if path.stem in LARGE else [])
        for path in sorted(EXAMPLES.glob("*.maj"))
    ],
)
@pytest.mark.parametrize("mode", ["inferring", "training"])
def test_every_example_is_right_in_both_spellings(path: Path, mode: str) -> None:
    text = path.read_text(encoding="utf-8")
    checked(text, mode, EXAMPLES)
    assert text.startswith("# "), "an example says first where it comes from"
    assert bool(notes(text, "N501", EXAMPLES)) == (path.stem in CROPPING)
