"""Long reductions part by part: sums over all positions of all samples, against NumPy's float64."""

from __future__ import annotations

from typing import Any

import numpy
import pytest

import majuscule
from majuscule.compiler.codegen import Target
from majuscule.compiler.codegen.kernel import Stored, make_kernel
from majuscule.compiler.codegen.roads import contraction
from majuscule.compiler.graph import Graph
from majuscule.dsl.equations import Equation

Array = numpy.ndarray[Any, Any]


def program(size: int, inputs: int, outputs: int, window: int, stride: int) -> str:
    """The gradient of a convolution's weights: images, and the gradient of what was made of them."""
    whole = stride * (size - 1) + window
    return (
        f"Given x[{whole},{whole},{inputs}], d[{size},{size},{outputs}]\n"
        f"g[p in 0..{window},q in 0..{window},i,j] = sum[b,h,w](x[b,{stride}*h+p,{stride}*w+q,i] * d[b,h,w,j])\n"
    )


def expected(x: Array, d: Array, window: int, stride: int) -> Array:
    size = d.shape[1]
    found = numpy.empty((window, window, x.shape[-1], d.shape[-1]))
    for p in range(window):
        for q in range(window):
            seen = x[:, p : p + stride * size : stride, q : q + stride * size : stride][:, :size, :size].astype(float)
            found[p, q] = numpy.tensordot(seen, d.astype(float), ([0, 1, 2], [0, 1, 2]))
    return found


def parts(text: str) -> int:
    """Whether the reduction has parts: a number above 0 if it has."""
    graph = Graph.from_program(majuscule.check(text).require())
    equation = graph.operation("g")
    assert isinstance(equation, Equation)
    tensors = {name: Stored(graph.tensor(name).shape, "float32") for name in ("x", "d")}
    kernel = make_kernel([("g", equation)], tensors, Stored(equation.shape, "float32"))
    road = contraction.road(kernel, Target.named("x86-64-v4", cores=2))
    assert road is not None
    schedule = road.variants[-1][1]
    return schedule.parts + schedule.part


@pytest.mark.parametrize(
    ("size", "inputs", "outputs", "window", "stride"),
    [(29, 33, 40, 3, 1), (28, 24, 100, 1, 1), (27, 20, 52, 3, 2), (40, 3, 72, 5, 2), (13, 112, 96, 3, 1)],
)
def test_sums_over_positions_in_parts(size: int, inputs: int, outputs: int, window: int, stride: int) -> None:
    text = program(size, inputs, outputs, window, stride)
    assert parts(text) > 0
    modules = [majuscule.compile(text, threads=threads, road="direct") for threads in (1, 2)]
    generator = numpy.random.default_rng(size)
    for batch in (1, 3, 9):
        x = generator.standard_normal((batch, *map(int, modules[0].inputs[0].shape[1:])), numpy.float32)
        d = generator.standard_normal((batch, size, size, outputs), numpy.float32)
        one, two = (module(x, d) for module in modules)
        wanted = expected(x, d, window, stride)
        assert abs(one - wanted).max() <= 2e-6 * abs(wanted).max() * batch**0.5
        assert (one == two).all()


def test_short_reductions_stay_whole() -> None:
    assert parts(program(7, 16, 16, 3, 1)) == 0
