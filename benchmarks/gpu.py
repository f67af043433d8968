"""What `gpu_pack.py` packed, on a machine with a GPU: is it right, and how fast is it beside PyTorch?

    PYTHONPATH=FOLDER/site python benchmarks/gpu.py FOLDER [--batches 1 32 256] [--seconds S] [--compile]
                                                  [--networks NAME ...] [--json FILE]

It needs NumPy and PyTorch, and no compiler.  First every layer of the library and its gradients are compared
with what the interpreter gave in float64 where they were packed; then each network, in each precision,
with PyTorch in float32 on equal weights and images; then training steps, by their losses.

Networks and steps are timed by CUDA's events, warmed up, on random images that lie on the GPU, in turns with
PyTorch in the same precision: channels last, cuDNN choosing its kernels by trial, in inference mode and as
a CUDA graph where that is faster; with `--compile`, through `torch.compile` in its slowest and best mode, too.
Printed are medians in milliseconds, and how many times as long as Majuscule PyTorch's best takes: above 1
Majuscule is faster.  Without PyTorch's CUDA nothing is timed, and without PyTorch only layers are looked at.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy
from gpu_files import read_packed

from majuscule.runtime.artifact import Artifact
from majuscule.runtime.cuda.devices import require_device
from majuscule.runtime.errors import ModuleError
from majuscule.runtime.module import Module
from majuscule.runtime.sizes import evaluate
from majuscule.runtime.training import TrainingStep

Array = numpy.ndarray[Any, Any]
LAYER_TOLERANCE = 1e-4
"""What rounding may cost a layer, in parts of the largest value."""
COST = {"float32": 1e-4, "tf32": 1e-2, "float16": 2e-2, "bfloat16": 1e-1}
RATE, MOMENTUM = 1e-3, 0.9
STEPS = 3  # whose losses are compared


@dataclass(frozen=True)
class Timing:
    """A network or a training step: the milliseconds of each side."""

    what: str
    name: str
    precision: str
    batch: int
    error: float
    milliseconds: Mapping[str, float]

    @property
    def ratio(self) -> float | None:
        """The best of PyTorch over ours."""
        peers = [value for side, value in self.milliseconds.items() if side != OURS]
        return min(peers) / self.milliseconds[OURS] if peers else None

    def __str__(self) -> str:
        times = ", ".join(f"{side} {value:.3f}" for side, value in self.milliseconds.items())
        ratio = "" if self.ratio is None else f" | {self.ratio:.2f}"
        about = f"{self.what} {self.name} {self.precision} batch {self.batch}: error {self.error:.1e}"
        return about + (f" | {times}{ratio}" if times else "")


OURS = "Majuscule"


# -- is it right? ----------------------------------------------------------------------------


def wrong_layers(folder: Path) -> tuple[int, list[str]]:
    """How many layers there are, and what is wrong with those that are."""
    files = sorted((folder / "layers").glob("*.npz"))
    return len(files), [f"{file.stem}: {problem}" for file in files if (problem := _layer_problem(file))]


def _layer_problem(file: Path) -> str:
    artifact, groups = read_packed(file)
    try:
        with Module(artifact) as module:
            found = module(**groups["inputs"])
            names = [info.name for info in module.outputs]
    except ModuleError as error:
        return str(error)
    outputs = dict(zip(names, [found] if len(names) == 1 else found, strict=True))
    scale = max((_largest(array) for array in groups["expected"].values()), default=0.0)
    for name, expected in groups["expected"].items():
        error = relative_error(outputs[name], expected, max(_largest(expected), 1e-3 * scale))
        if not error <= LAYER_TOLERANCE:
            return f"{name} is wrong by {error:.1e}"
    return ""


def relative_error(found: Array, expected: Array, largest: float | None = None) -> float:
    """The largest error in parts of the largest value; NaN where shapes differ."""
    if found.shape != expected.shape:
        return float("nan")
    wanted, got = expected.astype(numpy.float64), found.astype(numpy.float64)
    same = (wanted == got) | (numpy.isnan(wanted) & numpy.isnan(got))
    error = float(numpy.abs(numpy.where(same, 0.0, got - wanted)).max(initial=0.0))
    largest = _largest(expected) if largest is None else largest
    return error / largest if largest else error


def _largest(array: Array) -> float:
    finite = array[numpy.isfinite(array)] if array.dtype.kind == "f" else array
    return float(numpy.abs(finite.astype(numpy.float64)).max(initial=0.0))


# -- how fast is it? -------------------------------------------------------------------------


def network_timings(folder: Path, options: argparse.Namespace) -> Iterator[Timing]:
    """Every packed network, in its precision, at each batch."""
    import torch
    from peers import NETWORKS, program_weights

    for file in sorted((folder / "networks").glob("*.npz")):
        name, _, precision = file.stem.rpartition("-")
        if options.networks and name not in options.networks:
            continue
        network = NETWORKS[name]
        model = network.peer()
        artifact, _ = read_packed(file)
        weights = program_weights(model)
        with Module(Artifact(artifact.manifest, artifact.library, weights, artifact.constants)) as module:
            images = network.images(2)
            model = model.to(_device(torch))
            with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                expected = model(_for_pytorch(torch, images)).cpu().numpy()
            error = relative_error(numpy.asarray(module(images)), expected)
            if not error <= COST[precision]:
                raise SystemExit(f"{name} in {precision} is wrong by {error:.1e}")
            for batch in options.batches if _device(torch) == "cuda" else ():
                given = torch.from_numpy(network.images(batch)).cuda()
                sides = {OURS: _our_side(torch, module, given, len(expected[0]))}
                sides |= _peer_sides(torch, model, given, precision, compiled=options.compile)
                times = in_turns(torch, sides, options.seconds)
                yield Timing("network", name, precision, batch, error, times)
            if _device(torch) == "cpu":
                yield Timing("network", name, precision, len(images), error, {})


def step_timings(folder: Path, options: argparse.Namespace) -> Iterator[Timing]:
    """Every packed training step, at the batch that its network is timed with."""
    import torch
    from peers import NETWORKS, program_weights
    from torch import nn

    for file in sorted((folder / "steps").glob("*.npz")):
        name, _, precision = file.stem.rpartition("-")
        if options.networks and name not in options.networks:
            continue
        network, batch = NETWORKS[name], options.step_batch or {"lenet": 256}.get(name, 32)
        torch.manual_seed(0)
        model = network.build()
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        artifact, _ = read_packed(file)
        step = TrainingStep(
            Artifact(artifact.manifest, artifact.library, _tensors(artifact, program_weights(model)), {})
        )
        images, labels = network.images(batch), numpy.random.default_rng(0).integers(0, 10, batch)
        ours = _our_step(step, images, labels)
        theirs = _peer_step(torch, model.train().to(_device(torch)), images, labels, precision)
        losses = [(ours(), theirs()) for _ in range(STEPS)]
        error = max(abs(one - other) / abs(other) for one, other in losses)
        if not error <= COST[precision] * 10:
            raise SystemExit(
                f"training steps of {name} in {precision} have losses that differ by {error:.1e}: {losses}"
            )
        sides = {OURS: ours, "PyTorch": theirs}
        times = in_turns(torch, sides, options.seconds) if _device(torch) == "cuda" else {}
        yield Timing("step", name, precision, batch, error, times)


def _tensors(artifact: Artifact, known: Mapping[str, Array]) -> dict[str, Array]:
    """The tensors of a step: those that are known, the others 0, as optimisers start."""
    entries = [*artifact.manifest["parameters"], *artifact.manifest["states"]]
    shapes = {e["name"]: ([evaluate(size, {}) for size in e["shape"]], e["dtype"]) for e in entries}
    return {n: known[n] if n in known else numpy.zeros(shape, dtype) for n, (shape, dtype) in shapes.items()}


def _device(torch: Any) -> str:
    """Where PyTorch runs: without its CUDA, what is right can be looked at all the same."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def _for_pytorch(torch: Any, images: Array) -> Any:
    return torch.from_numpy(images).permute(0, 3, 1, 2).to(_device(torch))


