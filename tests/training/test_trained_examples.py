"""The examples of training under examples/ learn what they say."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy

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
