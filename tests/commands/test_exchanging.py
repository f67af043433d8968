"""`maj import-weights` and `maj export-weights`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest

from majuscule.runtime.tensor_files import read_tensors

Maj = Callable[..., Any]


@pytest.fixture
def state(tmp_path: Path) -> dict[str, Any]:
    """PyTorch's tensors for `small`, in state.npz."""
    generator = numpy.random.default_rng(0)
    tensors = {"conv.weight": generator.random((4, 3, 3, 3), "float32"), "conv.bias": generator.random(4, "float32")}
    numpy.savez(tmp_path / "state.npz", **tensors)
    return tensors


def test_in_and_out_again(maj: Maj, small: str, state: dict[str, Any]) -> None:
    imported = maj("import-weights", small, "state.npz", "-o", "w.safetensors")
    assert imported.exit_code == 0, imported.output
    assert imported.stdout == "matched: 2 in order\n"
    assert "wrote w.safetensors (2 tensors, 0.0 MB)" in imported.stderr
    weights = read_tensors("w.safetensors")
    assert numpy.array_equal(weights["W"], state["conv.weight"].transpose(2, 3, 1, 0))
    assert maj("compile", small, "-w", "w.safetensors", "-o", "small.mod").exit_code == 0
    for arguments in ([small, "--weights", "w.safetensors"], ["small.mod"]):
        exported = maj("export-weights", *arguments, "--like", "state.npz", "-o", "back.safetensors")
        assert exported.exit_code == 0, exported.output
        back = read_tensors("back.safetensors")
        assert back.keys() == state.keys()
        assert all(numpy.array_equal(back[name], array) for name, array in state.items())
    assert maj("export-weights", "small.mod", "-o", "own.npz").exit_code == 0
    assert read_tensors("own.npz")["W"].shape == (4, 3, 3, 3)


def test_the_report_lists_everything_on_request(maj: Maj, small: str, state: dict[str, Any]) -> None:
    listed = maj("import-weights", small, "state.npz", "-v")
    assert "  conv.weight [4, 3, 3, 3] is W [3, 3, 3, 4]\n  conv.bias [4] is B [4]\n" in listed.stdout
    report = json.loads(maj("import-weights", small, "state.npz", "--json").stdout)
    assert [entry["tensor"] for entry in report["matched"]] == list(state)
    assert report["matched"][0]["weights"] == {"W": [3, 3, 3, 4]}


def test_nothing_is_written_if_a_weight_is_left(maj: Maj, small: str, state: dict[str, Any], tmp_path: Path) -> None:
    numpy.savez(tmp_path / "part.npz", **{"conv.weight": state["conv.weight"]})
    result = maj("import-weights", small, "part.npz", "-o", "w.npz")
    assert result.exit_code == 2
    assert "left in the program:\n  B: no tensor of the file that is left fits: [4]" in result.stdout
    assert "a weight has no tensor, so nothing is written" in result.stderr
    assert not (tmp_path / "w.npz").exists()
    assert maj("import-weights", small, "part.npz", "-o", "w.npz", "--partial").exit_code == 0
    assert read_tensors("w.npz")["B"].tolist() == [0.5] * 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.pt"], "No such file"),
        (["small.maj"], "not a file of weights"),
        (["state.npz", "-o", "w.pt"], "must end in .safetensors or .npz"),
        (["state.npz", "-o", "nowhere/w.npz"], "no directory nowhere"),
        (["state.npz", "-o", "state.npz"], "is the file that is read"),
        (["state.npz", "--rename", "conv"], "no rule for names"),
        (["state.npz", "--skip", "aux*"], "matches aux*"),
        (["state.npz", "--by", "luck"], "none of name, order"),
    ],
)
def test_what_cannot_be_done_is_said(
    maj: Maj, small: str, state: dict[str, Any], arguments: list[str], words: str
) -> None:
    result = maj("import-weights", small, *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert "internal error" not in result.stderr
