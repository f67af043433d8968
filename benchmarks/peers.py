"""The networks of `examples/` in PyTorch: what compiled modules are compared with.

A module's path in PyTorch is the name in the program: `Φ1` holds the weights of the program's
`Φ1`, and what `block1_1.norm2` gives here is what it gives there.  That makes one rule of the
mapping of weights (`program_weights`), and lets every named layer be compared
(`layer_outputs`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import nn

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
Array = numpy.ndarray[Any, Any]


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

    def __init__(self, inputs: int, filters: int, stride: int = 1, expand: int = 6) -> None:
        super().__init__()
        inner = expand * inputs
        self.wide = nn.Identity() if expand == 1 else conv_norm(inputs, inner, 1, activation=nn.ReLU6)
        self.deep = conv_norm(inner, inner, 3, stride, groups=inner, activation=nn.ReLU6)
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


def lenet() -> nn.Sequential:
    """`examples/lenet.maj`."""
    layers: dict[str, nn.Module] = {
        "Φ1": nn.Conv2d(1, 6, 5, padding=2), "L1": nn.ReLU(), "L2": nn.MaxPool2d(2),
        "Φ3": nn.Conv2d(6, 16, 5), "L3": nn.ReLU(), "L4": nn.MaxPool2d(2),
        "Φ5": ImageLinear(16, 5, 5, 120), "L5": nn.ReLU(),
        "Φ6": nn.Linear(120, 84), "L6": nn.ReLU(),
        "Φs": nn.Linear(84, 10), "scores": nn.Identity(),
    }  # fmt: skip
    return nn.Sequential(OrderedDict(layers))


def alexnet() -> nn.Sequential:
    """`examples/alexnet.maj`, the slide's."""
    layers: dict[str, nn.Module] = {
        "Φ1": nn.Conv2d(3, 96, 11, 4), "L1": nn.ReLU(), "L2": nn.MaxPool2d(3, 2),
        "Φ3": nn.Conv2d(96, 256, 5, padding=2), "L3": nn.ReLU(), "L4": nn.MaxPool2d(3, 2),
        "Φ5": nn.Conv2d(256, 384, 3, padding=1), "L5": nn.ReLU(),
        "Φ6": nn.Conv2d(384, 384, 3, padding=1), "L6": nn.ReLU(),
        "Φ7": nn.Conv2d(384, 256, 3, padding=1), "L7": nn.ReLU(), "L8": nn.MaxPool2d(3, 2),
        "Φ9": ImageLinear(256, 6, 6, 4096), "L9": nn.ReLU(),
        "Φ10": nn.Linear(4096, 4096), "L10": nn.ReLU(),
        "Φs": nn.Linear(4096, 1000), "s": nn.ReLU(),
    }  # fmt: skip
    return nn.Sequential(OrderedDict(layers))


def alexnet_pytorch() -> nn.Sequential:
    """`examples/alexnet_pytorch.maj`, torchvision's."""
    layers: dict[str, nn.Module] = {
        "conv1": nn.Conv2d(3, 64, 11, 4, 2), "relu1": nn.ReLU(inplace=True), "pool1": nn.MaxPool2d(3, 2),
        "conv2": nn.Conv2d(64, 192, 5, padding=2), "relu2": nn.ReLU(inplace=True), "pool2": nn.MaxPool2d(3, 2),
        "conv3": nn.Conv2d(192, 384, 3, padding=1), "relu3": nn.ReLU(inplace=True),
        "conv4": nn.Conv2d(384, 256, 3, padding=1), "relu4": nn.ReLU(inplace=True),
        "conv5": nn.Conv2d(256, 256, 3, padding=1), "relu5": nn.ReLU(inplace=True), "pool5": nn.MaxPool2d(3, 2),
        "drop5": nn.Dropout(), "fc6": ImageLinear(256, 6, 6, 4096), "relu6": nn.ReLU(inplace=True),
        "drop6": nn.Dropout(), "fc7": nn.Linear(4096, 4096), "relu7": nn.ReLU(inplace=True),
        "scores": nn.Linear(4096, 1000),
    }  # fmt: skip
    return nn.Sequential(OrderedDict(layers))


def vgg16() -> nn.Sequential:
    """`examples/vgg16.maj`."""
    return vgg((2, 2, 3, 3, 3))


