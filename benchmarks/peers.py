"""The networks of `examples/` in PyTorch: what compiled modules are compared with.

A module's path in PyTorch is the name in the program: `Φ1` holds the weights of the program's
`Φ1`, and what `block1_1.norm2` gives here is what it gives there.  That makes one rule of the
mapping of weights (`program_weights`), and lets every named layer be compared
(`layer_outputs`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
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
    layers: dict[str, nn.Module] = {}
    channels = 3
    for stage, (filters, depth) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), 1):
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


def resnet18() -> nn.Sequential:
    """`examples/resnet18.maj`."""
    layers: dict[str, nn.Module] = {
        "conv1": nn.Conv2d(3, 64, 7, 2, 3, bias=False), "norm1": nn.BatchNorm2d(64), "relu1": nn.ReLU(inplace=True),
        "pool1": nn.MaxPool2d(3, 2, 1),
    }  # fmt: skip
    channels = 64
    for stage, filters in enumerate((64, 128, 256, 512), 1):
        layers[f"block{stage}_1"] = ResidualBlock(channels, filters, 1 if stage == 1 else 2)
        layers[f"block{stage}_2"] = ResidualBlock(filters, filters)
        channels = filters
    layers |= {"mean": nn.AdaptiveAvgPool2d(1), "features": nn.Flatten(), "scores": nn.Linear(512, 1000)}
    return nn.Sequential(OrderedDict(layers))


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
        """Random images [count, rows, columns, channels]."""
        return numpy.random.default_rng(seed).standard_normal((count, *self.image), numpy.float32)

    def peer(self, seed: int = 0) -> nn.Sequential:
        """The network in PyTorch with random weights, in the mode for inference."""
        torch.manual_seed(seed)
        model = self.build()
        _draw_weights(model)
        _calibrate(model, channels_first(self.images(4, seed)))
        return model.eval()


NETWORKS = {
    network.name: network
    for network in (
        Network("lenet", lenet, (28, 28, 1)),
        Network("alexnet", alexnet, (227, 227, 3)),
        Network("alexnet_pytorch", alexnet_pytorch, (224, 224, 3)),
        Network("vgg16", vgg16, (224, 224, 3)),
        Network("resnet18", resnet18, (224, 224, 3)),
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
