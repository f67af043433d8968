"""What a call of a compiled module costs beyond its kernels.

A program that adds one to a number does nothing worth timing, so a call of its module is all
overhead: checking the arguments, making the output, handing over to the module's thread.
Calls through NumPy and, where it is installed, PyTorch show the cost of taking tensors.

    python benchmarks/call_overhead.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy

import majuscule
from majuscule.dsl.equations import Apply, Axis, Equation, Input, Literal, Program, Read
from majuscule.dsl.integers import Integer, Symbol


def make_program() -> Program:
    """`y[b] = x[b] + 1`."""
    batch = Symbol("batch")
    size = Integer.atom(batch)
    body = Apply("add", (Read("x", (Integer.index("b"),), "float32"), Literal(1.0, "float32")), "float32")
    operations = {"x": Input((size,), "float32"), "y": Equation((Axis("b", size),), body, "float32")}
    return Program("add one", "inferring", operations, ("x",), ("y",), symbols=(batch,))


def microseconds(call: Callable[[], object], repeats: int = 3000) -> tuple[float, float]:
    """Median and 95th percentile of a call's duration."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(1e6 * (time.perf_counter() - start))
    return statistics.median(times), statistics.quantiles(times, n=20)[-1]


def main() -> None:
    """Print a table."""
    x = numpy.zeros(1, numpy.float32)
    out = numpy.zeros(1, numpy.float32)
    for threads in (1, None):
        module = majuscule.compile_program(make_program(), threads=threads)
        calls: dict[str, Callable[[], object]] = {
            "numpy": lambda module=module: module(x),  # type: ignore[misc]
            "numpy, out given": lambda module=module: module(x, out=out),  # type: ignore[misc]
        }
        try:
            import torch
        except ImportError:
            pass
        else:
            tensor = torch.zeros(1)
            calls["torch"] = lambda module=module, tensor=tensor: module(tensor)  # type: ignore[misc]
        for name, call in calls.items():
            median, slow = microseconds(call)
            print(f"{module.threads} threads, {name:18s} median {median:6.1f} µs, 95% below {slow:6.1f} µs")


if __name__ == "__main__":
    main()
