"""`maj bench`: how long calls of a module take, and how many samples a second it works through."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .compiling import DtypeOption, ExactOption, RoadOption, SeedOption, TargetOption
from .console import print_json, print_table
from .measuring import RepeatsOption, SecondsOption, make_inputs, setting, setting_text, time_format
from .running import ModuleFile, ThreadsOption, open_module
from .sizes import SizeOption, parse_sizes

if TYPE_CHECKING:
    from ..runtime.module import Module

_WARM_UP = 0.3  # seconds: caches, pages and the clock of the processor settle
_FEWEST = 5


@dataclass(frozen=True)
class _Timing:
    """The calls at one batch size; times in seconds, percentiles over the calls."""

    batch: int
    repeats: int
    least: float
    median: float
    p90: float
    p99: float
    samples_per_second: float

    def as_json(self) -> dict[str, Any]:
        latency = {"min": self.least, "median": self.median, "p90": self.p90, "p99": self.p99}
        return {
            "batch": self.batch,
            "repeats": self.repeats,
            "latency_seconds": latency,
            "samples_per_second": self.samples_per_second,
        }


def bench(
    program: ModuleFile,
    batch: Annotated[
        list[int] | None, typer.Option("--batch", min=1, help="Samples in a call; several are measured in turn.")
    ] = None,
    threads: ThreadsOption = None,
    target: TargetOption = "cpu",
    dtype: DtypeOption = "float32",
    exact: ExactOption = False,
    road: RoadOption = None,
    seconds: SecondsOption = 3.0,
    repeats: RepeatsOption = None,
    size: SizeOption = None,
    seed: SeedOption = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Measure how long a module's calls take.

    A call is what a user of the module waits for: from NumPy arrays to new NumPy arrays.  A
    program is compiled first, with first values for weights.  Inputs are random.
    """
    sizes = parse_sizes(size)
    with open_module(program, target=target, dtype=dtype, seed=seed, threads=threads, exact=exact, road=road) as module:
        found = setting(module)
        timings = [
            _measure(module, n, sizes, asked=bool(batch), seed=seed, seconds=seconds, repeats=repeats)
            for n in batch or [1]
        ]
    if as_json:
        print_json({**found, "results": [timing.as_json() for timing in timings]})
        return
    shown = time_format(max(timing.median for timing in timings))
    rows = [
        [
            f"{timing.batch:,}", f"{timing.repeats:,}", shown(timing.least), shown(timing.median), shown(timing.p90),
            shown(timing.p99), _rate(timing.samples_per_second),
        ]
        for timing in timings
    ]  # fmt: skip
    typer.echo(f"{found['name']}, {setting_text(found)}\n")
    print_table(["batch", "calls", "min", "median", "p90", "p99", "samples/s"], rows, left=0)


def _rate(samples: float) -> str:
    return f"{samples:,.0f}" if samples >= 100 else f"{samples:.3g}"


def _measure(
    module: Module,
    batch: int,
    sizes: Mapping[str, int],
    *,
    asked: bool,
    seed: int,
    seconds: float,
    repeats: int | None,
) -> _Timing:
    import numpy

    inputs = make_inputs(module, batch, sizes, asked=asked, seed=seed)
    arguments = [inputs[tensor.name] for tensor in module.inputs]
    taken = _time(lambda: module(*arguments), seconds, repeats)
    median, p90, p99 = (float(value) for value in numpy.percentile(taken, (50, 90, 99)))
    return _Timing(batch, len(taken), min(taken), median, p90, p99, batch * len(taken) / sum(taken))


def _time(call: Callable[[], object], seconds: float, repeats: int | None) -> list[float]:
    """The times of as many calls as fit in `seconds`, but 5 at least, or of `repeats`, once it is warm."""
    warm = time.perf_counter() + min(_WARM_UP, seconds)
    call()
    while time.perf_counter() < warm:
        call()
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while len(taken) < (repeats or _FEWEST) or (repeats is None and time.perf_counter() < end):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return taken
