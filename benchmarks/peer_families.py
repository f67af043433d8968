"""Families of networks in PyTorch, and the blocks that they are built of, from papers and torchvision's definitions.

A module's path is the name in the program, see `peers.py`.  Each function that makes a network takes the rows of the
image first, since large linear layers depend on them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn


def named(layers: dict[str, nn.Module]) -> nn.Sequential:
    """Layers one after the other, by their names."""
    return nn.Sequential(OrderedDict(layers))


def classifier(channels: int, dropout: float = 0, classes: int = 1000) -> dict[str, nn.Module]:
    """The mean over all positions and a linear layer."""
    layers: dict[str, nn.Module] = {"mean": nn.AdaptiveAvgPool2d(1), "features": nn.Flatten()}
    return layers | {"drop": nn.Dropout(dropout), "classifier": nn.Linear(channels, classes)}


# -- blocks --------------------------------------------------------------------------------


class ImageLinear(nn.Linear):
    """A linear layer over a whole image [batch, channels, rows, columns]."""

    def __init__(self, channels: int, rows: int, columns: int, units: int) -> None:
        super().__init__(channels * rows * columns, units)
        self.image = channels, rows, columns

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.flatten(1))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and the shortcut around them (He et al. 2016, figure 2)."""

    def __init__(self, inputs: int, filters: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, filters, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(filters)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != filters:
            self.shortcut.add_module("conv", nn.Conv2d(inputs, filters, 1, stride, bias=False))
            self.shortcut.add_module("norm", nn.BatchNorm2d(filters))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        residual = self.norm2(self.conv2(nn.functional.relu(self.norm1(self.conv1(x)))))
        return nn.functional.relu(residual + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and the shortcut around them (He et al. 2016, figure 5).

    The stride is on the 3x3 convolution; with `groups` it is ResNeXt's (Xie et al. 2017, figure 3c).
    """

    def __init__(self, inputs: int, filters: int, inner: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, groups=groups, bias=False)
        self.norm2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, filters, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(filters)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != filters:
            self.shortcut.add_module("conv", nn.Conv2d(inputs, filters, 1, stride, bias=False))
            self.shortcut.add_module("norm", nn.BatchNorm2d(filters))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.relu(self.norm1(self.conv1(x)))
        hidden = self.relu(self.norm2(self.conv2(hidden)))
        return nn.functional.relu(self.norm3(self.conv3(hidden)) + self.shortcut(x), inplace=True)


def conv_norm(
    inputs: int, filters: int, width: int = 3, stride: int = 1, groups: int = 1,
    activation: type[nn.ReLU | nn.ReLU6] = nn.ReLU, epsilon: float = 1e-5,
) -> nn.Sequential:  # fmt: skip
    """Convolution that keeps the size (but for its stride), batch norm, activation: the library's `ConvNorm`."""
    layers: dict[str, nn.Module] = {
        "conv": nn.Conv2d(inputs, filters, width, stride, width // 2, groups=groups, bias=False),
        "norm": nn.BatchNorm2d(filters, epsilon),
        "activation": activation(inplace=True),
    }
    return nn.Sequential(OrderedDict(layers))


class InvertedResidual(nn.Module):
    """Expand by 1x1, filter each channel by itself, shrink by 1x1 (Sandler et al. 2018, figure 4d)."""

    def __init__(
        self, inputs: int, filters: int, stride: int = 1, expand: int = 6, width: int = 3,
        activation: type[nn.ReLU | nn.ReLU6] = nn.ReLU6,
    ) -> None:  # fmt: skip
        super().__init__()
        inner = expand * inputs
        self.wide = nn.Identity() if expand == 1 else conv_norm(inputs, inner, 1, activation=activation)
        self.deep = conv_norm(inner, inner, width, stride, groups=inner, activation=activation)
        self.conv = nn.Conv2d(inner, filters, 1, bias=False)
        self.norm = nn.BatchNorm2d(filters)
        self.adds = stride == 1 and inputs == filters

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.norm(self.conv(self.deep(self.wide(x))))
        return x + result if self.adds else result


class Fire(nn.Module):
    """Few channels by 1x1, then many by 1x1 and 3x3 side by side (Iandola et al. 2016, figure 1)."""

    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeeze, 1)
        self.one = nn.Conv2d(squeeze, expand, 1)
        self.three = nn.Conv2d(squeeze, expand, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        squeezed = self.relu(self.squeeze(x))
        return torch.cat([self.relu(self.one(squeezed)), self.relu(self.three(squeezed))], 1)


class Mixed(nn.Module):
    """GoogLeNet's block (Szegedy et al. 2015, figure 2b) with batch norms, and 3x3 for 5x5."""

    def __init__(
        self, inputs: int, ones: int, reduce3: int, threes: int, reduce5: int, fives: int, pool: int
    ) -> None:  # fmt: skip
        super().__init__()
        self.one = conv_norm(inputs, ones, 1, epsilon=1e-3)
        self.three_reduce = conv_norm(inputs, reduce3, 1, epsilon=1e-3)
        self.three = conv_norm(reduce3, threes, 3, epsilon=1e-3)
        self.five_reduce = conv_norm(inputs, reduce5, 1, epsilon=1e-3)
        self.five = conv_norm(reduce5, fives, 3, epsilon=1e-3)
        self.pooled = nn.MaxPool2d(3, 1, 1)
        self.proj = conv_norm(inputs, pool, 1, epsilon=1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        roads = self.one(x), self.three(self.three_reduce(x)), self.five(self.five_reduce(x)), self.proj(self.pooled(x))
        return torch.cat(roads, 1)


class DenseLayer(nn.Module):
    """1x1 and 3x3 convolutions whose channels join the input's (Huang et al. 2017, DenseNet-B)."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.conv1(self.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(self.relu(self.norm2(hidden)))], 1)


def transition(inputs: int) -> nn.Sequential:
    """Half of the channels, half of the image (Huang et al. 2017)."""
    layers: dict[str, nn.Module] = {
        "norm": nn.BatchNorm2d(inputs), "relu": nn.ReLU(inplace=True),
        "conv": nn.Conv2d(inputs, inputs // 2, 1, bias=False), "pool": nn.AvgPool2d(2),
    }  # fmt: skip
    return nn.Sequential(OrderedDict(layers))


# -- residual networks ---------------------------------------------------------------------

Block = Callable[[int, int, int], nn.Module]


def basic(inputs: int, filters: int, stride: int) -> nn.Module:
    return ResidualBlock(inputs, filters, stride)


def plain(inputs: int, filters: int, stride: int) -> nn.Module:
    return named({
        "conv1": conv_norm(inputs, filters, 3, stride), "conv2": conv_norm(filters, filters, 3),
    })  # fmt: skip


def bottleneck(inputs: int, filters: int, stride: int, narrowing: int = 4, groups: int = 1) -> nn.Module:
    return Bottleneck(inputs, filters, filters // narrowing, stride, groups)


def residual_stem() -> dict[str, nn.Module]:
    """What stands before the blocks of a residual network: from the image to a quarter of its size, 64 channels."""
    return {
        "conv1": nn.Conv2d(3, 64, 7, 2, 3, bias=False), "norm1": nn.BatchNorm2d(64), "relu1": nn.ReLU(inplace=True),
        "pool1": nn.MaxPool2d(3, 2, 1),
    }  # fmt: skip


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
    layers = residual_stem() | stages(64, blocks, filters, block) | classifier(8 * filters)
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
        "fc6": ImageLinear(512, rows // 32, rows // 32, 4096), "relu6": nn.ReLU(), "drop6": nn.Dropout(),
        "fc7": nn.Linear(4096, 4096), "relu7": nn.ReLU(), "drop7": nn.Dropout(), "fc8": nn.Linear(4096, 1000),
    }  # fmt: skip
    return named({"scores": named(layers)})


def squeezenet(rows: int, filters: int, width: int, pools: Sequence[int]) -> nn.Sequential:
    pool = partial(nn.MaxPool2d, 3, 2, ceil_mode=True)
    layers: dict[str, nn.Module] = {"conv1": nn.Conv2d(3, filters, width, 2), "relu1": nn.ReLU(), "L_1": pool()}
    channels = filters
    for number, squeeze in enumerate((16, 16, 32, 32, 48, 48, 64, 64), 2):
        layers[f"fire_{number}"] = Fire(channels, squeeze, 4 * squeeze)
        channels = 8 * squeeze
        layers[f"L_{number}"] = pool() if number in pools else nn.Identity()
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
            members[f"L_{position}"] = DenseLayer(channels, growth)
            channels += growth
        layers[f"block{stage}"] = named(members)
        if stage < len(depths):
            layers[f"transition{stage}"] = transition(channels)
            channels //= 2
    layers |= {"norm5": nn.BatchNorm2d(channels), "relu5": nn.ReLU()} | classifier(channels)
    return named({"scores": named(layers)})


# -- MobileNet v2 --------------------------------------------------------------------------


def channels(count: int, multiplier: float) -> int:
    """torchvision's `_make_divisible(count * multiplier, 8)`."""
    wanted = count * multiplier
    found = max(8, int(wanted + 4) // 8 * 8)
    return found + 8 if found < 0.9 * wanted else found


def mobilenet_v2(rows: int, multiplier: float) -> nn.Sequential:
    relu6 = nn.ReLU6
    inputs = channels(32, multiplier)
    last = channels(1280, max(1, multiplier))
    layers: dict[str, nn.Module] = {"conv1": conv_norm(3, inputs, 3, 2, activation=relu6)}
    table = ((16, 1, 1, 1), (24, 2, 2, 6), (32, 3, 2, 6), (64, 4, 2, 6), (96, 3, 1, 6), (160, 3, 2, 6), (320, 1, 1, 6))
    for stage, (filters, depth, stride, expand) in enumerate(table, 1):
        members: dict[str, nn.Module] = {}
        for position in range(1, depth + 1):
            wide = channels(filters, multiplier)
            members[f"block_{position}"] = InvertedResidual(inputs, wide, stride if position == 1 else 1, expand)
            inputs = wide
        layers[f"stage{stage}"] = named(members)
    layers |= {"conv8": conv_norm(inputs, last, 1, activation=relu6)} | classifier(last, 0.2)
    return named({"scores": named(layers)})
