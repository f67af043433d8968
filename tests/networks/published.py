"""The networks of `examples/networks/` in PyTorch, from the papers and torchvision's definitions.

As in `benchmarks/peers.py`, whose blocks they share, a module's path is the name in the program.
Each function takes the rows of the image, since large linear layers depend on them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial

import peers
import torch
from torch import nn


def named(layers: dict[str, nn.Module]) -> nn.Sequential:
    """Layers one after the other, by their names."""
    return nn.Sequential(OrderedDict(layers))


def classifier(channels: int, dropout: float = 0, classes: int = 1000) -> dict[str, nn.Module]:
    """The mean over all positions and a linear layer."""
    layers: dict[str, nn.Module] = {"mean": nn.AdaptiveAvgPool2d(1), "features": nn.Flatten()}
    return layers | {"drop": nn.Dropout(dropout), "classifier": nn.Linear(channels, classes)}


# -- residual networks ---------------------------------------------------------------------

Block = Callable[[int, int, int], nn.Module]


def basic(inputs: int, filters: int, stride: int) -> nn.Module:
    return peers.ResidualBlock(inputs, filters, stride)


def plain(inputs: int, filters: int, stride: int) -> nn.Module:
    return named({
        "conv1": peers.conv_norm(inputs, filters, 3, stride), "conv2": peers.conv_norm(filters, filters, 3),
    })  # fmt: skip


def bottleneck(inputs: int, filters: int, stride: int, narrowing: int = 4, groups: int = 1) -> nn.Module:
    return peers.Bottleneck(inputs, filters, filters // narrowing, stride, groups)


class PreActivationBottleneck(nn.Module):
    """Batch norm and ReLU before each convolution (He et al. 2016, "Identity mappings", figure 1b)."""

    def __init__(self, inputs: int, filters: int, stride: int = 1, activated: bool = False) -> None:
        super().__init__()
        inner = filters // 4
        self.norm1 = nn.Identity() if activated else nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, filters, 1, bias=False)
        self.projects = stride != 1 or inputs != filters
        self.shortcut = nn.Conv2d(inputs, filters, 1, stride, bias=False) if self.projects else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        active = self.norm1(x).relu()
        hidden = self.conv2(self.norm2(self.conv1(active)).relu())
        residual: torch.Tensor = self.conv3(self.norm3(hidden).relu())
        return residual + self.shortcut(active if self.projects else x)


def stages(inputs: int, blocks: Sequence[int], filters: int, block: Block) -> dict[str, nn.Module]:
    """Stages of so many blocks; from the second on, the first block halves the image and doubles the filters."""
    found: dict[str, nn.Module] = {}
    for stage, count in enumerate(blocks, 1):
        members: dict[str, nn.Module] = {}
        for position in range(1, count + 1):
            members[f"block_{position}"] = block(inputs, filters, 2 if stage > 1 and position == 1 else 1)
            inputs = filters
        found[f"stage{stage}"] = named(members)
        filters *= 2
    return found


def resnet(rows: int, blocks: Sequence[int], block: Block = basic, filters: int = 64) -> nn.Sequential:
    layers = peers.residual_stem() | stages(64, blocks, filters, block) | classifier(8 * filters)
    return named({"scores": named(layers)})


def preactivation_resnet(rows: int, blocks: Sequence[int]) -> nn.Sequential:
    layers = peers.residual_stem() | {"first": PreActivationBottleneck(64, 256, activated=True)}
    layers |= stages(256, (blocks[0] - 1, *blocks[1:]), 256, PreActivationBottleneck)
    layers |= {"norm5": nn.BatchNorm2d(2048), "relu5": nn.ReLU()} | classifier(2048)
    return named({"scores": named(layers)})


# -- plain chains ----------------------------------------------------------------------------


def vgg(rows: int, widths: Sequence[Sequence[int]], normalise: bool = False) -> nn.Sequential:
    layers: dict[str, nn.Module] = {}
    channels = 3
    for stage, (filters, members) in enumerate(zip((64, 128, 256, 512, 512), widths, strict=True), 1):
        chain: dict[str, nn.Module] = {}
        for position, width in enumerate(members, 1):
            chain[f"conv_{position}"] = nn.Conv2d(channels, filters, width, padding=width // 2)
            chain[f"relu_{position}"] = nn.ReLU()
            channels = filters
        if normalise and stage == 1:
            chain["norm"] = nn.LocalResponseNorm(5)
        layers[f"stage{stage}"] = named(chain | {"pool": nn.MaxPool2d(2)})
    layers |= {
        "fc6": peers.ImageLinear(512, rows // 32, rows // 32, 4096), "relu6": nn.ReLU(), "drop6": nn.Dropout(),
        "fc7": nn.Linear(4096, 4096), "relu7": nn.ReLU(), "drop7": nn.Dropout(), "fc8": nn.Linear(4096, 1000),
    }  # fmt: skip
    return named({"scores": named(layers)})


def squeezenet(rows: int, filters: int, width: int, pools: Sequence[int]) -> nn.Sequential:
    pool = partial(nn.MaxPool2d, 3, 2, ceil_mode=True)
    layers: dict[str, nn.Module] = {"conv1": nn.Conv2d(3, filters, width, 2), "relu1": nn.ReLU(), "pool1": pool()}
    channels = filters
    for number, squeeze in enumerate((16, 16, 32, 32, 48, 48, 64, 64), 2):
        layers[f"fire_{number}"] = peers.Fire(channels, squeeze, 4 * squeeze)
        channels = 8 * squeeze
        if number in pools:
            layers[f"pool{number}"] = pool()
    layers |= {"drop9": nn.Dropout(), "conv10": nn.Conv2d(channels, 1000, 1), "relu10": nn.ReLU()}
    return named({"scores": named(layers | {"mean": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten()})})


def densenet(rows: int, depths: Sequence[int], growth: int = 32) -> nn.Sequential:
    channels = 2 * growth
    layers: dict[str, nn.Module] = {
        "conv0": nn.Conv2d(3, channels, 7, 2, 3, bias=False), "norm0": nn.BatchNorm2d(channels), "relu0": nn.ReLU(),
        "pool0": nn.MaxPool2d(3, 2, 1),
    }  # fmt: skip
    for stage, depth in enumerate(depths, 1):
        members: dict[str, nn.Module] = {}
        for position in range(1, depth + 1):
            members[f"L_{position}"] = peers.DenseLayer(channels, growth)
            channels += growth
        layers[f"block{stage}"] = named(members)
        if stage < len(depths):
            layers[f"transition{stage}"] = peers.transition(channels)
            channels //= 2
    layers |= {"norm5": nn.BatchNorm2d(channels), "relu5": nn.ReLU()} | classifier(channels)
    return named({"scores": named(layers)})


# -- networks for telephones -----------------------------------------------------------------


class ShuffleUnit(nn.Module):
    """One unit of ShuffleNet v2 (Ma et al. 2018, figure 3c, and 3d where it halves the image)."""

    def __init__(self, inputs: int, filters: int, stride: int) -> None:
        super().__init__()
        half = filters // 2
        self.halves = stride == 2
        conv = peers.conv_norm
        if self.halves:
            self.deep = conv(inputs, inputs, 3, 2, inputs, activation=nn.Identity)
            self.short = conv(inputs, half, 1)
        self.branch = named({
            "first": conv(inputs if self.halves else half, half, 1),
            "deep": conv(half, half, 3, stride, half, activation=nn.Identity),
            "last": conv(half, half, 1),
        })  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept, other = (self.short(self.deep(x)), x) if self.halves else x.chunk(2, 1)
        joined = torch.cat([kept, self.branch(other)], 1)
        return joined.reshape(len(x), 2, -1, *kept.shape[2:]).transpose(1, 2).flatten(1, 2)


def shufflenet_v2(rows: int, channels: Sequence[int], last: int = 1024) -> nn.Sequential:
    layers: dict[str, nn.Module] = {"conv1": peers.conv_norm(3, 24, 3, 2), "pool1": nn.MaxPool2d(3, 2, 1)}
    inputs = 24
    for stage, (count, filters) in enumerate(zip((4, 8, 4), channels, strict=True), 2):
        members: dict[str, nn.Module] = {}
        for position in range(1, count + 1):
            members[f"unit_{position}"] = ShuffleUnit(inputs, filters, 2 if position == 1 else 1)
            inputs = filters
        layers[f"stage{stage}"] = named(members)
    layers |= {"conv5": peers.conv_norm(inputs, last, 1)} | classifier(last)
    return named({"scores": named(layers)})


class InvertedResidual(nn.Module):
    """MNASNet's block: 1x1, depthwise and 1x1 convolutions, added to its input where the size allows."""

    def __init__(self, inputs: int, filters: int, width: int, stride: int, expand: int) -> None:
        super().__init__()
        self.wide = peers.conv_norm(inputs, expand * inputs, 1)
        self.deep = peers.conv_norm(expand * inputs, expand * inputs, width, stride, expand * inputs)
        self.conv = nn.Conv2d(expand * inputs, filters, 1, bias=False)
        self.norm = nn.BatchNorm2d(filters)
        self.adds = stride == 1 and inputs == filters

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.norm(self.conv(self.deep(self.wide(x))))
        return x + result if self.adds else result


def mnasnet(rows: int, channels: Sequence[int]) -> nn.Sequential:
    """`channels` are those of the first convolution, of what follows it, and of the six stages."""
    first, inputs, *others = channels
    conv = peers.conv_norm
    layers: dict[str, nn.Module] = {
        "conv1": conv(3, first, 3, 2), "deep1": conv(first, first, 3, 1, first),
        "flat1": conv(first, inputs, 1, activation=nn.Identity),
    }  # fmt: skip
    table = ((3, 3, 2, 3), (3, 5, 2, 3), (3, 5, 2, 6), (2, 3, 1, 6), (4, 5, 2, 6), (1, 3, 1, 6))
    for stage, (filters, (count, width, stride, expand)) in enumerate(zip(others, table, strict=True), 2):
        members: dict[str, nn.Module] = {}
        for position in range(1, count + 1):
            step = stride if position == 1 else 1
            members[f"block_{position}"] = InvertedResidual(inputs, filters, width, step, expand)
            inputs = filters
        layers[f"stage{stage}"] = named(members)
    layers |= {"conv8": conv(inputs, 1280, 1)} | classifier(1280, 0.2)
    return named({"scores": named(layers)})
