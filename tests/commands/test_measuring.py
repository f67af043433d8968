"""`maj bench` and `maj profile`: their numbers, their files, and what they refuse."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Maj = Callable[..., Any]
QUICK = ("--repeats", "3")

SEQUENCE = """\
Given x[T, 3]
h, c = LSTM(x, Φ, units 5)
output h
"""


def report(result: Any) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_bench_measures_each_batch(maj: Maj, small: str) -> None:
    found = report(maj("bench", small, "--batch", "1", "--batch", "5", *QUICK, "--threads", "1", "--json"))
    assert found["name"] == "small"
    assert found["threads"] == 1
    assert found["cores"] >= 1
    assert [result["batch"] for result in found["results"]] == [1, 5]
    for result in found["results"]:
        latency = result["latency_seconds"]
        assert result["repeats"] == 3
        assert 0 < latency["min"] <= latency["median"] <= latency["p90"] <= latency["p99"]
        assert result["batch"] / latency["p99"] <= result["samples_per_second"] * 1.5
        assert result["samples_per_second"] <= result["batch"] / latency["min"]


def test_bench_of_a_module_prints_a_table(maj: Maj, small: str) -> None:
    assert maj("compile", small, "-o", "small.mod").exit_code == 0
    result = maj("bench", "small.mod", *QUICK, "--threads", "2")
    assert result.exit_code == 0, result.output
    heading, _, columns, _, row = result.stdout.splitlines()
    assert heading.startswith("small, 2 threads on ")
    assert columns.split() == ["batch", "calls", "min", "median", "p90", "p99", "samples/s"]
    assert row.split()[:2] == ["1", "3"]


def test_open_sizes_are_chosen(maj: Maj, tmp_path: Path) -> None:
    (tmp_path / "net.maj").write_text(SEQUENCE, encoding="utf-8")
    reports = (report(maj("profile", "net.maj", "--size", f"T={n}", *QUICK, "--json")) for n in (3, 4, 30))
    three, four, thirty = (sum(step["flops"] for step in found["steps"]) for found in reports)
    assert four > three
    assert thirty - three == 27 * (four - three)  # as much for each step of time
    assert maj("bench", "net.maj", "--size", "T=3", *QUICK).exit_code == 0


def test_profile_has_a_row_for_each_step_and_each_layer(maj: Maj, small: str) -> None:
    found = report(maj("profile", small, "--batch", "2", *QUICK, "--json"))
    assert (found["name"], found["batch"], found["rounds"]) == ("small", 2, 3)
    assert [step["tensor"] for step in found["steps"]] == ["L1", "s"]
    assert [layer["layer"] for layer in found["layers"]] == ["L1", "s"]
    first = found["steps"][0]
    assert first["flops"] == 2 * (2 * 4 * 4 * 4) * (3 * 3 * 3)
    assert first["bytes"] == 4 * (2 * 6 * 6 * 3 + 3 * 3 * 3 * 4 + 4 + 2 * 4 * 4 * 4)
    assert first["road"]
    assert first["kernel"].startswith("majuscule_kernel_")
    assert sum(step["share"] for step in found["steps"]) == pytest.approx(1)
    assert found["seconds"]["sum"] == pytest.approx(sum(step["seconds"] for step in found["steps"]))
    for step in found["steps"]:
        if step["seconds"]:
            assert step["flops_per_second"] == pytest.approx(step["flops"] / step["seconds"])
            assert step["share_of_peak"] == pytest.approx(step["flops_per_second"] / found["peak_flops_per_second"])
    assert found["seconds"]["whole"] > 0


def test_profile_prints_a_table_of_a_module(maj: Maj, small: str) -> None:
    assert maj("compile", small, "-o", "small.mod").exit_code == 0
    lines = maj("profile", "small.mod", *QUICK).stdout.splitlines()
    headings = ["layer", "tensor", "road", "time", "share", "MFLOP", "GFLOP/s", "of", "peak", "MB", "GB/s"]
    assert lines[2].split() == headings
    assert lines[4].split()[:2] == ["L1", "L1"]
    assert "100%" in next(line for line in lines if line.startswith("total"))
    assert any("a run of the whole takes" in line for line in lines)
    assert "steps" in maj("profile", "small.mod", *QUICK, "--by", "layer").stdout.splitlines()[2]


def test_the_trace_is_what_chrome_reads(maj: Maj, small: str, tmp_path: Path) -> None:
    assert maj("profile", small, *QUICK, "--trace", "trace.json").exit_code == 0
    events = json.loads((tmp_path / "trace.json").read_text(encoding="utf-8"))["traceEvents"]
    spans = [event for event in events if event["ph"] == "X"]
    assert all({"name", "ts", "dur", "pid", "tid"} <= set(event) for event in spans)
    steps = [event for event in spans if event["cat"] != "layer"]
    assert [event["name"] for event in steps] == ["L1", "s"]
    assert steps[1]["ts"] == pytest.approx(steps[0]["ts"] + steps[0]["dur"])
    assert steps[0]["args"]["flops"] > 0


@pytest.mark.parametrize("name", ["chart.png", "chart.svg"])
def test_the_chart_is_a_picture(name: str, maj: Maj, small: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = maj("profile", small, *QUICK, "--chart", name)
    assert result.exit_code == 0, result.output
    assert f"wrote {name}" in result.stderr
    starts = {"chart.png": b"\x89PNG", "chart.svg": b"<?xml"}
    assert (tmp_path / name).read_bytes().startswith(starts[name])


def test_without_matplotlib_the_chart_says_what_to_install(
    maj: Maj, small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = maj("profile", small, "--chart", "chart.png")
    assert result.exit_code == 2
    assert "pip install 'majuscule[plot]'" in result.stderr


@pytest.mark.parametrize("command", ["bench", "profile"])
@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["nowhere.mod"], 2, "no file nowhere.mod"),
        (["broken.mod"], 2, "not a compiled module"),
        (["wrong.maj"], 1, "wrong.maj:2:"),
        (["small.maj", "--batch", "0"], 2, "--batch"),
        (["small.maj", "--size", "T"], 2, "NAME=N"),
        (["small.maj", "--size", "T=4"], 2, "no open size T"),
        (["fixed.maj", "--batch", "4"], 2, "no input of fixed has a batch"),
    ],
)
def test_what_cannot_be_measured_is_named(
    command: str, arguments: list[str], status: int, words: str, maj: Maj, small: str, tmp_path: Path
) -> None:
    (tmp_path / "broken.mod").write_bytes(b"nothing of use")
    (tmp_path / "wrong.maj").write_text("Given x[4]\ny[b,i] = x[b,i] + z[i]\n", encoding="utf-8")
    (tmp_path / "fixed.maj").write_text("param W[3, 4] ~ xavier\ny[i] = W[i,J] * W[i,J]\n", encoding="utf-8")
    result = maj(command, *arguments)
    assert result.exit_code == status, result.output
    assert words in result.stderr
    assert "internal error" not in result.stderr


def test_profile_refuses_other_rows_and_other_charts(maj: Maj, small: str) -> None:
    assert "--by step or --by layer" in maj("profile", small, "--by", "size").stderr
    refused = maj("profile", small, "--chart", "chart.docx")
    assert refused.exit_code == 2
    assert ".png, .svg, .pdf" in refused.stderr


NET = """\
layer Net(L[..., i], Φ, units J):
    hidden = Linear(L, units J)
    scores = Linear(relu(hidden), units 3)
    return scores
Given x[4]
y = Net(x, units 5)
"""


def test_layers_within_a_program_that_is_one_call(maj: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "net.maj").write_text(NET, encoding="utf-8")
    found = json.loads(maj("profile", "net.maj", *QUICK, "--json").stdout)
    assert [layer["layer"] for layer in found["layers"]] == ["hidden", "scores"]
