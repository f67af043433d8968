"""`maj train` and `maj eval`: from data to a module, stopped and taken up again, and what is said when it cannot be."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image
from typer.testing import CliRunner

import majuscule
from majuscule.commands.application import app
from majuscule.commands.training_display import Display, duration
from majuscule.commands.training_session import Interruption
from majuscule.runtime.checkpoints import load_checkpoint
from majuscule.trainer import Trainer, amount_of, bytes_of

Maj = Callable[..., Any]

PROGRAM = """\
Given image[4, 4, 1]
scores[3] = FC(image, Φ)

when training:
    Given label[]: int64
    loss cost = cross_entropy(scores, label)
    metric right = accuracy(scores, label)

output scores
"""
GENERATOR = numpy.random.default_rng(0)
LABELS = numpy.arange(60) % 3
IMAGES = numpy.clip(GENERATOR.normal(60 + 60 * LABELS[:, None, None], 40, (60, 4, 4)), 0, 255).astype("uint8")


def _write(folder: Path) -> None:
    (folder / "net.maj").write_text(PROGRAM, encoding="utf-8")
    numpy.savez(
        folder / "data.npz", image=IMAGES[:48], label=LABELS[:48], image_test=IMAGES[48:], label_test=LABELS[48:],
        classes=["dark", "grey", "light"],
    )  # fmt: skip


@pytest.fixture
def maj(maj: Maj, tmp_path: Path) -> Maj:
    _write(tmp_path)
    return maj


TRAIN = (
    "train",
    "net.maj",
    "--data",
    "data.npz",
    "--batch",
    "10",
    "--augment",
    "crop:1",
    "--normalise",
    "--rate",
    "0.01",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training of two epochs, in one go."""
    folder = tmp_path_factory.mktemp("trained")
    _write(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = CliRunner().invoke(app, [*TRAIN, "--epochs", "2"])
    assert result.exit_code == 0, result.output
    assert "training   data.npz (train): 48 samples" in result.stdout
    assert "3 classes (dark, grey, light), 16 samples each" in result.stdout
    assert "epoch 2/2  cost " in result.stdout
    assert "module      net.training/net.mod  (weights of epoch 2)" in result.stdout
    return folder


def _tensors(folder: Path) -> dict[str, bytes]:
    tensors, meta = load_checkpoint(folder / "net.training" / "last.safetensors")
    return {name: array.tobytes() for name, array in tensors.items()} | {"meta": json.dumps(meta).encode()}


def _history(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "net.training" / "history.jsonl").read_text(encoding="utf-8").splitlines()
    timed = ("seconds", "samples/s")
    return [{key: value for key, value in json.loads(line).items() if key not in timed} for line in lines]


def test_one_epoch_and_one_more_are_two_in_one_go(trained: Path, maj: Maj, tmp_path: Path) -> None:
    assert maj(*TRAIN, "--epochs", "1").exit_code == 0
    assert maj(*TRAIN, "--epochs", "2", "--resume").exit_code == 0
    assert _tensors(tmp_path) == _tensors(trained)
    assert _history(tmp_path) == _history(trained)


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Any]:
    """In `with interrupted(3):` the user presses Ctrl-C during the third step."""
    take = Trainer.step

    @contextlib.contextmanager
    def interrupt(stop: int) -> Iterator[None]:
        def take_and_interrupt(trainer: Trainer, batch: Any) -> Any:
            result = take(trainer, batch)
            if trainer.steps == stop:
                os.kill(os.getpid(), signal.SIGINT)
            return result

        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "step", take_and_interrupt)
            yield

    return interrupt


@pytest.mark.parametrize("stop", [3, 5])
def test_a_training_that_was_stopped_anywhere_goes_on_as_if_it_was_not(
    stop: int, trained: Path, maj: Maj, tmp_path: Path, interrupted: Callable[[int], Any]
) -> None:
    with interrupted(stop):
        stopped = maj(*TRAIN, "--epochs", "2")
    assert stopped.exit_code == 130
    assert "the same command with --resume" in stopped.stdout
    assert load_checkpoint(tmp_path / "net.training" / "last.safetensors")[1]["step"] == stop
    assert maj(*TRAIN, "--epochs", "2", "--resume").exit_code == 0
    assert _tensors(tmp_path) == _tensors(trained)
    assert _history(tmp_path) == _history(trained)


