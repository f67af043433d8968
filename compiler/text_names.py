"""Names of operations as names of the language."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..dsl.names import is_bundle, normal
from .rewriting import new_name

RESERVED = {
    "for", "if", "in", "and", "or", "not", "elif", "else", "otherwise", "return", "sum", "max", "min", "prod", "mean",
    "argmax", "argmin", "logsumexp", "softmax", "any", "all", "true", "false", "relu", "exp", "log", "sqrt", "abs",
    "sign", "tanh", "sigmoid", "erf", "sin", "cos", "floor", "ceil", "round", "pow", "uniform", "size", "pad", "skip",
    "cut", "float64", "float32", "float16", "bfloat16", "int64", "int32", "uint8", "bool", "when", "layer", "batch",
    "rank", "len", "batched", "training", "inferring", "ln", "σ",
}  # fmt: skip
"""Words that no tensor and no index is called."""


def language_names(names: Iterable[str]) -> dict[str, str]:
    """Names of operations as different names of the language; what stands before `/`, if anything, is left out."""
    found: dict[str, str] = {}
    taken: set[str] = set(RESERVED)
    for name in names:
        found[name] = _unused(language_name(name.split("/")[-1]), taken)
        taken.add(found[name])
    return found


def language_name(name: str) -> str:
    """One name: parts joined by `_`, those of a bundle behind it, `Φ1.W` as `W_Φ1`."""
    if name.startswith("d_"):
        return f"d_{language_name(name[2:])}"
    parts = [part for part in re.split(r"[^\w'\u0300-\u036f]+", name) if part]
    bundles = [part for part in parts if is_bundle(part)]
    return normal("_".join([part for part in parts if part not in bundles] + bundles))


def _unused(wanted: str, taken: set[str]) -> str:
    wanted = wanted if wanted[:1].isalpha() else f"t_{wanted}"
    wanted = wanted if not is_bundle(wanted) else f"t_{wanted}"
    return new_name(f"{wanted}_" if wanted[-1:].isdigit() and wanted in taken else wanted, taken)
