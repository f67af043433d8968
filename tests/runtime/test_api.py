"""From the text of a program to a module in a file, through `import majuscule` alone."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest

import majuscule
from majuscule.compiler.codegen import CompilationFailed

TEXT = """\
Given Image[9, 7, 3]
param W[3, 3, 3, 4] ~ xavier
param B[4] = 0.5
C[b,x,y,j] = W[ΔX,ΔY,I,j] * Image[b, x+ΔX, y+ΔY, I] + B[j]
R[b,x,y,j] = max(0, C[b,x,y,j])
"""


def _expected(images: numpy.ndarray, weights: dict[str, numpy.ndarray]) -> numpy.ndarray:
    total = numpy.zeros((len(images), 7, 5, 4)) + weights["B"]
    for dx in range(3):
        for dy in range(3):
            total += images[:, dx : dx + 7, dy : dy + 5] @ weights["W"][dx, dy].astype(float)
    return numpy.maximum(0, total)


def test_a_text_becomes_a_module_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "small.maj").write_text(TEXT, encoding="utf-8")
    images = numpy.random.default_rng(0).normal(size=(5, 9, 7, 3))
    module = majuscule.compile(tmp_path / "small.maj", seed=3)
    assert module.weights["B"].tolist() == [0.5] * 4
    assert module.weights["W"].std() > 0
    module.save(tmp_path / "small.mod")
    loaded = majuscule.load(tmp_path / "small.mod", threads=1)
    assert loaded.source == TEXT
    for found in (module(images), loaded(Image=images), majuscule.compile(TEXT, weights=loaded.weights)(images)):
        numpy.testing.assert_allclose(found, _expected(images, dict(module.weights)), rtol=1e-4, atol=1e-5)


def test_equal_seeds_give_equal_weights() -> None:
    first, same, other = (majuscule.compile(TEXT, seed=seed).weights["W"] for seed in (1, 1, 2))
    assert numpy.array_equal(first, same)
    assert not numpy.array_equal(first, other)


def test_mistakes_are_reported_together() -> None:
    text = "Given Image[9]\nR[b,x] = Image[b,y]\nS[b,x] = Nothing[b,x]\n"
    assert len(majuscule.check(text).errors) == 2
    with pytest.raises(majuscule.SourceErrors):
        majuscule.compile(text)


def test_a_missing_file_is_a_missing_file(tmp_path: Path) -> None:
    for use in (majuscule.compile, majuscule.check, majuscule.load):
        with pytest.raises(FileNotFoundError):
            use(tmp_path / "missing.maj")


CONVOLUTION = "Given L[14, 13, 32]\nM = Conv(L, Φ, width 3, pad 1, filters 32)\n"


def _roads(module: majuscule.Module) -> str:
    return "; ".join(step["road"] for step in module._manifest["steps"])


def test_one_algorithm_may_be_asked_of_convolutions() -> None:
    image = numpy.random.default_rng(0).normal(size=(3, 14, 13, 32)).astype(numpy.float32)
    exact = majuscule.compile(CONVOLUTION, exact=True)
    direct = majuscule.compile(CONVOLUTION, road="direct")
    winograd = majuscule.compile(CONVOLUTION, road="winograd")
    assert "winograd" not in _roads(exact) + _roads(direct)
    assert "winograd" in _roads(winograd)
    expected = exact(image)
    assert numpy.array_equal(direct(image), expected)
    error = abs(winograd(image) - expected).max() / abs(expected).max()
    assert 0 < error < 1e-5


def test_a_road_that_is_unknown_or_not_exact_is_refused() -> None:
    with pytest.raises(CompilationFailed, match="no road called 'shortest'"):
        majuscule.compile(CONVOLUTION, road="shortest")  # type: ignore[arg-type]
    with pytest.raises(CompilationFailed, match="contradict each other"):
        majuscule.compile(CONVOLUTION, exact=True, road="winograd")
    assert "winograd" not in _roads(majuscule.compile(CONVOLUTION, exact=True, road="direct"))