def vgg(depths: Sequence[int]) -> nn.Sequential:
    """So many 3x3 convolutions in each of the five stages (Simonyan and Zisserman 2014, table 1)."""
    layers: dict[str, nn.Module] = {}
    channels = 3
    for stage, (filters, depth) in enumerate(zip((64, 128, 256, 512, 512), depths, strict=True), 1):
        for position in range(1, depth + 1):
            layers[f"conv{stage}_{position}"] = nn.Conv2d(channels, filters, 3, padding=1)
            layers[f"relu{stage}_{position}"] = nn.ReLU(inplace=True)
            channels = filters
        layers[f"pool{stage}"] = nn.MaxPool2d(2)
    layers |= {
        "fc6": ImageLinear(512, 7, 7, 4096), "relu6": nn.ReLU(inplace=True), "drop6": nn.Dropout(),
        "fc7": nn.Linear(4096, 4096), "relu7": nn.ReLU(inplace=True), "drop7": nn.Dropout(),
        "scores": nn.Linear(4096, 1000),
    }  # fmt: skip
    return nn.Sequential(OrderedDict(layers))


def residual_stem() -> dict[str, nn.Module]:
    """What stands before the blocks of a residual network: from the image to a quarter of its size, 64 channels."""
    return {
        "conv1": nn.Conv2d(3, 64, 7, 2, 3, bias=False), "norm1": nn.BatchNorm2d(64), "relu1": nn.ReLU(inplace=True),
        "pool1": nn.MaxPool2d(3, 2, 1),
    }  # fmt: skip


def classifier(channels: int, dropout: float = 0) -> dict[str, nn.Module]:
    """The mean over all positions and a linear layer to a thousand classes."""
    layers: dict[str, nn.Module] = {"mean": nn.AdaptiveAvgPool2d(1), "features": nn.Flatten()}
    if dropout:
        layers["drop"] = nn.Dropout(dropout)
    return layers | {"scores": nn.Linear(channels, 1000)}


def resnet18() -> nn.Sequential:
    """`examples/resnet18.maj`."""
    layers = residual_stem()
    channels = 64
    for stage, filters in enumerate((64, 128, 256, 512), 1):
        layers[f"block{stage}_1"] = ResidualBlock(channels, filters, 1 if stage == 1 else 2)
        layers[f"block{stage}_2"] = ResidualBlock(filters, filters)
        channels = filters
    return nn.Sequential(OrderedDict(layers | classifier(channels)))


def resnet50() -> nn.Sequential:
    """`examples/resnet50.maj`."""
    return _bottlenecks(4, 1)


def resnext50_32x4d() -> nn.Sequential:
    """`examples/resnext50_32x4d.maj`."""
    return _bottlenecks(2, 32)


