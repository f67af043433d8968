"""Measures the machine at hand with kernels that TVM compiles: peak arithmetic and memory bandwidth.

Each kernel is a `Meter`, which can be called as often as one likes: between other kernels, say,
to know what the machine gave in the same moments.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
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

_ROUNDS = 1 << 18  # a third of a millisecond: the call itself does not count
_ACCUMULATORS = 12  # of 16 registers; latency times units is 8 or 10 on the CPUs of today
_STREAMS = 2  # places that are read from in turn
_VECTORS = 4  # read from each place per turn of the loop
_REPEATS = 20
_TURNS = 4
_SHARE_ALL_CORES = -3  # TVM's AffinityMode::kSpecifyThreadShareAllCore
_LINE = 64


@dataclass(frozen=True)
class Meter:
    """A kernel that does one thing as fast as the machine can: `amount` FLOP, or bytes read, in each call."""

    amount: float
    _module: Any
    _arrays: tuple[Any, ...]
    _thread: ThreadPoolExecutor

    def seconds(self, calls: int) -> list[float]:
        """How long each of so many calls took, on as many threads as the meter's target has cores."""
        return self._thread.submit(self._time, calls).result()

    def _time(self, calls: int) -> list[float]:
        import tvm_ffi

        call = partial(self._module["measure"], *map(tvm_ffi.from_dlpack, self._arrays))
        taken = []
        for _ in range(calls):
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
        return taken


def measure(target: Target, cache_bytes: int) -> Speed:
    """The best of several short runs, as others may use the machine at the same time.

    Takes about a second, and memory of eight times `cache_bytes`, the last cache's size, from
    256 MB to 1 GB.  The peak is that of one core alone: where others compute at the same time,
    all cores are never free together, and half of them would pass for all.
    """
    meters = peak_meter(replace(target, cores=1)), bandwidth_meter(target, cache_bytes)
    taken: list[list[float]] = [[], []]
    for _ in range(_TURNS):  # far enough apart that others do not compute in all of them
        for times, meter in zip(taken, meters, strict=True):
            times += meter.seconds(_REPEATS)
    peak, bandwidth = (meter.amount / min(times) for times, meter in zip(taken, meters, strict=True))
    return Speed(peak, bandwidth)


def peak_meter(target: Target) -> Meter:
    """FLOP in chains of multiply-adds that do not wait for each other, two for each, on all of a target's cores."""
    lanes = target.lanes(32)
    amount = 2.0 * lanes * _ACCUMULATORS * _ROUNDS * target.cores
    return _meter(target, amount, _multiply_adds(target), _aligned(lanes), _aligned(lanes * target.cores))


def bandwidth_meter(target: Target, cache_bytes: int) -> Meter:
    """Bytes of a buffer that is read once, each core's part from front to back.

    The buffer is eight times as large as `cache_bytes`, the last cache's size, and 256 MB at least: of
    one that is read again and again, some is still in the cache.  More than 1 GB would take long to get.
    """
    lanes = target.lanes(32)
    step = _STREAMS * _VECTORS * lanes
    rounds = min(max(8 * cache_bytes, 256 << 20), 1 << 30) // 4 // target.cores // step
    data = _aligned(rounds * step * target.cores)
    return _meter(target, float(data.nbytes), _stream(target, rounds), data, _aligned(lanes * target.cores))


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
        sums = [Local(block, f"sum{i}", "float32", lanes) for i in range(_STREAMS * _VECTORS)]
        for total in sums:
            total.set(block, tirx.FloatImm("float32", 0.0))
        with block.loop("round", rounds) as (body, position):
            for i, total in enumerate(sums):
                stream, vector = divmod(i, _VECTORS)
                start = ((task * _STREAMS + stream) * rounds + position) * (_VECTORS * lanes)
                place = tirx.Ramp(start + vector * lanes, integer(1), lanes)
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


def _meter(target: Target, amount: float, function: PrimFunc, *arrays: Any) -> Meter:
    """A meter that has been called once, with a thread of its own: TVM keeps a pool of workers for each."""
    meter = Meter(amount, machine_code(make_module([function]), target, computes=True), arrays, ThreadPoolExecutor(1))
    meter._thread.submit(_configure_pool, target.cores).result()
    meter.seconds(1)
    return meter


def _configure_pool(threads: int) -> None:
    """Let the calling thread's pool have so many threads, which may run on any core that this process may use."""
    import tvm_ffi

    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(threads))
    configure = tvm_ffi.get_global_func("runtime.config_threadpool")
    few = [cores[i % len(cores)] for i in range(threads)]
    for chosen in (few, cores):  # the first settles the size of the pool
        configure(_SHARE_ALL_CORES, threads, list(map(str, chosen)))


def _aligned(count: int) -> Any:
    """Ones, `count` of them, from the start of a cache line."""
    memory = numpy.ones(count + _LINE // 4, numpy.float32)
    skip = -memory.ctypes.data % _LINE // 4
    return memory[skip : skip + count]
