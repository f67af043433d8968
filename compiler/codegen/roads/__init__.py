"""Roads: for each kernel, the schedules that suit how its indices are used.

`alternatives` looks at shapes and strides only, never at what a layer is called.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..correlation import Correlation
from ..kernel import Kernel
from ..schedule import ANY_WAY, Road, Way
from ..target import Target
from . import contraction, correlation, elementwise, gpu, reduction, scatter, winograd


def choose(kernel: Kernel, target: Target, way: Way = ANY_WAY) -> Road:
    """The road that a kernel takes: the one that is asked for, if it can take it, else its usual one."""
    if not way.road:
        return next(alternatives(kernel, target, way.tiled))
    usual, *others = alternatives(kernel, target, way.tiled)
    named = [road for road in (usual, *others) if road.name == way.road]
    return next((road for road in named if words(kernel, road) == way.details), next(iter(named), usual))


def alternatives(kernel: Kernel, target: Target, tiled: str = contraction.TILED) -> Iterator[Road]:
    """All roads that a kernel can take, the usual one first; `tiled` is what those with register tiles are called."""
    if target.gpu is not None:
        yield gpu.road(kernel, target.gpu)
        return
    if kernel.algorithm is not None:
        yield (correlation if isinstance(kernel.algorithm, Correlation) else winograd).road(kernel)
        return
    if kernel.combiner is None:
        yield Road("elementwise", ((None, elementwise.schedule(kernel, target)),))
        return
    if (spread := scatter.road(kernel, target)) is not None:
        yield spread
    for road in contraction.roads(kernel, target):
        yield replace(road, name=tiled) if road.name == contraction.TILED else road
    yield Road("reduction", ((None, reduction.schedule(kernel, target)),))


def words(kernel: Kernel, road: Road) -> str:
    """A road's schedules for a kernel in canonical form, in words."""
    return road.words({f"i{place}": f"i{place}" for place in range(len(kernel.domain) + len(kernel.reduction))})
