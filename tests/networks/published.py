"""The networks of `examples/networks/` in PyTorch, from the papers and torchvision's definitions.

As in `benchmarks/peers.py`, whose blocks they share, a module's path is the name in the program.
Each function takes the rows of the image, since large linear layers depend on them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy
import peers
import torch
from torch import nn

Array = numpy.ndarray[Any, Any]


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


# -- roads side by side ----------------------------------------------------------------------


class Roads(nn.Module):
    """Chains of layers over one input, whose channels stand behind each other; a chain is given by its names."""

    def __init__(self, layers: dict[str, nn.Module], *chains: str) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.chains = [chain.split() for chain in chains]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = []
        for chain in self.chains:
            y = x
            for name in chain:
                y = self.get_submodule(name)(y)
            found.append(y)
        return torch.cat(found, 1)


def inception(inputs: int, *columns: int) -> nn.Module:
    """GoogLeNet's module (Szegedy et al. 2015, figure 2b), from the columns of table 1."""
    ones, reduce3, threes, reduce5, fives, pool = columns
    return Roads(
        {
            "one": nn.Conv2d(inputs, ones, 1), "three_reduce": nn.Conv2d(inputs, reduce3, 1),
            "three": nn.Conv2d(reduce3, threes, 3, padding=1), "five_reduce": nn.Conv2d(inputs, reduce5, 1),
            "five": nn.Conv2d(reduce5, fives, 5, padding=2), "proj": nn.Conv2d(inputs, pool, 1),
            "pooled": nn.MaxPool2d(3, 1, 1), "relu": nn.ReLU(),
        },
        "one relu", "three_reduce relu three relu", "five_reduce relu five relu", "pooled proj relu",
    )  # fmt: skip


def googlenet(rows: int) -> nn.Sequential:
    """As in the paper: local response normalisation, no batch norm; without the auxiliary classifiers."""
    pool = partial(nn.MaxPool2d, 3, 2, ceil_mode=True)
    norm = partial(nn.LocalResponseNorm, 5)
    layers: dict[str, nn.Module] = {
        "conv1": nn.Conv2d(3, 64, 7, 2, 3), "relu1": nn.ReLU(), "pool1": pool(), "norm1": norm(),
        "reduce2": nn.Conv2d(64, 64, 1), "relu2": nn.ReLU(), "conv2": nn.Conv2d(64, 192, 3, padding=1),
        "relu3": nn.ReLU(), "norm2": norm(), "pool2": pool(),
        "mixed3a": inception(192, 64, 96, 128, 16, 32, 32), "mixed3b": inception(256, 128, 128, 192, 32, 96, 64),
        "pool3": pool(),
        "mixed4a": inception(480, 192, 96, 208, 16, 48, 64), "mixed4b": inception(512, 160, 112, 224, 24, 64, 64),
        "mixed4c": inception(512, 128, 128, 256, 24, 64, 64), "mixed4d": inception(512, 112, 144, 288, 32, 64, 64),
        "mixed4e": inception(528, 256, 160, 320, 32, 128, 128), "pool4": pool(),
        "mixed5a": inception(832, 256, 160, 320, 32, 128, 128), "mixed5b": inception(832, 384, 192, 384, 48, 128, 128),
        "mean": nn.AdaptiveAvgPool2d(1), "features": nn.Flatten(), "drop": nn.Dropout(0.4),
        "scores": nn.Linear(1024, 1000),
    }  # fmt: skip
    return named(layers)


def unit(
    inputs: int, filters: int, width: int | tuple[int, int] = 1, stride: int = 1, pad: int | tuple[int, int] = 0
) -> nn.Module:
    """torchvision's BasicConv2d."""
    return named({
        "conv": nn.Conv2d(inputs, filters, width, stride, pad, bias=False), "norm": nn.BatchNorm2d(filters, 1e-3),
        "relu": nn.ReLU(),
    })  # fmt: skip


ROW, COLUMN = ((1, 7), 1, (0, 3)), ((7, 1), 1, (3, 0))


