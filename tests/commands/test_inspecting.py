"""`maj summary`, `explain`, `dump` and `graph`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import majuscule

Maj = Callable[..., Any]


def test_summary_of_the_small_program(maj: Maj, small: str) -> None:
    report = json.loads(maj("summary", "--json", small).stdout)
    rows = {row["name"]: row for row in report["rows"]}
    assert rows["L1"]["output"] == [4, 4, 4]
    assert rows["L1"]["weights"] == 108
    assert rows["L1"]["biases"] == 4
    assert rows["L1"]["multiply_adds"] == 4 * 4 * 4 * 27
    assert rows["L1"]["memory_bytes"] == 256
    assert rows["L1"]["receptive_field"] == {"L0": [3, 3]}
    assert rows["s"]["receptive_field"] == {"L0": ["all", "all"]}
    assert report["total"]["weights"] == 108


def test_summary_as_a_table(maj: Maj, small: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = maj("summary", small).stdout
    assert "L1[b,x,y,j] = max(0, W[ΔX,ΔY,I,j] * L0[b,x+ΔX,y+ΔY,I] + B[j])" in wide
    assert "112 parameters" in wide
    monkeypatch.setenv("COLUMNS", "100")
    narrow = maj("summary", small).stdout
    assert "…" in narrow
    assert max(map(len, narrow.splitlines())) <= 100


def test_summary_counts_a_batch(maj: Maj, small: str) -> None:
    one, eight = (json.loads(maj("summary", "--json", "--batch", n, small).stdout)["total"] for n in ("1", "8"))
    assert eight["neurons"] == 8 * one["neurons"]
    assert eight["weights"] == one["weights"]


def test_summary_foretells_the_memory_of_the_compiled_module(maj: Maj, small: str) -> None:
    table = maj("summary", "--memory", "1", "--memory", "8", small).stdout
    assert "Memory of a call of the compiled module" in table
    report = json.loads(maj("summary", "--json", "--threads", "2", "--memory", "1", "--memory", "8", small).stdout)
    module = majuscule.compile(small, threads=2)
    for row in report["memory"]:
        told = module.memory(row["batch"])
        module(**module.random_inputs(row["batch"]))
        assert module._program is not None
        assert row["arena_bytes"] == told.arena <= module._program._arena.nbytes <= 1.05 * row["arena_bytes"]
        assert row["inputs_bytes"] == row["batch"] * 6 * 6 * 3 * 4
        assert row["outputs_bytes"] == row["batch"] * 4 * 4
        assert row["total_bytes"] == told.total
    assert [row["batch"] for row in report["memory"]] == [1, 8]
    assert "memory" not in json.loads(maj("summary", "--json", small).stdout)


def test_explain_gives_each_deduction_its_place(maj: Maj, small: str) -> None:
    text = maj("explain", small).stdout
    assert "small.maj:4" in text
    assert "ΔX runs over" in text
    assert "What the passes changed" in text
    only = maj("explain", small, "s").stdout
    assert "small.maj:5" in only
    assert "ΔX runs over" not in only
    wrong = maj("explain", small, "L9")
    assert wrong.exit_code == 2
    assert "L9" in wrong.stderr


def test_explain_takes_the_code_of_an_error(maj: Maj) -> None:
    text = maj("explain", "e302").stdout
    assert text.startswith("E302: ")
    assert "right:" in text
    unknown = maj("explain", "E999")
    assert (unknown.exit_code, unknown.stdout) == (2, "")


def test_explain_tells_how_kernels_are_made(maj: Maj, small: str) -> None:
    assert "codegen" not in maj("explain", small).stdout
    text = maj("explain", "--kernels", small).stdout
    assert "codegen" in text
    assert "L1: direct" in text


def test_explain_as_json(maj: Maj, small: str) -> None:
    report = json.loads(maj("explain", "--json", small).stdout)
    assert {"file", "line", "column", "text"} <= set(report["deductions"][0])


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        ("tokens", "GIVEN"),
        ("syntax", "Definition"),
        ("program", "param W[3, 3, 3, 4]"),
        ("graph", "Given L0"),
        ("simplify", "Given L0"),
        ("optimized", "Given L0"),
    ],
)
def test_dump_shows_every_stage(stage: str, expected: str, maj: Maj, small: str) -> None:
    result = maj("dump", "--stage", stage, small)
    assert result.exit_code == 0, result.stderr
    assert expected in result.stdout


def test_dump_names_the_stages_and_refuses_others(maj: Maj, small: str) -> None:
    stages = maj("dump", "--list", small).stdout.split()
    assert stages[:3] == ["tokens", "syntax", "program"]
    assert stages[-2:] == ["tensorir", "assembly"]
    wrong = maj("dump", "--stage", "simplifi", small)
    assert wrong.exit_code == 2
    assert "is simplify meant?" in wrong.stderr


def test_graph_as_dot_needs_nothing_else(maj: Maj, small: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    text = maj("graph", "--format", "dot", "-o", "-", small).stdout
    assert text.startswith("digraph")
    assert '"L0" -> "L1' in text
    assert '"W" ->' not in text
    assert '"W" ->' in maj("graph", "--format", "dot", "--weights", "-o", "-", small).stdout
    assert maj("graph", "-o", "net.dot", small).exit_code == 0
    assert (tmp_path / "net.dot").read_text(encoding="utf-8") == text


def test_graph_without_graphviz_says_how_to_get_it(maj: Maj, small: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    result = maj("graph", small)
    assert result.exit_code == 2
    assert "install" in result.stderr
    assert "--format dot" in result.stderr


def test_graph_refuses_unknown_formats(maj: Maj, small: str) -> None:
    result = maj("graph", "-o", "net.bmp3", small)
    assert result.exit_code == 2
    assert "svg" in result.stderr


@pytest.mark.skipif(shutil.which("dot") is None, reason="needs graphviz")
def test_graph_as_svg(maj: Maj, small: str, tmp_path: Path) -> None:
    pytest.importorskip("graphviz")
    assert maj("graph", "-o", "net.svg", small).exit_code == 0
    assert "<svg" in (tmp_path / "net.svg").read_text(encoding="utf-8")
