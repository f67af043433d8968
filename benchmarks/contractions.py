"""Speed of the contraction road: convolutions and matrix products, batch 1, against PyTorch.

    python benchmarks/contractions.py [--threads N] [--repeats N] [--target NAME]

Prints for each shape the milliseconds and GFLOP/s of the compiled equation and, where
PyTorch is installed, of its eager kernel on the same machine, in turns: three rounds of N repeats each; medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy

from majuscule.compiler.codegen import CompiledProgram, Target, compile_graph
from majuscule.compiler.graph import Graph
from majuscule.dsl.equations import Apply, Axis, Equation, Input, Parameter, Program, Read
from majuscule.dsl.integers import Integer
from majuscule.runtime.library import Arguments, Library, configure_threads

ROUNDS = 3
PAUSE = 0.3  # seconds: idle threads of either library spin for a while and would hold a core that the other needs


@dataclass(frozen=True)
class Convolution:
    """A square convolution without padding, or a matrix-vector product where the image is one pixel."""

    name: str
    size: int
    inputs: int
    outputs: int
    window: int = 1
    stride: int = 1

    @property
    def out(self) -> int:
        return (self.size - self.window) // self.stride + 1

    @property
    def operations(self) -> int:
        """Multiplications and additions of one sample."""
        return 2 * self.out**2 * self.window**2 * self.inputs * self.outputs


SHAPES = (
    Convolution("VGG 3x3 64", 226, 64, 64, 3),
    Convolution("ResNet 7x7 stride 2", 229, 3, 64, 7, 2),
    Convolution("ResNet 3x3 64", 58, 64, 64, 3),
    Convolution("ResNet 3x3 128", 30, 128, 128, 3),
    Convolution("ResNet 3x3 256", 16, 256, 256, 3),
    Convolution("ResNet 3x3 512", 9, 512, 512, 3),
    Convolution("ResNet 3x3 stride 2", 57, 64, 128, 3, 2),
    Convolution("ResNet 1x1", 56, 64, 256),
    Convolution("AlexNet 5x5", 31, 96, 256, 5),
    Convolution("AlexNet dense", 1, 9216, 4096),
)


def compiled(shape: Convolution, target: Target) -> CompiledProgram:
    """The convolution as an equation, channels last."""
    place = Integer.index

    def axis(name: str, size: int) -> Axis:
        return Axis(name, Integer.of(size))

    batch = Integer.symbol("batch")
    window = place("x") * shape.stride + place("p"), place("y") * shape.stride + place("q")
    image = Read("image", (place("b"), *window, place("i")), "float32")
    weight = Read("weight", (place("p"), place("q"), place("i"), place("j")), "float32")
    domain = (Axis("b", batch), axis("x", shape.out), axis("y", shape.out), axis("j", shape.outputs))
    reduction = (axis("p", shape.window), axis("q", shape.window), axis("i", shape.inputs))
    image_shape = (batch, *map(Integer.of, (shape.size, shape.size, shape.inputs)))
    weight_shape = tuple(map(Integer.of, (shape.window, shape.window, shape.inputs, shape.outputs)))
    operations = {
        "image": Input(image_shape, "float32"),
        "weight": Parameter(weight_shape, "float32", ""),
        "result": Equation(domain, Apply("mul", (image, weight), "float32"), "float32", reduction, "sum"),
    }
    program = Program("contraction", "inference", operations, ("image",), ("result",))
    return compile_graph(Graph.from_program(program), target=target)


def runner(shape: Convolution, program: CompiledProgram, threads: int) -> Callable[[], None]:
    """A function that runs the convolution once on random numbers."""
    generator = numpy.random.default_rng(0)
    arrays = {
        "image": generator.standard_normal((1, shape.size, shape.size, shape.inputs), numpy.float32),
        "weight": generator.standard_normal((shape.window, shape.window, shape.inputs, shape.outputs), numpy.float32),
        "result": numpy.zeros((1, shape.out, shape.out, shape.outputs), numpy.float32),
        "arena": numpy.zeros(64, numpy.uint8),
    }
    buffers = numpy.array([arrays[entry["name"]].ctypes.data for entry in program.manifest["buffers"]], numpy.int64)
    sizes = numpy.array([1, 0, 0, 0, 1 << 62, threads], numpy.int64)  # batch, seed, step, first, last, threads
    status = numpy.zeros(1, numpy.int32)
    vectors = [(v.ctypes.data, len(v), 8 * v.itemsize) for v in (buffers, sizes, status)]
    arguments, function = Arguments(vectors), Library(program.library).function("majuscule_run")
    kept = (arrays, buffers, sizes, status)

    def call() -> None:
        assert kept
        function(arguments)

    return call


def peer(shape: Convolution, threads: int) -> Callable[[], object] | None:
    """PyTorch's convolution (or linear layer) of the same shape, if PyTorch is installed."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(threads)
    if shape.size == 1:
        layer, x = torch.nn.Linear(shape.inputs, shape.outputs, bias=False), torch.rand(1, shape.inputs)
    else:
        layer = torch.nn.Conv2d(shape.inputs, shape.outputs, shape.window, shape.stride, bias=False)
        x = torch.rand(1, shape.inputs, shape.size, shape.size)

    def call() -> object:
        with torch.inference_mode():
            return layer(x)

    return call


def seconds(function: Callable[[], object]) -> float:
    """The time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main() -> None:
    """Measure all shapes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--target", default="cpu")
    options = parser.parse_args()
    target = Target.named(options.target)
    configure_threads(options.threads, sorted(os.sched_getaffinity(0)))
    machine = f"{target.cpu}, {target.vector_bits}-bit vectors, {options.threads} threads"
    print(f"{machine}, medians of {ROUNDS} x {options.repeats}")
    print(f"{'shape':<22}{'compile s':>10}{'ms':>9}{'GFLOP/s':>9}{'PyTorch ms':>12}{'GFLOP/s':>9}")
    for shape in SHAPES:
        start = time.perf_counter()
        program = compiled(shape, target)
        built = time.perf_counter() - start
        candidates = [runner(shape, program, options.threads), peer(shape, options.threads)]
        times: list[list[float]] = [[], []]
        for _ in range(ROUNDS):
            for function, found in zip(candidates, times, strict=True):
                if function is not None:
                    time.sleep(PAUSE)
                    function()
                    found += [seconds(function) for _ in range(options.repeats)]
        line = f"{shape.name:<22}{built:>10.2f}"
        for found, width in zip(times, (9, 12), strict=True):
            if found:
                median = statistics.median(found)
                line += f"{1e3 * median:>{width}.3f}{shape.operations / median / 1e9:>9.0f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
