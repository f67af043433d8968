"""The networks of `examples/networks/` in PyTorch, by name: how each is built, and how many parameters it has by its
authors or by PyTorch's own copy.

With `peers.NETWORKS`, the networks that are timed, these are all that come along with published numbers (`KNOWN`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import peer_families as families
import peers
import published_further as further
import published_inception as inception
import published_small as small
import torch
from peers import EXAMPLES, Array, Network
from published import mnasnet, preactivation_resnet, shufflenet_v2

FOLDER = EXAMPLES / "networks"
SMALL = (32, 32, 3)
"""The images of CIFAR-10."""


@dataclass(frozen=True)
class Published(Network):
    """A network with its number of parameters; `length` is that of a text, if it takes one and no image."""

    parameters: int = 0
    length: int = 0

    @property
    def is_text(self) -> bool:
        """Whether it takes texts, and no images."""
        return self.length > 0

    def images(self, count: int, seed: int = 1) -> Array:
        """Images as those of `Network`, or texts [count, length] of ASCII characters."""
        if self.is_text:
            return numpy.random.default_rng(seed).integers(0, 128, (count, self.length))
        return super().images(count, seed)

    def peer(self, seed: int = 0, count: int = 4) -> torch.nn.Sequential:
        """As that of `Network`; weights for texts are those that PyTorch draws."""
        if self.is_text:
            torch.manual_seed(seed)
            return self.build().eval()
        return super().peer(seed, count)


def network(
    name: str,
    parameters: int,
    build: Callable[..., Any],
    *arguments: Any,
    image: tuple[int, int, int] = (224, 224, 3),
    length: int = 0,
    folder: Path = FOLDER,
    **options: Any,
) -> Published:
    """A network whose builder takes the rows of the image and then these arguments."""
    return Published(name, partial(build, image[0], *arguments, **options), image, folder, parameters, length)


GROUPED = partial(families.bottleneck, narrowing=1, groups=32)
WIDE = partial(families.bottleneck, narrowing=2)
_ALL = (
    network("resnet34", 21_797_672, families.resnet, (3, 4, 6, 3)),
    network("plain34", 21_623_848, families.resnet, (3, 4, 6, 3), families.plain),
    network("resnet101", 44_549_160, families.resnet, (3, 4, 23, 3), families.bottleneck, 256),
    network("resnet152", 60_192_808, families.resnet, (3, 8, 36, 3), families.bottleneck, 256),
    network("preactivation_resnet50", 25_549_352, preactivation_resnet, (3, 4, 6, 3)),
    network("resnext101_32x8d", 88_791_336, families.resnet, (3, 4, 23, 3), GROUPED, 256),
    network("wide_resnet50_2", 68_883_240, families.resnet, (3, 4, 6, 3), WIDE, 256),
    network("vgg11", 132_863_336, families.vgg, ([3], [3], [3, 3], [3, 3], [3, 3])),
    network("vgg11_lrn", 132_863_336, families.vgg, ([3], [3], [3, 3], [3, 3], [3, 3]), normalise=True),
    network("vgg13", 133_047_848, families.vgg, [[3, 3]] * 5),
    network("vgg16_c", 133_638_952, families.vgg, ([3, 3], [3, 3], [3, 3, 1], [3, 3, 1], [3, 3, 1])),
    network("vgg19", 143_667_240, families.vgg, ([3, 3], [3, 3], [3] * 4, [3] * 4, [3] * 4)),
    network("squeezenet1_0", 1_248_424, families.squeezenet, 96, 7, (4, 8)),
    network("densenet161", 28_681_000, families.densenet, (6, 12, 36, 24), growth=48),
    network("densenet169", 14_149_480, families.densenet, (6, 12, 32, 32)),
    network("densenet201", 20_013_928, families.densenet, (6, 12, 48, 32)),
    network("shufflenet_v2_x0_5", 1_366_792, shufflenet_v2, (48, 96, 192)),
    network("shufflenet_v2_x1_0", 2_278_604, shufflenet_v2, (116, 232, 464)),
    network("shufflenet_v2_x1_5", 3_503_624, shufflenet_v2, (176, 352, 704)),
    network("shufflenet_v2_x2_0", 7_393_996, shufflenet_v2, (244, 488, 976), last=2048),
    network("mnasnet0_5", 2_218_512, mnasnet, (16, 8, 16, 24, 40, 48, 96, 160)),
    network("mnasnet0_75", 3_170_208, mnasnet, (24, 16, 24, 32, 64, 72, 144, 240)),
    network("mnasnet1_0", 4_383_312, mnasnet, (32, 16, 24, 40, 80, 96, 192, 320)),
    network("mnasnet1_3", 6_282_256, mnasnet, (40, 24, 32, 56, 104, 128, 248, 416)),
    network("linear_classifier", 30_730, small.linear_classifier, image=SMALL),
    network("mlp", 266_610, small.mlp, image=(28, 28, 1)),
    network("cifar_convnet", 31_066, small.cifar_convnet, image=SMALL),
    network("zfnet", 107_627_624, small.zfnet),
    network("classifier_32", 61_706, small.lenet_of_convolutions, image=(32, 32, 1)),
    network("classifier_everywhere", 61_706, small.lenet_of_convolutions, True, image=(40, 40, 1)),
    network("resnet32_cifar", 464_154, small.small_resnet, 5, image=SMALL),
    network("plain32_cifar", 464_154, small.small_resnet, 5, families.plain, image=SMALL),
    network("preactivation_resnet32_cifar", 466_714, small.small_preactivation_resnet, 5, image=SMALL),
    network("resnet44_cifar", 658_586, small.small_resnet, 7, image=SMALL),
    network("plain44_cifar", 658_586, small.small_resnet, 7, families.plain, image=SMALL),
    network("preactivation_resnet44_cifar", 661_146, small.small_preactivation_resnet, 7, image=SMALL),
    network("resnet56_cifar", 853_018, small.small_resnet, 9, image=SMALL),
    network("plain56_cifar", 853_018, small.small_resnet, 9, families.plain, image=SMALL),
    network("preactivation_resnet56_cifar", 855_578, small.small_preactivation_resnet, 9, image=SMALL),
    network("resnet110_cifar", 1_727_962, small.small_resnet, 18, image=SMALL),
    network("plain110_cifar", 1_727_962, small.small_resnet, 18, families.plain, image=SMALL),
    network("preactivation_resnet110_cifar", 1_730_522, small.small_preactivation_resnet, 18, image=SMALL),
    network("resnet_cifar", 269_722, small.small_resnet, 3, image=SMALL, folder=EXAMPLES),
    network("plain20_cifar", 269_722, small.small_resnet, 3, families.plain, image=SMALL),
    network("preactivation_resnet20_cifar", 272_282, small.small_preactivation_resnet, 3, image=SMALL),
    network("mobilenet_v2_0_35", 1_677_128, families.mobilenet_v2, 0.35),
    network("mobilenet_v2_0_5", 1_968_680, families.mobilenet_v2, 0.5),
    network("mobilenet_v2_0_75", 2_636_424, families.mobilenet_v2, 0.75),
    network("mobilenet_v2_1_4", 6_108_776, families.mobilenet_v2, 1.4),
    network("segnet_camvid", 29_441_996, small.segnet, image=(352, 480, 3)),
    network("hypercolumns", 134_365_397, small.hypercolumns),
    network("googlenet_paper", 6_998_552, inception.googlenet),
    network("inception_v3", 23_834_568, inception.inception_v3, image=(299, 299, 3)),
    network("vit_ti_16", 5_717_416, further.vision_transformer, 16, 192, 12, 3),
    network("vit_s_16", 22_050_664, further.vision_transformer, 16, 384, 12, 6),
    network("vit_b_16", 86_567_656, further.vision_transformer, 16, 768, 12, 12),
    network("vit_l_16", 304_326_632, further.vision_transformer, 16, 1024, 24, 16),
    network("alphago_zero", 22_827_877, further.alphago_zero, image=(19, 19, 17)),
    network("alphazero_chess", 23_483_212, further.alphazero_chess, image=(8, 8, 119)),
    network("unet", 31_030_658, further.unet, image=(572, 572, 1)),
    network("fcn32s", 136_152_917, further.fcn, 32),
    network("fcn16s", 134_815_994, further.fcn, 16),
    network("fcn8s", 134_489_759, further.fcn, 8),
    network("language_rnn", 328_320, further.language_model, torch.nn.RNN, length=100),
    network("language_lstm", 1_116_288, further.language_model, torch.nn.LSTM, length=100),
    network("language_gru", 855_168, further.language_model, torch.nn.GRU, length=100),
)
NETWORKS: dict[str, Published] = {found.name: found for found in _ALL}
KNOWN: dict[str, Network] = {**peers.NETWORKS, **NETWORKS}


def outputs(model: torch.nn.Module, given: Array) -> tuple[Array, ...]:
    """What PyTorch gives for images or texts, in the dtype of its weights, channels last."""
    if given.dtype.kind == "i":
        tensor = torch.from_numpy(given)
    else:
        tensor = peers.channels_first(given).to(next(model.parameters()).dtype)
    with torch.inference_mode():
        found = model(tensor)
    return tuple(peers.channels_last(tensor) for tensor in (found if isinstance(found, tuple) else (found,)))
