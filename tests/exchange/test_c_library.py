"""Programs as shared libraries for C: run without Python, they give what the module gives, bit for bit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy
import pytest
from levels import sparse
from typer.testing import CliRunner

import majuscule
from majuscule.commands.application import app
from majuscule.compiler.training import training_step
from majuscule.optimisers import Rules
from majuscule.runtime.errors import ModuleError
from majuscule.runtime.tensor_files import write_tensors

pytestmark = pytest.mark.skipif(sys.platform != "linux" or not shutil.which("cc"), reason="needs Linux and cc")

LENET = Path(__file__).resolve().parents[2] / "examples" / "lenet.maj"

CONVOLUTION = """
Given picture[14, 14, 16]
features = relu(Conv(picture, filters 32, width 3, pad 1))
scores = FC(features, units 7)
"""
"""Winograd's algorithm, whose working memory grows with the number of threads, and weights that are prepared."""

OPEN_SIZES = """
Given tokens[T]:int64, query[M]:bool, scale[3]:float64
param Table[11, 4] ~ normal(0, 1)
hidden[b,t,j] = Table[tokens[b,t], j]
h[b,t,j] = tanh(0.5 * h[b,t-1,j] + hidden[b,t,j])
h[b,-1,j] = 0
long[b,j] = sum[t in 0..T](h[b,t,j])
chosen[b,i] = { 2 if query[b,i] ; 0.5 otherwise }
half[b,i] = float16(scale[b,i] / 3)
best[b,t] = argmax[j](h[b,t,j])
output long, chosen, half, best
"""

NOISE = """
Given int[5]
z[b,i] = int[b,i] + standard_normal()
"""
"""An input with the name of a type of C, random numbers, no weights."""


def run_in_c(
    folder: Path, name: str, sizes: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any], threads: int = 2
) -> subprocess.CompletedProcess[str]:
    """Build a program that runs the library on the inputs (`sizes` come before them), and run it without Python.

    `outputs` are arrays of the right shapes, which are filled if the program ends well.
    """
    lines = []
    for number, array in enumerate(inputs.values()):
        array.tofile(folder / f"in{number}.bin")
        lines.append(f'void *in{number} = take("in{number}.bin", {array.nbytes});')
    lines += [f"void *out{number} = malloc({array.nbytes});" for number, array in enumerate(outputs.values())]
    given = [sizes, *(f"in{n}" for n in range(len(inputs))), *(f"out{n}" for n in range(len(outputs)))]
    kept = [f'keep("out{n}.bin", out{n}, {array.nbytes});' for n, array in enumerate(outputs.values())]
    freed = [f"free({buffer});" for buffer in given[1:]]
    source = f"""
#include <stdio.h>
#include <stdlib.h>
#include "{name}.h"

static void *take(const char *path, size_t size) {{
  void *data = malloc(size);
  FILE *file = fopen(path, "rb");
  if (!file || fread(data, 1, size, file) != size) exit(100);
  fclose(file);
  return data;
}}

static void keep(const char *path, const void *data, size_t size) {{
  FILE *file = fopen(path, "wb");
  if (!file || fwrite(data, 1, size, file) != size || fclose(file)) exit(101);
}}

int main(int count, char **arguments) {{
  {name}_model *model = NULL;
  {" ".join(lines)}
  int status = {name}_create(count > 1 ? arguments[1] : NULL, {threads}, &model);
  for (int turn = 0; turn < 3 && !status; turn++) status = {name}_run(model, {", ".join(given)});
  if (status) printf("%d: %s", status, {name}_message());
  else {{ {" ".join(kept)} }}
  {name}_destroy(model);
  {" ".join(freed)}
  return status;
}}
"""
    (folder / "driver.c").write_text(source, encoding="utf-8")
    build(folder, name, "driver")
    weights = [f"{name}.safetensors"] if (folder / f"{name}.safetensors").exists() else []
    done = subprocess.run(["./driver", *weights], cwd=folder, capture_output=True, text=True, timeout=60, env={})
    if done.returncode == 0:
        for number, array in enumerate(outputs.values()):
            array[...] = numpy.fromfile(folder / f"out{number}.bin", array.dtype).reshape(array.shape)
    return done


