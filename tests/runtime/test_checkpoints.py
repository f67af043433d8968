"""Checkpoints are whole, whatever happens while they are written."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy
import pytest

from majuscule.runtime import whole_files
from majuscule.runtime.checkpoints import Checkpoints, load_checkpoint, save_checkpoint
from majuscule.runtime.errors import CheckpointError

TENSORS = {
    "W": numpy.random.default_rng(0).standard_normal((3, 4)).astype("float32"),
    "slots.W": numpy.arange(5, dtype="int64"),
    "one": numpy.array(2.5),
    "none": numpy.zeros((0, 3), "float16"),
}
META = {"step": 7, "rate": 0.1, "options": {"optimiser": "Adam"}, "name": "Δ"}


def _files(folder: Path) -> list[str]:
    """What lies in a folder, but for its lock."""
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.safetensors", TENSORS, META)
    tensors, meta = load_checkpoint(tmp_path / "a.safetensors")
    assert meta == META
    assert tensors.keys() == TENSORS.keys()
    for name, array in TENSORS.items():
        assert tensors[name].dtype == array.dtype
        assert tensors[name].shape == array.shape
        assert tensors[name].tobytes() == array.tobytes()
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_other_tools_read_the_tensors(tmp_path: Path) -> None:
    reader = pytest.importorskip("safetensors.numpy")
    save_checkpoint(tmp_path / "a.safetensors", TENSORS, META)
    tensors = reader.load_file(tmp_path / "a.safetensors")
    assert all(tensors[name].tobytes() == array.tobytes() for name, array in TENSORS.items())


def test_damaged_checkpoints_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    save_checkpoint(file, TENSORS, META)
    whole = file.read_bytes()
    generator = random.Random(0)
    for cut in [0, 1, 7, 8, 100, *generator.sample(range(len(whole)), 30)]:
        file.write_bytes(whole[:cut])
        with pytest.raises(CheckpointError):
            load_checkpoint(file)
    start = whole.rindex(TENSORS["W"].tobytes())
    file.write_bytes(whole[:start] + bytes([whole[start] ^ 1]) + whole[start + 1 :])
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(file)


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    writer = pytest.importorskip("safetensors.numpy")
    writer.save_file({"W": TENSORS["W"]}, tmp_path / "weights.safetensors")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_checkpoint(tmp_path / "weights.safetensors")
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        load_checkpoint(tmp_path / "nowhere.safetensors")
    with pytest.raises(CheckpointError, match="cannot read"):
        load_checkpoint(tmp_path)


def test_best_and_last(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "run")
    for step, best in ((1, True), (2, True), (3, False)):
        checkpoints.save({"W": numpy.full(3, step)}, {"step": step}, best=best)
    assert load_checkpoint(checkpoints.last)[1] == {"step": 3}
    assert load_checkpoint(checkpoints.best)[1] == {"step": 2}
    assert load_checkpoint(checkpoints.best)[0]["W"].tolist() == [2, 2, 2]


def test_a_full_disk_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(TENSORS, {"step": 1})

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(whole_files.os, "fsync", full)
    with pytest.raises(CheckpointError, match="the disk is full, and the one before is kept"):
        checkpoints.save(TENSORS, {"step": 2})
    assert load_checkpoint(checkpoints.last)[1] == {"step": 1}
    assert _files(tmp_path) == ["last.safetensors"]


LIMITED = """
import resource, sys, numpy
from majuscule.runtime.checkpoints import Checkpoints
from majuscule.runtime.errors import CheckpointError
checkpoints = Checkpoints(sys.argv[1])
tensors = {"W": numpy.full(5000, 1.0), "slot": numpy.full(7, 1.0)}
checkpoints.save(tensors, {"step": 1}, best=True)
size = checkpoints.last.stat().st_size
for step, limit in enumerate((0, 1, 7, 8, 100, 4096, 8192, size // 2, size - 60, size - 1), 2):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        checkpoints.save({name: array + 1 for name, array in tensors.items()}, {"step": step}, best=True)
    except CheckpointError as error:
        print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, resource.RLIM_INFINITY))
checkpoints.save({name: array + 2 for name, array in tensors.items()}, {"step": 99})
"""


def test_files_that_the_system_lets_grow_only_so_far_leave_the_one_before(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    done = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    message = f"cannot write the checkpoint {tmp_path / 'last.safetensors'}: File too large, and the one before is kept"
    assert [line.partition(" [")[0] for line in done.stdout.splitlines()] == [message] * 10
    assert _files(tmp_path) == ["best.safetensors", "last.safetensors"]
    best, last = (load_checkpoint(tmp_path / f"{name}.safetensors") for name in ("best", "last"))
    assert (best[1]["step"], last[1]["step"]) == (1, 99)
    assert (best[0]["W"] == 1).all()
    assert (last[0]["W"] == 3).all()


WRITER = """
import sys, numpy
from majuscule.runtime.checkpoints import Checkpoints
checkpoints = Checkpoints(sys.argv[1])
step = int(sys.argv[2])
print("ready", flush=True)
while True:
    step += 1
    checkpoints.save({"W": numpy.full(400_000, step, "int64"), "slot": numpy.full(7, step)}, {"step": step}, best=True)
"""


def _kill_writers(folder: Path, times: int) -> None:
    generator = random.Random(1)
    step = 0
    for _ in range(times):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), str(step)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(generator.random() * 0.1)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        checkpoints = [folder / f"{name}.safetensors" for name in ("last", "best")]
        for file in filter(Path.exists, checkpoints):
            tensors, meta = load_checkpoint(file)
            assert (tensors["W"] == meta["step"]).all()
            assert (tensors["slot"] == meta["step"]).all()
            step = max(step, meta["step"])
    assert step > 0


def test_a_killed_writer_leaves_whole_checkpoints(tmp_path: Path) -> None:
    _kill_writers(tmp_path, 5)
    Checkpoints(tmp_path)
    assert _files(tmp_path) == ["best.safetensors", "last.safetensors"]


def test_a_folder_belongs_to_one_training_at_a_time(tmp_path: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path), "0"], stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        deadline = time.monotonic() + 60
        while not (tmp_path / "best.safetensors").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        for _ in range(20):  # what it writes at the moment is not taken for something left over
            with pytest.raises(CheckpointError, match=f"work in the folder {tmp_path}, as process {writer.pid};"):
                Checkpoints(tmp_path)
        assert writer.poll() is None
    finally:
        writer.kill()
        writer.wait()
        if writer.stdout is not None:
            writer.stdout.close()
    assert (tmp_path / ".lock").read_text() == str(writer.pid)  # the dead owner's, which is taken over
    with Checkpoints(tmp_path) as checkpoints:
        assert load_checkpoint(checkpoints.last)[1]["step"] > 0
        with pytest.raises(CheckpointError, match=f"another training .* as process {os.getpid()};"):
            Checkpoints(tmp_path)
    Checkpoints(tmp_path).close()


@pytest.mark.slow
def test_a_writer_killed_at_a_hundred_moments_leaves_whole_checkpoints(tmp_path: Path) -> None:
    _kill_writers(tmp_path, 100)