def test_a_training_goes_on_where_it_was_even_if_whole_batches_cannot_be_read(
    maj: Maj, tmp_path: Path, interrupted: Callable[[int], Any]
) -> None:
    for number, (image, label) in enumerate(zip(IMAGES[:12], LABELS, strict=False)):
        folder = tmp_path / "pictures" / "abc"[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number:02}.png")
        if number in (2, 3, 7):
            (folder / f"{number:02}.png").write_bytes(b"no picture")
    command = ("train", "net.maj", "--data", "pictures", "--batch", "1", "--epochs", "2", "--checkpoint")
    whole = maj(*command, "whole")
    assert whole.exit_code == 0, whole.stderr
    assert whole.stderr.count("it is left out") == 3
    assert "pictures/a/03.png is no picture that can be read" in whole.stderr
    for stop in (3, 7):
        with interrupted(stop):
            assert maj(*command, f"parts{stop}").exit_code == 130
        assert maj(*command, f"parts{stop}", "--resume").exit_code == 0
        last = [load_checkpoint(tmp_path / name / "last.safetensors") for name in ("whole", f"parts{stop}")]
        assert last[0][1] == last[1][1]
        assert last[0][1]["step"] == 18
        assert all(last[0][0][name].tobytes() == last[1][0][name].tobytes() for name in last[0][0])
    strict = maj(*command, "strict", "--strict")
    assert strict.exit_code == 2
    assert "is no picture that can be read" in strict.stderr


def test_two_trainings_never_share_a_folder_and_a_killed_one_goes_on(maj: Maj, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "majuscule", *TRAIN, "--epochs", "1000000"]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    last = tmp_path / "net.training" / "last.safetensors"
    try:
        while not last.exists():
            assert first.poll() is None
            time.sleep(0.05)
        second = maj(*TRAIN, "--epochs", "1", "--resume")
        assert second.exit_code == 2
        assert second.stderr == (
            f"error: another training is at work in the folder net.training, as process {first.pid}; "
            "wait for its end, or choose another folder [R502]\n"
        )
        assert first.poll() is None
    finally:
        first.kill()
        first.wait()
    epochs = load_checkpoint(last)[1]["epoch"] + 1
    assert maj(*TRAIN, "--epochs", str(epochs), "--resume").exit_code == 0
    assert load_checkpoint(last)[1]["epoch"] == epochs
    told = [entry["epoch"] for entry in _history(tmp_path) if entry["kind"] == "epoch"]
    assert told == [*range(1, epochs + 1)]


KILLED = """
import os, signal, sys
from majuscule.__main__ import main
from majuscule.runtime.history import History

add = History.add

def add_or_die(history, kind, step, epoch, values):
    if kind == "epoch" and epoch == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    add(history, kind, step, epoch, values)

History.add = add_or_die
sys.argv = ["maj", *sys.argv[1:]]
main()
"""


def test_a_training_killed_between_checkpoint_and_history_loses_no_line(maj: Maj, tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, *TRAIN, "--epochs", "3"], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert load_checkpoint(tmp_path / "net.training" / "last.safetensors")[1]["epoch"] == 2
    assert [entry["epoch"] for entry in _history(tmp_path) if entry["kind"] == "epoch"] == [1]
    resumed = maj(*TRAIN, "--epochs", "3", "--resume")
    assert resumed.exit_code == 0, resumed.stderr
    assert maj(*TRAIN, "--epochs", "3", "--checkpoint", "whole/net.training").exit_code == 0
    assert _history(tmp_path) == _history(tmp_path / "whole")


TURNS = """\
layer D(image[b,x,y,i], Φ):
    return FC(image, Φ, units 1)

Given image[4, 4, 1]
z[b in 0..size(image, 0), k in 0..3] = normal(0, 1)
s = Linear(z, Φ_G, units 16)
drawn[b, x in 0..4, y in 0..4, i in 0..1] = σ(s[b,(x,y,i)])

when training:
    real = D(image, Φ_D)
    forged = D(drawn, Φ_D)
    loss judge = mean[b](softplus(-real[b,0]) + softplus(forged[b,0])) trains Φ_D
    loss forger = mean[b](softplus(-forged[b,0])) trains Φ_G

output drawn
"""


def test_losses_that_take_turns_go_on_in_the_middle_of_a_round(
    maj: Maj, tmp_path: Path, interrupted: Callable[[int], Any]
) -> None:
    (tmp_path / "net.maj").write_text(TURNS, encoding="utf-8")
    command = ("train", "net.maj", "--data", "data.npz", "--batch", "10", "--turns", "judge:2,forger", "--epochs", "2")
    whole = maj(*command, "--checkpoint", "whole/net.training")
    assert whole.exit_code == 0, whole.stderr
    with interrupted(4):
        assert maj(*command).exit_code == 130
    resumed = maj(*command, "--resume")
    assert resumed.exit_code == 0, resumed.stderr
    assert _tensors(tmp_path) == _tensors(tmp_path / "whole")
    kept = [name for name in _tensors(tmp_path) if name.count(".") > 1]
    assert all(sum(name.startswith(f"{bundle}.W.") for name in kept) == 2 for bundle in ("Φ_D", "Φ_G")), kept  # Adam
    history = _history(tmp_path)
    assert history == _history(tmp_path / "whole")
    told = [next(name for name in ("judge", "forger") if name in e) for e in history if e["kind"] == "step"]
    assert told == ["judge", "judge", "forger"] * 3 + ["judge"]
    assert all({"judge", "forger"} <= entry.keys() for entry in history if entry["kind"] == "epoch")
    for wrong in ("judge", "judge:0,forger", "judge:x,forger", "judge,forged"):
        refused = maj(*command[:-3], wrong, "--checkpoint", "other")
        assert refused.exit_code in (1, 2), wrong
        assert refused.stderr.startswith("error: "), refused.stderr


LARGE = """\
Given image[4, 4, 1]
scores[3] = FC(FC(FC(image, units 400), units 400), Φ)
when training:
    Given label[]: int64
    loss cost = cross_entropy(scores, label)
output scores
"""


def test_a_checkpoint_that_cannot_be_written_whole_is_told_and_the_last_one_kept(maj: Maj, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    (tmp_path / "net.maj").write_text(LARGE, encoding="utf-8")
    assert maj(*TRAIN, "--epochs", "1").exit_code == 0
    last = tmp_path / "net.training" / "last.safetensors"
    before, size = last.read_bytes(), last.stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, limits[1]))
    try:
        failed = maj(*TRAIN, "--epochs", "2", "--resume")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert failed.exit_code == 2
    assert re.search(r"cannot write the checkpoint \S+: File too large, and the one before is kept", failed.stderr)
    assert "Traceback" not in failed.stderr
    assert last.read_bytes() == before
    assert maj(*TRAIN, "--epochs", "2", "--resume").exit_code == 0
    assert load_checkpoint(last)[1]["epoch"] == 2


def _scores(images: Any, tensors: dict[str, Any], metadata: dict[str, Any]) -> Any:
    """The program in NumPy."""
    known = metadata["normalisation"]["image"]
    x = (images / 255 - known["mean"][0]) / known["deviation"][0]
    return numpy.einsum("bxy,xyj->bj", x, tensors["Φ.W"].astype("float64").reshape(4, 4, 3)) + tensors["Φ.B"]


