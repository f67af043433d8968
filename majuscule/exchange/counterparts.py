"""What the weights of a program are in PyTorch: their names, order, shapes and layouts there.

A layer's weights carry its name in both.  What multiplies the data is `weight`, what is added to
them `bias`; running estimates have their own names.  A recurrence has PyTorch's names for what
multiplies its input (`weight_ih_l0`) and its own earlier values (`weight_hh_l0`), and where it has
one bias, that is the sum of PyTorch's two.  The projections of an attention are stacked in
PyTorch.  Where a layer has several weights of a kind, each keeps the name it has in the program.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy

from ..compiler.pytorch_layout import Layout
from ..compiler.weight_layouts import BIAS, MEAN, OTHER, VARIANCE, WEIGHT, WeightUse
from ..runtime.arrays import Array
from .names import kind_of, leaf

_ORDER = (WEIGHT, OTHER, BIAS, MEAN, VARIANCE)
"""In which PyTorch lists the tensors of one layer."""
_PROJECTIONS = ("q", "k", "v")
STACKED = "in_proj_weight"


@dataclass(frozen=True)
class Counterpart:
    """A tensor of PyTorch that some weights of the program make, stacked along its first axis.

    `is_extra` if it is added to another counterpart of the same weights, as the second bias of a
    recurrence is; in what is exported it is 0.
    """

    name: str
    kind: str
    weights: tuple[str, ...]
    layouts: tuple[Layout, ...]
    doubt: str = ""
    is_extra: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape in PyTorch."""
        if len(self.layouts) == 1:
            return self.layouts[0].shape
        return (sum(layout.shape[0] for layout in self.layouts), *self.layouts[0].shape[1:])

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether a tensor of this shape can be it."""
        return self.layouts[0].fits(shape) if len(self.layouts) == 1 else tuple(shape) == self.shape

    def split(self, tensor: Array, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
        """The program's weights, which have these shapes, from PyTorch's tensor."""
        if len(self.weights) == 1:
            return {self.weights[0]: self.layouts[0].from_pytorch(tensor, shapes[self.weights[0]])}
        ends = numpy.cumsum([layout.shape[0] for layout in self.layouts])[:-1]
        parts = zip(self.weights, self.layouts, numpy.split(tensor, ends), strict=True)
        return {name: layout.from_pytorch(part, shapes[name]) for name, layout, part in parts}

    def join(self, weights: Mapping[str, Array], shape: Sequence[int] | None = None) -> Array:
        """PyTorch's tensor from the program's weights, under `shape` if that fits."""
        wanted = shape if len(self.weights) == 1 else None
        parts = [layout.to_pytorch(weights[n], wanted) for n, layout in zip(self.weights, self.layouts, strict=True)]
        whole = parts[0] if len(parts) == 1 else numpy.concatenate(parts)
        return numpy.zeros_like(whole) if self.is_extra else whole


def counterparts(uses: Mapping[str, WeightUse], *, stacked: bool = True) -> list[Counterpart]:
    """The tensors of PyTorch for the weights of a program, in the order that PyTorch would list them.

    `stacked`: the projections of an attention are one tensor, as in `torch.nn.MultiheadAttention`.
    """
    layers: dict[str, dict[str, WeightUse]] = {}
    for name, use in uses.items():
        named = kind_of(name)  # in a training, running estimates are told by their names alone
        kind = named if named in (MEAN, VARIANCE) or (named and use.kind == OTHER) else use.kind
        layers.setdefault(name.rpartition(".")[0], {})[name] = replace(use, kind=kind)
    found: list[Counterpart] = []
    for layer, own in layers.items():
        if not layer:
            found += [_single(name, name, use) for name, use in own.items()]
        elif {leaf(name) for name in own} >= {f"W_{p}" for p in (*_PROJECTIONS, "o")}:
            found += _attention(layer, own, stacked)
        elif any(use.kind == WEIGHT and use.carried for use in own.values()):
            found += _recurrence(layer, own)
        else:
            found += _layer(layer, own)
    return found


def _single(name: str, weight: str, use: WeightUse, kind: str | None = None, *, is_extra: bool = False) -> Counterpart:
    return Counterpart(name, kind or use.kind, (weight,), (use.layout,), use.doubt, is_extra)


def _layer(layer: str, own: Mapping[str, WeightUse]) -> Iterator[Counterpart]:
    kinds = [use.kind for use in own.values()]
    for name, use in sorted(own.items(), key=lambda item: _ORDER.index(item[1].kind)):
        alone = use.kind != OTHER and kinds.count(use.kind) == 1
        yield _single(f"{layer}.{use.kind}" if alone else name, name, use)


def _recurrence(layer: str, own: Mapping[str, WeightUse]) -> Iterator[Counterpart]:
    """The cells of PyTorch: what multiplies the input, what multiplies the state, and a bias for each."""
    weights = {name: use for name, use in own.items() if use.kind == WEIGHT}
    biases = {name: use for name, use in own.items() if use.kind == BIAS}
    if len(weights) != 2 or len(weights) + len(biases) != len(own) or _count_carried(weights) != 1 or len(biases) > 2:
        yield from _layer(layer, own)
        return
    for kind, group in ((WEIGHT, weights), (BIAS, biases)):
        for name, use in sorted(group.items(), key=lambda item: item[1].carried):
            if len(group) == 1:
                yield _single(f"{layer}.bias_ih_l0", name, use, "bias_ih")
                yield _single(f"{layer}.bias_hh_l0", name, use, "bias_hh", is_extra=True)
            elif _count_carried(group) == 1:
                side = f"{kind}_{'hh' if use.carried else 'ih'}"
                yield _single(f"{layer}.{side}_l0", name, use, side)
            else:
                yield _single(name, name, use)


def _count_carried(uses: Mapping[str, WeightUse]) -> int:
    return sum(use.carried for use in uses.values())


def _attention(layer: str, own: Mapping[str, WeightUse], stacked: bool) -> Iterator[Counterpart]:
    """`torch.nn.MultiheadAttention`: queries, keys and values are projected together, or each by itself."""
    uses = {leaf(name): (name, use) for name, use in own.items()}
    for letter, kind in (("W", WEIGHT), ("B", BIAS)):
        projections = [uses.pop(f"{letter}_{p}") for p in _PROJECTIONS if f"{letter}_{p}" in uses]
        rows = {use.layout.shape[1:] for _, use in projections}
        if stacked and len(projections) == len(_PROJECTIONS) and len(rows) == 1:
            names, layouts = zip(*((name, use.layout) for name, use in projections), strict=True)
            doubt = next((use.doubt for _, use in projections if use.doubt), "")
            yield Counterpart(f"{layer}.in_proj_{kind}", kind, names, layouts, doubt)
        else:
            separator = "_" if stacked else "."
            for name, use in projections:
                yield _single(f"{layer}.{name[-1]}_proj{separator}{kind}", name, use)
    for letter, kind in (("W", WEIGHT), ("B", BIAS)):
        if f"{letter}_o" in uses:
            yield _single(f"{layer}.out_proj.{kind}", *uses.pop(f"{letter}_o"))
    yield from _layer(layer, dict(uses.values()))
