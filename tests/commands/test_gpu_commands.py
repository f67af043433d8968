"""`maj devices`, and the other commands with --target cuda on an emulated GPU."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy

Maj = Callable[..., Any]
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_devices_of_a_machine_without_a_gpu(maj: Maj) -> None:
    found = maj("devices")
    assert found.exit_code == 0
    assert "cpu" in found.stdout
    assert "no GPU: no NVIDIA driver was found on this machine" in found.stdout
    listed = json.loads(maj("devices", "--json").stdout)
    assert listed["gpus"] == []
    assert listed["cpu"]["cores"] >= 1
    assert "driver" in listed["problem"]


def test_devices_of_a_machine_with_two(maj: Maj, emulated_gpu: ctypes.CDLL) -> None:
    count = ctypes.c_int.in_dll(emulated_gpu, "emulated_devices")
    count.value = 2
    try:
        found = maj("devices").stdout
        listed = json.loads(maj("devices", "--json").stdout)
    finally:
        count.value = 1
    assert "cuda:sm_90  Emulated GPU 0" in found
    assert "132 multiprocessors, 8.0 GiB" in found
    assert [gpu["number"] for gpu in listed["gpus"]] == [0, 1]
    assert listed["gpus"][0] | {"name": ""} == {
        "target": "cuda:sm_90", "number": 0, "name": "", "memory": 2**33, "multiprocessors": 132,
    }  # fmt: skip
    assert listed["problem"] is None


def test_compiling_needs_no_gpu_and_running_says_so(maj: Maj, small: str, tmp_path: Path) -> None:
    made = maj("compile", small, "--target", "cuda:sm_90", "-o", "small.mod", "-v")
    assert made.exit_code == 0, made.output
    assert "target cuda:sm_90" in made.stderr
    for arguments in (("run", "small.mod", "x.npy"), ("bench", "small.mod"), ("run", small, "--target", "cuda")):
        numpy.save(tmp_path / "x.npy", numpy.zeros((1, 6, 6, 3), "float32"))
        found = maj(*arguments)
        assert found.exit_code == 2
        assert found.stderr.startswith("error: no NVIDIA driver was found on this machine")
        assert "[R204]" in found.stderr


def test_programs_run_and_are_measured_on_a_gpu(maj: Maj, small: str, tmp_path: Path, emulated_gpu: Any) -> None:
    numpy.save(tmp_path / "x.npy", numpy.ones((2, 6, 6, 3), "float32"))
    for target, file in (("cuda", "there.npy"), ("cpu", "here.npy")):
        assert maj("run", small, "x.npy", "--target", target, "-o", file).exit_code == 0
    there, here = (numpy.load(tmp_path / name) for name in ("there.npy", "here.npy"))
    numpy.testing.assert_allclose(there, here, rtol=1e-5)
    timed = json.loads(maj("bench", small, "--target", "cuda", "--seconds", "0.05", "--json").stdout)
    assert (timed["target"], timed["gpu"]) == ("cuda:sm_90", "Emulated GPU 0")
    profiled = maj("profile", small, "--target", "cuda", "--seconds", "0.05")
    assert profiled.exit_code == 0, profiled.output
    assert "Emulated GPU 0" in profiled.stdout
    assert maj("verify", small, "--target", "cuda").exit_code == 0


def test_kernels_on_a_gpu_are_explained(maj: Maj, small: str) -> None:
    found = maj("explain", small, "--kernels", "--target", "cuda")
    assert found.exit_code == 0
    assert "a thread for each b, " in found.stdout
    assert "maj explain --kernels --target cuda" in maj("explain", small, "--roads", "--target", "cuda").stderr
    assert ".visible .entry majuscule_kernel_" in maj("dump", small, "--stage", "assembly", "--target", "cuda").stdout


def test_a_module_is_compiled_for_one_target(maj: Maj, small: str) -> None:
    assert maj("compile", small, "-o", "small.mod").exit_code == 0
    assert "--target, --dtype, --exact and --road are for" in maj("run", "small.mod", "--target", "cuda").stderr
    assert "there is no GPU architecture called 'cuda:sm_1'" in maj("compile", small, "--target", "cuda:sm_1").stderr


def test_training_on_a_gpu(maj: Maj, tmp_path: Path, emulated_gpu: Any) -> None:
    (tmp_path / "net.maj").write_text(
        "Given x[2]\nh = relu(FC(x, units 8))\ns = FC(h, units 2)\n"
        "when training:\n    Given y[]: int64\n    loss J = cross_entropy(s, y)\n    metric right = Accuracy(s, y)\n"
    )
    numbers = numpy.random.default_rng(0)
    x = numbers.normal(size=(64, 2)).astype("float32")
    numpy.savez(tmp_path / "data.npz", x=x, y=(x[:, 0] > x[:, 1]).astype("int64"))
    arguments = ("train", "net.maj", "--data", "data.npz", "--target", "cuda", "--rate", "0.05", "--json")
    found = maj(*arguments, "--epochs", "8")
    assert found.exit_code == 0, found.output
    again = maj(*arguments, "--epochs", "9", "--resume")
    assert again.exit_code == 0, again.output
    checked = maj("eval", "net.training/net.mod", "--data", "data.npz", "--target", "cuda", "--json")
    assert json.loads(checked.stdout)["values"]["right"] > 0.9
