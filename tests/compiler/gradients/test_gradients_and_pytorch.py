"""Gradients of layers against PyTorch's autograd, both in float64."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy
import pytest
from differences import program_of, run, values_for

from majuscule.compiler.gradients import gradients

torch = pytest.importorskip("torch")
functional = pytest.importorskip("torch.nn.functional")

Tensors = Mapping[str, Any]
CHANNELS_FIRST = (0, 3, 1, 2)
CHANNELS_LAST = (0, 2, 3, 1)
WEIGHT = (3, 2, 0, 1)
"""From [window, channels in, channels out] to [channels out, channels in, window]."""


def assert_as_in_pytorch(
    text: str,
    function: Callable[[Tensors], Any],
    mode: str = "training",
    values: Mapping[str, Any] | None = None,
    sizes: Mapping[str, int] | None = None,
) -> None:
    """The gradients of one result with respect to all floats are those of a function in PyTorch."""
    program = program_of(text, mode)
    found = gradients(
        program, None, [n for n in program.operations if n in values_for(program) and _is_float(program, n)]
    )
    given = {**values_for(found.program, sizes), **(values or {})}
    tensors = {name: torch.tensor(value, requires_grad=value.dtype.kind == "f") for name, value in given.items()}
    result = function(tensors)
    cotangents = list(found.cotangents.values())
    loss = (result * tensors[cotangents[0]]).sum() if cotangents else result
    names = list(found.tensors)
    expected = torch.autograd.grad(loss, [tensors[name] for name in names], materialize_grads=True)
    made = run(found.program, given, list(found.tensors.values()))
    for name, gradient in zip(names, expected, strict=True):
        numpy.testing.assert_allclose(
            made[found.tensors[name]], gradient.numpy(), rtol=1e-8, atol=1e-9, err_msg=f"with respect to {name}"
        )


def _is_float(program: Any, name: str) -> bool:
    return str(program.operations[name].dtype).startswith("float") and hasattr(program.operations[name], "dtype")


@pytest.mark.parametrize(
    ("size", "width", "stride", "pad", "dilation", "groups"),
    [
        *((9, 3, stride, pad, 1, 1) for stride, pad in itertools.product((1, 2, 3), (0, 1))),
        (8, 3, 2, 1, 1, 1),  # rows that no window reaches
        (11, 3, 2, 2, 2, 1),
        (10, 2, 3, 0, 2, 1),  # gaps between windows
        (9, 1, 2, 0, 1, 1),
        (9, 3, 1, 1, 1, 2),
        (9, 3, 2, 1, 2, 4),
        (12, 5, 4, 0, 1, 1),
    ],
)
def test_convolutions(size: int, width: int, stride: int, pad: int, dilation: int, groups: int) -> None:
    text = f"""Given L[{size}, {size}, 4]
R = Conv(L, Φ1, width {width}, stride {stride}, pad {pad}, dilation {dilation}, groups {groups}, filters 8)
"""

    def convolve(t: Tensors) -> Any:
        image, weight = t["L"].permute(CHANNELS_FIRST), t["Φ1.W"].permute(WEIGHT)
        return functional.conv2d(image, weight, t["Φ1.B"], stride, pad, dilation, groups).permute(CHANNELS_LAST)

    assert_as_in_pytorch(text, convolve)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_modes(mode: str) -> None:
    def convolve(t: Tensors) -> Any:
        image = functional.pad(t["L"].permute(CHANNELS_FIRST), (2, 2, 2, 2), mode)
        return functional.conv2d(image, t["Φ1.W"].permute(WEIGHT), t["Φ1.B"], 2).permute(CHANNELS_LAST)

    assert_as_in_pytorch(
        f"Given L[7, 6, 3]\nR = Conv(L, Φ1, width 3, stride 2, pad 2, filters 4, mode {mode})\n", convolve
    )


@pytest.mark.parametrize(
    ("stride", "pad", "outpad", "dilation"), [(1, 0, 0, 1), (2, 1, 1, 1), (3, 1, 0, 1), (2, 0, 0, 2)]
)
def test_transposed_convolutions(stride: int, pad: int, outpad: int, dilation: int) -> None:
    text = f"""Given L[5, 4, 3]
R = ConvTranspose(L, Φ1, width 3, stride {stride}, pad {pad}, outpad {outpad}, dilation {dilation}, filters 2)
"""

    def convolve(t: Tensors) -> Any:
        weight = t["Φ1.W"].permute(2, 3, 0, 1)
        image = t["L"].permute(CHANNELS_FIRST)
        made = functional.conv_transpose2d(image, weight, t["Φ1.B"], stride, pad, outpad, 1, dilation)
        return made.permute(CHANNELS_LAST)

    assert_as_in_pytorch(text, convolve)


@pytest.mark.parametrize(
    ("size", "width", "stride", "pad", "ceil"),
    [(9, 3, 2, 0, False), (10, 3, 2, 1, False), (10, 3, 2, 0, True), (8, 2, 2, 0, False), (9, 2, 3, 1, False)],
)
def test_pooling_and_ties(size: int, width: int, stride: int, pad: int, ceil: bool) -> None:
    image = numpy.random.default_rng(1).integers(0, 3, (2, size, size, 2)).astype(float)  # many ties
    options = f"width {width}, stride {stride}, pad {pad}, ceil {str(ceil).lower()}"

    def largest(t: Tensors) -> Any:
        pooled = functional.max_pool2d(t["L"].permute(CHANNELS_FIRST), width, stride, pad, 1, ceil)
        return pooled.permute(CHANNELS_LAST)

    def mean(t: Tensors) -> Any:
        image = t["L"].permute(CHANNELS_FIRST)
        return functional.avg_pool2d(image, width, stride, pad, ceil, False).permute(CHANNELS_LAST)

    given = f"Given L[{size}, {size}, 2]\n"
    assert_as_in_pytorch(f"{given}R = MaxPool(L, {options})\n", largest, values={"L": image})
    assert_as_in_pytorch(f"{given}R = MeanPool(L, {options})\n", mean)


def test_normalisations_with_the_statistics_of_the_batch() -> None:
    given = "Given L[4, 3, 4]\n"

    def first(t: Tensors) -> Any:
        return t["L"].permute(CHANNELS_FIRST)

    def batch(t: Tensors) -> Any:
        return functional.batch_norm(first(t), None, None, t["Φ1.γ"], t["Φ1.β"], True).permute(CHANNELS_LAST)

    def layer(t: Tensors) -> Any:
        return functional.layer_norm(t["L"], (4,), t["Φ1.γ"], t["Φ1.β"])

    def group(t: Tensors) -> Any:
        return functional.group_norm(first(t), 2, t["Φ1.γ"], t["Φ1.β"]).permute(CHANNELS_LAST)

    def instance(t: Tensors) -> Any:
        return functional.instance_norm(first(t)).permute(CHANNELS_LAST)

    def response(t: Tensors) -> Any:
        return functional.local_response_norm(first(t), 3, 0.5, 0.75, 1.0).permute(CHANNELS_LAST)

    assert_as_in_pytorch(given + "R = BatchNorm(L, Φ1)\n", batch)
    assert_as_in_pytorch(given + "R = LayerNorm(L, Φ1)\n", layer)
    assert_as_in_pytorch(given + "R = GroupNorm(L, Φ1, groups 2)\n", group)
    assert_as_in_pytorch(given + "R = InstanceNorm(L)\n", instance)
    assert_as_in_pytorch(given + "R = LocalResponseNorm(L, size 3, alpha 0.5)\n", response)


def test_losses() -> None:
    scores = "Given s[4], label[]: int64\n"
    pair = "Given h[4], y[4]\n"
    losses: dict[str, Callable[[Tensors], Any]] = {
        scores + "loss J = CrossEntropy(s, label)\n": lambda t: functional.cross_entropy(t["s"], t["label"]),
        pair + "loss J = MeanSquaredError(h, y)\n": lambda t: functional.mse_loss(t["h"], t["y"]),
        pair + "loss J = AbsoluteError(h, y)\n": lambda t: functional.l1_loss(t["h"], t["y"]),
        pair + "loss J = Huber(h, y)\n": lambda t: functional.huber_loss(t["h"], t["y"]),
        pair + "loss J = BinaryCrossEntropy(h, y)\n": lambda t: functional.binary_cross_entropy_with_logits(
            t["h"], t["y"]
        ),
    }
    for text, function in losses.items():
        assert_as_in_pytorch(text, function)


def test_activations_where_they_have_slopes() -> None:
    x = {"x": numpy.concatenate([numpy.linspace(-4.1, 4.2, 23), [0.0]]).reshape(2, 12)}
    root = float(numpy.float32(2**0.5))  # numbers of the library are float32

    def gelu(x: Any) -> Any:
        return 0.5 * x * (1 + torch.erf(x / root))

    functions: dict[str, Callable[[Any], Any]] = {
        "relu": functional.relu, "relu6": functional.relu6, "elu(x, 1)": functional.elu, "silu": functional.silu,
        "softplus": functional.softplus, "gelu": gelu, "hard_sigmoid": lambda x: functional.relu6(x + 3) / 6,
        "sigmoid": torch.sigmoid, "tanh": torch.tanh, "abs": torch.abs,
    }  # fmt: skip
    for name, function in functions.items():
        call = name if "(" in name else f"{name}(x)"
        values = {"x": x["x"][:, :-1]} if name in ("softplus", "gelu", "elu(x, 1)") else x
        size = values["x"].shape[1]
        assert_as_in_pytorch(f"Given x[{size}]: float64\nR = {call}\n", lambda t, f=function: f(t["x"]), values=values)


def test_gathers_with_duplicates() -> None:
    tokens = numpy.array([[1, 3, 1, 1], [0, 3, 2, 1]])
    assert_as_in_pytorch(
        "Given t[T]: int64\nR = Embedding(t, Φ1, words 5, features 3)\n",
        lambda t: functional.embedding(t["t"], t["Φ1.E"] if "Φ1.E" in t else t["Φ1.W"]),
        values={"t": tokens},
    )


def test_a_recurrent_layer() -> None:
    def lstm(t: Tensors) -> Any:
        units = 3
        unit = torch.nn.LSTM(2, units, batch_first=True, dtype=torch.float64)
        weights = {
            "weight_ih_l0": t["Φ1.U"].permute(1, 2, 0).reshape(4 * units, 2),
            "weight_hh_l0": t["Φ1.W"].permute(1, 2, 0).reshape(4 * units, units),
            "bias_ih_l0": t["Φ1.B"].reshape(-1),
            "bias_hh_l0": torch.zeros(4 * units, dtype=torch.float64),
        }
        return torch.func.functional_call(unit, weights, (t["x"],))[0]

    assert_as_in_pytorch("Given x[T, 2]\nR, c = LSTM(x, Φ1, units 3)\noutput R\n", lstm, sizes={"T": 5})


def test_diagonals_and_two_offsets() -> None:
    assert_as_in_pytorch(
        "Given A[5, 5], x[9]\nR[b,i in 0..5] = A[b,i,i] * x[b,i+2] * x[b,i+1] * x[b,2*i]\n",
        lambda t: torch.diagonal(t["A"], 0, 1, 2) * t["x"][:, 2:7] * t["x"][:, 1:6] * t["x"][:, ::2],
    )


def test_attention() -> None:
    assert_as_in_pytorch(
        "Given Q[4, 3], K[4, 3], V[4, 2]\nR = Attention(Q, K, V, causal true)\n",
        lambda t: functional.scaled_dot_product_attention(t["Q"], t["K"], t["V"], is_causal=True),
    )
