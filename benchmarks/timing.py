"""Timing of calls that take turns."""

from __future__ import annotations

import time
from collections.abc import Callable

PAUSE = 0.3  # seconds: idle threads of any side spin for a while and would hold a core that the next one needs


def timed(function: Callable[[], object], repeats: int, warm_up: float = 0.0) -> list[float]:
    """The seconds of each call, after a rest and a call that warms up, or calls for `warm_up` seconds."""
    time.sleep(PAUSE)
    end = time.perf_counter() + warm_up
    function()
    while time.perf_counter() < end:
        function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return times
