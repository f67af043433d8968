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
