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

import gc
import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy
import onnxruntime
import openvino
import torch
from contests import OURS, Contest, Options, mean_ratio, options_parser, positive, report, take_turns
from peers import NETWORKS, Array, Network, channels_first, channels_last, program_weights
from timing import timed

import majuscule

WARM_UP = 3  # calls of a new side: the first ones allocate, and choose among kernels
TRIALS = 5  # calls that settle which of OpenVINO's settings is the faster
TOLERANCE = 1e-3  # of the largest score, between any two sides
PACKAGES = ("majuscule", "apache-tvm", "onnxruntime", "openvino", "torch")


class NetworkOptions(Options):
    """The command line."""

    batches: list[int]


@dataclass(frozen=True)
class Side:
    """A network ready to run on fixed images: one call, and the scores [batch, classes] that the last call gave."""

    name: str
    call: Callable[[], object]
    scores: Callable[[], Array]


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

    def call() -> tuple[Array, Array]:
        """The request does not keep the arrays whose memory it shares; this does."""
        request.infer()
        return image, result

    return Side("OpenVINO", call, lambda: result)


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


def measured(name: str, options: NetworkOptions) -> Iterator[Contest]:
    """A network's contest for each batch; nothing of the network stays in memory."""
    network = NETWORKS[name]
    model = network.peer()
    module = majuscule.compile(network.path, weights=program_weights(model), threads=options.threads)
    model = model.to(memory_format=torch.channels_last)
    for batch in options.batches:
        ready = {side.name: side.call for side in sides(network, model, module, batch, options)}
        found = Contest(name, batch, take_turns(ready, options))
        ready.clear()
        torch.compiler.reset()
        gc.collect()
        yield found


def main() -> None:
    """Measure and print."""
    parser = options_parser(__doc__.splitlines()[0], NETWORKS, "calls", "half a minute for each line")
    parser.add_argument("--batches", type=positive, nargs="+", default=[1, 8])
    options = parser.parse_args(namespace=NetworkOptions())
    torch.set_num_threads(options.threads)
    contests = chain.from_iterable(measured(name, options) for name in options.networks)
    results = report(contests, options, "calls", PACKAGES)
    for batch in options.batches:
        found = [result for result in results if result.batch == batch]
        faster = sum(result.ratio > 1 for result in found)
        mean = mean_ratio(found)
        print(f"batch {batch}: faster than the best peer on {faster} of {len(found)}, geometric mean {mean:.2f}")


if __name__ == "__main__":
    main()
