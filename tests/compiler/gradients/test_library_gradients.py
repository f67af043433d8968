"""Gradients of every layer of the library, against central differences in float64, as in training."""

from __future__ import annotations

import pytest
from differences import assert_gradients, program_of
from library_layers import LAYERS, OTHERS, names_in_the_library
from reading_back import assert_prints


def test_every_layer_is_here() -> None:
    assert names_in_the_library() == LAYERS.keys() | OTHERS.keys()


SLOW = {"CrossAttention", "DenseBlock", "Bottleneck", "EncoderBlock", "ResidualBlock", "Inception", "InvertedResidual"}
"""Layers made of many others."""


@pytest.mark.parametrize("layer", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in LAYERS])
def test_layers(layer: str) -> None:
    assert_gradients(LAYERS[layer] + "\n", mode="training", tolerance=1e-5, most=8)


RANDOM = {"Dropout", "Dropout2d", "EncoderBlock"}


@pytest.mark.slow
@pytest.mark.parametrize("layer", sorted(LAYERS.keys() - RANDOM))
def test_printed_gradients_of_layers(layer: str) -> None:
    assert_prints(program_of(LAYERS[layer] + "\n", "training"))
