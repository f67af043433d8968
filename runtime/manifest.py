"""Whether a manifest makes sense: what everything that reads one relies on.

Checksums say that a file is as it was written; this says that it was written by a compiler
that keeps the format, so that no buffer is missing or smaller than the code takes it for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from . import sizes
from .arrays import Array, numpy_dtype

TENSORS = ("inputs", "outputs", "parameters", "states", "constants", "prepared")
_LISTS = (*TENSORS, "symbols", "buffers", "requirements", "checks", "steps")
_LIST_OF_KIND = {
    "input": "inputs", "output": "outputs", "parameter": "parameters", "state": "states", "constant": "constants",
    "prepared": "prepared",
}  # fmt: skip
_OF_LOAD = ("parameter", "state", "constant", "prepared")  # kinds of buffers that are known when a module is loaded


def check_manifest(manifest: Any, constants: Mapping[str, Array]) -> None:
    """Raise ValueError, with the reason, for a manifest that no compiler of ours writes."""
    try:
        _check(manifest, constants)
    except (KeyError, TypeError, AttributeError, IndexError, ZeroDivisionError, RecursionError) as error:
        raise ValueError(f"its manifest cannot be understood ({error!r})") from error


def _check(manifest: Any, constants: Mapping[str, Array]) -> None:
    _require(isinstance(manifest["name"], str), "the program has no name")
    check_metadata(manifest.get("metadata", {}))
    for key in _LISTS:
        _require(isinstance(manifest[key], list), f"{key} is no list")
    for key in ("kind", "triple", "architecture"):
        _require(isinstance(manifest["target"].get(key, ""), str), f"the target's {key} is no text")
    _require(all(isinstance(name, str) for name in manifest["target"].get("features", [])), "features are no texts")
    if manifest["target"].get("kind") == "cuda":
        _require(isinstance(manifest["target"]["gpu"]["capability"], int), "the GPU has no architecture")
    symbols = {entry["name"]: int(entry["minimum"]) for entry in manifest["symbols"]}
    for key in TENSORS:
        for entry in manifest[key]:
            _require(isinstance(entry["name"], str), f"a name in {key} is no text")
            numpy_dtype(entry["dtype"])
            lengths = [sizes.evaluate(size, symbols) for size in entry["shape"]]
            _require(all(isinstance(length, int) for length in lengths), f"the shape of {entry['name']} has no lengths")
    names = {kind: {entry["name"] for entry in manifest[key]} for kind, key in _LIST_OF_KIND.items()}
    for buffer in manifest["buffers"]:
        known = buffer["kind"] == "arena" or buffer["name"] in names[buffer["kind"]]
        _require(known, f"the {buffer['kind']} {buffer['name']} is not described")
        passing = isinstance(buffer["until"], int) and buffer["kind"] in _OF_LOAD if "until" in buffer else True
        _require(passing, f"the {buffer['kind']} {buffer['name']} is needed for an unknown time")
    for entry in manifest["constants"]:
        array, shape = constants[entry["name"]], entry["shape"]
        size = math.prod(shape) * numpy_dtype(entry["dtype"]).itemsize
        _require(array.nbytes == size, f"the constant {entry['name']} has the wrong size")
    _require(isinstance(sizes.evaluate(manifest["arena"], {**symbols, sizes.THREADS: 1}), int), "the arena has no size")
    for requirement in manifest["requirements"]:
        sizes.evaluate(requirement["value"], symbols)
        _require(isinstance(requirement["reason"], str), "a requirement has no reason")
    _require(all(isinstance(check["message"], str) for check in manifest["checks"]), "a check has no message")
    for entry in manifest["inputs"]:
        _require(all(sizes.evaluate(size, symbols) >= 0 for size in entry["selects"]), "an input selects from nothing")
    written = {entry["name"] for key in ("parameters", "states") for entry in manifest[key]}
    _require(written.issuperset(manifest.get("stores", [])), "it stores what is no parameter and no state")
    if "training" in manifest:
        _check_training(manifest["training"], {entry["name"] for entry in manifest["outputs"]}, written)
    for step in manifest["steps"]:
        texts = [step[key] for key in ("origin", "statement", "kernel", "road")]
        _require(all(isinstance(text, str) for text in texts), "a step has no description")
        counts = [sizes.evaluate(step[key], symbols) for key in ("flops", "bytes")]
        _require(all(isinstance(count, int) for count in counts), f"the step {step['origin']} has no counts")


def check_metadata(metadata: Any) -> None:
    """Raise ValueError for metadata in which the keys that commands use have no sense (see `Module.metadata`)."""
    _require(isinstance(metadata, dict), "the metadata have no names")
    for key in ("classes", "pixels"):
        names = metadata.get(key, [])
        _require(isinstance(names, list) and all(isinstance(name, str) for name in names), f"{key} are no names")
    for entry in metadata.get("normalisation", {}).values():
        numbers = [*entry["mean"], *entry["deviation"]]
        finite = all(isinstance(number, int | float) and math.isfinite(number) for number in numbers)
        _require(finite and all(entry["deviation"]), "a mean or deviation is no number")


def _check_training(about: Mapping[str, Any], outputs: set[str], weights: set[str]) -> None:
    """What a training step tells of itself (see `compiler.training.Step`)."""
    named = {*about["losses"].values(), *about["metrics"].values(), *about["outputs"], about["norm"], about["taken"]}
    _require(named <= outputs, "a loss, a metric or an output of the training is not given")
    kept = {*about["slots"], *(name for slots in about["slots"].values() for name in slots)}
    _require(kept <= weights, "the training keeps what is no parameter and no state")
    _require(all(isinstance(about[key], str) for key in ("rate", "step")), "the training has no rate or no number")


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise ValueError(f"its manifest makes no sense: {problem}")
