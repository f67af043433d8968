"""The history of a training in files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from majuscule.runtime.errors import CheckpointError
from majuscule.runtime.history import History, draw_curves, read_history, write_csv


def record(history: History, first: int, last: int) -> None:
    for step in range(first, last + 1):
        history.add("step", step, (step - 1) // 2 + 1, {"cost": 1 / step, "rate": 0.1})
        if step % 2 == 0:
            history.add("epoch", step, step // 2, {"cost": 1 / step, "validation cost": 2 / step})


def test_every_line_is_json(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    record(history, 1, 4)
    history.add("step", 5, 3, {"cost": float("nan")})
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines[0] == {"kind": "step", "step": 1, "epoch": 1, "cost": 1.0, "rate": 0.1}
    assert [line["step"] for line in lines if line["kind"] == "epoch"] == [2, 4]
    assert lines[-1]["cost"] == "nan"
    assert read_history(tmp_path / "history.jsonl") == history.entries == lines


@pytest.mark.parametrize("cut", [0, 1, 30])
def test_going_on_drops_later_steps_and_half_a_line_and_repeats_none(tmp_path: Path, cut: int) -> None:
    whole = History(tmp_path / "whole.jsonl")
    record(whole, 1, 8)
    whole.close()
    killed = History(tmp_path / "killed.jsonl")
    record(killed, 1, 7)
    killed.close()
    data = killed.path.read_bytes()
    killed.path.write_bytes(data[: len(data) - cut])
    again = History(killed.path, after=4)
    assert [entry["epoch"] for entry in again.of("epoch")] == [1, 2]
    record(again, 5, 8)
    again.close()
    assert killed.path.read_bytes() == whole.path.read_bytes()


def test_a_new_history_starts_empty(tmp_path: Path) -> None:
    record(History(tmp_path / "a.jsonl"), 1, 4)
    assert History(tmp_path / "a.jsonl").entries == []
    with pytest.raises(CheckpointError, match="cannot write"):
        History(tmp_path / "nowhere" / "a.jsonl")


def test_a_table_and_curves(tmp_path: Path) -> None:
    history = History(tmp_path / "a.jsonl")
    record(history, 1, 6)
    write_csv(history.of("epoch"), tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["validation cost"]) for row in rows] == [1.0, 0.5, 2 / 6]
    assert list(rows[0]) == ["step", "epoch", "cost", "validation cost"]
    pytest.importorskip("matplotlib")
    draw_curves(history.of("epoch"), ["cost", "validation cost"], tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size[0] > 500


def test_tensorboard_reads_what_is_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    from majuscule.runtime.tensorboard import TensorBoard

    board = TensorBoard(tmp_path)
    board.add(3, {"cost": 0.25})
    board.close()
    (file,) = tmp_path.iterdir()
    assert b"cost" in file.read_bytes()
