"""What comes again in a model: layers and loops of the imported program, and weights under their new names."""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy
import pytest

import majuscule
from majuscule.onnx.naming import Names
from majuscule.onnx.repeats import folded
from majuscule.onnx.writing import Program

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")
families = pytest.importorskip("peer_families")

RESIDUAL = """\
net_first = Conv(image, filters 8)
net_a_1_conv = Conv(net_first, width 3, pad 1, filters 8)
net_a_1_relu = relu(net_a_1_conv)
net_a_1_add = net_a_1_relu + net_first
net_a_2_conv = Conv(net_a_1_add, width 3, pad 1, filters 8)
net_a_2_relu = relu(net_a_2_conv)
net_a_2_add = net_a_2_relu + net_a_1_add
net_a_3_conv = Conv(net_a_2_add, width 3, pad 1, filters 8)
net_a_3_relu = relu(net_a_3_conv)
net_a_3_add = net_a_3_relu + net_a_2_add
net_last = MaxPool(net_a_3_add, width 2)
"""


def fold(
    text: str, outputs: Sequence[str] = ("net_last",), weights: Sequence[str] = ()
) -> tuple[list[str], list[str], list[str]]:
    """Definitions, statements, and the names of weights."""
    arrays = {name: numpy.zeros(1) for name in weights}
    layers, lines, kept = folded(text.splitlines(), ["image"], outputs, arrays, Names())
    return layers, lines, list(kept)


def test_blocks_become_a_layer_and_a_loop() -> None:
    layers, lines, weights = fold(RESIDUAL, weights=["net_first.W", "net_a_2_conv.W", "net_a_3_conv.B"])
    assert layers == [
        "layer Block(L, Φ):",
        "    conv = Conv(L, width 3, pad 1, filters 8)",
        "    relu_1 = relu(conv)",
        "    return relu_1 + L",
    ]
    assert lines == [
        "net_first = Conv(image, filters 8)",
        "net_a_1 = Block(net_first)",
        "for l in 2..4:",
        "    net_a_{l} = Block(net_a_{l-1})",
        "net_last = MaxPool(net_a_3, width 2)",
    ]
    assert weights == ["net_first.W", "net_a_2.conv.W", "net_a_3.conv.B"]


def test_numbers_that_differ_become_parameters() -> None:
    layers, lines, _ = fold(
        RESIDUAL.replace("net_a_2_add, width 3, pad 1, filters 8", "net_a_2_add, width 3, pad 1, filters 9")
    )
    assert layers[0] == "layer Block(L, Φ, filters J):"
    assert lines[1:4] == [
        "net_a_1 = Block(net_first, filters 8)",
        "net_a_2 = Block(net_a_1, filters 8)",
        "net_a_3 = Block(net_a_2, filters 9)",
    ]


def test_what_is_read_elsewhere_stays() -> None:
    text = RESIDUAL.replace("MaxPool(net_a_3_add, width 2)", "net_a_3_add + net_a_2_relu")
    layers, lines, _ = fold(text)
    assert layers, "the first and the last block are equal still"
    assert "net_a_2_relu = relu(net_a_2_conv)" in lines
    assert fold(RESIDUAL, outputs=["net_last", "net_a_1_relu", "net_a_2_relu"])[0] == []


def test_an_output_keeps_its_name() -> None:
    _, lines, _ = fold(RESIDUAL, outputs=["net_last", "net_a_2_add"])
    assert "net_a_2_add = Block(net_a_1)" in lines
    assert "net_a_3 = Block(net_a_2_add)" in lines


def test_chains_and_what_is_defined_in_parts_are_left_alone() -> None:
    chain = "".join(
        f"n_{k + 1}_conv = Conv(n_{k}_relu, filters 8)\nn_{k + 1}_relu = relu(n_{k + 1}_conv)\n" for k in range(4)
    )
    assert fold(chain, outputs=["n_4_relu"])[0] == []
    parts = "".join(
        f"m_{k}_a[b,0] = image[b,0]\nm_{k}_a[b,1] = image[b,1]\nm_{k}_c = m_{k}_a + m_{k}_a\nm_{k}_d = relu(m_{k}_c)\n"
        for k in range(3)
    )
    assert fold(parts, outputs=[f"m_{k}_d" for k in range(3)])[0] == []


def test_indices_that_are_called_as_tensors_are() -> None:
    text = "".join(
        f"n_{k}_a = relu(x)\nn_{k}_b = tanh(n_{k}_a)\nn_{k}_c[b,x,y] = n_{k}_a[b,x,y] + n_{k}_b[b,x,y]\n"
        for k in range(2)
    )
    layers, _, _ = folded(text.splitlines(), ["x"], ["n_0_c", "n_1_c"], {}, Names())
    assert layers == []


NETWORKS = {
    "resnet": (lambda: families.resnet(32, (2, 3, 4, 2)), 32, ["layer Block(L, Φ, filters J)", "for l in 2..5:"]),
    "densenet": (lambda: families.densenet(32, (4, 2, 2, 2), 8), 32, ["concat[b,x,y,I1+I2] =", "for l in 2..5:"]),
    "squeezenet": (lambda: families.squeezenet(32, 16, 3, (3, 5)), 32, ["filters 16, filters2 64"]),
    "mobilenet": (lambda: families.mobilenet_v2(32, 0.35), 32, ["return L + conv"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_networks_with_blocks_compute_the_same(network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    build, rows, said = NETWORKS[network]
    torch.manual_seed(0)
    model, images = build().eval(), torch.randn(2, 3, rows, rows)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (images,), file, dynamo=False)
    given: Any = onnx.load_from_string(file.getvalue())
    found = majuscule.import_onnx(given)
    for part in said:
        assert part in found.text, found.text
    monkeypatch.setattr(Program, "fold", lambda self, inputs: self)
    plain = majuscule.import_onnx(given)
    assert len(found.text.splitlines()) < 0.75 * len(plain.text.splitlines())
    assert sum(array.size for array in found.weights.values()) == sum(array.size for array in plain.weights.values())
    wanted = model(images).detach().numpy()
    run = functools.partial(numpy.transpose, images.numpy(), (0, 2, 3, 1))
    for program in (found, plain):
        with majuscule.compile(program.text, weights=program.weights, exact=True) as module:
            result = module(numpy.ascontiguousarray(run()))
        numpy.testing.assert_allclose(result, wanted, rtol=1e-3, atol=1e-4 * numpy.abs(wanted).max())
