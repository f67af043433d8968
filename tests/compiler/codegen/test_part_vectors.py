"""Axes shorter than a vector, in vectors of which some lanes are not used, against NumPy's float64."""

from __future__ import annotations

import ctypes
import itertools
import mmap
from typing import Any

import numpy
import pytest

import majuscule
from majuscule.api import check
from majuscule.compiler.codegen import compile_graph
from majuscule.compiler.codegen.target import Target
from majuscule.compiler.graph import Graph
from majuscule.compiler.pipeline import optimize

Array = numpy.ndarray[Any, Any]
SMALL = 3e-6
"""Of the largest result."""

PROGRAM = """
Given L[9, 8, {channels}], V[7, 6, {results}]
param W[3, 3, {channels}, {results}]
C[b,x,y,j] = relu(W[ΔX,ΔY,M,j] * L[b,x+ΔX,y+ΔY,M] + V[b,x,y,j])
D[b,x,y,i] = max[Δx in 0..3, Δy in 0..2](L[b,2*x+Δx,2*y+Δy,i])
A[b,x,y,i] = argmax[Δx in 0..3, Δy in 0..2](L[b,2*x+Δx,2*y+Δy,i])
G[Δx,Δy,i,j] = L[B,X+Δx,Y+Δy,i] * V[B,X,Y,j]
S[j] = sum[B,X,Y](V[B,X,Y,j])
"""


def program(channels: int, results: int) -> str:
    """A convolution, two kinds of pooling, a gradient of weights and a sum of maps with so many channels."""
    return PROGRAM.format(channels=channels, results=results)


def expected(data: Array, other: Array, weights: Array) -> dict[str, Array]:
    data, other, weights = (array.astype(float) for array in (data, other, weights))
    places = list(itertools.product(range(3), range(3)))
    seen = numpy.stack([data[:, x : x + 7, y : y + 6] for x, y in places])
    flat = weights.reshape(9, *weights.shape[2:])
    pooled = numpy.stack([data[:, x : x + 7 : 2, y : y + 7 : 2] for x in range(3) for y in range(2)])
    return {
        "C": numpy.maximum(numpy.einsum("wbxym,wmj->bxyj", seen, flat) + other, 0),
        "D": pooled.max(0),
        "A": pooled.argmax(0),
        "G": numpy.einsum("wbxyi,bxyj->wij", seen, other).reshape(3, 3, data.shape[-1], other.shape[-1]),
        "S": other.sum((0, 1, 2)),
    }


def before_a_wall(shape: tuple[int, ...], dtype: str = "float32") -> Array:
    """An array whose end is the end of a page, after which touching memory ends the process."""
    size = numpy.dtype(dtype).itemsize * int(numpy.prod(shape))
    pages = -(-size // mmap.PAGESIZE)
    memory = mmap.mmap(-1, (pages + 1) * mmap.PAGESIZE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    wall = ctypes.c_void_p(start + pages * mmap.PAGESIZE)
    assert ctypes.CDLL(None, use_errno=True).mprotect(wall, ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    return numpy.frombuffer(memory, dtype, int(numpy.prod(shape)), pages * mmap.PAGESIZE - size).reshape(shape)


@pytest.mark.parametrize(("channels", "results"), [(3, 6), (6, 3), (5, 7), (9, 11), (13, 15), (1, 12)])
def test_nothing_beyond_a_short_axis_is_read_or_written(channels: int, results: int) -> None:
    module = majuscule.compile(program(channels, results), cache=False)
    generator = numpy.random.default_rng(channels)
    for batch in (1, 3):
        data, other = before_a_wall((batch, 9, 8, channels)), before_a_wall((batch, 7, 6, results))
        data[:], other[:] = generator.normal(size=data.shape), generator.normal(size=other.shape)
        exact = expected(data, other, module.weights["W"])
        out = {info.name: before_a_wall(exact[info.name].shape, info.dtype) for info in module.outputs}
        module(data, other, out=out)
        for name, found in out.items():
            assert abs(found - exact[name]).max() <= SMALL * abs(exact[name]).max(), name


def test_what_lanes_without_use_would_compute_does_not_show() -> None:
    """Neighbours in memory are infinite, and 1/0 and log(0) are what zeros give."""
    module = majuscule.compile(
        "Given L[8, 4, 7]\nS[b,x,i] = max[Δy](log(L[b,x,Δy,i]) + 1 / L[b,x,Δy,i])\n", cache=False
    )
    data = numpy.random.default_rng(0).uniform(0.5, 2, (2, 8, 4, 7)).astype("float32")
    data[0, 3], data[1, 7] = numpy.inf, numpy.nan
    exact = (numpy.log(data.astype(float)) + 1 / data.astype(float)).max(2)
    numpy.testing.assert_allclose(module(data), exact, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("target", "partly"), [("znver4", True), ("x86-64-v4", True), ("x86-64-v3", False)])
def test_only_machines_that_load_part_of_a_vector_at_no_cost_do(target: str, partly: bool) -> None:
    checked = check(program(6, 6)).program
    assert checked is not None
    graph = optimize(Graph.from_program(checked), fold_weights=True)
    found = compile_graph(graph, target=Target.named(target), cache=False)
    assert ("llvm.masked.load" in found.tensor_ir) == partly
