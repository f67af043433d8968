"""Learning-rate schedules: functions that give, for the number of steps taken so far, a factor of the rate.

Any function of a whole number will do: `Trainer(…, schedule=lambda step: 0.99**step)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[int], float]


def constant() -> Schedule:
    """The rate as it is."""
    return lambda step: 1.0


def steps(every: int, factor: float = 0.1) -> Schedule:
    """The rate is multiplied by `factor` after every so many steps."""
    return lambda step: factor ** (step // every)


def cosine(total: int, end: float = 0.0) -> Schedule:
    """Half a cosine from 1 to `end` in `total` steps, `end` from then on (Loshchilov and Hutter 2017)."""
    return lambda step: end + (1 - end) * (1 + math.cos(math.pi * min(step / total, 1))) / 2


def linear(total: int, end: float = 0.0) -> Schedule:
    """A straight line from 1 to `end` in `total` steps, `end` from then on."""
    return lambda step: 1 + (end - 1) * min(step / total, 1)


def warm_up(length: int, then: Schedule | None = None) -> Schedule:
    """A straight line up to 1 in so many steps, the first at 1/`length`; then another schedule, which starts from 0."""
    after = then or constant()
    return lambda step: (step + 1) / length if step < length else after(step - length)
