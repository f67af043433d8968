"""Roads on a GPU: for each kernel, how its work is spread over threads."""

from __future__ import annotations

from ..kernel import Kernel
from ..schedule import Road, Schedule
from . import analysis

THREADS = "threads"


def road(kernel: Kernel) -> Road:
    """The road that a kernel takes on a GPU."""
    order = tuple(analysis.by_output(kernel))
    schedule = Schedule(order, analysis.by_reads(kernel), parallel=len(order), each=True)
    return Road(THREADS, ((None, schedule),))