@pytest.mark.parametrize("file", ["net.training/net.mod", "net.training/last.safetensors"])
def test_eval_gives_the_loss_and_the_metric(
    file: str, trained: Path, maj: Maj, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained)
    result = maj("eval", file, "--data", "data.npz", "--batch", "5", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["program"], report["samples"]) == ("net", 12)
    with majuscule.load("net.training/net.mod") as module:
        scores = _scores(IMAGES[48:], dict(module.weights), dict(module.metadata))
    shares = numpy.exp(scores) / numpy.exp(scores).sum(1, keepdims=True)
    labels = LABELS[48:]
    numpy.testing.assert_allclose(report["values"]["cost"], -numpy.log(shares[range(12), labels]).mean(), rtol=1e-5)
    numpy.testing.assert_allclose(report["values"]["right"], (scores.argmax(1) == labels).mean(), rtol=1e-6)
    table = maj("eval", file, "--data", "data.npz", "--part", "train").stdout
    assert "data.npz (train): 48 samples" in table
    assert "metric  right" in table


def test_the_module_knows_its_classes_and_the_preparation_of_its_inputs(
    trained: Path, maj: Maj, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained)
    Image.fromarray(IMAGES[50]).save("a.png")
    with majuscule.load("net.training/net.mod") as module:
        scores = _scores(IMAGES[50:51], dict(module.weights), dict(module.metadata))
    printed = json.loads(maj("run", "net.training/net.mod", "a.png", "--json").stdout)["outputs"]["scores"]
    numpy.testing.assert_allclose(printed["values"], scores, rtol=1e-4, atol=1e-5)
    assert printed["top"][0][0]["name"] == ("dark", "grey", "light")[int(scores.argmax())]


def test_checkpoints_are_weights_for_other_commands(trained: Path, maj: Maj, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)
    last = "net.training/last.safetensors"
    result = maj("compile", "net.maj", "--weights", last, "-o", "again.mod")
    assert result.exit_code == 0, result.stderr
    with majuscule.load("again.mod") as again, majuscule.load("net.training/net.mod") as module:
        assert all(again.weights[name].tobytes() == module.weights[name].tobytes() for name in module.weights)
    result = maj(*TRAIN, "--epochs", "1", "--weights", last, "--checkpoint", "more", "--freeze", "Φ.W", "--json")
    assert result.exit_code == 0, result.stderr
    kept, moved = (load_checkpoint(file)[0] for file in (last, "more/last.safetensors"))
    assert kept["Φ.W"].tobytes() == moved["Φ.W"].tobytes()
    assert kept["Φ.B"].tobytes() != moved["Φ.B"].tobytes()


def test_results_as_json_and_the_best_epoch(maj: Maj, tmp_path: Path) -> None:
    result = maj(
        *TRAIN, "--split", "0.25", "--epochs", "9", "--rate", "3", "--early-stopping", "2", "--schedule", "cosine",
        "--warmup", "2", "-o", "best.mod", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    epochs = [entry for entry in _history(tmp_path) if entry["kind"] == "epoch"]
    costs = [entry["validation cost"] for entry in epochs]
    assert report["epochs"] == len(costs)
    assert report["weights_of_epoch"] == int(numpy.argmin(costs)) + 1
    assert report["stopped_early"] == (len(costs) < 9)
    assert len(costs) == 9 or len(costs) == report["weights_of_epoch"] + 2
    assert report["validation"]["cost"] == min(costs)
    assert report["files"]["module"] == "best.mod"
    assert all((tmp_path / file).exists() for file in report["files"].values())
    evaluated = json.loads(maj("eval", "best.mod", "-d", "data.npz", "--json").stdout)["values"]
    assert evaluated == pytest.approx(report["test"], rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "nowhere.npz"], "no file or folder nowhere.npz"),
        (["--data", "net.maj"], "no data that can be read"),
        (["--validation", "data.npz", "--split", "0.1"], "give one of them"),
        (["--split", "1.5"], "between 0 and 1"),
        (["--early-stopping", "3"], "--validation or --split"),
        (["--schedule", "falling"], "constant, cosine, linear"),
        (["--schedule", "step:x"], "constant, cosine, linear"),
        (["--augment", "turn"], "no augmentation 'turn'"),
        (["--freeze", "Ψ"], "no trained parameter is called Ψ"),
        (["--optimiser", "Adamant"], "Adamant"),
        (["--weights", "data.npz"], "Φ.W"),
        (["-o", "nowhere/net.mod"], "no directory nowhere"),
        (["-o", "."], "is a directory"),
        (["--checkpoint", "net.maj"], "cannot make the folder"),
    ],
)
def test_what_cannot_be_is_told(arguments: list[str], words: str, maj: Maj) -> None:
    start = [*TRAIN[:2], *(TRAIN[2:] if "--data" not in arguments else TRAIN[4:])]
    result = maj(*start, *arguments)
    assert result.exit_code in (1, 2), result.output
    assert words in result.stderr
    assert "internal error" not in result.stderr


