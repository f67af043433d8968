"""Modules that take Winograd's algorithm wherever they can, and what they are compared with: NumPy in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy

import majuscule

Array = numpy.ndarray[Any, Any]
Margins = Sequence[tuple[int, int]]

TOLERANCE = 2e-5
"""Largest error, in parts of the largest value."""

MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
"""The library's modes of padding as NumPy calls them."""


def numbers(*shape: int) -> Array:
    return numpy.random.default_rng(sum(shape)).standard_normal(shape, numpy.float32)


def compiled(text: str, **options: Any) -> majuscule.Module:
    """A module with normal numbers for weights."""
    module = majuscule.compile(text, **{"road": "winograd", **options})
    module.load_weights({info.name: numbers(*map(int, info.shape)) for info in module.parameters})
    return module


def roads(module: majuscule.Module) -> list[str]:
    return [step["road"] for step in module._manifest["steps"]]


def tiles(module: majuscule.Module) -> list[str]:
    """What the steps that take Winograd's algorithm say of their tiles."""
    return [found for found in roads(module) if found.startswith("winograd")]


def padded(x: Array, margins: Margins, mode: str = "zeros") -> Array:
    """A batch of images with channels last, with places around them."""
    return numpy.pad(x, [(0, 0), *margins, (0, 0)], MODES[mode])


def correlated(x: Array, w: Array) -> Array:
    """`S[b, x..., j] = sum over p... and i of x[b, x+p..., i] * w[p..., i, j]` in float64."""
    rank = w.ndim - 2
    views = numpy.lib.stride_tricks.sliding_window_view(x.astype(float), w.shape[:rank], tuple(range(1, rank + 1)))
    inside = [rank + 1, *range(rank + 2, 2 * rank + 2)]
    return numpy.tensordot(views, w.astype(float), (inside, [rank, *range(rank)]))


def agree(found: Array, expected: Array) -> None:
    assert found.shape == expected.shape
    assert abs(found - expected).max() <= TOLERANCE * abs(expected).max()


def check(
    module: majuscule.Module,
    expected: Callable[..., Array],
    *sample: Sequence[int],
    batches: Sequence[int] = (1, 2, 3, 7),
    threads: Sequence[int] = (2,),
) -> None:
    """Call a module with batches of inputs, each of the shape of a `sample`, and compare."""
    for batch in batches:
        inputs = [numbers(batch, *shape) for shape in sample]
        wanted = expected(*inputs)
        for count in threads:
            module.set_threads(count)
            agree(module(*inputs), wanted)
