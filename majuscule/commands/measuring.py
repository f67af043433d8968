"""What `maj bench` and `maj profile` share: options, the setting of a measurement, numbers with units."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .failures import Failure

if TYPE_CHECKING:
    from ..runtime.module import Module

SecondsOption = Annotated[float, typer.Option("--seconds", min=0.0, help="How long to measure, warm-up aside.")]
RepeatsOption = Annotated[
    int | None, typer.Option("--repeats", min=1, help="How many runs to measure, however long they take.")
]


def make_inputs(module: Module, batch: int, sizes: Mapping[str, int], *, asked: bool, seed: int) -> dict[str, Any]:
    """Random inputs by name; raises Failure if a batch was asked for and the program has none."""
    if asked and not module.is_batched:
        raise Failure(f"--batch: no input of {module.name} has a batch")
    return module.random_inputs(batch, sizes=sizes, seed=seed)


def setting(module: Module) -> dict[str, Any]:
    """What a measurement was made with, for JSON."""
    from ..runtime.executor import available_cores
    from ..runtime.host import processor, target_name

    gpu = None
    if module.target.get("kind") == "cuda":
        from ..runtime.cuda.devices import require_device

        gpu = require_device().name
    return {
        "name": module.name,
        "threads": module.threads,
        "cores": len(available_cores()),
        "processor": processor(),
        "target": target_name(module.target) if gpu else module.target.get("cpu", ""),
        "gpu": gpu,
    }


def setting_text(found: Mapping[str, Any]) -> str:
    """The same in a line for people."""
    if found["gpu"] is not None:
        return str(found["gpu"])
    threads, cores = found["threads"], found["cores"]
    return f"{counted(threads, 'thread')} on {counted(cores, 'core')} of {found['processor']}"


def counted(number: int, noun: str) -> str:
    """`1 run`, `20 runs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def time_format(longest: float) -> Callable[[float], str]:
    """How a table shows times in seconds: all in the unit that suits the longest."""
    unit, scale, digits = next(style for limit, style in _STYLES if longest >= limit)
    return lambda seconds: f"{seconds * scale:,.{digits}f} {unit}"


_STYLES = (
    (10.0, ("s", 1.0, 2)),
    (0.1, ("ms", 1e3, 1)),
    (0.002, ("ms", 1e3, 3)),
    (0.00002, ("µs", 1e6, 1)),
    (0.0, ("µs", 1e6, 2)),
)
"""(seconds from which on, (unit, how many of it are a second, decimals))."""
