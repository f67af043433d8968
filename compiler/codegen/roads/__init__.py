"""Roads: for each kernel, the schedule that suits how its indices are used.

`choose` looks at shapes and strides only, never at what a layer is called.
"""

from __future__ import annotations

from ..kernel import Kernel
from ..schedule import Road
from ..target import Target
from . import contraction, elementwise, reduction, scatter, winograd


def choose(kernel: Kernel, target: Target) -> Road:
    """The road that a kernel takes."""
    if kernel.algorithm is not None:
        return winograd.road(kernel)
    if kernel.combiner is None:
        return Road("elementwise", ((None, elementwise.schedule(kernel, target)),))
    found = scatter.road(kernel, target) or contraction.road(kernel, target)
    return found or Road("reduction", ((None, reduction.schedule(kernel, target)),))
