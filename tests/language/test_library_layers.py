"""Fully connected layers, activations, dropout, losses, embeddings and first values of the library."""

from __future__ import annotations

import math

import numpy
import pytest
from programs import Array, checked, close, numbers, parameters, refused, shape, values, weights_of

torch = pytest.importorskip("torch")
functional = torch.nn.functional


def test_fully_connected_flattens_row_by_row() -> None:
    L, W, B = numbers(2, 3, 4, 5), numbers(60, 7), numbers(7)
    for name in ("FC", "FullyConnected"):
        found = values(f"Given L[3, 4, 5]\ns[7] = {name}(L, Φ)\n", {"L": L}, {"Φ.W": W, "Φ.B": B})["s"]
        close(found, L.reshape(2, 60) @ W + B)


def test_fully_connected_without_a_batch() -> None:
    L, W, B = numbers(3, 4), numbers(12, 7), numbers(7)
    found = values("Given L[3, 4] without batch\ns = FC(L, units 7)\n", {"L": L}, {"s.W": W, "s.B": B})["s"]
    close(found, L.ravel() @ W + B)


def test_linear_acts_on_the_last_axis() -> None:
    L, W, B = numbers(2, 3, 4), numbers(4, 7), numbers(7)
    for name in ("Linear", "Dense"):
        found = values(f"Given L[3, 4]\ns = {name}(L, units 7)\n", {"L": L}, {"s.W": W, "s.B": B})["s"]
        close(found, functional.linear(torch.from_numpy(L), torch.from_numpy(W.T.copy()), torch.from_numpy(B)))


def test_layers_without_bias_have_none() -> None:
    assert list(parameters(checked("Given L[3]\ns = FC(L, units 7, bias false)\noutput s\n"))) == ["s.W"]


def test_one_bundle_used_twice_shares_its_weights() -> None:
    program = checked("Given L[3], M[3]\na = FC(L, Φ, units 7)\nb = FC(Φ, M)\n")
    assert parameters(program) == {"Φ.W": (3, 7), "Φ.B": (7,)}


def test_maxout() -> None:
    L, W, B = numbers(2, 3), numbers(3, 5, 2), numbers(5, 2)
    found = values("Given L[3]\ns = Maxout(L, units 5)\n", {"L": L}, {"s.W": W, "s.B": B})["s"]
    close(found, numpy.maximum(L @ W[..., 0] + B[:, 0], L @ W[..., 1] + B[:, 1]))


def test_embedding_gathers_rows() -> None:
    tokens, E = numpy.array([[3, 0, 1], [2, 2, 4]]), numbers(5, 6)
    found = values(
        "Given tokens[T]: int64\ne = Embedding(tokens, words 5, features 6)\n", {"tokens": tokens}, {"e.E": E}
    )
    close(found["e"], E[tokens])


ACTIVATIONS = {
    "relu": functional.relu, "ReLU": functional.relu, "RELU": functional.relu, "relu6": functional.relu6,
    "LeakyReLU": lambda x: functional.leaky_relu(x, 0.1), "ELU": functional.elu, "softplus": functional.softplus,
    "silu": functional.silu, "gelu": functional.gelu, "hard_sigmoid": functional.hardsigmoid,
    "hard_swish": functional.hardswish, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "Sigmoid": torch.sigmoid,
    "Softmax": lambda x: torch.softmax(x, -1), "identity": lambda x: x,
}  # fmt: skip


@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_activation(name: str) -> None:
    x = 4 * numbers(3, 7)
    close(values(f"Given x[7]\ny = {name}(x)\n", {"x": x})["y"], ACTIVATIONS[name](torch.from_numpy(x)))


def test_activations_with_a_number() -> None:
    x = numbers(3, 7)
    found = values("Given x[7]\ny = elu(x, 0.5)\nz = leaky_relu(x, 0.2)\nw = PReLU(x)\n", {"x": x})
    close(found["y"], functional.elu(torch.from_numpy(x), 0.5))
    close(found["z"], functional.leaky_relu(torch.from_numpy(x), 0.2))
    close(found["w"], functional.prelu(torch.from_numpy(x), torch.full((7,), 0.25, dtype=torch.float64)))


def test_large_numbers_do_not_overflow() -> None:
    x = numpy.array([[-1000.0, 0.0, 1000.0]])
    found = values("Given x[3]\na = ELU(x)\nb = softplus(x)\nc = Softmax(x)\nd = sigmoid(x)\n", {"x": x})
    close(found["a"], [[-1, 0, 1000]])
    close(found["b"], [[0, math.log(2), 1000]])
    close(found["c"], [[0, 0, 1]])
    close(found["d"], [[0, 0.5, 1]])


def test_dropout_in_training_scales_what_it_keeps() -> None:
    x = numpy.ones((50, 40))
    found = values("Given x[40]\ny = Dropout(x, rate 0.25)\n", {"x": x}, mode="training", seed=3)["y"]
    assert set(numpy.unique(found)) == {0.0, 1 / 0.75}
    assert abs((found == 0).mean() - 0.25) < 0.03
    again = values("Given x[40]\ny = Dropout(x, rate 0.25)\n", {"x": x}, mode="training", seed=3, step=1)["y"]
    assert (found != again).any()


def test_dropout_in_use_does_nothing() -> None:
    x = numbers(3, 4)
    close(values("Given x[4]\ny = Dropout(x, 0.4) + 0\n", {"x": x})["y"], x)


