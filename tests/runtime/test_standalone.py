"""A saved module runs without the compiler: in a process that can import neither it nor TVM."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest
from hand_written import expected, samples

SCRIPT = """
import sys, time, json

class Refuse:
    def find_spec(self, name, path=None, target=None):
        refused = {"tvm", "tvm_ffi", "torch", "scipy", "lark", "networkx", "rich", "typer", "PIL"}
        if name.split(".")[0] in refused or name in ("majuscule.compiler", "majuscule.dsl"):
            raise ImportError(f"{name} must not be imported")

sys.meta_path.insert(0, Refuse())
import numpy
start = time.perf_counter()
import majuscule
module = majuscule.load(sys.argv[1])
inputs = numpy.load(sys.argv[2])
results = {}
for batch in json.loads(sys.argv[3]):
    outputs = module(*(inputs[name][:batch] for name in module_inputs(module)))
    results[str(batch)] = outputs if isinstance(outputs, numpy.ndarray) else outputs[0]
    first = time.perf_counter() - start if batch == 1 else first
numpy.savez(sys.argv[4], **results)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"seconds": first, "megabytes": int(peak.split()[1]) / 1024}))
""".replace("module_inputs(module)", "[info.name for info in module.inputs]")

BATCHES = [1, 3, 8, 17, 64]


def run_alone(module: Path, inputs: dict[str, numpy.ndarray]) -> tuple[dict[str, numpy.ndarray], dict[str, Any]]:
    """First outputs by batch size (as text) from a process without the compiler, and its time and memory."""
    folder = module.parent
    numpy.savez(folder / "inputs.npz", **inputs)
    command = [sys.executable, "-c", SCRIPT, str(module), str(folder / "inputs.npz"), json.dumps(BATCHES)]
    done = subprocess.run([*command, str(folder / "outputs.npz")], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    with numpy.load(folder / "outputs.npz") as outputs:
        return dict(outputs), json.loads(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux tells it")
def test_runs_without_compiler_at_any_batch_quickly_and_in_little_memory(saved: Path) -> None:
    x, label = samples(64)
    outputs, measured = run_alone(saved, {"x": x, "label": label})
    for batch in BATCHES:
        wanted = expected(x[:batch], label[:batch])[0]
        numpy.testing.assert_allclose(outputs[str(batch)], wanted, rtol=1e-6, atol=1e-6)
    # Importing TVM would take over a second and 270 MB; 3 s leave room for a busy machine.
    assert measured["seconds"] < 3
    assert measured["megabytes"] < 90


def test_importing_majuscule_imports_nothing_heavy() -> None:
    script = (
        "import sys, majuscule; dir(majuscule); majuscule.ModuleError;"
        "heavy = {'tvm', 'tvm_ffi', 'torch', 'lark', 'networkx', 'scipy', 'numpy', 'rich', 'typer'} & set(sys.modules);"
        "sys.exit(', '.join(heavy) or 0)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
