"""The memory that a process needs to load a network of `examples/` and run it, beside what peers need.

    python benchmarks/memory.py [NETWORK ...] [--batch N] [--threads N] [--sides SIDE ...] [--json FILE]

It wants the extras `peers` and `bench`.  Each side runs in a fresh process that imports what it needs
and nothing else, loads the network from its own kind of file, and calls it ten times.  Printed are, in
megabytes (10^6 bytes), the most that the process ever held (Linux's VmHWM) and, behind the stroke,
what it holds at the end (VmRSS): code, weights, working memory and the Python around them, pages of
mapped files included.  The last column is Majuscule's peak as a multiple of ONNX Runtime's.

Settings are those of `networks.py`; PyTorch maps its file of weights, as its manual advises.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

MEGABYTE = 10**6
CALLS = 10


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


SIDES: dict[str, tuple[Callable[[Path, Path, int], object], str]] = {
    "Majuscule": (run_majuscule, ".mod"),
    "ONNX Runtime": (run_onnx_runtime, ".onnx"),
    "OpenVINO": (run_openvino, ".onnx"),
    "PyTorch": (run_pytorch, ".pt"),
}
"""What a side does in a process of its own, and the kind of file that it loads."""


def held() -> dict[str, float]:
    """The peak and the present resident memory of this process, in megabytes."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    entries = dict(line.split(":", 1) for line in lines)
    return {name: int(entries[key].split()[0]) * 1024 / MEGABYTE for name, key in (("peak", "VmHWM"), ("end", "VmRSS"))}


def measure(side: str, folder: Path, network: str, threads: int) -> dict[str, float]:
    """Run a side in a process of its own; gives what it held."""
    model = folder / f"{network}{SIDES[side][1]}"
    command = [sys.executable, __file__, "--alone", side, str(model), str(folder / "image.npy"), str(threads)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def write_files(name: str, batch: int, folder: Path) -> None:
    """The network with equal weights for every side, and images."""
    import numpy
    import torch
    from networks import export
    from peers import NETWORKS, program_weights

    import majuscule

    network = NETWORKS[name]
    model, images = network.peer(), network.images(batch)
    majuscule.compile(network.path, weights=program_weights(model)).save(folder / f"{name}.mod")
    torch.save(model.state_dict(), folder / f"{name}.pt")
    export(model, images, folder / f"{name}.onnx")
    numpy.save(folder / "image.npy", images)


def main() -> None:
    """Measure and print."""
    from machine import describe_machine
    from peers import NETWORKS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"all if left out: {', '.join(NETWORKS)}")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES), metavar="SIDE")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    options = parser.parse_args()
    unknown = [name for name in options.networks if name not in NETWORKS]
    if unknown:
        parser.error(f"no network called {', '.join(unknown)}; there are {', '.join(NETWORKS)}")
    machine = describe_machine(("majuscule", "apache-tvm", "onnxruntime", "openvino", "torch"))
    print(machine)
    print(f"{options.threads} threads, float32, batch {options.batch}; megabytes at the peak | at the end of the calls")
    print(f"{'':<16}{''.join(f'{side:>16}' for side in options.sides)}   ratio")
    results: dict[str, dict[str, dict[str, float]]] = {}
    for name in options.networks or NETWORKS:
        with tempfile.TemporaryDirectory(prefix="majuscule-") as folder:
            write_files(name, options.batch, Path(folder))
            found = {side: measure(side, Path(folder), name, options.threads) for side in options.sides}
        cells = "".join(f"{entry['peak']:>9.0f} |{entry['end']:>5.0f}" for entry in found.values())
        both = {"Majuscule", "ONNX Runtime"} <= set(found)
        ratio = f"{found['Majuscule']['peak'] / found['ONNX Runtime']['peak']:>8.2f}" if both else ""
        print(f"{name:<16}{cells}{ratio}", flush=True)
        results[name] = found
        if options.json is not None:  # after each, so that an interrupted run is not lost
            report = {"machine": machine, "batch": options.batch, "threads": options.threads, "megabytes": results}
            options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--alone"]:
        side, model, image, threads = sys.argv[2:]
        loaded = SIDES[side][0](Path(model), Path(image), int(threads))
        print(json.dumps(held()))
    else:
        main()
