"""Names of a model as names of the language, each once."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from ..dsl.library_index import library_names
from ..dsl.names import is_bundle, normal

_LONGEST = 80
_KEYWORDS = frozenset([
    "return", "for", "if", "elif", "else", "otherwise", "in", "and", "or", "not", "sum", "max", "min", "prod",
    "mean", "argmax", "argmin", "logsumexp", "softmax", "any", "all", "exp", "log", "ln", "sqrt", "sin", "cos",
    "tanh", "erf", "sigmoid", "abs", "sign", "floor", "ceil", "round", "pow", "uniform", "pad", "skip", "cut",
    "Padd", "size", "rank", "batched", "len", "float64", "float32", "float16", "bfloat16", "int64", "int32",
    "uint8", "bool", "true", "false", "same", "crop", "exact", "zeros", "reflect", "replicate", "circular",
    "Given", "param", "state", "update", "output", "import", "from", "function", "alias", "loss", "metric",
    "require", "trains", "layer", "when", "untrained", "without", "batch", "mode", "value", "width", "stride",
])  # fmt: skip
_LAYERS = frozenset([
    "Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "LayerNormalization",
    "InstanceNormalization",
])  # fmt: skip


class Names:
    """Gives names, none of them twice and none that means something else in the language."""

    def __init__(self) -> None:
        self._taken = set(_KEYWORDS) | set(library_names())

    def give(self, wanted: str) -> str:
        """A name like the one that is wanted."""
        clean = spelled(wanted)
        found, number = clean, 0
        while found in self._taken:
            number += 1
            found = f"{clean}_{number}"
        self._taken.add(found)
        return found


def spelled(name: str) -> str:
    """A name of a model in letters, digits and underscores."""
    plain = unicodedata.normalize("NFKC", name)
    plain = re.sub(r"[^A-Za-z0-9]+", "_", plain).strip("_")[-_LONGEST:].strip("_")
    if not plain or not plain[0].isalpha():
        plain = f"v{plain}" if plain else "v"
    return plain if normal(plain) == plain and not is_bundle(plain) else f"v_{plain}"  # no letter is meant


def of_node(operator: str, node: str, output: str, weights: Iterable[str]) -> str:
    """What the result of a node is best called: the module's path that weights or the node's own name tell."""
    for weight in weights:
        stem, dot, leaf = weight.rpartition(".")
        if dot and leaf in ("weight", "bias") and "::" not in weight:
            return stem
    if not node.startswith("/"):
        return output
    path: list[str] = []
    for part in node.strip("/").split("/")[:-1]:
        if path and part.startswith(f"{path[-1]}."):
            path[-1] = part
        else:
            path.append(part)
    last = path[-1].lower().rstrip("0123456789_") if path else ""
    if path and (operator in _LAYERS or operator.lower() in last or (len(last) > 2 and last in operator.lower())):
        return ".".join(path)
    return ".".join([*path, node.rpartition("/")[2].lower()])
