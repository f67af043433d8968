"""Networks of `examples/networks/` in PyTorch that `benchmarks/peer_families.py` does not have.

They share its blocks, and as there a module's path is the name in the program, and each function takes the rows of
the image, since large linear layers depend on them.
"""

from __future__ import annotations

from collections.abc import Sequence

import peer_families as families
import torch
from torch import nn

# -- residual networks ---------------------------------------------------------------------


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


def preactivation_resnet(rows: int, blocks: Sequence[int]) -> nn.Sequential:
    layers = families.residual_stem() | {"first": PreActivationBottleneck(64, 256, activated=True)}
    layers |= families.stages(256, (blocks[0] - 1, *blocks[1:]), 256, PreActivationBottleneck)
    layers |= {"norm5": nn.BatchNorm2d(2048), "relu5": nn.ReLU()} | families.classifier(2048)
    return families.named({"scores": families.named(layers)})


# -- networks for telephones -----------------------------------------------------------------


class ShuffleUnit(nn.Module):
    """One unit of ShuffleNet v2 (Ma et al. 2018, figure 3c, and 3d where it halves the image)."""

    def __init__(self, inputs: int, filters: int, stride: int) -> None:
        super().__init__()
        half = filters // 2
        self.halves = stride == 2
        conv = families.conv_norm
        if self.halves:
            self.deep = conv(inputs, inputs, 3, 2, inputs, activation=nn.Identity)
            self.short = conv(inputs, half, 1)
        self.branch = families.named({
            "first": conv(inputs if self.halves else half, half, 1),
            "deep": conv(half, half, 3, stride, half, activation=nn.Identity),
            "last": conv(half, half, 1),
        })  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept, other = (self.short(self.deep(x)), x) if self.halves else x.chunk(2, 1)
        joined = torch.cat([kept, self.branch(other)], 1)
        return joined.reshape(x.shape[0], 2, -1, *kept.shape[2:]).transpose(1, 2).flatten(1, 2)


def shufflenet_v2(rows: int, channels: Sequence[int], last: int = 1024) -> nn.Sequential:
    layers: dict[str, nn.Module] = {"conv1": families.conv_norm(3, 24, 3, 2), "pool1": nn.MaxPool2d(3, 2, 1)}
    inputs = 24
    for stage, (count, filters) in enumerate(zip((4, 8, 4), channels, strict=True), 2):
        members: dict[str, nn.Module] = {}
        for position in range(1, count + 1):
            members[f"unit_{position}"] = ShuffleUnit(inputs, filters, 2 if position == 1 else 1)
            inputs = filters
        layers[f"stage{stage}"] = families.named(members)
    layers |= {"conv5": families.conv_norm(inputs, last, 1)} | families.classifier(last)
    return families.named({"scores": families.named(layers)})


def mnasnet(rows: int, channels: Sequence[int]) -> nn.Sequential:
    """`channels` are those of the first convolution, of what follows it, and of the six stages."""
    first, inputs, *others = channels
    conv = families.conv_norm
    layers: dict[str, nn.Module] = {
        "conv1": conv(3, first, 3, 2), "deep1": conv(first, first, 3, 1, first),
        "flat1": conv(first, inputs, 1, activation=nn.Identity),
    }  # fmt: skip
    table = ((3, 3, 2, 3), (3, 5, 2, 3), (3, 5, 2, 6), (2, 3, 1, 6), (4, 5, 2, 6), (1, 3, 1, 6))
    for stage, (filters, (count, width, stride, expand)) in enumerate(zip(others, table, strict=True), 2):
        members: dict[str, nn.Module] = {}
        for position in range(1, count + 1):
            step = stride if position == 1 else 1
            members[f"block_{position}"] = families.InvertedResidual(inputs, filters, step, expand, width, nn.ReLU)
            inputs = filters
        layers[f"stage{stage}"] = families.named(members)
    layers |= {"conv8": conv(inputs, 1280, 1)} | families.classifier(1280, 0.2)
    return families.named({"scores": families.named(layers)})
