"""The library's recurrent cells and attention against PyTorch's, in float64."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
from programs import Array, close, numbers, refused, values

torch = pytest.importorskip("torch")


def stacked(W: Array) -> Any:
    """[in, gate, out] as PyTorch has it: [gate out, in]."""
    return torch.from_numpy(numpy.moveaxis(W.reshape(len(W), -1), 0, 1).copy())


def cell(kind: Any, W: Array, U: Array, B: Array, C: Array) -> Any:
    """A PyTorch cell with the weights of a cell of the library."""
    made = kind(len(U), len(W), batch_first=True, dtype=torch.float64)
    made.weight_hh_l0.data, made.weight_ih_l0.data = stacked(W), stacked(U)
    made.bias_ih_l0.data, made.bias_hh_l0.data = torch.from_numpy(B.ravel().copy()), torch.from_numpy(C.ravel().copy())
    return made


def test_rnn() -> None:
    x, W, U, B = numbers(2, 7, 3), numbers(4, 4), numbers(3, 4), numbers(4)
    found = values("Given x[T, 3]\nh = RNN(x, units 4)\noutput h\n", {"x": x}, {"h.W": W, "h.U": U, "h.B": B})
    expected, _ = cell(torch.nn.RNN, W, U, B, 0 * B)(torch.from_numpy(x))
    close(found["h"], expected.detach().numpy())


def test_lstm_gates_are_input_forget_candidate_output() -> None:
    x, W, U, B = numbers(2, 7, 3), numbers(5, 4, 5), numbers(3, 4, 5), numbers(4, 5)
    text = "Given x[7, 3]\nh, c = LSTM(x, units 5)\noutput h, c\n"
    found = values(text, {"x": x}, {"h.W": W, "h.U": U, "h.B": B})
    expected, (_, last) = cell(torch.nn.LSTM, W, U, B, 0 * B)(torch.from_numpy(x))
    close(found["h"], expected.detach().numpy())
    close(found["c"][:, -1], last[0].detach().numpy())


def test_gru_gates_are_reset_update_candidate() -> None:
    x, W, U, B, C = numbers(2, 7, 3), numbers(5, 3, 5), numbers(3, 3, 5), numbers(3, 5), numbers(3, 5, seed=1)
    text = "Given x[T, 3]\nh = GRU(x, units 5)\noutput h\n"
    found = values(text, {"x": x}, {"h.W": W, "h.U": U, "h.B": B, "h.C": C})
    expected, _ = cell(torch.nn.GRU, W, U, B, C)(torch.from_numpy(x))
    close(found["h"], expected.detach().numpy())


@pytest.mark.parametrize("causal", [False, True])
def test_scaled_dot_product_attention(causal: bool) -> None:
    Q, K, V = numbers(2, 5, 4), numbers(2, 5, 4, seed=1), numbers(2, 5, 3, seed=2)
    text = f"Given Q[5, 4], K[5, 4], V[5, 3]\nA = Attention(Q, K, V, causal {str(causal).lower()})\n"
    expected = torch.nn.functional.scaled_dot_product_attention(*map(torch.from_numpy, (Q, K, V)), is_causal=causal)
    close(values(text, {"Q": Q, "K": K, "V": V})["A"], expected.numpy())


def projections(features: int, heads: int, seed: int) -> dict[str, Array]:
    D = features // heads
    found = {f"W_{n}": numbers(features, heads, D, seed=seed + k) for k, n in enumerate("qkv")}
    found |= {f"B_{n}": numbers(heads, D, seed=seed + 3 + k) for k, n in enumerate("qkv")}
    return found | {"W_o": numbers(heads, D, features, seed=seed + 6), "B_o": numbers(features, seed=seed + 7)}


def attention_module(weights: dict[str, Array], features: int, heads: int) -> Any:
    """PyTorch's multi-head attention with the library's weights."""
    module = torch.nn.MultiheadAttention(features, heads, batch_first=True, dtype=torch.float64)
    flat = [weights[f"W_{n}"].reshape(features, features).T for n in "qkv"]
    module.in_proj_weight.data = torch.from_numpy(numpy.concatenate(flat))
    module.in_proj_bias.data = torch.from_numpy(numpy.concatenate([weights[f"B_{n}"].ravel() for n in "qkv"]))
    module.out_proj.weight.data = torch.from_numpy(weights["W_o"].reshape(features, features).T.copy())
    module.out_proj.bias.data = torch.from_numpy(weights["B_o"])
    return module


@pytest.mark.parametrize("causal", [False, True])
def test_multi_head_attention(causal: bool) -> None:
    X, weights = numbers(2, 5, 6), projections(6, 3, 10)
    text = f"Given X[T, 6]\nA = MultiHeadAttention(X, heads 3, causal {str(causal).lower()})\n"
    x = torch.from_numpy(X)
    mask = torch.nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64) if causal else None
    expected, _ = attention_module(weights, 6, 3)(x, x, x, attn_mask=mask, is_causal=causal)
    close(values(text, {"X": X}, {f"A.{n}": w for n, w in weights.items()})["A"], expected.detach().numpy())


def test_cross_attention() -> None:
    X, Y, weights = numbers(2, 5, 6), numbers(2, 7, 6, seed=1), projections(6, 2, 20)
    text = "Given X[5, 6], Y[7, 6]\nA = CrossAttention(X, Y, heads 2)\n"
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    expected, _ = attention_module(weights, 6, 2)(x, y, y)
    close(values(text, {"X": X, "Y": Y}, {f"A.{n}": w for n, w in weights.items()})["A"], expected.detach().numpy())


def test_heads_that_do_not_divide_are_refused() -> None:
    refused("Given X[5, 6]\nA = MultiHeadAttention(X, heads 4)\n", "E522")


def test_encoder_block_is_pytorchs_with_the_norm_first() -> None:
    X, weights = numbers(2, 5, 6), projections(6, 2, 30)
    more = {
        "norm1.γ": numbers(6, seed=40), "norm1.β": numbers(6, seed=41), "norm2.γ": numbers(6, seed=42),
        "norm2.β": numbers(6, seed=43), "linear1.W": numbers(6, 8), "linear1.B": numbers(8),
        "linear2.W": numbers(8, 6), "linear2.B": numbers(6, seed=44),
    }  # fmt: skip
    given = {f"A.attention.{n}": w for n, w in weights.items()} | {f"A.{n}": w for n, w in more.items()}
    found = values("Given X[5, 6]\nA = EncoderBlock(X, heads 2, hidden 8)\n", {"X": X}, given)["A"]
    layer = torch.nn.TransformerEncoderLayer(
        6, 2, 8, dropout=0.0, activation="gelu", batch_first=True, norm_first=True, dtype=torch.float64
    )
    layer.self_attn = attention_module(weights, 6, 2)
    for norm in ("norm1", "norm2"):
        getattr(layer, norm).weight.data = torch.from_numpy(more[f"{norm}.γ"])
        getattr(layer, norm).bias.data = torch.from_numpy(more[f"{norm}.β"])
    for linear in ("linear1", "linear2"):
        getattr(layer, linear).weight.data = torch.from_numpy(more[f"{linear}.W"].T.copy())
        getattr(layer, linear).bias.data = torch.from_numpy(more[f"{linear}.B"])
    close(found, layer(torch.from_numpy(X)).detach().numpy())
