"""What the course notes say of two of their networks: the dilated classifier, and the gradients derived by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from typer.testing import CliRunner

import majuscule
from majuscule.commands.application import app
from majuscule.compiler.graph import Graph
from majuscule.compiler.interpreter import evaluate

EXAMPLES = Path(__file__).parents[2] / "examples"
torch = pytest.importorskip("torch")
import published_further  # noqa: E402 (needs PyTorch)
import published_small  # noqa: E402


def interpreted(name: str, image: Any, weights: dict[str, Any]) -> Any:
    program = majuscule.check(EXAMPLES / "networks" / f"{name}.maj").require()
    return evaluate(Graph.from_program(program), {"image": image}, weights)["scores"]


def compiled(name: str, image: Any, weights: dict[str, Any]) -> Any:
    return majuscule.compile(EXAMPLES / "networks" / f"{name}.maj", weights=weights)(image)


@pytest.mark.parametrize(
    ("run", "tolerance"), [(interpreted, 1e-13), pytest.param(compiled, 2e-6, marks=pytest.mark.slow)]
)
def test_a_dilated_classifier_gives_what_the_classifier_gives_at_each_offset(
    run: Callable[..., Any], tolerance: float
) -> None:
    torch.manual_seed(0)
    weights = published_further.program_weights(published_small.lenet_of_convolutions(32))
    image = numpy.random.default_rng(0).standard_normal((1, 37, 42, 1), numpy.float32)
    found = run("classifier_everywhere", image, weights)
    windows = numpy.lib.stride_tricks.sliding_window_view(image[0, :, :, 0], (32, 32))
    expected = run("classifier_32", windows.reshape(-1, 32, 32, 1), weights).reshape(1, 6, 11, 10)
    assert found.shape == expected.shape
    assert expected.std((1, 2)).min() > 0.001  # the windows differ
    assert abs(found - expected).max() < tolerance * abs(expected).max()


def test_maj_grad_prints_what_the_slide_derives_for_logistic_least_squares() -> None:
    printed = CliRunner().invoke(app, ["grad", str(EXAMPLES / "logistic.maj")])
    assert printed.exit_code == 0
    module = majuscule.compile(printed.stdout, weights={"w": numpy.float32(0.7), "b": numpy.float32(-0.3)})
    for x, t in ((1.5, 1.0), (-2.0, 0.0), (0.25, -1.0)):
        z = 0.7 * x - 0.3
        y = 1 / (1 + numpy.exp(-z))
        slope = y * (1 - y)  # σ'(z)
        outputs = module(x=numpy.float32(x), t=numpy.float32(t))
        assert outputs["d_w"] == pytest.approx((y - t) * slope * x, rel=1e-5)
        assert outputs["d_b"] == pytest.approx((y - t) * slope, rel=1e-5)
    for step in ("d_y[] = y - t", "d_w[] = d_z * x", "d_b[] = d_z"):  # the structured way, step by step
        assert step in printed.stdout
