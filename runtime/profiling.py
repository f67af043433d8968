"""Where the time of a call goes: each action of a module's code run and timed by itself.

The code runs any part of its list of actions on demand (see `Program.time_parts`).  A round times
the whole, then nothing, which shows what a call itself costs (twice, as the first finds the
interpreter's code gone from the caches), then one action after the other, in order, so
that each finds its operands, and the caches, much as in a normal run.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import sizes

FEWEST_ROUNDS = 3
Parts = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Step:
    """One action: a kernel's launch, a draw of random numbers or a recurrence with all its turns.

    `tensor` is what it makes and `statement` the statement of the program that this belongs to;
    `kernel` names its function, `road` says how that works.  `flops` and `bytes` are counted
    from the equation: arithmetic operations (two for each product that is summed), and bytes of
    operands and result.  `seconds` is a median.
    """

    tensor: str
    statement: str
    kernel: str
    road: str
    flops: int
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Profile:
    """All steps in order; medians over `rounds` rounds, in seconds.

    `whole` is the time of all steps run at once, `stepwise` that of all of them run one by one,
    and `call` that of a call that runs none, which is subtracted from all others.  Where
    other programs keep the machine busy, `stepwise` is well above `sum`, the sum of the steps'
    medians: most rounds are interrupted somewhere, but each step in few of them.
    """

    steps: tuple[Step, ...]
    whole: float
    stepwise: float
    call: float
    rounds: int
    threads: int

    @property
    def sum(self) -> float:
        """The sum of the steps' medians in seconds."""
        return sum(step.seconds for step in self.steps)


def measure(
    entries: Sequence[Mapping[str, Any]],
    symbols: Mapping[str, int],
    time_parts: Callable[[Parts], list[float]],
    threads: int,
    *,
    seconds: float,
    rounds: int | None,
) -> Profile:
    """Time the steps that `entries` of a manifest describe, at the given sizes.

    `time_parts` gives the seconds of half-open intervals of steps.  Runs `rounds` rounds, or, if
    that is None, as many as fit in `seconds`, but 3 at least, after one that does not count.
    """
    parts = [(0, len(entries)), (0, 0), (0, 0), *((place, place + 1) for place in range(len(entries)))]
    time_parts(parts)
    taken: list[list[float]] = []
    end = time.perf_counter() + seconds
    while len(taken) < (rounds or FEWEST_ROUNDS) or (rounds is None and time.perf_counter() < end):
        taken.append(time_parts(parts))
    whole, _, call, *each = (statistics.median(times) for times in zip(*taken, strict=True))
    steps = tuple(
        Step(
            entry["origin"],
            entry["statement"],
            entry["kernel"],
            entry["road"],
            sizes.evaluate(entry["flops"], symbols),
            sizes.evaluate(entry["bytes"], symbols),
            max(median - call, 0.0),
        )
        for entry, median in zip(entries, each, strict=True)
    )
    stepwise = statistics.median(sum(each) for _, _, _, *each in taken) - call * len(steps)
    return Profile(steps, max(whole - call, 0.0), max(stepwise, 0.0), call, len(taken), threads)
