"""Networks of `examples/networks/` for small images, telephones and pixels, in PyTorch; see `published.py`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import peer_families as families
import torch
from peer_families import named
from torch import nn

# -- chains --------------------------------------------------------------------------------


def numbered(*layers: nn.Module) -> nn.Sequential:
    """Layers one after the other, by their places in a pattern."""
    return named({str(place): layer for place, layer in enumerate(layers, 1)})


def linear_classifier(rows: int) -> nn.Sequential:
    return named({"scores": numbered(families.ImageLinear(3, rows, rows, 10))})


def mlp(rows: int) -> nn.Sequential:
    layers = families.ImageLinear(1, rows, rows, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10)
    return named({"scores": numbered(*layers)})


def cifar_convnet(rows: int) -> nn.Sequential:
    return named({
        "Φ1": nn.Conv2d(3, 12, 3, padding=1), "L1": nn.ReLU(), "L2": nn.MaxPool2d(2),
        "Φ3": families.ImageLinear(12, rows // 2, rows // 2, 10),
    })  # fmt: skip


def zfnet(rows: int) -> nn.Sequential:
    pool = partial(nn.MaxPool2d, 3, 2)
    side = 6 if rows == 224 else 2
    return named({
        "Φ1": nn.Conv2d(3, 96, 7, 2, 1), "L1": nn.ReLU(), "pool1": pool(ceil_mode=True), "L2": nn.LocalResponseNorm(5),
        "Φ3": nn.Conv2d(96, 256, 5, 2), "L3": nn.ReLU(), "pool3": pool(ceil_mode=True), "L4": nn.LocalResponseNorm(5),
        "Φ5": nn.Conv2d(256, 512, 3, padding=1), "L5": nn.ReLU(),
        "Φ6": nn.Conv2d(512, 1024, 3, padding=1), "L6": nn.ReLU(),
        "Φ7": nn.Conv2d(1024, 512, 3, padding=1), "L7": nn.ReLU(), "L8": pool(),
        "Φ9": families.ImageLinear(512, side, side, 4096), "relu9": nn.ReLU(), "L9": nn.Dropout(),
        "Φ10": nn.Linear(4096, 4096), "relu10": nn.ReLU(), "L10": nn.Dropout(), "Φs": nn.Linear(4096, 1000),
    })  # fmt: skip


def lenet_of_convolutions(rows: int, dense: bool = False) -> nn.Sequential:
    """LeNet-5 without padding, its full connections as convolutions; `dense` with dilation for the pools' strides."""
    stride, dilation = (1, 2) if dense else (2, 1)
    return named({
        "scores": named({
            "conv1": nn.Conv2d(1, 6, 5), "relu1": nn.ReLU(), "pool1": nn.MaxPool2d(2, stride),
            "conv2": nn.Conv2d(6, 16, 5, dilation=dilation), "relu2": nn.ReLU(),
            "pool2": nn.MaxPool2d(2, stride, dilation=dilation),
            "fc3": nn.Conv2d(16, 120, 5, dilation=dilation**2), "relu3": nn.ReLU(), "fc4": nn.Conv2d(120, 84, 1),
            "relu4": nn.ReLU(), "fc5": nn.Conv2d(84, 10, 1),
        })
    })  # fmt: skip


# -- residual networks for CIFAR-10 ----------------------------------------------------------


class ZerosBlock(families.ResidualBlock):  # type: ignore[misc]
    """A residual block whose shortcut takes every other position, and zeros for the new channels (option A)."""

    def __init__(self, inputs: int, filters: int, stride: int) -> None:
        super().__init__(inputs, filters, stride)
        self.shortcut = nn.Identity() if inputs == filters else EveryOther(filters - inputs)


class EveryOther(nn.Module):
    """Every other position, with zeros in so many new channels."""

    def __init__(self, zeros: int) -> None:
        super().__init__()
        self.zeros = zeros

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.zeros))


