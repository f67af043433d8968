"""Trainings go as in PyTorch, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest

torch = pytest.importorskip("torch")
from torch.nn import functional  # noqa: E402
from trajectories import CHANNELS_FIRST, CHANNELS_LAST, WEIGHT, Tensors, assert_as_close_as_torch  # noqa: E402

import majuscule  # noqa: E402

EXAMPLES = Path(__file__).parents[2] / "examples"


def images(count: int, batch: int, shape: tuple[int, ...], classes: int, seed: int = 0) -> list[dict[str, Any]]:
    """Pictures of blurred classes, which can be learnt."""
    generator = numpy.random.default_rng(seed)
    centres = generator.normal(size=(classes, *shape))
    made = []
    for _ in range(count):
        label = generator.integers(0, classes, batch)
        image = centres[label] + 2 * generator.normal(size=(batch, *shape))
        made.append({"image": image.astype("float32"), "label": label})
    return made


def lenet(p: Tensors, batch: Tensors) -> Any:
    x = batch["image"].permute(CHANNELS_FIRST)
    x = functional.max_pool2d(functional.relu(functional.conv2d(x, p["Φ1.W"].permute(WEIGHT), p["Φ1.B"], padding=2)), 2)
    x = functional.max_pool2d(functional.relu(functional.conv2d(x, p["Φ3.W"].permute(WEIGHT), p["Φ3.B"])), 2)
    x = x.permute(CHANNELS_LAST).flatten(1)
    x = functional.relu(x @ p["Φ5.W"].reshape(400, 120) + p["Φ5.B"])
    x = functional.relu(x @ p["Φ6.W"] + p["Φ6.B"])
    return functional.cross_entropy(x @ p["Φs.W"] + p["Φs.B"], batch["label"])


def test_lenet() -> None:
    trainer = majuscule.Trainer(EXAMPLES / "lenet.maj", optimiser="Momentum(momentum 0.9)", rate=0.01)
    assert_as_close_as_torch(
        trainer, lenet, images(100, 16, (28, 28, 1), 10), lambda p: torch.optim.SGD(p, 0.01, momentum=0.9)
    )


RESNET = """
Given image[16, 16, 3]
stem = silu(BatchNorm(Conv(image, Φ0, filters 8, width 3, pad 1, bias false), Φn))
first = ResidualBlock(stem, Φ1, activation silu)
second = ResidualBlock(first, Φ2, filters 16, stride 2, activation silu)
scores[10] = FC(GlobalMeanPool(second), Φs)
when training:
    Given label[]: int64
    loss cost = cross_entropy(scores, label)
output scores
"""
"""Without corners: a ReLU whose argument is 0 but for rounding may go either way, and with it the gradient."""


def resnet(p: Tensors, batch: Tensors) -> Any:
    def conv(x: Any, name: str, stride: int = 1) -> Any:
        weight = p[f"{name}.W"].permute(WEIGHT)
        return functional.conv2d(x, weight, None, stride, weight.shape[-1] // 2)

    def norm(x: Any, name: str) -> Any:
        return functional.batch_norm(x, None, None, p[f"{name}.γ"], p[f"{name}.β"], True)

    def block(x: Any, name: str, stride: int = 1) -> Any:
        y = functional.silu(norm(conv(x, f"{name}.conv1", stride), f"{name}.norm1"))
        y = norm(conv(y, f"{name}.conv2"), f"{name}.norm2")
        if stride > 1:
            x = norm(conv(x, f"{name}.shortcut.conv", stride), f"{name}.shortcut.norm")
        return functional.silu(x + y)

    x = functional.silu(norm(conv(batch["image"].permute(CHANNELS_FIRST), "Φ0"), "Φn"))
    x = block(block(x, "Φ1"), "Φ2", 2).mean((2, 3))
    return functional.cross_entropy(x @ p["Φs.W"] + p["Φs.B"], batch["label"])


@pytest.mark.slow
def test_a_residual_network_with_batch_norm() -> None:
    trainer = majuscule.Trainer(RESNET, optimiser="Momentum(decay 0.0005, nesterov true)", rate=0.02)
    assert_as_close_as_torch(
        trainer, resnet, images(100, 16, (16, 16, 3), 10),
        lambda p: torch.optim.SGD(p, 0.02, momentum=0.9, nesterov=True, weight_decay=0.0005),
    )  # fmt: skip


LSTM = """
Given x[T, 5]
h, c = LSTM(x, Φ1, units 12)
scores = Linear(h, Φ2, units 4)
when training:
    Given label[T]: int64
    loss cost = cross_entropy(scores, label)
output scores
"""


def lstm(p: Tensors, batch: Tensors) -> Any:
    x = batch["x"]
    h = c = torch.zeros(len(x), 12, dtype=x.dtype)
    found = []
    for t in range(x.shape[1]):
        gates = torch.einsum("kgj,bk->bgj", p["Φ1.W"], h) + torch.einsum("igj,bi->bgj", p["Φ1.U"], x[:, t]) + p["Φ1.B"]
        i, f, g, o = gates.unbind(1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        found.append(h @ p["Φ2.W"] + p["Φ2.B"])
    return functional.cross_entropy(torch.stack(found, 1).flatten(0, 1), batch["label"].flatten())


def sequences(count: int) -> list[dict[str, Any]]:
    """Numbers, each with the largest of the sums over the last two steps."""
    generator = numpy.random.default_rng(0)
    made = []
    for _ in range(count):
        x = generator.normal(size=(8, 9, 5))
        sums = x[:, :, :4] + numpy.roll(x, 1, 1)[:, :, :4]
        made.append({"x": x.astype("float32"), "label": sums.argmax(2)})
    return made


def test_an_lstm() -> None:
    trainer = majuscule.Trainer(LSTM, optimiser="Adam", rate=0.01)
    assert_as_close_as_torch(trainer, lstm, sequences(100), lambda p: torch.optim.Adam(p, 0.01))
