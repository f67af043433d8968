"""Random inputs of the shapes and dtypes that a module takes, to try it, to time it, to check it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy

from . import sizes
from .arrays import Array
from .errors import ArgumentError
from .signature import nearest

_OPEN = 8  # the length of an axis that the program leaves open
_CHOICES = 10  # how many values an integer input takes that selects from no axis


def choose_sizes(manifest: Mapping[str, Any], batch: int, chosen: Mapping[str, int]) -> dict[str, int]:
    """A value for each size that is known only at run time: the batch, those chosen, 8 for others.

    Raises `ArgumentError` for a size that the program does not leave open.
    """
    minimums = {entry["name"]: entry["minimum"] for entry in manifest["symbols"]}
    batches = batch_symbols(manifest)
    for name in chosen:
        if name not in minimums:
            listed = ", ".join(minimums) or "none"
            hint = nearest(name, minimums) or f"; open sizes: {listed}"
            raise ArgumentError(f"the program has no open size {name}{hint}")
    found = {name: batch if name in batches else max(minimum, _OPEN) for name, minimum in minimums.items()}
    return found | dict(chosen)


def batch_symbols(manifest: Mapping[str, Any]) -> set[str]:
    """The open sizes that are the batch of an input; none if no input has a batch of open size."""
    batched = (entry["shape"][0] for entry in manifest["inputs"] if entry["batched"])
    return {name for size in batched for name in sizes.symbols_of(size)}


def random_inputs(manifest: Mapping[str, Any], symbols: Mapping[str, int], seed: int) -> dict[str, Array]:
    """Arrays by the inputs' names: normal numbers, truth values, and whole numbers that fail no check.

    Whole numbers are places in the axes that the program selects from with them.
    """
    generator = numpy.random.default_rng(seed)
    inputs: dict[str, Array] = {}
    for entry in manifest["inputs"]:
        shape = [sizes.evaluate(size, symbols) for size in entry["shape"]]
        dtype = entry["dtype"]
        if dtype == "bool":
            inputs[entry["name"]] = generator.random(shape) < 0.5
        elif "int" in dtype:
            limit = min([_CHOICES, *(sizes.evaluate(size, symbols) for size in entry["selects"])])
            inputs[entry["name"]] = generator.integers(0, max(limit, 1), shape).astype(dtype)
        else:
            values = generator.standard_normal(shape)
            inputs[entry["name"]] = values.astype("float32" if dtype == "bfloat16" else dtype)
    return inputs