def test_programs_and_folders_that_are_in_the_way(trained: Path, maj: Maj, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("plain.maj").write_text("Given x[3]\ny[b] = sum[i](x[b,i])\n", encoding="utf-8")
    assert "has no loss" in maj("train", "plain.maj", "--data", "data.npz").stderr
    assert "has no loss" in maj("eval", "plain.maj", "--data", "data.npz").stderr
    monkeypatch.chdir(trained)
    assert "holds a training already" in maj(*TRAIN).stderr
    changed = maj(*TRAIN, "--epochs", "2", "--resume", "--clip", "1")
    assert "warning: clip was None so far, and is 1.0 from here on" in changed.stderr


def test_a_training_that_goes_astray_ends_with_advice(maj: Maj) -> None:
    result = maj(*TRAIN, "--optimiser", "sgd", "--rate", "3e38", "--epochs", "9")
    assert result.exit_code == 1
    assert "--rate" in result.stderr


# -- while it works ------------------------------------------------------------------------------


def test_a_second_signal_ends_at_once() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background may ignore it
    told: list[str] = []
    with Interruption(told.append) as interruption:
        os.kill(os.getpid(), signal.SIGINT)
        assert interruption.asked
        assert len(told) == 1
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_training_keeps_to_a_limit_of_memory_or_says_what_it_needs(maj: Maj, trained: Path, tmp_path: Path) -> None:
    refused = maj(*TRAIN, "--epochs", "2", "--memory", "1kB", "--checkpoint", "small")
    assert refused.exit_code == 2
    found = re.search(r"needs ([\d.]+ kB) at least.* the limit is 1.0 kB", refused.output)
    assert found is not None, refused.output
    done = maj(*TRAIN, "--epochs", "2", "--memory", found[1], "--checkpoint", "enough", "--json")
    assert done.exit_code == 0
    memory = json.loads(done.stdout)["memory"]
    assert memory["step"] <= memory["limit"] == bytes_of(found[1])
    assert f"memory     {amount_of(memory['step'])} in a step, of {found[1]} that there may be" in done.stderr
    assert done.stderr.count("memory  ") == 1
    folders = (tmp_path / "enough", trained / "net.training")
    one, other = (load_checkpoint(folder / "last.safetensors")[0] for folder in folders)
    assert {name: array.tobytes() for name, array in one.items()} == {n: a.tobytes() for n, a in other.items()}
    assert "amount of memory" in maj(*TRAIN, "--memory", "lots", "--checkpoint", "third").output


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_a_bar_and_keeps_the_lines_of_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    terminal = Terminal()
    with Display(terminal, steps=4, done=0, epochs=2) as display:
        display.step(1, 1, {"cost": 0.5, "right": 0.25}, 1234.5)
        display.epoch(1, {"cost": 0.25}, 1000.0, "(best so far)")
    shown = terminal.getvalue()
    assert "epoch 1/2" in shown
    assert "cost 0.5  right 0.25  1,234 samples/s" in shown
    assert "epoch 1/2  cost 0.25  1,000 samples/s" in shown
    assert "\x1b[" in shown


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (59, "59 s"), (200, "3 min 20 s"), (1800, "30 min"), (7500, "2 h 5 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
