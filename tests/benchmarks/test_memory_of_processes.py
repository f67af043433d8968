"""`benchmarks/memory.py`: a step of training in processes of its own, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
memory = pytest.importorskip("memory")


@pytest.mark.slow
@pytest.mark.exhaustive
def test_training_takes_less_memory_than_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "found.json"
    sides = ["Majuscule", "channels first"]
    monkeypatch.setattr("sys.argv", ["memory.py", "--training", "lenet", "--json", str(file), "--sides", *sides])
    memory.main()
    found = json.loads(file.read_text(encoding="utf-8"))["megabytes"]["lenet"]
    assert list(found) == sides
    assert found["Majuscule"]["tensors"] < found["Majuscule"]["peak"] < found["channels first"]["peak"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["vgg11"], "no network called vgg11"),  # it is trained only
        (["--training", "vgg16"], "no network called vgg16"),
        (["--training", "--sides", "OpenVINO"], "no side called OpenVINO"),
    ],
)
def test_what_there_is_not_is_refused(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["memory.py", *arguments])
    with pytest.raises(SystemExit):
        memory.read_options()
    assert message in capsys.readouterr().err