def build(folder: Path, name: str, program: str) -> None:
    """Compile and link a program with the library, warnings being errors."""
    compiler = os.environ.get("CC", "cc").split()
    options = ["-Wall", "-Wextra", "-Werror", f"{program}.c", "-o", program, "-L.", f"-l{name}", "-Wl,-rpath,$ORIGIN"]
    done = subprocess.run([*compiler, *options], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def example(case: str, batch: int) -> tuple[str, str, dict[str, Any]]:
    """A program's text, what a call in C gives before its tensors, and inputs."""
    random = numpy.random.default_rng(batch)
    if case == "lenet":
        return LENET.read_text("utf-8"), f"{batch}", {"image": random.random((batch, 28, 28, 1), numpy.float32)}
    if case == "convolution":
        picture = random.standard_normal((batch, 14, 14, 16), numpy.float32)
        return CONVOLUTION, f"{batch}", {"picture": picture}
    if case == "noise":
        return NOISE, f"{batch}, 12, 3", {"int": random.standard_normal((batch, 5), numpy.float32)}
    tokens, query = random.integers(0, 11, (batch, 6)), random.random((batch, 3)) < 0.5
    return OPEN_SIZES, f"{batch}, 6, 3", {"tokens": tokens, "query": query, "scale": random.random((batch, 3))}


@pytest.mark.parametrize(
    ("case", "batch"), sparse([("lenet", 5), ("convolution", 3), ("lenet", 1), ("sizes", 2), ("noise", 4)], 3)
)
def test_a_library_gives_what_the_module_gives_bit_for_bit(case: str, batch: int, tmp_path: Path) -> None:
    text, sizes, inputs = example(case, batch)
    module = majuscule.compile(text, seed=3, threads=1)
    seeds = {"seed": 12, "step": 3} if case == "noise" else {}
    found = module(**inputs, **seeds)
    wanted = {"y": found} if len(module.outputs) == 1 else dict(found)
    majuscule.export_c(text, tmp_path / "c", seed=3)
    outputs = {name: numpy.zeros_like(array) for name, array in wanted.items()}
    name = "program"
    done = run_in_c(tmp_path / "c", name, sizes, inputs, outputs)
    assert done.returncode == 0, done.stdout
    for tensor, array in wanted.items():
        assert numpy.abs(array.astype("float64")).max() > 0
        assert outputs[tensor].tobytes() == array.tobytes(), tensor


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LeNet's folder."""
    folder = tmp_path_factory.mktemp("library") / "lenet"
    majuscule.export_c(LENET, folder)
    return folder


@pytest.fixture
def attempt(library: Path, tmp_path: Path) -> Callable[..., str]:
    """Runs LeNet in C, with another file of weights or another batch, and gives its status and message."""
    folder = shutil.copytree(library, tmp_path / "copy")

    def run(weights: bytes | None = None, batch: str = "1", threads: int = 1) -> str:
        if weights is not None:
            (folder / "lenet.safetensors").write_bytes(weights)
        inputs = {"image": numpy.zeros((1, 28, 28, 1), numpy.float32)}
        done = run_in_c(folder, "lenet", batch, inputs, {"scores": numpy.zeros((1, 10), numpy.float32)}, threads)
        assert done.returncode >= 0, "it crashed"
        assert str(done.returncode) == (done.stdout.partition(":")[0] or "0")
        return done.stdout

    return run


def test_wrong_weights_are_refused(attempt: Callable[..., str], library: Path) -> None:
    weights = (library / "lenet.safetensors").read_bytes()
    assert attempt() == ""
    assert "3: lenet.safetensors does not hold the weights of this program, or is cut off" in attempt(weights[:-1])
    assert "has 0 bytes" in attempt(b"")
    assert "cut off" in attempt(weights + b"\0")
    other = weights.replace(b"\xce\xa61.B", b"\xce\xa61.C")
    assert other != weights
    assert "other names, shapes or dtypes" in attempt(other)


def test_a_missing_file_a_wrong_batch_and_a_wrong_number_of_threads_are_refused(
    attempt: Callable[..., str], library: Path
) -> None:
    assert attempt(batch="0").startswith("4: batch is 0; it must be at least 1")
    assert attempt(batch="-7").startswith("4: batch is -7")
    assert attempt(batch="1LL << 40").startswith("4: batch is 1099511627776")
    assert attempt(batch="2000000000").startswith("6: there is not enough working memory")
    assert attempt(threads=-1).startswith("1: -1 threads")
    shutil.move(library / "lenet.safetensors", library / "moved")
    try:
        done = subprocess.run(["make"], cwd=library, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        done = subprocess.run(["./example"], cwd=library, capture_output=True, text=True, timeout=60, check=False)
    finally:
        shutil.move(library / "moved", library / "lenet.safetensors")
    assert (done.returncode, done.stderr) == (2, "cannot open lenet.safetensors: No such file or directory\n")


def test_the_example_builds_and_prints_the_first_outputs(library: Path) -> None:
    subprocess.run(["make", "CFLAGS=-Wall"], cwd=library, check=True, capture_output=True)
    done = subprocess.run(["./example"], cwd=library, capture_output=True, text=True, timeout=60, check=False)
    scores = majuscule.compile(LENET)(numpy.zeros((1, 28, 28, 1), numpy.float32))
    assert done.stdout.splitlines() == [f"scores {i}: {value:g}" for i, value in enumerate(scores[0])]


def test_a_failed_check_is_told(tmp_path: Path) -> None:
    text, sizes, inputs = example("sizes", 2)
    majuscule.export_c(text, tmp_path / "c")
    inputs["tokens"][1, 2] = 11
    shapes = {"long": (2, 4), "chosen": (2, 3), "half": (2, 3), "best": (2, 6)}
    outputs = {name: numpy.zeros(shape) for name, shape in shapes.items()}
    done = run_in_c(tmp_path / "c", "program", sizes, inputs, outputs)
    assert done.stdout.startswith("5: an index into axis 1 of Table")


def test_weights_can_be_in_the_library(tmp_path: Path) -> None:
    text, sizes, inputs = example("convolution", 2)
    files = majuscule.export_c(text, tmp_path / "c", seed=1, embed=True)
    assert not any(path.suffix == ".safetensors" for path in files)
    outputs = {"scores": numpy.zeros((2, 7), numpy.float32)}
    assert run_in_c(tmp_path / "c", "program", sizes, inputs, outputs).returncode == 0
    assert outputs["scores"].tobytes() == majuscule.compile(text, seed=1)(**inputs).tobytes()


def test_other_weights_come_from_any_file_that_was_written_with_them(tmp_path: Path) -> None:
    text, sizes, inputs = example("convolution", 2)
    majuscule.export_c(text, tmp_path / "c", seed=1)
    other = majuscule.compile(text, seed=2)
    write_tensors(tmp_path / "c" / "program.safetensors", other.weights)
    outputs = {"scores": numpy.zeros((2, 7), numpy.float32)}
    assert run_in_c(tmp_path / "c", "program", sizes, inputs, outputs).returncode == 0
    assert outputs["scores"].tobytes() == other(**inputs).tobytes()


def test_two_libraries_in_one_process_keep_to_themselves(tmp_path: Path) -> None:
    majuscule.export_c("Given x[3]\ny[b,i] = 2 * x[b,i]\n", tmp_path / "c", embed=True)
    (tmp_path / "other.maj").write_text("Given x[3]\ny[b,i] = 3 * x[b,i]\n")
    majuscule.export_c(tmp_path / "other.maj", tmp_path / "c", embed=True)
    (tmp_path / "c" / "both.c").write_text("""
#include <stdio.h>
#include "program.h"
#include "other.h"
int main(void) {
  float x[3] = {1, 2, 3}, y[3], z[3];
  program_model *one; other_model *two;
  if (program_create(NULL, 2, &one) || other_create(NULL, 3, &two)) return 1;
  if (program_run(one, 1, x, y) || other_run(two, 1, x, z)) return 2;
  printf("%g %g", y[2], z[2]);
  program_destroy(one); other_destroy(two);
}
""")
    options = ["both.c", "-o", "both", "-L.", "-lprogram", "-lother", "-Wl,-rpath,$ORIGIN"]
    subprocess.run(["cc", *options], cwd=tmp_path / "c", check=True)
    done = subprocess.run(["./both"], cwd=tmp_path / "c", capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "6 9"


@pytest.mark.slow
@pytest.mark.parametrize("checker", ["address,undefined", "thread"])
def test_memory_and_threads_are_used_as_they_should(
    checker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, sizes, inputs = example("convolution", 2)
    wanted = {"scores": majuscule.compile(text)(**inputs)}
    monkeypatch.setenv("CC", f"cc -g -fsanitize={checker}")
    majuscule.export_c(text, tmp_path / "c")
    outputs = {name: numpy.zeros_like(array) for name, array in wanted.items()}
    done = run_in_c(tmp_path / "c", "program", sizes, inputs, outputs, threads=3)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_command_writes_a_trained_module_s_library(tmp_path: Path) -> None:
    text, sizes, inputs = example("convolution", 2)
    module = majuscule.compile(text, seed=5)
    module.save(tmp_path / "net.mod")
    result = CliRunner().invoke(app, ["export", str(tmp_path / "net.mod"), "--c", "-o", str(tmp_path / "c")])
    assert result.exit_code == 0, result.output
    outputs = {"scores": numpy.zeros((2, 7), numpy.float32)}
    assert run_in_c(tmp_path / "c", "program", sizes, inputs, outputs).returncode == 0
    assert outputs["scores"].tobytes() == module(**inputs).tobytes()


def test_the_command_refuses_places_that_are_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.maj").write_text("Given x[3]\ny[b,i] = 2 * x[b,i]\n")
    for place, message in (("net.maj", "is a file"), ("no/where", "there is no directory no")):
        result = CliRunner().invoke(app, ["export", "net.maj", "--c", "-o", place])
        assert result.exit_code == 2
        assert message in result.output


def test_a_program_that_changes_its_weights_is_refused(tmp_path: Path) -> None:
    text = "Given x[3]\nparam W[3] = 1\ny[b] = W[I] * x[b,I]\nloss total = mean[b](y[b])\n"
    step = training_step(majuscule.check(text, mode="training").require(), Rules("SGD"))
    with pytest.raises(ModuleError, match="changes its weights as it runs"):
        majuscule.export_c(step.program, tmp_path / "c")
