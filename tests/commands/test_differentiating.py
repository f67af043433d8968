"""`maj grad`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest

import majuscule

Maj = Callable[..., Any]

LOGISTIC = """\
Given x[] without batch, t[] without batch
param w[] = 0.5
param b[] = 0
z = w*x + b
y = σ(z)
loss L = 1/2 * (y - t)^2
"""


@pytest.fixture
def logistic(tmp_path: Path) -> str:
    (tmp_path / "logistic.maj").write_text(LOGISTIC, encoding="utf-8")
    return "logistic.maj"


def test_logistic_least_squares_as_the_slide_derives_it(maj: Maj, logistic: str) -> None:
    lines = maj("grad", logistic).stdout.splitlines()
    assert lines[-7:] == [
        "y[] = sigmoid(z)",
        "d_y[] = y - t",
        "d_z[] = d_y * (y * (1 - y))",
        "d_w[] = d_z * x",
        "d_b[] = d_z",
        "",
        "output d_w, d_b",
    ]


def test_latex(maj: Maj, logistic: str) -> None:
    assert maj("grad", "--latex", "-w", "w", logistic).stdout.splitlines() == [
        r"\begin{align*}",
        r"z &= w \, x + b \\",
        r"y &= \sigma\left(z\right) \\",
        r"\frac{\partial L}{\partial y} &= y - t \\",
        r"\frac{\partial L}{\partial z} &= \frac{\partial L}{\partial y} \, y \, \left(1 - y\right) \\",
        r"\frac{\partial L}{\partial w} &= \frac{\partial L}{\partial z} \, x",
        r"\end{align*}",
    ]


def test_latex_of_windows_cases_and_sums(maj: Maj, small: str) -> None:
    text = maj("grad", "--latex", "-w", "W,B", small).stdout
    assert r"W[\Delta X, \Delta Y, I, j] \, L_{0}[b, x + \Delta X, y + \Delta Y, I]" in text
    assert r"\begin{cases}" in text
    assert r"\bar{W}[\Delta x, \Delta y, i, j]" in text
    assert r"\sum_{b < \mathrm{batch},\, x < 4,\, y < 4}" in text


def test_a_layer_takes_the_gradient_of_what_follows(maj: Maj, small: str, tmp_path: Path) -> None:
    assert maj("grad", small, "--of", "L1", "--with-respect-to", "W,B", "-o", "gradient.maj").exit_code == 0
    text = (tmp_path / "gradient.maj").read_text(encoding="utf-8")
    assert "Given d_L1[4, 4, 4]" in text
    assert maj("check", "gradient.maj").exit_code == 0
    rng = numpy.random.default_rng(0)
    image, cotangent = rng.normal(size=(2, 6, 6, 3)), rng.normal(size=(2, 4, 4, 4))
    weights = {"W": rng.normal(size=(3, 3, 3, 4)).astype("float32"), "B": rng.normal(size=4).astype("float32")}
    module = majuscule.compile(tmp_path / "gradient.maj", weights=weights)
    d_W, d_B = module(L0=image, d_L1=cotangent)
    columns = numpy.lib.stride_tricks.sliding_window_view(image, (3, 3), (1, 2))  # [b, x, y, i, Δx, Δy]
    positive = numpy.einsum("bxyipq,pqij->bxyj", columns, weights["W"]) + weights["B"] > 0
    numpy.testing.assert_allclose(d_B, (cotangent * positive).sum((0, 1, 2)), rtol=1e-4, atol=1e-4)
    expected = numpy.einsum("bxyipq,bxyj->pqij", columns, cotangent * positive)
    numpy.testing.assert_allclose(d_W, expected, rtol=1e-4, atol=1e-4)


def test_a_bundle_is_all_of_its_parameters(maj: Maj) -> None:
    text = "Given x[4]\nh = relu(FC(x, Φ1, units 3))\ny = FC(h, Φ2, units 2)\nloss J = mean[b,j](y[b,j]^2)\n"
    assert maj("grad", "-", "-w", "Φ1", input=text).stdout.splitlines()[-1] == "output d_W_Φ1, d_B_Φ1"
    assert maj("grad", "-", input=text).stdout.splitlines()[-1] == "output d_W_Φ1, d_B_Φ1, d_W_Φ2, d_B_Φ2"


def test_wrong_names(maj: Maj, small: str) -> None:
    unknown = maj("grad", small, "--of", "L1.sun")
    assert unknown.exit_code == 2
    assert "the program has no tensor L1.sun" in unknown.stderr
    assert "is L1.sum meant?" in unknown.stderr
    whole = maj("grad", "-", "-w", "k", input="Given k[3]: int64\ny = k / 2\n")
    assert whole.exit_code == 2
    assert "k is int64" in whole.stderr
    nothing = maj("grad", "-", input="Given k[3]: int64\ny = k / 2\n")
    assert "no trained parameter and no input of floats" in nothing.stderr
    few = maj("grad", small, "--of", "quite_another")
    assert few.exit_code == 2
    assert "there are " in few.stderr


def test_what_is_written_over_keeps_its_permissions_and_what_cannot_be_written_stays(
    maj: Maj, logistic: str, tmp_path: Path
) -> None:
    before, link, folder = tmp_path / "kept.maj", tmp_path / "link.maj", tmp_path / "folder"
    before.write_text("# old\n", encoding="utf-8")
    before.chmod(0o640)
    link.symlink_to(before)
    folder.mkdir()
    assert maj("grad", logistic, "-o", "link.maj").exit_code == 0
    assert link.is_symlink()
    assert before.stat().st_mode & 0o777 == 0o640
    assert before.read_text(encoding="utf-8") == maj("grad", logistic).stdout
    assert maj("grad", logistic, "-o", "new.maj").exit_code == 0
    assert (tmp_path / "new.maj").stat().st_mode == (tmp_path / "logistic.maj").stat().st_mode
    for wrong, message in (("folder", "is a directory"), ("nowhere/x.maj", "there is no folder")):
        failed = maj("grad", logistic, "-o", wrong)
        assert failed.exit_code == 2
        assert message in failed.stderr
    assert not [file.name for file in tmp_path.iterdir() if file.name.startswith(".")]
