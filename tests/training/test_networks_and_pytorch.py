"""Trainings go as in PyTorch, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest

torch = pytest.importorskip("torch")
from torch.nn import functional  # noqa: E402
from trajectories import (  # noqa: E402
    CHANNELS_FIRST,
    CHANNELS_LAST,
    WEIGHT,
    Tensors,
    assert_as_close_as_torch,
    torch_losses,
    weights_of,
)

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


def resnet(p: Tensors, batch: Tensors, activation: Any = functional.silu) -> Any:
    def conv(x: Any, name: str, stride: int = 1) -> Any:
        weight = p[f"{name}.W"].permute(WEIGHT)
        return functional.conv2d(x, weight, None, stride, weight.shape[-1] // 2)

    def norm(x: Any, name: str) -> Any:
        return functional.batch_norm(x, None, None, p[f"{name}.γ"], p[f"{name}.β"], True)

    def block(x: Any, name: str, stride: int = 1) -> Any:
        y = activation(norm(conv(x, f"{name}.conv1", stride), f"{name}.norm1"))
        y = norm(conv(y, f"{name}.conv2"), f"{name}.norm2")
        if stride > 1:
            x = norm(conv(x, f"{name}.shortcut.conv", stride), f"{name}.shortcut.norm")
        return activation(x + y)

    x = activation(norm(conv(batch["image"].permute(CHANNELS_FIRST), "Φ0"), "Φn"))
    x = block(block(x, "Φ1"), "Φ2", 2).mean((2, 3))
    return functional.cross_entropy(x @ p["Φs.W"] + p["Φs.B"], batch["label"])


@pytest.mark.slow
def test_a_residual_network_with_batch_norm() -> None:
    trainer = majuscule.Trainer(RESNET, optimiser="Momentum(decay 0.0005, nesterov true)", rate=0.02)
    assert_as_close_as_torch(
        trainer, resnet, images(100, 16, (16, 16, 3), 10),
        lambda p: torch.optim.SGD(p, 0.02, momentum=0.9, nesterov=True, weight_decay=0.0005),
    )  # fmt: skip


@pytest.mark.slow
def test_gradients_through_relu_are_as_close_as_those_of_pytorch() -> None:
    """From the same weights, for a ReLU's corners let losses of equally good runs part after some ten steps.

    PyTorch's own runs in float32 part as far, with other numbers of threads or without oneDNN.
    """
    trainer = majuscule.Trainer(RESNET.replace("silu", "relu"), optimiser="Momentum", rate=0.0)
    weights = weights_of(trainer)
    trained = {name: weights[name] for name in trainer.compiled.slots}
    batches = images(45, 16, (16, 16, 3), 10)

    def loss(p: Tensors, batch: Tensors) -> Any:
        return resnet(p, batch, functional.relu)

    def gradients(dtype: Any, batch: dict[str, Any]) -> dict[str, Any]:
        p = {name: torch.tensor(value, dtype=dtype, requires_grad=True) for name, value in trained.items()}
        given = {"image": torch.tensor(batch["image"], dtype=dtype), "label": torch.tensor(batch["label"])}
        loss(p, given).backward()
        return {name: value.grad.numpy() for name, value in p.items()}

    errors: dict[str, dict[str, list[float]]] = {name: {"ours": [], "PyTorch's": []} for name in trained}
    for start in range(0, 45, 5):
        for batch in batches[start : start + 2]:
            exact = gradients(torch.float64, batch)
            trainer.load_weights({**weights, **trained})
            trainer.tensors.update(
                {s: 0 * trainer.tensors[s] for slots in trainer.compiled.slots.values() for s in slots}
            )
            trainer.step(batch)
            ours = {name: trainer.tensors[slots[0]] for name, slots in trainer.compiled.slots.items()}
            for whose, found in (("ours", ours), ("PyTorch's", gradients(torch.float32, batch))):
                for name, value in exact.items():
                    error = numpy.linalg.norm(found[name] - value) / numpy.linalg.norm(value)
                    errors[name][whose].append(float(error))
        _, moved = torch_losses(
            loss, trained, batches[start : start + 5], lambda p: torch.optim.SGD(p, 0.02, momentum=0.9), torch.float64
        )
        trained = {name: value.astype("float32") for name, value in moved.items()}
    for name, found in errors.items():
        assert numpy.median(found["ours"]) <= 3 * numpy.median(found["PyTorch's"]) + 1e-7, name


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
