"""Memory of modules: what is resident after loading, and what buffers do for it."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
from hand_written import expected, samples

import majuscule
from majuscule.runtime import artifact as files
from majuscule.runtime import buffers
from majuscule.runtime.artifact import Artifact
from majuscule.runtime.module import Module

linux = pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux tells it")
MEBIBYTE = 1 << 20

PROGRAM = """\
Given x[2048]
param W[2048, 4096]
param V[4096, 64]
y[b,j] = relu(W[I,j] * x[b,I])
z[b,k] = V[J,k] * y[b,J]
"""

RESIDENT = """
import re, sys
import numpy, majuscule
from majuscule.runtime import library

def held(key):
    return int(re.search(key + r":\\s*(\\d+)", open("/proc/self/status").read())[1]) // 1024

library._get_runtime()
before = held("VmRSS")
module = majuscule.load(sys.argv[1], threads=1)
x = numpy.random.default_rng(1).normal(size=(3, 2048)).astype("float32")
scores = module(x)
after = held("VmRSS")
weight = module.weights["W"].astype("float64")
wanted = numpy.maximum(x @ weight, 0) @ module.weights["V"].astype("float64")
numpy.testing.assert_allclose(scores, wanted, rtol=1e-3, atol=1e-2)
print(after - before)
"""


@pytest.fixture(scope="module")
def saved_matrices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module whose weights are 33 MiB, which are read in panels."""
    path = tmp_path_factory.mktemp("matrices") / "matrices.mod"
    majuscule.compile(PROGRAM, threads=1).save(path)
    return path


@linux
def test_weights_do_not_stay_beside_their_panels(saved_matrices: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RESIDENT, str(saved_matrices)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert 32 <= int(done.stdout) < 33 + 12  # the panels, and some room for code; both would be 66


def test_what_was_let_go_is_still_there(saved_matrices: Path, tmp_path: Path) -> None:
    with majuscule.load(saved_matrices) as module:
        module.save(tmp_path / "again.mod")
        assert (tmp_path / "again.mod").read_bytes() == saved_matrices.read_bytes()
        fresh = {name: array + 1 for name, array in module.weights.items()}
        kept = {name: array.copy() for name, array in fresh.items()}
        module.load_weights(fresh)
        x = numpy.random.default_rng(1).normal(size=(1, 2048)).astype(numpy.float32)
        wanted = numpy.maximum(x.astype(float) @ kept["W"], 0) @ kept["V"].astype(float)
        numpy.testing.assert_allclose(module(x), wanted, rtol=1e-4)
        for name, array in kept.items():
            numpy.testing.assert_array_equal(module.weights[name], array)
            numpy.testing.assert_array_equal(fresh[name], array)


def test_the_manifest_says_what_calls_do_not_read(saved_matrices: Path) -> None:
    entries = {entry["name"]: entry for entry in files.read(saved_matrices).manifest["buffers"]}
    assert "until" in entries["W"]
    assert all("until" not in entry for entry in entries.values() if entry["kind"] in ("prepared", "input", "output"))


def test_weights_that_pass_are_used_before_they_go(artifact: Artifact, tmp_path: Path) -> None:
    manifest = deepcopy(artifact.manifest)
    entry = next(entry for entry in manifest["buffers"] if entry["name"] == "W")
    entry["until"] = 1
    files.write(tmp_path / "pick.mod", replace(artifact, manifest=manifest))
    x, label = samples(5)
    module = Module.load(tmp_path / "pick.mod")
    numpy.testing.assert_allclose(module(x, label).z, expected(x, label)[0], rtol=1e-6)
    entry["until"] = "soon"
    files.write(tmp_path / "pick.mod", replace(artifact, manifest=manifest))
    with pytest.raises(majuscule.ModuleError, match="unknown time"):
        Module.load(tmp_path / "pick.mod")


CONVOLUTIONS = """\
Given x[14, 14, 32]
a = ReLU(CONV(x, Φ1, width 3, pad 1, filters 64))
b = MaxPool(a, width 2, stride 2)
c = CONV(b, Φ2, width 3, pad 1, filters 64)
d = CONV(ReLU(c), Φ3, width 3, pad 1, filters 64) + c
s[10] = Softmax(FC(d, Φs))
"""


@pytest.mark.parametrize("text", [PROGRAM, CONVOLUTIONS], ids=["matrices", "convolutions"])
def test_the_memory_that_is_foretold_is_what_calls_take(text: str) -> None:
    module = majuscule.compile(text, threads=2)
    for batch in (1, 2, 8, 30):
        inputs = module.random_inputs(batch)
        outputs = module(**inputs)
        told = module.memory(batch)
        assert module._program is not None
        assert told.arena == module._program._arena.nbytes
        assert told.prepared == sum(array.nbytes for array in module._program._prepared.values())
        assert told.inputs == sum(array.nbytes for array in inputs.values())
        assert told.outputs == sum(array.nbytes for array in (outputs if isinstance(outputs, tuple) else (outputs,)))
        assert told.total == told.weights + told.prepared + told.arena + told.inputs + told.outputs
    with pytest.raises(majuscule.ModuleError, match="no open size"):
        module.memory(1, sizes={"T": 4})


@pytest.mark.parametrize("size", [0, 1, 64, 100_000, 5 * MEBIBYTE + 3])
def test_buffers_start_at_cache_lines_and_can_be_written(size: int) -> None:
    buffer = buffers.new_buffer(size)
    assert buffer.shape == (size,)
    assert size == 0 or buffer.__array_interface__["data"][0] % 64 == 0
    buffer[...] = 7
    assert (buffer == 7).all()


def test_buffers_that_nobody_can_have() -> None:
    for size in (1 << 62, 1 << 70):
        with pytest.raises(MemoryError):
            buffers.new_buffer(size)


@linux
def test_buffers_take_memory_where_they_are_written_and_until_they_are_freed() -> None:
    before = _resident()
    buffer = buffers.new_buffer(64 * MEBIBYTE + 12345)
    assert _resident() - before < 4 * MEBIBYTE
    buffer[: 33 * MEBIBYTE] = 1
    assert 32 * MEBIBYTE < _resident() - before < 38 * MEBIBYTE
    del buffer
    assert _resident() - before < 4 * MEBIBYTE


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_has_buffers_of_its_own() -> None:
    buffer = buffers.new_buffer(MEBIBYTE)
    buffer[...] = 1
    child = os.fork()
    if child == 0:
        buffer[...] = 2
        os._exit(0)
    os.waitpid(child, 0)
    assert (buffer == 1).all()


@linux
def test_only_arrays_in_mapped_files_are_let_go(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    numbers = numpy.arange(4 * MEBIBYTE, dtype=numpy.float32)
    numbers.tofile(path)
    with open(path, "rb") as file:
        mapped = numpy.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), numpy.float32)
    part = mapped[5 : 3 * MEBIBYTE].reshape(-1, 1)
    anonymous, plain = buffers.new_buffer(4 * MEBIBYTE), numbers.copy()
    private = numpy.memmap(path, numpy.float32, "c")
    anonymous[...], private[...] = 3, 5
    part.sum()
    before = _resident()
    buffers.let_go(part)
    assert before - _resident() > 11 * MEBIBYTE
    numpy.testing.assert_array_equal(part[:, 0], numbers[5 : 3 * MEBIBYTE])
    for array in (anonymous, plain, private):
        buffers.let_go(array)
    assert (anonymous == 3).all()
    assert (private == 5).all()
    numpy.testing.assert_array_equal(plain, numbers)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE
