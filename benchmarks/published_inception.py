"""GoogLeNet and Inception v3 in PyTorch, see `published.py`."""

from __future__ import annotations

from functools import partial

import peer_families as families
import torch
from peer_families import named
from torch import nn


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
            "hidden": families.ImageLinear(128, 4, 4, 1024), "relu2": nn.ReLU(), "drop": nn.Dropout(0.7),
            "classifier": nn.Linear(1024, 1000),
        })
    })  # fmt: skip
