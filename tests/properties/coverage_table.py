"""Which features, and which pairs of them, the cases must have, and how often they do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import product

from cases import Case

FEATURES: dict[str, dict[str, int]] = {
    "window/rank": {"1": 60, "2": 90, "3": 30},
    "window/stride": {"1": 60, "overlapping": 40, "meeting": 15, "wider than the window": 40},
    "window/dilation": {"dilated": 60, "dense": 100},
    "window/padding": {m: 30 for m in ("none", "zeros", "reflect", "replicate", "circular", "same")},
    "window/padding sides": {"none": 40, "equal": 25, "unequal": 60},
    "window/groups": {"none": 30, "one group": 60, "grouped": 30, "depthwise": 30, "depthwise multiplied": 30},
    "window/dtype": {
        "float32": 100, "float64": 25, "float16": 12, "bfloat16": 12, "int32": 12, "int64": 12, "uint8": 12,
    },
    "window/extra": {
        e: 25 for e in ("nothing", "bias added", "bias subtracted", "second term", "third factor", "residual")
    },
    "window/sum": {"implicit": 150, "explicit": 40},
    "window/script": {"ascii": 60, "unicode": 120},
    "window/size": {"1": 15, "odd": 100, "even": 15},
    "window/fit": {"exact": 100, "rest dropped": 60},
    "window/axes": {"permuted": 150, "in order": 5},
    "window/batch": {"batched": 150, "without batch": 25},
    "window/written": {"direct": 150, "transposed first": 25},
    "reduction/reducer": {
        r: 5
        for r in ("sum", "max", "min", "prod", "mean", "argmax", "argmin", "logsumexp", "softmax", "any", "all")
    },
    "reduction/over": {"windows": 50, "whole axes": 30, "skipped windows": 15},
    "reduction/rank": {"1": 25, "2": 50, "3": 25},
    "reduction/dtype": {
        "float32": 30, "float64": 10, "float16": 8, "bfloat16": 8, "int32": 6, "int64": 6, "uint8": 3, "bool": 12,
    },
    "reduction/body": {"read": 60, "times weights": 8, "distance": 5, "two reads": 8},
    "reduction/binder": {"small": 40, "capital": 25, "both": 15},
    "contraction/form": {"factors": 50, "difference": 10, "fused sum": 10, "no batch": 10},
    "contraction/terms": {"1": 40, "2": 25, "3": 10},
    "contraction/factors": {"2": 60, "3": 15, "4": 15},
    "contraction/summed axes": {"1": 40, "2": 25, "3": 15},
    "contraction/free axes": {"0": 10, "1": 25, "2": 25, "3": 10},
    "contraction/dtype": {"float32": 50, "float64": 6, "float16": 6, "bfloat16": 6, "int32": 6, "int64": 6},
    "contraction/largest axis": {"tiny": 3, "below 16": 20, "16 or more": 60},
    "contraction/scaled": {"no": 80, "by a size": 10},
    "concatenation/pieces": {"2": 20, "3": 8, "4": 8},
    "concatenation/piece kinds": {"whole": 10, "broadcast+whole": 8, "computed+whole": 5},
    "cases/guard": {
        g: 3
        for g in ("more channels", "by position", "by value", "two guards", "chain", "strided", "conditional")
    },
    "gather/gather": {g: 2 for g in ("table", "per sample", "permutation", "window", "summed", "two")},
    "gather/index dtype": {"int64": 4, "int32": 4, "uint8": 4},
    "partial definition/parts": {"interleaved": 8, "blocks": 4, "grid": 4},
    "fused axes/fused": {f: 3 for f in ("flatten", "split", "image to column", "shuffle", "flat layer")},
    "resampled/resampled": {
        r: 2
        for r in ("enlarged", "transposed convolution", "reversed", "cut", "padded with a number", "fixed kernel")
    },
    "element-wise/chain": {
        "float chain": 30, "whole numbers": 10, "truth values": 10, "choice": 10, "cast": 8, "layers of chains": 8,
    },
    "element-wise/dtype": {
        "float32": 30, "float64": 10, "float16": 10, "bfloat16": 10, "int32": 4, "int64": 4, "uint8": 4, "bool": 10,
    },
    "element-wise/broadcast": {"yes": 80, "no": 20},
    "recurrence/recurrence": {
        r: 5 for r in ("hidden", "running sum", "filter", "two states", "gates", "product", "along space")
    },
    "recurrence/direction": {"forward": 40, "backward": 20},
    "recurrence/lag": {"1": 40, "2": 8, "3": 5},
    "recurrence/start": {"zero": 25, "tensor": 15, "row of the input": 15},
    "recurrence/length": {"1": 10, "2": 8, "3": 8, "5": 8, "9": 8},
    "recurrence/axes": {"permuted": 50, "in order": 8},
    "layer/layer": {"convolution": 15, "transposed convolution": 8, "maximum": 6, "mean": 6},
    "layer/rank": {"1": 8, "2": 15, "3": 8},
    "layer/groups": {"one group": 20, "grouped": 5, "depthwise": 3},
}  # fmt: skip
"""`family/feature` -> value -> how many cases must have it at least."""

PAIRS: dict[str, tuple[str, str, int]] = {
    "window: rank and padding": ("rank", "padding", 3),
    "window: rank and stride": ("rank", "stride", 3),
    "window: rank and groups": ("rank", "groups", 3),
    "window: rank and dilation": ("rank", "dilation", 5),
    "window: stride and padding": ("stride", "padding", 2),
    "window: stride and dilation": ("stride", "dilation", 3),
    "window: stride and groups": ("stride", "groups", 3),
    "window: padding and groups": ("padding", "groups", 2),
    "window: dilation and padding": ("dilation", "padding", 5),
    "window: groups and dilation": ("groups", "dilation", 5),
    "window: groups and sum": ("groups", "sum", 2),
    "window: extra and sum": ("extra", "sum", 2),
    "window: script and groups": ("script", "groups", 5),
    "window: dtype and rank": ("dtype", "rank", 1),
    "window: fit and padding": ("fit", "padding", 3),
    "reduction: over and rank": ("over", "rank", 3),
    "reduction: binder and over": ("binder", "over", 2),
    "recurrence: direction and start": ("direction", "start", 3),
    "recurrence: recurrence and direction": ("recurrence", "direction", 1),
    "contraction: summed axes and free axes": ("summed axes", "free axes", 1),
}
"""`family: …` -> two features and how many cases each pair of their values in FEATURES must have at least."""


def count_features(cases: Iterable[Case]) -> Counter[tuple[str, str]]:
    """How many cases have each (`family/feature`, value)."""
    return Counter(
        (f"{case.features['family']}/{feature}", value)
        for case in cases
        for feature, value in case.features.items()
        if feature != "family"
    )


def count_pairs(cases: Sequence[Case], title: str) -> dict[tuple[str, str], int]:
    """How many cases have each pair of values of a row of PAIRS."""
    family = title.split(":")[0]
    first, second, _ = PAIRS[title]
    found = Counter((c.features[first], c.features[second]) for c in cases if c.features["family"] == family)
    values = product(FEATURES[f"{family}/{first}"], FEATURES[f"{family}/{second}"])
    return {pair: found[pair] for pair in values}


def table(cases: Sequence[Case]) -> str:
    """All counts, as text."""
    lines = [f"{len(cases)} cases"]
    counts = count_features(cases)
    for name in dict.fromkeys(key for key, _ in sorted(counts)):
        values = ", ".join(f"{value} {n}" for (key, value), n in sorted(counts.items()) if key == name)
        lines.append(f"{name}: {values}")
    for title in PAIRS:
        pairs = count_pairs(cases, title)
        lines.append(f"{title}: " + ", ".join(f"{a} × {b} {n}" for (a, b), n in pairs.items()))
    return "\n".join(lines) + "\n"