def mixed5(inputs: int, proj: int) -> nn.Module:
    return Roads(
        {
            "one": unit(inputs, 64), "five_reduce": unit(inputs, 48), "five": unit(48, 64, 5, 1, 2),
            "three_reduce": unit(inputs, 64), "three1": unit(64, 96, 3, 1, 1), "three2": unit(96, 96, 3, 1, 1),
            "pooled": nn.AvgPool2d(3, 1, 1), "proj": unit(inputs, proj),
        },
        "one", "five_reduce five", "three_reduce three1 three2", "pooled proj",
    )  # fmt: skip


def mixed6(inner: int) -> nn.Module:
    return Roads(
        {
            "one": unit(768, 192), "seven_reduce": unit(768, inner), "seven1": unit(inner, inner, *ROW),
            "seven2": unit(inner, 192, *COLUMN), "double_reduce": unit(768, inner),
            "double1": unit(inner, inner, *COLUMN), "double2": unit(inner, inner, *ROW),
            "double3": unit(inner, inner, *COLUMN), "double4": unit(inner, 192, *ROW),
            "pooled": nn.AvgPool2d(3, 1, 1), "proj": unit(768, 192),
        },
        "one", "seven_reduce seven1 seven2", "double_reduce double1 double2 double3 double4", "pooled proj",
    )  # fmt: skip


def mixed7(inputs: int) -> nn.Module:
    row, column = ((1, 3), 1, (0, 1)), ((3, 1), 1, (1, 0))
    return Roads(
        {
            "one": unit(inputs, 320), "three_reduce": unit(inputs, 384), "three_rows": unit(384, 384, *row),
            "three_columns": unit(384, 384, *column), "double_reduce": unit(inputs, 448),
            "double1": unit(448, 384, 3, 1, 1), "double_rows": unit(384, 384, *row),
            "double_columns": unit(384, 384, *column), "pooled": nn.AvgPool2d(3, 1, 1), "proj": unit(inputs, 192),
        },
        "one", "three_reduce three_rows", "three_reduce three_columns", "double_reduce double1 double_rows",
        "double_reduce double1 double_columns", "pooled proj",
    )  # fmt: skip


def inception_v3(rows: int) -> nn.Sequential:
    """Without the auxiliary classifier."""
    reduce6 = Roads(
        {
            "three": unit(288, 384, 3, 2), "double_reduce": unit(288, 64), "double1": unit(64, 96, 3, 1, 1),
            "double2": unit(96, 96, 3, 2), "pooled": nn.MaxPool2d(3, 2),
        },
        "three", "double_reduce double1 double2", "pooled",
    )  # fmt: skip
    reduce7 = Roads(
        {
            "three_reduce": unit(768, 192), "three": unit(192, 320, 3, 2), "seven_reduce": unit(768, 192),
            "seven1": unit(192, 192, *ROW), "seven2": unit(192, 192, *COLUMN), "seven3": unit(192, 192, 3, 2),
            "pooled": nn.MaxPool2d(3, 2),
        },
        "three_reduce three", "seven_reduce seven1 seven2 seven3", "pooled",
    )  # fmt: skip
    layers: dict[str, nn.Module] = {
        "conv1": unit(3, 32, 3, 2), "conv2": unit(32, 32, 3), "conv3": unit(32, 64, 3, 1, 1),
        "pool3": nn.MaxPool2d(3, 2), "conv4": unit(64, 80), "conv5": unit(80, 192, 3), "pool5": nn.MaxPool2d(3, 2),
        "mixed5b": mixed5(192, 32), "mixed5c": mixed5(256, 64), "mixed5d": mixed5(288, 64), "mixed6a": reduce6,
        "mixed6b": mixed6(128), "mixed6c": mixed6(160), "mixed6d": mixed6(160), "mixed6e": mixed6(192),
        "mixed7a": reduce7, "mixed7b": mixed7(1280), "mixed7c": mixed7(2048),
        "mean": nn.AdaptiveAvgPool2d(1), "features": nn.Flatten(), "drop": nn.Dropout(),
        "scores": nn.Linear(2048, 1000),
    }  # fmt: skip
    return named(layers)


