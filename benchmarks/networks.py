"""The networks of `examples/`, compiled, against ONNX Runtime, OpenVINO and PyTorch, in float32 on this processor.

    python benchmarks/networks.py [NETWORK ...] [--batches 1 8] [--repeats N] [--rounds N] [--threads N]
                                  [--compile] [--json FILE]

It wants the extras `peers` and `bench`.  All sides have equal weights, images and numbers of
threads, and take turns in one process, in rounds that each start with another side: a side
rests, warms up, and is timed for N calls.  Printed are, for each network and batch, the median
of each side's calls in milliseconds, the fastest peer, and how many times as long as Majuscule
it takes: above 1 Majuscule is faster.  On a machine that others use, the ratios of the single
rounds (smallest and largest) say how far that number is to be trusted.

Each peer is run as its manual advises for speed: ONNX Runtime with all graph optimisations,
OpenVINO pinned to float32 (its default may be bfloat16), both with buffers bound beforehand and
a model exported for just this batch; PyTorch channels last, in inference mode; with `--compile`,
also through `torch.compile` with frozen weights.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy
import onnxruntime
import openvino
import torch
from machine import describe_machine
from peers import NETWORKS, Array, Network, channels_first, channels_last, program_weights
from timing import timed

import majuscule

OURS = "Majuscule"
WARM_UP = 3  # calls of a new side: the first ones allocate, and choose among kernels
TRIALS = 5  # calls that settle which of OpenVINO's settings is the faster
TOLERANCE = 1e-3  # of the largest score, between any two sides
PACKAGES = ("majuscule", "apache-tvm", "onnxruntime", "openvino", "torch")


@dataclass(frozen=True)
class Side:
    """A network ready to run on fixed images: one call, and the scores [batch, classes] that the last call gave."""

    name: str
    call: Callable[[], object]
    scores: Callable[[], Array]


@dataclass
class Contest:
    """The seconds of every side's calls, a list for each round."""

    network: str
    batch: int
    seconds: dict[str, list[list[float]]] = field(default_factory=dict)

    def median(self, side: str) -> float:
        """Of the calls of all rounds together."""
        return statistics.median(chain.from_iterable(self.seconds[side]))

    def medians(self, side: str) -> list[float]:
        """Of each round's calls."""
        return [statistics.median(calls) for calls in self.seconds[side]]

    @property
    def best_peer(self) -> str:
        """The peer with the smallest median."""
        return min((side for side in self.seconds if side != OURS), key=self.median)

    @property
    def ratio(self) -> float:
        """How many times as long as Majuscule the best peer takes."""
        return self.median(self.best_peer) / self.median(OURS)

    def ratios(self) -> list[float]:
        """The same for each round."""
        pairs = zip(self.medians(self.best_peer), self.medians(OURS), strict=True)
        return [theirs / ours for theirs, ours in pairs]

    def as_json(self) -> dict[str, Any]:
        """Everything that was found, in milliseconds."""
        return {
            "network": self.network,
            "batch": self.batch,
            "milliseconds": {side: 1e3 * self.median(side) for side in self.seconds},
            "rounds": {side: [1e3 * median for median in self.medians(side)] for side in self.seconds},
            "best_peer": self.best_peer,
            "ratio": self.ratio,
            "ratios": self.ratios(),
        }


def compiled(module: majuscule.Module, images: Array, classes: int) -> Side:
    """Our side: one call of the module, whose result goes into an array made beforehand."""
    result = numpy.zeros((len(images), classes), numpy.float32)
    return Side(OURS, lambda: module(images, out=result), lambda: result)


def onnx_runtime(path: Path, image: Array, classes: int, threads: int) -> Side:
    """ONNX Runtime's processor kernels, with input and output bound to arrays that stay."""
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    settings.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    settings.intra_op_num_threads, settings.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    given = onnxruntime.OrtValue.ortvalue_from_numpy(image)
    result = onnxruntime.OrtValue.ortvalue_from_numpy(numpy.zeros((len(image), classes), numpy.float32))
    binding = session.io_binding()
    binding.bind_ortvalue_input("image", given)
    binding.bind_ortvalue_output("scores", result)
    return Side("ONNX Runtime", lambda: session.run_with_iobinding(binding), result.numpy)


def open_vino(path: Path, image: Array, classes: int, threads: int) -> Side:
    """OpenVINO's processor plug-in, one request at a time, with the faster of the settings for such use.

    Its advice for one image is the latency hint.  For several, the throughput hint would cut
    the threads into streams that each work on a request of its own; with one stream, all of
    them work on the one request, by other kernels perhaps than those of the latency hint.
    """
    hints: list[dict[str, Any]] = [{"PERFORMANCE_HINT": "LATENCY"}]
    if len(image) > 1:
        hints.append({"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": 1})
    candidates = [_open_vino(path, image, classes, threads, hint) for hint in hints]
    if len(candidates) == 1:
        return candidates[0]
    return min(candidates, key=lambda side: statistics.median(timed(side.call, TRIALS)))


def _open_vino(path: Path, image: Array, classes: int, threads: int, hint: dict[str, Any]) -> Side:
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, **hint}
    model = openvino.Core().compile_model(path, "CPU", settings)
    precision = model.get_property("INFERENCE_PRECISION_HINT")
    assert precision == openvino.Type.f32, f"OpenVINO computes in {precision}"
    result = numpy.zeros((len(image), classes), numpy.float32)
    request = model.create_infer_request()
    request.set_input_tensor(openvino.Tensor(image, shared_memory=True))
    request.set_output_tensor(openvino.Tensor(result, shared_memory=True))
    return Side("OpenVINO", request.infer, lambda: result)


