"""The memory that a process needs to run a network, or to train it, beside what peers need.

    python benchmarks/memory.py [NETWORK ...] [--batch N] [--threads N] [--sides SIDE ...] [--json FILE]
    python benchmarks/memory.py --training [NETWORK ...] [--threads N] [--sides SIDE ...] [--json FILE]

It wants the extras `peers` and `bench`.  Each side runs in a fresh process that imports what it needs
and nothing else, loads a network of `examples/` from its own kind of file, and calls it ten times.
Printed are, in megabytes (10^6 bytes), the most that the process ever held (Linux's VmHWM) and, behind
the stroke, what it holds at the end (VmRSS): code, weights, working memory and the Python around
them, pages of mapped files included.  The last column is Majuscule's peak as a multiple of ONNX Runtime's.
Settings are those of `networks.py`; PyTorch maps its file of weights, as its manual advises.

With `--training` each side takes ten steps of `training.py`: its networks, batches and optimiser, from
first weights of its own.  Majuscule is there twice: a process that compiles the step, with an empty
cache, and one that finds it there, as every later run does.  `tensors` is what Majuscule plans to hold:
parameters, what the optimiser keeps, working memory, the batch.  PyTorch runs eagerly, with channels
first, as it does by itself, or channels last; the ratio is to the smaller of the two.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

MEGABYTE = 10**6
CALLS = 10
Run = Callable[[Path, Path, int], object]
"""What a side does in a process of its own, with its model, the data and a number of threads; gives what it holds."""


def run_majuscule(model: Path, image: Path, threads: int) -> object:
    """Load a module and call it; gives what holds the memory."""
    import numpy

    import majuscule

    module = majuscule.load(model, threads=threads)
    given = numpy.load(image)
    for _ in range(CALLS):
        module(given)
    return module


def run_onnx_runtime(model: Path, image: Path, threads: int) -> object:
    """The same for ONNX Runtime."""
    import numpy
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    settings.intra_op_num_threads, settings.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    given = _channels_first(numpy.load(image))
    for _ in range(CALLS):
        session.run(["scores"], {"image": given})
    return session


def run_openvino(model: Path, image: Path, threads: int) -> object:
    """The same for OpenVINO."""
    import numpy
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    given = _channels_first(numpy.load(image))
    for _ in range(CALLS):
        request.infer([given])
    return request


def run_pytorch(model: Path, image: Path, threads: int) -> object:
    """The same for PyTorch."""
    import numpy
    import torch
    from peers import NETWORKS

    torch.set_num_threads(threads)
    with torch.device("meta"):
        network = NETWORKS[model.stem].build()
    network.load_state_dict(torch.load(model, mmap=True), assign=True)
    network = network.eval().to(memory_format=torch.channels_last)
    given = torch.from_numpy(numpy.load(image)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        for _ in range(CALLS):
            network(given)
    return network


def _channels_first(images: Any) -> Any:
    return images.transpose(0, 3, 1, 2).copy()


def train_majuscule(model: Path, data: Path, threads: int) -> object:
    """Take steps of training, compiled here or found in the cache."""
    import numpy

    import majuscule

    task = json.loads(model.read_text(encoding="utf-8"))
    trainer = majuscule.Trainer(task["text"], optimiser=task["optimiser"], rate=task["rate"], threads=threads)
    given = numpy.load(data)
    batch = {trainer.program.inputs[0]: given["images"], "label": given["labels"]}
    for _ in range(CALLS):
        trainer.step(batch)
    return trainer, len(given["images"])


def train_pytorch(model: Path, data: Path, threads: int, *, last: bool = False) -> object:
    """The same for PyTorch, with channels `last` or first in memory."""
    import numpy
    import torch
    from training import pytorch, tasks

    torch.set_num_threads(threads)
    given = numpy.load(data)
    step = pytorch(tasks()[model.stem].network.build().train(), given["images"], given["labels"], last=last)
    for _ in range(CALLS):
        step()
    return step


RUNNING: dict[str, tuple[Run, str]] = {
    "Majuscule": (run_majuscule, ".mod"),
    "ONNX Runtime": (run_onnx_runtime, ".onnx"),
    "OpenVINO": (run_openvino, ".onnx"),
    "PyTorch": (run_pytorch, ".pt"),
}
"""What a side does, and the kind of file that it loads."""
TRAINING: dict[str, tuple[Run, str]] = {
    "compiling": (train_majuscule, ".json"),
    "Majuscule": (train_majuscule, ".json"),
    "channels first": (train_pytorch, ".json"),
    "channels last": (partial(train_pytorch, last=True), ".json"),
}
"""The same for training; what the first one compiles the second one finds in the cache."""
SIDES = {"running": RUNNING, "training": TRAINING}


def held(result: object) -> dict[str, float]:
    """The peak and the present resident memory of this process and, of a trainer, its tensors; in megabytes."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    entries = dict(line.split(":", 1) for line in lines)
    found = {
        name: int(entries[key].split()[0]) * 1024 / MEGABYTE for name, key in (("peak", "VmHWM"), ("end", "VmRSS"))
    }
    if isinstance(result, tuple):
        trainer, batch = result
        found["tensors"] = trainer.compiled.module.memory(batch).total / MEGABYTE
    return found


