"""The examples of training under examples/ learn what they say."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy
import pytest

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
