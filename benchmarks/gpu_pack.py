"""A folder with which a machine that has a GPU, and nothing to compile with, runs `benchmarks/gpu.py`.

    python benchmarks/gpu_pack.py FOLDER [--target cuda:sm_90] [--networks NAME ...] [--layers NAME ...]

It wants the extras `cuda` and `peers`.  The folder gets every layer of the library with inputs and what the
interpreter makes of them in float64, and its gradients; networks in each precision; training steps; and in `site`
the runtime parts of Majuscule and TVM.  Weights of networks are made where they are run.  It is some 40 MB.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterable
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import numpy
from gpu_files import write_packed
from peers import NETWORKS

import majuscule
from majuscule.api import compile_artifact
from majuscule.compiler.codegen.compiled import compile_graph
from majuscule.compiler.graph import Graph
from majuscule.compiler.interpreter import evaluate
from majuscule.compiler.pipeline import optimize
from majuscule.precision import Precision, lowered_to
from majuscule.runtime.artifact import Artifact
from majuscule.runtime.samples import choose_sizes, random_inputs
from majuscule.runtime.training import TRAINING
from majuscule.steps import write_step

ROOT = Path(__file__).resolve().parent.parent
PRECISIONS: tuple[Precision, ...] = ("float32", "tf32", "float16", "bfloat16")
STEPS = {"resnet50": 32, "resnet18": 32, "lenet": 256}
"""Networks whose training steps are packed, and the batch that they are timed with."""
_LOSS = "\nwhen training:\n    Given label[]: int64\n    loss cost = cross_entropy(scores, label)\n"


def pack(folder: Path, target: str, networks: Iterable[str], layers: Iterable[str]) -> None:
    """Fill the folder, which must not exist yet or be empty."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise SystemExit(f"{folder} is not empty")
    pack_runtime(folder / "site")
    for name in layers:
        pack_layer(folder / "layers", name, target)
    for name in networks:
        for precision in PRECISIONS:
            write_packed(folder / "networks" / f"{name}-{precision}.npz", network_code(name, target, precision))
        if name in STEPS:
            for precision in PRECISIONS[:2]:
                write_packed(folder / "steps" / f"{name}-{precision}.npz", step_code(name, target, precision))
        print(name, flush=True)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"{folder}: {size / 1e6:.1f} MB")


def pack_runtime(site: Path) -> None:
    """What a module needs to run: no compiler, no language."""
    package = site / "majuscule"
    shutil.copytree(ROOT / "runtime", package / "runtime", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "majuscule" / "__init__.py", package)
    for name, library in (("tvm", "libtvm_runtime.so"), ("tvm_ffi", "libtvm_ffi.so")):
        spec = PathFinder.find_spec(name)
        assert spec is not None
        (found,) = (Path(place, "lib", library) for place in spec.submodule_search_locations or ())
        (site / name / "lib").mkdir(parents=True)
        shutil.copy(found, site / name / "lib")


def pack_layer(folder: Path, name: str, target: str) -> None:
    """A layer's module and that of its gradients, with inputs and the interpreter's outputs."""
    layers = every_layer()
    text = layers[name] + "\n"
    programs = {name: majuscule.check(text, mode="training").require()}
    if name != "Accuracy":
        programs[f"{name} gradient"] = majuscule.gradient(text).program
    for label, program in programs.items():
        artifact = compile_artifact(program, target=target)
        sizes = choose_sizes(artifact.manifest, 3, {})
        inputs = random_inputs(artifact.manifest, sizes, 0)
        names = [entry["name"] for entry in artifact.manifest["outputs"]]
        weights = {weight: numpy.array(array) for weight, array in artifact.weights.items()}
        expected = evaluate(Graph.from_program(program), inputs, weights, keep=names)
        groups = {"inputs": inputs, "expected": {n: expected[n] for n in names}}
        write_packed(folder / f"{label}.npz", artifact, groups, weights=True)


def every_layer() -> dict[str, str]:
    """A program for each layer of the library."""
    sys.path.insert(0, str(ROOT / "tests"))
    from library_layers import LAYERS, OTHERS

    return {**LAYERS, **OTHERS}


def network_code(name: str, target: str, precision: Precision) -> Artifact:
    """A network compiled, without weights."""
    program = majuscule.check(NETWORKS[name].text).require()
    graph = optimize(Graph.from_program(program), fold_weights=True)
    graph, found = lowered_to(graph, target, precision, fold_weights=True)
    compiled = compile_graph(graph, target=found)
    return Artifact(compiled.manifest, compiled.library, {}, compiled.constants)


def step_code(name: str, target: str, precision: Precision) -> Artifact:
    """A training step of SGD with momentum compiled, with no tensors but those that start at fixed values."""
    text = NETWORKS[name].text
    program = majuscule.check(text if "loss " in text else text + _LOSS, mode="training").require()
    step = write_step(program, "Momentum", folder=NETWORKS[name].path.parent)
    graph = optimize(Graph.from_program(step.program), fold_weights=True)
    graph, found = lowered_to(graph, target, precision, fold_weights=False)
    compiled = compile_graph(graph, target=found)
    manifest = {**compiled.manifest, TRAINING: step.about}
    return Artifact(manifest, compiled.library, {}, compiled.constants)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Pack what benchmarks/gpu.py needs on a machine with a GPU.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--target", default="cuda:sm_90")
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--layers", nargs="*", default=None)
    given: Any = parser.parse_args()
    pack(given.folder, given.target, given.networks, every_layer() if given.layers is None else given.layers)


if __name__ == "__main__":
    main()
