"""What is packed for a machine with a GPU, and the script that runs it there, on an emulated one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, emulated_driver: Path) -> Path:
    from emulated_gpu import emulated
    from gpu_pack import pack

    found = tmp_path_factory.mktemp("pack") / "packed"
    with emulated(emulated_driver):
        pack(found, "cuda:sm_90", ["lenet"], ["Conv", "LSTM", "Accuracy", "Dropout"])
    return found


def test_the_folder_is_small_and_whole(folder: Path) -> None:
    files = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert {"site/tvm/lib/libtvm_runtime.so", "site/majuscule/runtime/module.py", "steps/lenet-tf32.npz"} <= files
    assert {f"layers/{name}.npz" for name in ("Conv", "Conv gradient", "LSTM gradient", "Accuracy")} <= files
    assert "layers/Accuracy gradient.npz" not in files
    from gpu_pack import pack

    with pytest.raises(SystemExit, match="not empty"):
        pack(folder, "cuda", [], [])


@pytest.mark.usefixtures("emulated_gpu")
def test_layers_are_looked_at(folder: Path, tmp_path: Path) -> None:
    from gpu import wrong_layers
    from gpu_files import read_packed, write_packed

    assert wrong_layers(folder) == (7, [])
    artifact, groups = read_packed(folder / "layers" / "Conv.npz")
    groups["expected"] = {name: array + 1 for name, array in groups["expected"].items()}
    write_packed(tmp_path / "layers" / "Conv.npz", artifact, groups, weights=True)
    count, wrong = wrong_layers(tmp_path)
    assert count == 1
    assert wrong[0].startswith("Conv: R is wrong by ")


@pytest.mark.usefixtures("emulated_gpu")
def test_networks_and_steps_are_compared_with_pytorch(folder: Path) -> None:
    pytest.importorskip("torch")
    from gpu import network_timings, step_timings

    options = argparse.Namespace(networks=[], batches=[1], seconds=0.1, compile=False, step_batch=8)
    networks = list(network_timings(folder, options))
    assert [timing.precision for timing in networks] == ["bfloat16", "float16", "float32", "tf32"]
    errors = {timing.precision: timing.error for timing in networks}
    assert errors["float32"] < 1e-5 < errors["tf32"] < 1e-2
    assert 1e-4 < errors["float16"] < errors["bfloat16"] < 0.1
    steps = list(step_timings(folder, options))
    assert [timing.precision for timing in steps] == ["float32", "tf32"]
    assert steps[0].error < 1e-5
    assert "step lenet float32 batch 8: error" in str(steps[0])


def test_errors_are_parts_of_the_largest_value() -> None:
    from gpu import relative_error

    wanted = numpy.array([1.0, -4.0, numpy.nan])
    assert relative_error(numpy.array([1.0, -4.0, numpy.nan]), wanted) == 0
    assert relative_error(numpy.array([1.0, -3.0, numpy.nan]), wanted) == 0.25
    bad: Any = relative_error(numpy.zeros(2), wanted)
    assert numpy.isnan(bad)
