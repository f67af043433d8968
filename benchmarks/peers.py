"""The networks of `examples/` in PyTorch: what compiled modules are compared with.

A module's path in PyTorch is the name in the program: `Φ1` holds the weights of the program's
`Φ1`, and what `scores.stage1.block_1` gives here is what it gives there.  That makes one rule of the
mapping of weights (`program_weights`), and lets every named layer be compared
(`layer_outputs`).  Most are of families, see `peer_families.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import peer_families as families
import torch
from peer_families import ImageLinear, Mixed, conv_norm, named
from torch import nn

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
Array = numpy.ndarray[Any, Any]


def lenet() -> nn.Sequential:
    """`examples/lenet.maj`."""
    layers: dict[str, nn.Module] = {
        "Φ1": nn.Conv2d(1, 6, 5, padding=2), "L1": nn.ReLU(), "L2": nn.MaxPool2d(2),
        "Φ3": nn.Conv2d(6, 16, 5), "L3": nn.ReLU(), "L4": nn.MaxPool2d(2),
        "Φ5": ImageLinear(16, 5, 5, 120), "L5": nn.ReLU(),
        "Φ6": nn.Linear(120, 84), "L6": nn.ReLU(),
        "Φs": nn.Linear(84, 10), "scores": nn.Identity(),
    }  # fmt: skip
    return named(layers)


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
    return named(layers)


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
    return named(layers)


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
        "mean": nn.AdaptiveAvgPool2d(1), "features": nn.Flatten(), "drop": nn.Dropout(0.2),
        "scores": nn.Linear(1024, 1000),
    }  # fmt: skip
    return named(layers)


@dataclass(frozen=True)
class Network:
    """A program of `examples/`, the same network in PyTorch, and the image that it takes."""

    name: str
    build: Callable[[], nn.Sequential]
    image: tuple[int, int, int]
    folder: Path = EXAMPLES

    @property
    def path(self) -> Path:
        """The program's file."""
        return self.folder / f"{self.name}.maj"

    @property
    def is_text(self) -> bool:
        """Whether it takes texts, and no images."""
        return False

    @property
    def text(self) -> str:
        """The program as a text that can stand anywhere: its imports have full paths."""
        return self.path.read_text(encoding="utf-8").replace('import "', f'import "{self.folder.as_posix()}/')

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


GROUPED = partial(families.bottleneck, narrowing=2, groups=32)
NETWORKS = {
    network.name: network
    for network in (
        Network("lenet", lenet, (28, 28, 1)),
        Network("alexnet", alexnet, (227, 227, 3)),
        Network("alexnet_pytorch", alexnet_pytorch, (224, 224, 3)),
        Network("vgg16", partial(families.vgg, 224, [[3] * 2] * 2 + [[3] * 3] * 3), (224, 224, 3)),
        Network("resnet18", partial(families.resnet, 224, (2, 2, 2, 2)), (224, 224, 3)),
        Network("resnet50", partial(families.resnet, 224, (3, 4, 6, 3), families.bottleneck, 256), (224, 224, 3)),
        Network("resnext50_32x4d", partial(families.resnet, 224, (3, 4, 6, 3), GROUPED, 256), (224, 224, 3)),
        Network("mobilenet_v2", partial(families.mobilenet_v2, 224, 1), (224, 224, 3)),
        Network("squeezenet1_1", partial(families.squeezenet, 224, 64, 3, (3, 5)), (224, 224, 3)),
        Network("googlenet", googlenet, (224, 224, 3)),
        Network("densenet121", partial(families.densenet, 224, (6, 12, 24, 16)), (224, 224, 3)),
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