def measure(run: str, side: str, data: Path, threads: int, cache: Path) -> dict[str, float]:
    """Run a side in a process of its own; gives what it held."""
    model = data.with_suffix(SIDES[run][side][1])
    command = [sys.executable, __file__, "--alone", run, side, str(model), str(data), str(threads)]
    environment = {**os.environ, "MAJUSCULE_CACHE_DIR": str(cache)}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure_running(name: str, options: argparse.Namespace, folder: Path) -> dict[str, dict[str, float]]:
    """What each side holds that runs a network; all have equal weights."""
    import numpy
    import torch
    from networks import export
    from peers import NETWORKS, program_weights

    import majuscule

    network = NETWORKS[name]
    model, images = network.peer(), network.images(options.batch)
    majuscule.compile(network.path, weights=program_weights(model)).save(folder / f"{name}.mod")
    torch.save(model.state_dict(), folder / f"{name}.pt")
    export(model, images, folder / f"{name}.onnx")
    numpy.save(folder / f"{name}.npy", images)
    return {
        side: measure("running", side, folder / f"{name}.npy", options.threads, folder / "cache")
        for side in options.sides
    }


def measure_training(name: str, options: argparse.Namespace, folder: Path) -> dict[str, dict[str, float]]:
    """What each side holds that trains a network."""
    import numpy
    from training import MOMENTUM, RATE, tasks

    task = tasks()[name]
    images, labels = task.data()
    about = {"text": task.text, "optimiser": f"Momentum(momentum {MOMENTUM})", "rate": RATE}
    (folder / f"{name}.json").write_text(json.dumps(about), encoding="utf-8")
    numpy.savez(folder / f"{name}.npz", images=images, labels=labels)
    sides = list(options.sides)
    if "Majuscule" in sides and "compiling" not in sides:
        sides.insert(0, "compiling")
    found = {
        side: measure("training", side, folder / f"{name}.npz", options.threads, folder / "cache") for side in sides
    }
    return {side: found[side] for side in options.sides}


def read_options() -> argparse.Namespace:
    """The options given on the command line."""
    from peers import NETWORKS
    from training import tasks

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"all if left out: {', '.join(NETWORKS)}")
    parser.add_argument("--training", action="store_true", help=f"steps of training, of {', '.join(tasks())}")
    parser.add_argument("--batch", type=int, default=1, help="samples in a call; training has batches of its own")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sides", nargs="+", metavar="SIDE", help="; ".join(map(", ".join, SIDES.values())))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    options = parser.parse_args()
    options.run = "training" if options.training else "running"
    known = tasks() if options.training else NETWORKS
    unknown = [name for name in options.networks if name not in known]
    if unknown:
        parser.error(f"no network called {', '.join(unknown)}; there are {', '.join(known)}")
    sides = SIDES[options.run]
    options.networks = options.networks or list(known)
    options.sides = options.sides or list(sides)
    unknown = [side for side in options.sides if side not in sides]
    if unknown:
        parser.error(f"no side called {', '.join(unknown)}; there are {', '.join(sides)}")
    return options


def row(name: str, found: dict[str, dict[str, float]], peers: Sequence[str]) -> str:
    """A line of the table."""
    cells = "".join(f"{entry['peak']:>9.0f} |{entry['end']:>5.0f}" for entry in found.values())
    rivals = [found[peer]["peak"] for peer in peers if peer in found]
    ratio = f"{found['Majuscule']['peak'] / min(rivals):>8.2f}" if "Majuscule" in found and rivals else ""
    tensors = [entry["tensors"] for entry in found.values() if "tensors" in entry]
    return f"{name:<16}{cells}{ratio}" + (f"{tensors[0]:>9.0f}" if tensors else "")


def main() -> None:
    """Measure and print."""
    from machine import describe_machine

    options = read_options()
    compared = () if options.training else ("onnxruntime", "openvino")  # which training does without
    machine = describe_machine(("majuscule", "apache-tvm", *compared, "torch"))
    print(machine)
    batch = "" if options.training else f", batch {options.batch}"
    print(f"{options.threads} threads, float32{batch}; megabytes at the peak | at the end of the calls")
    heads = "".join(f"{side:>16}" for side in options.sides)
    print(f"{'':<16}{heads}   ratio{'  tensors' if options.training else ''}")
    find, peers = (
        (measure_training, ("channels first", "channels last"))
        if options.training
        else (measure_running, ("ONNX Runtime",))
    )
    results: dict[str, dict[str, dict[str, float]]] = {}
    for name in options.networks:
        with tempfile.TemporaryDirectory(prefix="majuscule-") as folder:
            found = results[name] = find(name, options, Path(folder))
        print(row(name, found, peers), flush=True)
        if options.json is not None:  # after each, so that an interrupted run is not lost
            report = {"machine": machine, "batch": options.batch, "threads": options.threads, "megabytes": results}
            options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--alone"]:
        run, side, model, data, threads = sys.argv[2:]
        print(json.dumps(held(SIDES[run][side][0](Path(model), Path(data), int(threads)))))
    else:
        main()
