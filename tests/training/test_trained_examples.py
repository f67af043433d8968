"""The examples of training under examples/ learn what they say."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy
import pytest

import majuscule
from majuscule.dsl.equations import Parameter, element_count

EXAMPLES = Path(__file__).parents[2] / "examples"


def script(name: str) -> dict[str, Any]:
    """What the script beside a program defines."""
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


def test_autoencoder() -> None:
    before, after = script("autoencoder")["train"](epochs=10)
    assert after < 0.25 * before


def test_threshold_logic() -> None:
    found = script("threshold_logic")
    before, after, module = found["train"](steps=200)
    assert after < 0.1 * before
    learnt, known = module(found["P"], found["Q"])
    assert numpy.array_equal(learnt > 0.5, [False, True, True, False])
    numpy.testing.assert_allclose(known, [0, 1, 1, 0], atol=1e-6)


@pytest.mark.slow
def test_variational_autoencoder() -> None:
    before, after, module = script("vae")["train"](epochs=20)
    assert after["bound"] < 0.6 * before["bound"]
    assert after["bound"] == pytest.approx(after["reconstruction"] + after["divergence"], rel=1e-5)
    drawn = module(numpy.zeros((300, 8, 8, 1)))["drawn"]
    data = numpy.load(EXAMPLES / "digits.npz")["image"] / 255
    assert abs(drawn[..., 0].mean(0) - data.mean(0)).mean() < 0.1
    assert drawn.std(0).mean() > 0.5 * data.std(0).mean()


def test_lstm_on_the_adding_problem() -> None:
    before, after = script("sequence_lstm")["train"](steps=400, length=12)
    assert after["error"] < 0.1 / 6 < before["error"]


@pytest.mark.slow
def test_generative_adversarial_networks() -> None:
    before, reports, after = script("gan")["train"](epochs=40)
    assert all(numpy.isfinite(list(report.training.values())).all() for report in reports)
    data = numpy.load(EXAMPLES / "digits.npz")["image"] / 255
    first, last = (module(numpy.zeros((300, 8, 8, 1)))[..., 0] for module in (before, after))
    assert abs(last.mean(0) - data.mean(0)).mean() < 0.3 * abs(first.mean(0) - data.mean(0)).mean()
    assert last.std(0).mean() > 0.5 * data.std(0).mean()  # pictures of many kinds, not one


def test_residual_network_for_small_pictures_has_the_parameters_of_the_paper() -> None:
    program = majuscule.check(EXAMPLES / "resnet_cifar.maj", mode="training").require()
    shapes = [operation.shape for operation in program.operations.values() if isinstance(operation, Parameter)]
    assert sum(int(element_count(shape).constant or 0) for shape in shapes) == 269_722  # 0.27 million, table 6


@pytest.mark.slow
@pytest.mark.exhaustive
def test_residual_network_for_small_pictures_learns_a_batch() -> None:
    numbers = numpy.random.default_rng(0)
    batch = {"image": numbers.standard_normal((16, 32, 32, 3), numpy.float32), "label": numpy.arange(16) % 10}
    trainer = majuscule.Trainer(EXAMPLES / "resnet_cifar.maj", rate=0.05)
    losses = [trainer.step(batch).loss for _ in range(30)]
    assert losses[-1] < 0.1 * losses[0]
