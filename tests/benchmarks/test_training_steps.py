"""`benchmarks/training.py` on its smallest network: both sides take the same steps, and all programs are right."""

from __future__ import annotations

import pytest

import majuscule

training = pytest.importorskip("training")


def test_every_program_is_right() -> None:
    for task in training.tasks().values():
        assert not majuscule.check(task.text, mode="training").errors, task.name


@pytest.mark.slow
def test_steps_agree_with_pytorch_and_are_timed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["training.py", "lenet", "--rounds", "1", "--repeats", "1"])
    training.main()
    assert "channels last" in capsys.readouterr().out