def _our_side(torch: Any, module: Module, images: Any, classes: int) -> Callable[[], object]:
    """A call on what lies on the GPU, into what lies there, in PyTorch's stream, whose events time it."""
    scores = torch.empty(len(images), classes, device="cuda")
    return lambda: module(images, out=scores, stream=torch.cuda.current_stream())


def _peer_sides(
    torch: Any, model: Any, images: Any, precision: str, *, compiled: bool
) -> dict[str, Callable[[], object]]:
    """PyTorch's ways to run a model in a precision."""
    import copy

    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    dtype = {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(precision, torch.float32)
    model = copy.deepcopy(model).to(dtype=dtype, memory_format=torch.channels_last)
    given = images.permute(0, 3, 1, 2).to(dtype)  # channels last in memory

    def eager() -> object:
        with torch.inference_mode():
            return model(given)

    sides: dict[str, Callable[[], object]] = {"PyTorch": eager}
    for _ in range(3):
        eager()
    graph = torch.cuda.CUDAGraph()
    with torch.inference_mode(), torch.cuda.graph(graph):
        model(given)
    sides["CUDA graph"] = graph.replay
    if compiled:
        best = torch.compile(copy.deepcopy(model), mode="max-autotune", dynamic=False)

        def fast() -> object:
            with torch.inference_mode():
                return best(given)

        sides["torch.compile"] = fast
    return sides


def _our_step(step: TrainingStep, images: Array, labels: Array) -> Callable[[], float]:
    taken = 0
    batch = dict(zip((info.name for info in step.inputs), (images, labels), strict=True))

    def run() -> float:
        nonlocal taken
        taken += 1
        return step.run(batch, rate=RATE, step=taken).loss

    return run


def _peer_step(torch: Any, model: Any, images: Array, labels: Array, precision: str) -> Callable[[], float]:
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    model = model.to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(model.parameters(), RATE, momentum=MOMENTUM)

    def step() -> float:
        given, wanted = _for_pytorch(torch, images), torch.from_numpy(labels).to(_device(torch))
        optimiser.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(model(given), wanted)
        loss.backward()
        optimiser.step()
        return float(loss.detach())

    return step


def in_turns(torch: Any, sides: Mapping[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """The median milliseconds of each side's calls, in rounds in which each has its turn."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(3):
        for name, call in sides.items():
            call()
            times[name] += _timed(torch, call, seconds / 3 / len(sides))
    return {name: statistics.median(found) for name, found in times.items()}


def _timed(torch: Any, call: Callable[[], object], seconds: float) -> list[float]:
    found: list[float] = []
    while sum(found) < 1e3 * seconds or len(found) < 3:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        found.append(start.elapsed_time(end))
    return found


# -- the command line ------------------------------------------------------------------------


def main() -> None:
    """Look at everything that was packed, and print it."""
    parser = argparse.ArgumentParser(description="Run what benchmarks/gpu_pack.py packed on this machine's GPU.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32, 256])
    parser.add_argument("--step-batch", type=int, default=None)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each row of the table")
    parser.add_argument("--networks", nargs="*", default=[])
    parser.add_argument("--compile", action="store_true", help="torch.compile as well: minutes for each network")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    try:
        device = require_device()
    except ModuleError as error:
        sys.exit(f"error: {error.message}")
    print(device, flush=True)
    count, wrong = wrong_layers(options.folder)
    print(f"{count - len(wrong)} of {count} layers and gradients agree", *wrong, sep="\n  ", flush=True)
    timings: list[Timing] = []
    if find_spec("torch") is not None:
        for find in (network_timings, step_timings):
            for timing in find(options.folder, options):
                timings.append(timing)
                print(timing, flush=True)
    else:
        print("no PyTorch here, so networks are not looked at")
    if options.json is not None:
        found = {"device": str(device), "layers": count, "wrong": wrong, "timings": [asdict(t) for t in timings]}
        options.json.write_text(json.dumps(found, indent=1))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