def test_dropout_of_channels() -> None:
    x = numpy.ones((20, 3, 3, 8))
    found = values("Given x[3, 3, 8]\ny = Dropout2d(x)\n", {"x": x}, mode="training")["y"]
    assert (found == found[:, :1, :1]).all()
    assert set(numpy.unique(found)) == {0.0, 2.0}


def test_a_rate_of_one_is_refused() -> None:
    refused("Given x[4]\ny = Dropout(x, 1)\n", "E522")


def loss(text: str, inputs: dict[str, Array]) -> float:
    return float(values(text, inputs, mode="training")["q"])


def test_losses() -> None:
    h, y = numbers(4, 6), numbers(4, 6, seed=1)
    a, b = torch.from_numpy(h), torch.from_numpy(y)
    head = "Given h[6], y[6]\n"
    given = {"h": h, "y": y}
    assert loss(head + "loss q = squared_error(h, y)\n", given) == pytest.approx(((h - y) ** 2).sum(-1).mean() / 2)
    assert loss(head + "loss q = MSE(h, y)\n", given) == pytest.approx(float(functional.mse_loss(a, b)))
    assert loss(head + "loss q = absolute_error(h, y)\n", given) == pytest.approx(float(functional.l1_loss(a, b)))
    huber = functional.huber_loss(a, b, delta=0.7)
    assert loss(head + "loss q = huber(h, y, delta 0.7)\n", given) == pytest.approx(float(huber))
    targets = (y > 0).astype(float)
    entropy = functional.binary_cross_entropy_with_logits(a, torch.from_numpy(targets))
    found = loss(head + "loss q = binary_cross_entropy(h, y)\n", {"h": h, "y": targets})
    assert found == pytest.approx(float(entropy))


def test_cross_entropy_and_accuracy() -> None:
    s, label = 30 * numbers(5, 7), numpy.array([0, 6, 3, 3, 1])
    text = "Given s[7], label[]: int64\nloss q = cross_entropy(s, label)\nmetric right = accuracy(s, label)\n"
    found = values(text, {"s": s, "label": label}, mode="training")
    expected = functional.cross_entropy(torch.from_numpy(s), torch.from_numpy(label))
    assert float(found["q"]) == pytest.approx(float(expected))
    assert float(found["right"]) == pytest.approx((s.argmax(-1) == label).mean())


def test_cross_entropy_at_every_position() -> None:
    s, label = numbers(2, 3, 4, 7), numpy.random.default_rng(0).integers(0, 7, (2, 3, 4))
    text = "Given s[3, 4, 7], label[3, 4]: int64\nloss q = cross_entropy(s, label)\n"
    expected = functional.cross_entropy(torch.from_numpy(s.reshape(-1, 7)), torch.from_numpy(label.ravel()))
    assert loss(text, {"s": s, "label": label}) == pytest.approx(float(expected))


def first_values(initialiser: str) -> Array:
    text = f"Given x[200]\nparam W[I, 100] ~ {initialiser}\ny[b, j] = W[I, j] * x[b, I]\n"
    return weights_of(checked(text), seed=5)["W"]


UNIFORM = {
    "xavier": math.sqrt(3 / 200),
    "glorot": math.sqrt(6 / 300),
    "he_uniform": math.sqrt(6 / 200),
    "uniform(-2, 2)": 2,
}
NORMAL = {
    "he": math.sqrt(2 / 200), "lecun": math.sqrt(1 / 200), "glorot_normal": math.sqrt(2 / 300), "normal(0, 3)": 3.0,
}  # fmt: skip


@pytest.mark.parametrize("name", list(UNIFORM))
def test_uniform_first_values(name: str) -> None:
    W, limit = first_values(name), UNIFORM[name]
    assert abs(W).max() <= limit * (1 + 1e-6)
    assert abs(W).max() > 0.99 * limit
    assert W.std() == pytest.approx(limit / math.sqrt(3), rel=0.02)


@pytest.mark.parametrize("name", list(NORMAL))
def test_normal_first_values(name: str) -> None:
    W, deviation = first_values(name), NORMAL[name]
    assert W.std() == pytest.approx(deviation, rel=0.02)
    assert abs(W.mean()) < 0.02 * deviation
    assert (abs(W) < deviation).mean() == pytest.approx(0.6827, abs=0.01)


def test_truncated_normal_first_values() -> None:
    W = first_values("truncated_normal(1, 0.5)")
    assert abs(W - 1).max() <= 1.0005
    assert W.std() == pytest.approx(0.5 * 0.8796, rel=0.02)


def test_constant_first_values() -> None:
    assert (first_values("zeros") == 0).all()
    assert (first_values("ones") == 1).all()
    assert (first_values("constant(0.5)") == 0.5).all()


def test_fans_of_a_convolution_count_its_window() -> None:
    """The slides' Xavier: N is the number of summed terms, here 3*3*8."""
    W = weights_of(checked("Given L[8, 8, 8]\nA = Conv(L, width 3, filters 64)\n"))["A.W"]
    assert abs(W).max() == pytest.approx(math.sqrt(3 / 72), rel=1e-3)
    assert shape(checked("Given L[8, 8, 8]\nA = Conv(L, width 3, filters 64)\n"), "A") == (6, 6, 64)
