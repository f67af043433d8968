"""Training on a GPU, which is emulated: the same steps as on the CPU, tensors read and written in between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest
from levels import sparse

import majuscule

pytestmark = pytest.mark.usefixtures("emulated_gpu")

NETWORK = """\
Given image[12, 12, 2]
first = relu(BatchNorm(CONV(image, width 3, pad 1, filters 6)))
second = relu(BatchNorm(CONV(first, width 3, pad 1, filters 6))) + first
third = MaxPool(Dropout(CONV(second, width 3, pad 1, filters 8)), width 2, stride 2)
scores = FC(third, units 10)
when training:
    Given label[]: int64
    loss cost = cross_entropy(scores, label)
"""
TURNS = """\
Given x[4]
forged = FC(x, Φ_F, units 3)
told = FC(forged, Φ_D, units 1)
when training:
    loss judge = mean[...]((told[...] - 1)^2) trains Φ_D
    loss forger = mean[...](told[...]^2) trains Φ_F
"""


def batch(size: int = 6) -> dict[str, Any]:
    numbers = numpy.random.default_rng(size)
    return {
        "image": numbers.normal(size=(size, 12, 12, 2)).astype("float32"),
        "label": numbers.integers(0, 10, size),
    }


def agree(one: majuscule.Trainer, other: majuscule.Trainer) -> None:
    """Both have the same tensors, up to rounding."""
    for name, array in one.tensors.items():
        numpy.testing.assert_allclose(array, other.tensors[name], rtol=2e-3, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("optimiser", sparse(["SGD", "Adam"], 2))
def test_steps_are_those_of_the_cpu(optimiser: str) -> None:
    options: dict[str, Any] = {"optimiser": optimiser, "clip_norm": 1.0, "rate": 0.01}
    there = majuscule.Trainer(NETWORK, target="cuda", **options)
    here = majuscule.Trainer(NETWORK, exact=True, **options)
    for _ in range(3):
        found, expected = there.step(batch()), here.step(batch())
        assert found.taken
        assert found.loss == pytest.approx(expected.loss, rel=1e-4)
        assert found.norm == pytest.approx(expected.norm, rel=1e-3)
    biases = [name for name in here.tensors if "CONV.B" in name]  # which normalisation makes irrelevant
    for trainer in (there, here):
        trainer.tensors.update({name: numpy.zeros_like(trainer.tensors[name]) for name in biases})
    if optimiser == "SGD":
        agree(there, here)
    numpy.testing.assert_allclose(
        there.module()(batch()["image"]), here.module()(batch()["image"]), rtol=0.05, atol=0.01
    )


def test_a_step_that_goes_wrong_changes_nothing() -> None:
    trainer = majuscule.Trainer(NETWORK, target="cuda")
    trainer.step(batch())
    before = {name: array.copy() for name, array in trainer.tensors.items()}
    wrong = batch() | {"label": numpy.array([0, 1, 2, 3, 4, 77])}
    with pytest.raises(majuscule.ModuleError, match=r"not in 0\.\.9"):
        trainer.step(wrong)
    infinite = batch()
    infinite["image"][0, 0, 0, 0] = numpy.inf
    with pytest.raises(majuscule.ModuleError, match="image"):
        trainer.step(infinite)
    for name, array in before.items():
        numpy.testing.assert_array_equal(trainer.tensors[name], array, err_msg=name)


def test_tensors_are_read_and_written_between_steps() -> None:
    there, here = (majuscule.Trainer(NETWORK, target=target, exact=True, rate=0.01) for target in ("cuda", "cpu"))
    for trainer in (there, here):
        trainer.step(batch())
        weight = trainer.tensors["scores.W"]
        kept = weight.copy()
        trainer.tensors["scores.W"] = 0.5 * kept
        trainer.step(batch())
        assert not numpy.array_equal(trainer.tensors["scores.W"], 0.5 * kept)
    agree(there, here)


def test_training_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    first = majuscule.Trainer(NETWORK, target="cuda")
    first.step(batch())
    first.save(tmp_path / "checkpoint")
    second = majuscule.Trainer(NETWORK, target="cuda", seed=5)
    second.load(tmp_path / "checkpoint")
    for _ in range(2):
        assert first.step(batch()).losses == second.step(batch()).losses
    for name, array in first.tensors.items():
        numpy.testing.assert_array_equal(array, second.tensors[name], err_msg=name)


def test_losses_take_turns() -> None:
    turns = {"judge": 2, "forger": 1}
    there, here = (majuscule.Trainer(TURNS, target=target, turns=turns, exact=True) for target in ("cuda", "cpu"))
    data = {"x": numpy.random.default_rng(0).normal(size=(5, 4)).astype("float32")}
    for _ in range(6):
        assert there.step(data).loss == pytest.approx(here.step(data).loss, rel=1e-4)
    agree(there, here)


def test_parts_of_a_batch_are_added_up() -> None:
    there, here = (majuscule.Trainer(NETWORK, target=target, accumulate=2, exact=True) for target in ("cuda", "cpu"))
    assert there.step(batch()).loss == pytest.approx(here.step(batch()).loss, rel=1e-4)