def _bottlenecks(expansion: int, groups: int) -> nn.Sequential:
    """Four stages of 3, 4, 6 and 3 bottlenecks, which have `expansion` times as many filters as within."""
    layers = residual_stem()
    channels = 64
    for stage, (filters, depth) in enumerate(((256, 3), (512, 4), (1024, 6), (2048, 3)), 1):
        for position in range(1, depth + 1):
            stride = 2 if stage > 1 and position == 1 else 1
            block = Bottleneck(channels, filters, filters // expansion, stride, groups)
            layers[f"block{stage}_{position}"] = block
            channels = filters
    return nn.Sequential(OrderedDict(layers | classifier(channels)))


def mobilenet_v2() -> nn.Sequential:
    """`examples/mobilenet_v2.maj`."""
    layers: dict[str, nn.Module] = {"conv1": conv_norm(3, 32, 3, 2, activation=nn.ReLU6)}
    channels = 32
    stages = ((16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))
    for stage, (filters, depth, stride) in enumerate(stages, 1):
        for position in range(1, depth + 1):
            block = InvertedResidual(channels, filters, stride if position == 1 else 1, 1 if stage == 1 else 6)
            layers[f"block{stage}_{position}"] = block
            channels = filters
    layers["conv8"] = conv_norm(channels, 1280, 1, activation=nn.ReLU6)
    return nn.Sequential(OrderedDict(layers | classifier(1280, dropout=0.2)))


def squeezenet1_1() -> nn.Sequential:
    """`examples/squeezenet1_1.maj`."""
    layers: dict[str, nn.Module] = {
        "conv1": nn.Conv2d(3, 64, 3, 2), "relu1": nn.ReLU(inplace=True), "pool1": nn.MaxPool2d(3, 2, ceil_mode=True),
        "fire2": Fire(64, 16, 64), "fire3": Fire(128, 16, 64), "pool3": nn.MaxPool2d(3, 2, ceil_mode=True),
        "fire4": Fire(128, 32, 128), "fire5": Fire(256, 32, 128), "pool5": nn.MaxPool2d(3, 2, ceil_mode=True),
        "fire6": Fire(256, 48, 192), "fire7": Fire(384, 48, 192), "fire8": Fire(384, 64, 256),
        "fire9": Fire(512, 64, 256), "drop9": nn.Dropout(), "conv10": nn.Conv2d(512, 1000, 1),
        "relu10": nn.ReLU(inplace=True), "mean": nn.AdaptiveAvgPool2d(1), "scores": nn.Flatten(),
    }  # fmt: skip
    return nn.Sequential(OrderedDict(layers))


def googlenet() -> nn.Sequential:
    """`examples/googlenet.maj`."""
    layers: dict[str, nn.Module] = {
        "conv1": conv_norm(3, 64, 7, 2, epsilon=1e-3), "pool1": nn.MaxPool2d(3, 2, ceil_mode=True),
        "reduce2": conv_norm(64, 64, 1, epsilon=1e-3), "conv2": conv_norm(64, 192, 3, epsilon=1e-3),
        "pool2": nn.MaxPool2d(3, 2, ceil_mode=True),
        "mixed3a": Mixed(192, 64, 96, 128, 16, 32, 32), "mixed3b": Mixed(256, 128, 128, 192, 32, 96, 64),
        "pool3": nn.MaxPool2d(3, 2, ceil_mode=True),
        "mixed4a": Mixed(480, 192, 96, 208, 16, 48, 64), "mixed4b": Mixed(512, 160, 112, 224, 24, 64, 64),
        "mixed4c": Mixed(512, 128, 128, 256, 24, 64, 64), "mixed4d": Mixed(512, 112, 144, 288, 32, 64, 64),
        "mixed4e": Mixed(528, 256, 160, 320, 32, 128, 128), "pool4": nn.MaxPool2d(2, 2, ceil_mode=True),
        "mixed5a": Mixed(832, 256, 160, 320, 32, 128, 128), "mixed5b": Mixed(832, 384, 192, 384, 48, 128, 128),
    }  # fmt: skip
    return nn.Sequential(OrderedDict(layers | classifier(1024, dropout=0.2)))


def densenet121(growth: int = 32) -> nn.Sequential:
    """`examples/densenet121.maj`."""
    layers: dict[str, nn.Module] = {
        "conv0": nn.Conv2d(3, 64, 7, 2, 3, bias=False), "norm0": nn.BatchNorm2d(64), "relu0": nn.ReLU(inplace=True),
        "pool0": nn.MaxPool2d(3, 2, 1),
    }  # fmt: skip
    channels = 64
    for stage, depth in enumerate((6, 12, 24, 16), 1):
        members = {f"L_{k + 1}": DenseLayer(channels + k * growth, growth) for k in range(depth)}
        layers[f"block{stage}"] = nn.Sequential(OrderedDict(members))
        channels += depth * growth
        if stage < 4:
            layers[f"transition{stage}"] = transition(channels)
            channels //= 2
    layers |= {"norm5": nn.BatchNorm2d(channels), "relu5": nn.ReLU(inplace=True)}
    return nn.Sequential(OrderedDict(layers | classifier(channels)))


@dataclass(frozen=True)
class Network:
    """A program of `examples/`, the same network in PyTorch, and the image that it takes."""

    name: str
    build: Callable[[], nn.Sequential]
    image: tuple[int, int, int]

    @property
    def path(self) -> Path:
        """The program's file."""
        return EXAMPLES / f"{self.name}.maj"

    def images(self, count: int, seed: int = 1) -> Array:
        """Random images [count, rows, columns, channels] with shapes of every size in them, as photographs have.

        Of noise alone, deep layers see little but the mean, and their batch norms magnify the
        rounding of all layers before (ResNet-50: twice as much, in PyTorch too).
        """
        generator = numpy.random.default_rng(seed)
        rows, columns, channels = self.image
        images = numpy.zeros((count, *self.image), numpy.float32)
        for cells in (1, 2, 4, 8, 16, rows):
            grid = generator.standard_normal((count, cells, cells, channels), numpy.float32)
            places = numpy.arange(rows) * cells // rows, numpy.arange(columns) * cells // columns
            images += grid[:, places[0]][:, :, places[1]] / 2
        return images

    def peer(self, seed: int = 0, count: int = 4) -> nn.Sequential:
        """The network in PyTorch with random weights and the statistics of `count` images, in the mode for inference.

        Where maps shrink to one position, a few images say too little of a channel's variance.
        """
        torch.manual_seed(seed)
        model = self.build()
        _draw_weights(model)
        _calibrate(model, channels_first(self.images(count, seed)))
        return model.eval()


NETWORKS = {
    network.name: network
    for network in (
        Network("lenet", lenet, (28, 28, 1)),
        Network("alexnet", alexnet, (227, 227, 3)),
        Network("alexnet_pytorch", alexnet_pytorch, (224, 224, 3)),
        Network("vgg16", vgg16, (224, 224, 3)),
        Network("resnet18", resnet18, (224, 224, 3)),
        Network("resnet50", resnet50, (224, 224, 3)),
        Network("resnext50_32x4d", resnext50_32x4d, (224, 224, 3)),
        Network("mobilenet_v2", mobilenet_v2, (224, 224, 3)),
        Network("squeezenet1_1", squeezenet1_1, (224, 224, 3)),
        Network("googlenet", googlenet, (224, 224, 3)),
        Network("densenet121", densenet121, (224, 224, 3)),
    )
}


def channels_first(images: Array) -> torch.Tensor:
    """[batch, rows, columns, channels] as PyTorch takes it; no copy, so its channels come last in memory."""
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def channels_last(tensor: torch.Tensor) -> Array:
    """An image or a vector of PyTorch's with its channels last."""
    return (tensor.movedim(1, -1) if tensor.dim() == 4 else tensor).numpy()


def program_weights(model: nn.Module) -> dict[str, Array]:
    """All weights and running statistics by the program's names, in the program's order of axes.

    Filters [out, in, rows, columns] become [rows, columns, in, out], matrices [out, in] become
    [in, out], and where a matrix takes a whole image, its inputs stand channels last.
    """
    found: dict[str, torch.Tensor] = {}
    for path, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d):
            found[f"{path}.W"] = layer.weight.permute(2, 3, 1, 0)
        elif isinstance(layer, ImageLinear):
            found[f"{path}.W"] = layer.weight.unflatten(1, layer.image).permute(2, 3, 1, 0).flatten(0, 2)
        elif isinstance(layer, nn.Linear):
            found[f"{path}.W"] = layer.weight.T
        elif isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            found |= {f"{path}.γ": layer.weight, f"{path}.β": layer.bias}
            found |= {f"{path}.running_mean": layer.running_mean, f"{path}.running_var": layer.running_var}
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            found[f"{path}.B"] = layer.bias
    return {name: numpy.ascontiguousarray(tensor.detach().numpy()) for name, tensor in found.items()}


def layer_outputs(model: nn.Sequential, images: Array) -> dict[str, Array]:
    """What each layer gives, channels last, by the program's names."""
    outputs: dict[str, Array] = {}

    def keep(path: str) -> Callable[..., None]:
        # Copies: a ReLU that works in place overwrites what it is given.
        return lambda layer, inputs, output: outputs.update({path: channels_last(output).copy()})

    hooks = [layer.register_forward_hook(keep(path)) for path, layer in model.named_modules() if path]
    with torch.inference_mode():
        model(channels_first(images))
    for hook in hooks:
        hook.remove()
    return outputs


def _draw_weights(model: nn.Module) -> None:
    """Weights that keep the size of activations from layer to layer (He et al. 2015), and biases that show."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.normal_(layer.bias, std=0.2)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.2)
            layer.momentum = None  # the plain average over all batches


def _calibrate(model: nn.Module, images: torch.Tensor) -> None:
    """Set the running statistics of batch norms to those of these images."""
    if any(isinstance(layer, nn.BatchNorm2d) for layer in model.modules()):
        with torch.no_grad():
            model.train()(images)
