"""How much memory a module needs while it runs, told from its manifest alone.

These are the tensors; Python, NumPy, TVM's runtime and the machine code take some 40 MB more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import sizes
from .arrays import numpy_dtype

_LISTS = {
    "parameter": "parameters", "state": "states", "constant": "constants", "prepared": "prepared", "input": "inputs",
    "output": "outputs",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes that a module holds during a call.

    `weights` are the parameters, state and constants that calls read as they are; `prepared` is
    what is made of the others when the module is loaded: panels, transforms, folded weights.
    `arena` is the working memory of a call, which the module keeps for the next; `inputs` and
    `outputs` are the caller's arrays.
    """

    weights: int
    prepared: int
    arena: int
    inputs: int
    outputs: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.weights + self.prepared + self.arena + self.inputs + self.outputs


def footprint(manifest: Mapping[str, Any], symbols: Mapping[str, int], threads: int) -> Footprint:
    """The memory of a call with these values of the open sizes, by name, on so many threads."""
    entries = {(kind, entry["name"]): entry for kind, key in _LISTS.items() for entry in manifest[key]}
    held = dict.fromkeys(_LISTS, 0)
    for buffer in manifest["buffers"]:
        if buffer["kind"] in held and "until" not in buffer:
            entry = entries[buffer["kind"], buffer["name"]]
            count = math.prod(sizes.evaluate(size, symbols) for size in entry["shape"])
            held[buffer["kind"]] += count * numpy_dtype(entry["dtype"]).itemsize
    return Footprint(
        held["parameter"] + held["state"] + held["constant"],
        held["prepared"],
        sizes.evaluate(manifest["arena"], {**symbols, sizes.THREADS: threads}),
        held["input"],
        held["output"],
    )