def inception_v3_auxiliary() -> nn.Sequential:
    """The classifier on the last 17x17 layer of Inception v3."""
    return named({
        "side": named({
            "pooled": nn.AvgPool2d(5, 3), "conv1": unit(768, 128), "conv2": unit(128, 768, 5),
            "mean": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten(), "classifier": nn.Linear(768, 1000),
        })
    })  # fmt: skip


def googlenet_auxiliary() -> nn.Sequential:
    """The classifier on a 14x14 layer of GoogLeNet (section 5)."""
    return named({
        "side": named({
            "pooled": nn.AvgPool2d(5, 3), "conv": nn.Conv2d(512, 128, 1), "relu1": nn.ReLU(),
            "hidden": peers.ImageLinear(128, 4, 4, 1024), "relu2": nn.ReLU(), "drop": nn.Dropout(0.7),
            "classifier": nn.Linear(1024, 1000),
        })
    })  # fmt: skip


# -- vision transformers ---------------------------------------------------------------------


class EncoderBlock(nn.Module):
    """One block of the encoder, normalisation first (Dosovitskiy et al. 2021, equations 2 and 3)."""

    def __init__(self, length: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(length, 1e-6)
        self.attention = nn.MultiheadAttention(length, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(length, 1e-6)
        self.linear1 = nn.Linear(length, 4 * length)
        self.linear2 = nn.Linear(4 * length, length)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        hidden = nn.functional.gelu(self.linear1(self.norm2(x)))
        return x + self.linear2(hidden)


class VisionTransformer(nn.Module):
    """Patches, class token, position embeddings and the encoder (the same, figure 1)."""

    def __init__(self, rows: int, patch: int, length: int, blocks: int, heads: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, length, patch, patch)
        self.token = nn.Parameter(0.5 * torch.randn(1, length))
        self.position = nn.Parameter(0.5 * torch.randn((rows // patch) ** 2 + 1, length))
        self.members = [f"L_{number}" for number in range(1, blocks + 1)]
        for name in self.members:
            self.add_module(name, EncoderBlock(length, heads))
        self.norm = nn.LayerNorm(length, 1e-6)
        self.classifier = nn.Linear(length, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.patches(x).flatten(2).transpose(1, 2)
        y = torch.cat([self.token.expand(len(x), 1, -1), y], 1) + self.position
        for name in self.members:
            y = self.get_submodule(name)(y)
        scores: torch.Tensor = self.classifier(self.norm(y)[:, 0])
        return scores


def vision_transformer(rows: int, patch: int, length: int, blocks: int, heads: int) -> nn.Sequential:
    return named({"scores": VisionTransformer(rows, patch, length, blocks, heads)})


# -- boards ----------------------------------------------------------------------------------


class AlphaZero(nn.Module):
    """A residual tower with a policy and a value head (Silver et al. 2017 and 2018, methods)."""

    def __init__(self, rows: int, planes: int, policy: nn.Module, blocks: int = 19, filters: int = 256) -> None:
        super().__init__()
        members = {f"block_{number}": peers.ResidualBlock(filters, filters) for number in range(1, blocks + 1)}
        self.tower = named({"block_0": peers.conv_norm(planes, filters), **members})
        self.policy = policy
        self.value = named({
            "conv": peers.conv_norm(filters, 1, 1), "fc1": peers.ImageLinear(1, rows, rows, 256), "relu": nn.ReLU(),
            "fc2": nn.Linear(256, 1), "tanh": nn.Tanh(),
        })  # fmt: skip

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.tower(x)
        return self.policy(y), self.value(y)


def alphago_zero(rows: int, blocks: int = 19, filters: int = 256) -> nn.Module:
    policy = named({"conv": peers.conv_norm(filters, 2, 1), "fc": peers.ImageLinear(2, rows, rows, rows * rows + 1)})
    return AlphaZero(rows, 17, policy, blocks, filters)


def alphazero_chess(rows: int, blocks: int = 19, filters: int = 256) -> nn.Module:
    policy = named({"conv1": peers.conv_norm(filters, filters), "conv2": nn.Conv2d(filters, 73, 3, padding=1)})
    return AlphaZero(rows, 119, policy, blocks, filters)


# -- one score for each pixel ----------------------------------------------------------------


def pair(inputs: int, filters: int) -> nn.Module:
    return named({
        "conv1": nn.Conv2d(inputs, filters, 3), "relu1": nn.ReLU(), "conv2": nn.Conv2d(filters, filters, 3),
        "relu2": nn.ReLU(),
    })  # fmt: skip


class Up(nn.Module):
    """A step of U-Net's way up: twice the size, half of the channels, beside the middle of what was on the way down."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, inputs // 2, 2, 2)
        self.pair = pair(inputs, inputs // 2)

    def forward(self, x: torch.Tensor, across: torch.Tensor) -> torch.Tensor:
        y = self.up(x)
        rows, columns = y.shape[2:]
        top, left = (across.shape[2] - rows) // 2, (across.shape[3] - columns) // 2
        joined: torch.Tensor = self.pair(torch.cat([across[:, :, top : top + rows, left : left + columns], y], 1))
        return joined


class UNet(nn.Module):
    """Ronneberger, Fischer and Brox 2015, figure 1."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.down1, self.down2, self.down3, self.down4, self.down5 = (
            pair(1 if level == 0 else filters << (level - 1), filters << level) for level in range(5)
        )
        self.up4, self.up3, self.up2, self.up1 = (Up(filters << level) for level in (4, 3, 2, 1))
        self.conv = nn.Conv2d(filters, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        across = [self.down1(x)]
        for down in (self.down2, self.down3, self.down4, self.down5):
            across.append(down(nn.functional.max_pool2d(across[-1], 2)))
        y = across.pop()
        for up in (self.up4, self.up3, self.up2, self.up1):
            y = up(y, across.pop())
        scores: torch.Tensor = self.conv(y)
        return scores


def unet(rows: int, filters: int = 64) -> nn.Sequential:
    return named({"scores": UNet(filters)})


class FCN(nn.Module):
    """Long, Shelhamer and Darrell 2015, with the padding and the cuts of their code."""

    def __init__(self, stride: int, first: int, units: int) -> None:
        super().__init__()
        channels = 3
        for stage, (factor, depth) in enumerate(zip((1, 2, 4, 8, 8), (2, 2, 3, 3, 3), strict=True), 1):
            filters = factor * first
            chain: dict[str, nn.Module] = {}
            for position in range(1, depth + 1):
                margin = 100 if stage == position == 1 else 1
                chain[f"conv_{position}"] = nn.Conv2d(channels, filters, 3, padding=margin)
                chain[f"relu_{position}"] = nn.ReLU()
                channels = filters
            self.add_module(f"pool{stage}", named(chain | {"pool": nn.MaxPool2d(2, ceil_mode=True)}))
        self.conv6 = nn.Conv2d(8 * first, units, 7)
        self.conv7 = nn.Conv2d(units, units, 1)
        self.score7 = nn.Conv2d(units, 21, 1)
        self.sources = {32: (), 16: (4,), 8: (4, 3)}[stride]
        self.last = f"up{stride}"
        for number, source in enumerate(self.sources):
            self.add_module(f"up{2 << number}", nn.ConvTranspose2d(21, 21, 4, 2, bias=False))
            self.add_module(f"score{source}", nn.Conv2d((8, 4)[number] * first, 21, 1))
        self.add_module(self.last, nn.ConvTranspose2d(21, 21, 2 * stride, stride, bias=False))
        self.corner = {32: 19, 16: 27, 8: 31}[stride]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pools = [x]
        for stage in range(1, 6):
            pools.append(self.get_submodule(f"pool{stage}")(pools[-1]))
        y = self.score7(self.conv7(self.conv6(pools[5]).relu()).relu())
        for number, source in enumerate(self.sources):
            y = self.get_submodule(f"up{2 << number}")(y)
            corner = (5, 9)[number]
            score = self.get_submodule(f"score{source}")(pools[source])
            y = y + score[:, :, corner : corner + y.shape[2], corner : corner + y.shape[3]]
        scores: torch.Tensor = self.get_submodule(self.last)(y)
        return scores[:, :, self.corner : self.corner + x.shape[2], self.corner : self.corner + x.shape[3]]


def fcn(rows: int, stride: int, filters: int = 64, units: int = 4096) -> nn.Sequential:
    return named({"scores": FCN(stride, filters, units)})


# -- sequences -------------------------------------------------------------------------------


class LanguageModel(nn.Module):
    """A vector for each word, two recurrent layers, and the scores of the next word."""

    def __init__(self, cell: type[nn.RNNBase], words: int, units: int) -> None:
        super().__init__()
        self.L_0 = nn.Embedding(words, units)
        self.L_1 = cell(units, units, batch_first=True)
        self.L_2 = cell(units, units, batch_first=True)
        self.classifier = nn.Linear(units, words)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.classifier(self.L_2(self.L_1(self.L_0(x))[0])[0])
        return scores


def language_model(rows: int, cell: type[nn.RNNBase], words: int = 128, units: int = 256) -> nn.Sequential:
    return named({"scores": LanguageModel(cell, words, units)})


# -- weights ---------------------------------------------------------------------------------


def program_weights(model: nn.Module) -> dict[str, Array]:
    """As `peers.program_weights`, with layers that only networks here have."""
    found: dict[str, Array] = peers.program_weights(model)
    more: dict[str, torch.Tensor] = {}
    for path, layer in model.named_modules():
        if isinstance(layer, nn.LayerNorm):
            more |= {f"{path}.γ": layer.weight, f"{path}.β": layer.bias}
        elif isinstance(layer, nn.ConvTranspose2d):
            more[f"{path}.W"] = layer.weight.permute(2, 3, 0, 1)
            if layer.bias is not None:
                more[f"{path}.B"] = layer.bias
        elif isinstance(layer, nn.MultiheadAttention):
            heads = layer.num_heads, -1
            for name, weight, bias in zip(
                "qkv", layer.in_proj_weight.chunk(3), layer.in_proj_bias.chunk(3), strict=True
            ):
                more[f"{path}.W_{name}"] = weight.T.reshape(len(weight), *heads)
                more[f"{path}.B_{name}"] = bias.reshape(heads)
            del found[f"{path}.out_proj.W"], found[f"{path}.out_proj.B"]
            more[f"{path}.W_o"] = layer.out_proj.weight.T.reshape(*heads, len(layer.out_proj.bias))
            more[f"{path}.B_o"] = layer.out_proj.bias
        elif isinstance(layer, nn.Embedding):
            more[f"{path}.E"] = layer.weight
        elif isinstance(layer, VisionTransformer):
            more |= {f"{path}.token": layer.token, f"{path}.position": layer.position}
        elif isinstance(layer, nn.RNNBase):
            more |= {f"{path}.{name}": tensor for name, tensor in _recurrent(layer).items()}
    return found | {name: numpy.ascontiguousarray(tensor.detach().numpy()) for name, tensor in more.items()}


def _recurrent(layer: nn.RNNBase) -> dict[str, torch.Tensor]:
    """Gates stand side by side in the program; two biases are one, but for the GRU's."""
    gates = {nn.RNN: (), nn.LSTM: (4,), nn.GRU: (3,)}[type(layer)]
    U, W = (weight.T.reshape(len(weight.T), *gates, -1) for weight in (layer.weight_ih_l0, layer.weight_hh_l0))
    B, C = (bias.reshape(*gates, -1) for bias in (layer.bias_ih_l0, layer.bias_hh_l0))
    return {"U": U, "W": W, "B": B, "C": C} if isinstance(layer, nn.GRU) else {"U": U, "W": W, "B": B + C}
