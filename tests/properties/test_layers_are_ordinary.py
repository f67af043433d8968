"""The library has no privileges: its layers compile like copies of them, and the compiler knows none by name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from compiled import compiled
from levels import EXHAUSTIVE, sparse

import majuscule.compiler
import majuscule.dsl

LIBRARY = Path(next(iter(majuscule.dsl.__path__))) / "library"
COMPILER = Path(next(iter(majuscule.compiler.__path__)))

IMAGE, VOLUME, LINE = "Given x[9, 8, 6]", "Given x[5, 6, 4, 3]", "Given x[12, 4]"
CALLS: dict[str, tuple[str, str]] = {
    "Conv1d": (LINE, "(x, Φ, width 3, stride 2, filters 5)"),
    "Conv": (IMAGE, "(x, Φ, width 3, pad same, groups 2, filters 8)"),
    "Conv3d": (VOLUME, "(x, Φ, width 2, dilation 2, filters 4, bias false)"),
    "DepthwiseConv": (IMAGE, "(x, Φ, width 3, pad 1)"),
    "ConvTranspose1d": (LINE, "(x, Φ, width 3, stride 2, filters 5)"),
    "ConvTranspose": (IMAGE, "(x, Φ, width 3, stride 2, pad 1, filters 4)"),
    "MaxPool": (IMAGE, "(x, width 3, stride 2, pad 1)"),
    "MeanPool": (IMAGE, "(x, width 2)"),
    "GlobalMeanPool": (IMAGE, "(x)"),
    "Linear": (IMAGE, "(x, Φ, units 7)"),
    "FC": (IMAGE, "(x, Φ, units 7)"),
    "Maxout": (LINE, "(x, Φ, units 3)"),
    "Softmax": (LINE, "(x)"),
    "PReLU": (LINE, "(x, Φ)"),
    "BatchNorm": (IMAGE, "(x, Φ)"),
    "LayerNorm": (LINE, "(x, Φ)"),
    "GroupNorm": (IMAGE, "(x, Φ, groups 3)"),
    "LocalResponseNorm": (IMAGE, "(x)"),
    "MultiHeadAttention": (LINE, "(x, Φ, heads 2)"),
    "RNN": (LINE, "(x, Φ, units 5)"),
    "LSTM": (LINE, "(x, Φ, units 5)"),
    "GRU": (LINE, "(x, Φ, units 5)"),
    "ResidualBlock": (IMAGE, "(x, Φ, filters 6)"),
    "SqueezeExcite": (IMAGE, "(x, Φ, units 2)"),
}
"""Layer -> declaration of its input and arguments of a call."""


def _definition(layer: str) -> str:
    """The text of a layer, from the library's own files."""
    for path in sorted(LIBRARY.glob("*.maj")):
        found = re.search(rf"^layer {layer}\(.*\n(?:(?:[ \t].*)?\n)*", path.read_text() + "\n", re.MULTILINE)
        if found:
            return found.group(0)
    raise KeyError(layer)


@pytest.mark.parametrize("layer", sparse(CALLS, 4, EXHAUSTIVE))
def test_a_copy_under_another_name_compiles_to_the_same_machine_code(layer: str) -> None:
    given, arguments = CALLS[layer]
    results = "y, c" if layer == "LSTM" else "y"
    original = compiled(f"{given}\n{results} = {layer}{arguments}\n")
    copy = re.sub(rf"^layer {layer}\(", "layer Mine(", _definition(layer))
    copied = compiled(f"{given}\n{copy}\n{results} = Mine{arguments}\n")
    assert copied.tensor_ir == original.tensor_ir
    assert copied.library == original.library


def test_the_compiler_mentions_no_layer_of_the_library() -> None:
    names: set[str] = set()
    for path in LIBRARY.glob("*.maj"):
        for found in re.finditer(r"^(?:layer|alias)\s+([^=(\n]+)", path.read_text(), re.MULTILINE):
            names.update(name.strip() for name in found.group(1).split(","))
    assert {"Conv", "Conv2d", "MaxPool", "Linear"} <= names
    # ordinary words (`accuracy`, `leaky`) say nothing; affine maps are mathematics
    layers = {name for name in names if name[0].isupper()} - {"Affine"}
    mentions = [
        f"{path.name}:{number}: {word}"
        for path in sorted(COMPILER.rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for word in re.findall(r"\w+", line)
        if word in layers
    ]
    assert not mentions
