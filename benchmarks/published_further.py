"""Transformers, boards, pixels and sequences of `examples/networks/` in PyTorch, and weights by the program's names."""

from __future__ import annotations

from typing import Any

import numpy
import peer_families as families
import peers
import torch
from peer_families import named
from torch import nn

Array = numpy.ndarray[Any, Any]


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
        y = torch.cat([self.token.expand(x.shape[0], 1, -1), y], 1) + self.position
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
        members = {f"block_{number}": families.ResidualBlock(filters, filters) for number in range(1, blocks + 1)}
        self.tower = named({"block_0": families.conv_norm(planes, filters), **members})
        self.policy = policy
        self.value = named({
            "conv": families.conv_norm(filters, 1, 1), "fc1": families.ImageLinear(1, rows, rows, 256),
            "relu": nn.ReLU(), "fc2": nn.Linear(256, 1), "tanh": nn.Tanh(),
        })  # fmt: skip

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.tower(x)
        return self.policy(y), self.value(y)


def alphago_zero(rows: int, blocks: int = 19, filters: int = 256) -> nn.Module:
    policy = named(
        {"conv": families.conv_norm(filters, 2, 1), "fc": families.ImageLinear(2, rows, rows, rows * rows + 1)}
    )
    return AlphaZero(rows, 17, policy, blocks, filters)


def alphazero_chess(rows: int, blocks: int = 19, filters: int = 256) -> nn.Module:
    policy = named({"conv1": families.conv_norm(filters, filters), "conv2": nn.Conv2d(filters, 73, 3, padding=1)})
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