class PreActivationBlock(nn.Module):
    """Batch norm and ReLU before each of two 3x3 convolutions (He et al. 2016, "Identity mappings", figure 1b)."""

    def __init__(self, inputs: int, filters: int, stride: int = 1, activated: bool = False) -> None:
        super().__init__()
        self.norm1 = nn.Identity() if activated else nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, filters, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.projection = None if inputs == filters else nn.Conv2d(inputs, filters, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        active = self.norm1(x).relu()
        residual: torch.Tensor = self.conv2(self.norm2(self.conv1(active)).relu())
        return residual + (x if self.projection is None else self.projection(active))


def small_resnet(rows: int, blocks: int, block: families.Block = ZerosBlock) -> nn.Sequential:
    layers = {"conv1": families.conv_norm(3, 16)} | families.stages(16, [blocks] * 3, 16, block)
    return named({"scores": named(layers | families.classifier(64, classes=10))})


def small_preactivation_resnet(rows: int, blocks: int) -> nn.Sequential:
    layers: dict[str, nn.Module] = {"conv1": families.conv_norm(3, 16), "first": PreActivationBlock(16, 16, 1, True)}
    layers |= families.stages(16, (blocks - 1, blocks, blocks), 16, PreActivationBlock)
    layers |= {"norm4": nn.BatchNorm2d(64), "relu4": nn.ReLU()} | families.classifier(64, classes=10)
    return named({"scores": named(layers)})


# -- MobileNet v2 ----------------------------------------------------------------------------


# -- one score for each pixel ------------------------------------------------------------------


def chain(inputs: int, filters: Sequence[int]) -> nn.Sequential:
    layers: dict[str, nn.Module] = {}
    for number, count in enumerate(filters, 1):
        layers[f"L_{number}"] = families.conv_norm(inputs, count)
        inputs = count
    return named(layers)


class SegNet(nn.Module):
    """Badrinarayanan, Kendall and Cipolla 2017, figure 2."""

    def __init__(self, first: int, classes: int) -> None:
        super().__init__()
        inputs, widths = 3, [first, 2 * first, 4 * first, 8 * first, 8 * first]
        for level, (filters, depth) in enumerate(zip(widths, (2, 2, 3, 3, 3), strict=True), 1):
            self.add_module(f"down{level}", chain(inputs, [filters] * depth))
            inputs = filters
        for level, (filters, depth) in enumerate(zip(widths, (1, 2, 3, 3, 3), strict=True), 1):
            after = widths[max(level - 2, 0)]
            members = [filters] * (depth - 1) + [after]
            self.add_module(f"up{level}", chain(filters, members))
        self.classifier = nn.Conv2d(first, classes, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        places = []
        for level in range(1, 6):
            x, place = nn.functional.max_pool2d(self.get_submodule(f"down{level}")(x), 2, return_indices=True)
            places.append(place)
        for level in range(5, 0, -1):
            x = self.get_submodule(f"up{level}")(nn.functional.max_unpool2d(x, places.pop(), 2))
        scores: torch.Tensor = self.classifier(x)
        return scores


def segnet(rows: int, filters: int = 64, classes: int = 12) -> nn.Sequential:
    return named({"scores": SegNet(filters, classes)})


class Hypercolumns(nn.Module):
    """Columns of VGG16's second to fourth pools and its last hidden layer, and a linear classifier on each."""

    def __init__(self, rows: int, first: int, units: int) -> None:
        super().__init__()
        inputs, widths = 3, [first, 2 * first, 4 * first, 8 * first, 8 * first]
        for stage, (filters, depth) in enumerate(zip(widths, (2, 2, 3, 3, 3), strict=True), 1):
            members: dict[str, nn.Module] = {}
            for position in range(1, depth + 1):
                members |= {f"conv_{position}": nn.Conv2d(inputs, filters, 3, padding=1), f"relu{position}": nn.ReLU()}
                inputs = filters
            self.add_module(f"stage{stage}", named(members | {"pool": nn.MaxPool2d(2)}))
        self.fc6 = families.ImageLinear(inputs, rows // 32, rows // 32, units)
        self.fc7 = nn.Linear(units, units)
        self.classifier = nn.Conv2d(14 * first + units, 21, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        stages = []
        for stage in range(1, 6):
            x = self.get_submodule(f"stage{stage}")(x)
            stages.append(x)
        last = self.fc7(self.fc6(x).relu()).relu()[:, :, None, None]
        size = stages[1].shape[2:]
        columns = [nn.functional.interpolate(tensor, size, mode="nearest") for tensor in (*stages[1:4], last)]
        scores: torch.Tensor = self.classifier(torch.cat(columns, 1))
        return scores


def hypercolumns(rows: int, filters: int = 64, units: int = 4096) -> nn.Sequential:
    return named({"scores": Hypercolumns(rows, filters, units)})
