"""Measures the machine at hand with kernels that TVM compiles: peak arithmetic and memory bandwidth."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy
from tvm import tirx
from tvm.ir import PrimType
from tvm.tirx import BufferLoad, BufferStore, PrimFunc

from .machine import Speed
from .machine_code import machine_code, make_module
from .statements import PARALLEL, Block, Local, add, integer, multiply
from .target import Target

_ROUNDS = 1 << 15
_ACCUMULATORS = 12  # of 16 registers; latency times units is 8 or 10 on the CPUs of today
_STREAMS = 8  # vectors read per turn of the loop
_REPEATS = 60
_SHARE_ALL_CORES = -3  # TVM's AffinityMode::kSpecifyThreadShareAllCore
_LINE = 64


def measure(target: Target, cache_bytes: int) -> Speed:
    """The best of several short runs, as others may use the machine at the same time.

    Takes about a second, and memory of four times `cache_bytes`, the last cache's size, at
    least 128 MB.  The peak is that of one core alone: where others compute at the same time,
    all cores are never free together, and half of them would pass for all.
    """
    return Speed(_peak(target), _bandwidth(target, max(4 * cache_bytes, 128 << 20)))


def _peak(target: Target) -> float:
    """FLOP/s of a core in chains of multiply-adds that do not wait for each other."""
    lanes = target.lanes(32)
    alone = replace(target, cores=1)
    seconds = _best(alone, _multiply_adds(alone), _aligned(lanes), _aligned(lanes))
    return 2.0 * lanes * _ACCUMULATORS * _ROUNDS / seconds


def _bandwidth(target: Target, size: int) -> float:
    """Bytes/s of reading a buffer once, from front to back in each core's part."""
    lanes = target.lanes(32)
    step = _STREAMS * lanes
    rounds = size // 4 // target.cores // step
    data = _aligned(rounds * step * target.cores)
    result = _aligned(lanes * target.cores)
    return int(data.nbytes) / _best(target, _stream(target, rounds), data, result)


def _multiply_adds(target: Target) -> PrimFunc:
    """For each core: `_ROUNDS` times `sum = sum * factor + factor` in every accumulator."""

    def work(block: Block, data: Any, lanes: int, task: Any) -> list[Local]:
        factor = block.bind("factor", BufferLoad(data, [tirx.Ramp(integer(0), integer(1), lanes)]))
        sums = [Local(block, f"sum{i}", "float32", lanes) for i in range(_ACCUMULATORS)]
        for position, total in enumerate(sums):
            total.set(block, multiply(factor, tirx.FloatImm("float32", 1.0 + position)))
        with block.loop("round", _ROUNDS) as (body, _):
            for total in sums:
                total.set(body, add(multiply(total.get(), factor), factor))
        return sums

    return _per_core(target, work)


def _stream(target: Target, rounds: int) -> PrimFunc:
    """For each core: the sum of its part of the data."""

    def work(block: Block, data: Any, lanes: int, task: Any) -> list[Local]:
        sums = [Local(block, f"sum{i}", "float32", lanes) for i in range(_STREAMS)]
        for total in sums:
            total.set(block, tirx.FloatImm("float32", 0.0))
        with block.loop("round", rounds) as (body, position):
            start = (task * rounds + position) * (_STREAMS * lanes)
            for i, total in enumerate(sums):
                place = tirx.Ramp(start + i * lanes, integer(1), lanes)
                total.set(body, add(total.get(), BufferLoad(data, [place])))
        return sums

    return _per_core(target, work)


def _per_core(target: Target, work: Callable[[Block, Any, int, Any], list[Local]]) -> PrimFunc:
    """A function of data and results: each core does the work and stores the sum of its accumulators."""
    lanes = target.lanes(32)
    data, result = (
        tirx.decl_buffer((tirx.Var(f"{name}_count", "int64"),), "float32", name, layout=None)
        for name in ("data", "result")
    )
    block = Block()
    with block.loop("task", target.cores, PARALLEL) as (body, task):
        first, *others = work(body, data, lanes, task)
        for other in others:
            first.set(body, add(first.get(), other.get()))
        body.append(BufferStore(result, first.get(), [tirx.Ramp(task * lanes, integer(1), lanes)]))
    function = PrimFunc([data, result], block.statement(), ret_type=PrimType("void"))
    return function.with_attr("global_symbol", "measure")


def _best(target: Target, function: PrimFunc, *arrays: Any) -> float:
    """Seconds of the fastest call, on as many threads as the target has cores."""
    # TVM keeps a pool of workers for each calling thread: that of this one ends with it.
    with ThreadPoolExecutor(1) as thread:
        seconds: float = thread.submit(_best_here, target, function, *arrays).result()
    return seconds


def _best_here(target: Target, function: PrimFunc, *arrays: Any) -> float:
    import tvm_ffi

    names = [str(core) for core in range(target.cores)]
    tvm_ffi.get_global_func("runtime.config_threadpool")(_SHARE_ALL_CORES, target.cores, names)
    module = machine_code(make_module([function]), target)
    call = partial(module["measure"], *map(tvm_ffi.from_dlpack, arrays))
    call()
    seconds = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _aligned(count: int) -> Any:
    """Ones, `count` of them, from the start of a cache line."""
    memory = numpy.ones(count + _LINE // 4, numpy.float32)
    skip = -memory.ctypes.data % _LINE // 4
    return memory[skip : skip + count]