def pytorch(name: str, model: Callable[[torch.Tensor], torch.Tensor], images: Array) -> Side:
    """PyTorch in inference mode; the images' channels come last in memory, as the model's do."""
    given = channels_first(images)
    assert given.is_contiguous(memory_format=torch.channels_last)
    found: list[torch.Tensor] = []

    def call() -> None:
        with torch.inference_mode():
            found[:] = [model(given)]

    return Side(name, call, lambda: channels_last(found[0]))


def sides(
    network: Network, model: torch.nn.Sequential, module: majuscule.Module, batch: int, options: Options
) -> list[Side]:
    """Majuscule and its peers, ready to run; AssertionError if any two do not give the same scores."""
    images = network.images(batch)
    peer = pytorch("PyTorch", model, images)
    peer.call()
    classes = peer.scores().shape[1]
    found = [compiled(module, images, classes)]
    with tempfile.TemporaryDirectory(prefix="majuscule-") as folder:
        path = Path(folder) / f"{network.name}.onnx"
        image = export(model, images, path)
        found.append(onnx_runtime(path, image, classes, options.threads))
        found.append(open_vino(path, image, classes, options.threads))
    found.append(peer)
    if options.compile:
        frozen = torch.compile(model, dynamic=False, options={"freezing": True})
        found.append(pytorch("torch.compile", frozen, images))
    for side in found:
        for _ in range(WARM_UP):
            side.call()
        difference = abs(side.scores() - peer.scores()).max() / abs(peer.scores()).max()
        assert difference < TOLERANCE, f"{network.name}: {side.name} differs from PyTorch by {difference:.1e}"
    return found


def export(model: torch.nn.Sequential, images: Array, path: Path) -> Array:
    """Write the model as ONNX for these images alone; gives them channels first, as that model takes them."""
    image = numpy.ascontiguousarray(images.transpose(0, 3, 1, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the exporter by tracing, which needs no further package
        torch.onnx.export(
            model, (torch.from_numpy(image),), path, dynamo=False, input_names=["image"], output_names=["scores"]
        )
    return image


def contests(name: str, options: Options) -> Iterator[Contest]:
    """A network's, for each batch; nothing of the network stays in memory."""
    network = NETWORKS[name]
    model = network.peer()
    module = majuscule.compile(network.path, weights=program_weights(model), threads=options.threads)
    model = model.to(memory_format=torch.channels_last)
    for batch in options.batches:
        ready = sides(network, model, module, batch, options)
        found = Contest(name, batch, {side.name: [] for side in ready})
        for turn in range(options.rounds):
            first = turn % len(ready)
            for side in ready[first:] + ready[:first]:
                found.seconds[side.name].append(timed(side.call, options.repeats))
        del ready, side
        torch.compiler.reset()
        gc.collect()
        yield found


@dataclass(frozen=True)
class Options:
    """The command line."""

    names: list[str]
    batches: list[int]
    repeats: int
    rounds: int
    threads: int
    compile: bool
    json: Path | None


def read_options() -> Options:
    """The options given on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"all if left out: {', '.join(NETWORKS)}")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--repeats", type=int, default=5, help="timed calls of each side in a round")
    parser.add_argument("--rounds", type=int, default=3)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser.add_argument("--threads", type=int, default=cores, help="of each side; all cores if left out")
    parser.add_argument("--compile", action="store_true", help="torch.compile as well: half a minute for each line")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    given = parser.parse_args()
    unknown = [name for name in given.networks if name not in NETWORKS]
    if unknown:
        parser.error(f"no network called {', '.join(unknown)}; there are {', '.join(NETWORKS)}")
    if min([*given.batches, given.repeats, given.rounds, given.threads]) < 1:
        parser.error("batches, repeats, rounds and threads are 1 or more")
    names = given.networks or list(NETWORKS)
    return Options(names, given.batches, given.repeats, given.rounds, given.threads, given.compile, given.json)


def row(found: Contest) -> str:
    """A line of the table."""
    times = "".join(f"{1e3 * found.median(side):>14.2f}" for side in found.seconds)
    spread = f"{min(found.ratios()):.2f}..{max(found.ratios()):.2f}"
    return f"{found.network:<16}{found.batch:>6}{times}  {found.best_peer:<13}{found.ratio:>6.2f}  {spread}"


def main() -> None:
    """Measure and print."""
    options = read_options()
    torch.set_num_threads(options.threads)
    machine = describe_machine(PACKAGES)
    conditions = (
        f"{options.threads} threads, float32, medians of {options.rounds} rounds of {options.repeats} calls; "
        f"load of the machine before: {os.getloadavg()[0]:.1f}"
    )
    names = [OURS, "ONNX Runtime", "OpenVINO", "PyTorch", *(["torch.compile"] if options.compile else [])]
    print(machine, conditions, sep="\n")
    print(
        f"{'milliseconds':<16}{'batch':>6}{''.join(f'{name:>14}' for name in names)}  {'best peer':<13} ratio  rounds"
    )
    results: list[Contest] = []
    for name in options.names:
        for found in contests(name, options):
            print(row(found), flush=True)
            results.append(found)
            if options.json is not None:  # after each, so that an interrupted run is not lost
                report = {"machine": machine, "conditions": conditions, "results": [r.as_json() for r in results]}
                options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    for batch in options.batches:
        ratios = [found.ratio for found in results if found.batch == batch]
        mean = math.exp(statistics.fmean(map(math.log, ratios)))
        faster = sum(ratio > 1 for ratio in ratios)
        print(f"batch {batch}: faster than the best peer on {faster} of {len(ratios)}, geometric mean {mean:.2f}")


if __name__ == "__main__":
    main()
