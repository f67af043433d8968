"""Equations E9 to E17 of the slides: concatenation, groups, cases, layer form, residual and dense blocks, families."""

from __future__ import annotations

import numpy
import pytest
from programs import Array, checked, close, loops, numbers, parameters, refused, shape, values


def correlate(L: Array, W: Array) -> Array:
    """[window, in, out] slid over images, written with einsum over each window."""
    F, G = W.shape[:2]
    X, Y = L.shape[1] - F + 1, L.shape[2] - G + 1
    windows = numpy.lib.stride_tricks.sliding_window_view(L, (F, G), (1, 2))
    assert windows.shape[1:3] == (X, Y)
    return numpy.einsum("bxyiuv,uvij->bxyj", windows, W)


def test_e09_concatenation() -> None:
    L1, L2 = numbers(2, 3, 4, 5), numbers(2, 3, 4, 2)
    text = "Given L1[3, 4, 5], L2[3, 4, 2]\nL[b,x,y,J1+J2] = L1[b,x,y,J1] ; L2[b,x,y,J2]\n"
    close(values(text, {"L1": L1, "L2": L2})["L"], numpy.concatenate([L1, L2], 3))


def test_e10_hypercolumns() -> None:
    L0, L1, L2 = numbers(2, 7, 6, 3), numbers(2, 4, 3, 5), numbers(2, 8)
    text = """
Given L0[7, 6, 3], L1[4, 3, 5], L2[8]
X1 = size(L1, 1)
Y1 = size(L1, 2)
L[b,x,y,J0+J1+J2] = L0[b,x,y,J0] ; L1[b, ⌊x X1/X⌋, ⌊y Y1/Y⌋, J1] ; L2[b,J2]
"""
    expected = numpy.concatenate(
        [
            L0,
            loops((2, 7, 6, 5), lambda b, x, y, j: L1[b, x * 4 // 7, y * 3 // 6, j]),
            numpy.broadcast_to(L2[:, None, None], (2, 7, 6, 8)),
        ],
        3,
    )
    close(values(text, {"L0": L0, "L1": L1, "L2": L2})["L"], expected)


@pytest.mark.parametrize("groups", [2, 4])
def test_e11_grouping_in_one_equation(groups: int) -> None:
    L, W = numbers(2, 5, 5, 4), numbers(groups, 3, 3, 4 // groups, 6 // 2, seed=1)
    text = f"""
Given L[5, 5, 4]
param W[{groups}, 3, 3, {4 // groups}, 3]
L1[b,x,y,(g,j)] = W[g,ΔX,ΔY,I,j] L[b,x+ΔX,y+ΔY,(g,I)]
"""
    size = 4 // groups
    parts = [correlate(L[..., g * size : (g + 1) * size], W[g]) for g in range(groups)]
    close(values(text, {"L": L}, {"W": W})["L1"], numpy.concatenate(parts, 3))


def test_e11_grouping_as_a_concatenation_of_groups() -> None:
    L, W = numbers(2, 5, 5, 4), numbers(3, 3, 2, 6, seed=1)
    text = """
Given L[5, 5, 4]
param W[3, 3, 2, 6]
G = 2
I = 4
for g in 0..2:
    L1_g[b,x,y,j in 0..3] = W[ΔX,ΔY,K,3*g + j] L[b,x+ΔX,y+ΔY,2*g + K]
L1[b,x,y,J0+J1] = L1_0[b,x,y,J0] ; L1_1[b,x,y,J1]
"""
    parts = [correlate(L[..., 2 * g : 2 * g + 2], W[..., 3 * g : 3 * g + 3]) for g in range(2)]
    close(values(text, {"L": L}, {"W": W})["L1"], numpy.concatenate(parts, 3))


def test_e12_layer_form_checks_the_shape_and_finds_the_filters() -> None:
    text = "Given Input[227, 227, 3]\nL1[55x55x96] = ReLU(CONV(Input, Φ1, width 11, pad 0, stride 4))\n"
    assert parameters(checked(text)) == {"Φ1.W": (11, 11, 3, 96), "Φ1.B": (96,)}
    assert refused(text.replace("55x55", "54x54"), "E411").place.line == 2


def test_e13_cases_fill_new_channels_with_zeros() -> None:
    L = numbers(2, 6, 4, 3)
    text = """
Given L[6, 4, 3]
s = 2
L̃[b,x,y,j in 0..6] = { L[b,s*x,s*y,j] for j < J ; 0 otherwise }
"""
    expected = numpy.zeros((2, 3, 2, 6))
    expected[..., :3] = L[:, ::2, ::2]
    close(values(text, {"L": L})["L̃"], expected)


def test_e13_sizes_of_a_family() -> None:
    text = """
Given L_0[32, 32, 4]
s = 2
X_0 = 32
J_0 = 4
for l in 0..3:
    X_{l+1} = X_l/s
    J_{l+1} = J_l*s
    L_{l+1}[b, x in 0..X_{l+1}, y in 0..X_{l+1}, j in 0..J_{l+1}] = { L_l[b,s*x,s*y,j] if j < J_l ; 0 otherwise }
"""
    program = checked(text)
    assert [shape(program, f"L_{k}") for k in range(4)] == [(32, 32, 4), (16, 16, 8), (8, 8, 16), (4, 4, 32)]


def test_e14_statement_prefix() -> None:
    L = numbers(2, 3, 4, 5)
    text = "Given L[3, 4, 5]\nfor b,x,y,j: M[b,x,y,j] = 2*L[b,x,y,j]\n"
    close(values(text, {"L": L})["M"], 2 * L)


def test_e15_residual_with_a_layer_in_slide_form() -> None:
    L, W = numbers(2, 5, 6, 4), numbers(3, 3, 4, 4, seed=1)
    text = """
Given L[5, 6, 4]
param W[3, 3, 4, 4]
param B[4]
R[B,X,Y,J] = Conv(W, B, L[B,X,Y,J], pad 1)
for b,x,y,j: L1[b,x,y,j] = L[b,x,y,j] + R[b,x,y,j]
"""
    bias = numbers(4)
    padded = numpy.pad(L, ((0, 0), (1, 1), (1, 1), (0, 0)))
    close(values(text, {"L": L}, {"W": W, "B": bias})["L1"], L + correlate(padded, W) + bias)


def test_e15_the_slide_that_uses_x_for_two_axes_is_refused_with_a_rename() -> None:
    text = """
Given L[8, 8, 4]
param W[3, 3, 4, 4]
param B[4]
R = Conv(W[X,Y,J,J], B[J], L[B,X,Y,J])
"""
    diagnostic = refused(text, "E410")
    assert diagnostic.fix is not None
    assert "rename" in diagnostic.fix.text


def test_e15_bottleneck() -> None:
    """U = Conv'(Φ_A[1,1,J,K], L), V = Conv'(Φ_R[3,3,K,K], U), R = Conv'(Φ_B[1,1,K,J], V)."""
    L = numbers(2, 5, 6, 8)
    text = """
Given L[5, 6, 8]
J = 8
K = 2
U = Conv'(Φ_A[1,1,J,K], L)
V = Conv'(Φ_R[3,3,K,K], U)
R = Conv'(Φ_B[1,1,K,J], V)
for b,x,y,j: L1[b,x,y,j] = L[b,x,y,j] + R[b,x,y,j]

layer Conv'(L[b,x,y,i], Φ):
    param W[F, F, I, N]
    param B[N] = 0
    P = pad(L, (F - 1)//2)
    return[b,x,y,j] = relu(W[ΔX,ΔY,I,j] P[b,x+ΔX,y+ΔY,I] + B[j])
"""
    shapes = {"Φ_A": (1, 1, 8, 2), "Φ_R": (3, 3, 2, 2), "Φ_B": (1, 1, 2, 8)}
    weights = {f"{n}.W": numbers(*s) for n, s in shapes.items()}
    found = values(text, {"L": L}, weights)["L1"]
    U = numpy.maximum(correlate(L, weights["Φ_A.W"]), 0)
    V = numpy.maximum(correlate(numpy.pad(U, ((0, 0), (1, 1), (1, 1), (0, 0))), weights["Φ_R.W"]), 0)
    close(found, L + numpy.maximum(correlate(V, weights["Φ_B.W"]), 0))


@pytest.mark.parametrize("shortcut", ["projection", "zeros"])
def test_e15_residual_block_of_the_library_with_reduction(shortcut: str) -> None:
    L = numbers(2, 6, 6, 3)
    text = f"Given L[6, 6, 3]\nA = ResidualBlock(L, filters 5, stride 2, shortcut {shortcut})\n"
    weights = {
        "A.conv1.W": numbers(3, 3, 3, 5), "A.conv2.W": numbers(3, 3, 5, 5), "A.norm1.running_mean": numbers(5),
        "A.norm2.γ": numbers(5, seed=1), "A.shortcut.conv.W": numbers(1, 1, 3, 5),
    }  # fmt: skip
    found = values(text, {"L": L}, {n: w for n, w in weights.items() if n in checked(text).operations})["A"]
    ε = 1e-5
    padding = ((0, 0), (1, 1), (1, 1), (0, 0))
    hidden = correlate(numpy.pad(L, padding), weights["A.conv1.W"])[:, ::2, ::2]
    hidden = numpy.maximum((hidden - weights["A.norm1.running_mean"]) / numpy.sqrt(1 + ε), 0)
    residual = correlate(numpy.pad(hidden, padding), weights["A.conv2.W"]) / numpy.sqrt(1 + ε) * weights["A.norm2.γ"]
    if shortcut == "projection":
        straight = L[:, ::2, ::2] @ weights["A.shortcut.conv.W"][0, 0] / numpy.sqrt(1 + ε)
    else:
        straight = numpy.pad(L[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (0, 2)))
    close(found, numpy.maximum(straight + residual, 0))


def test_e16_dense_block() -> None:
    L = numbers(2, 4, 4, 3)
    text = """
Given L[4, 4, 3]
param W[3, 3, 3, 2]
R[b,x,y,j] = W[ΔX,ΔY,I,j] pad(L, 1)[b,x+ΔX,y+ΔY,I]
for b,x,y: L1[b,x,y,J+JR] = L[b,x,y,J] ; R[b,x,y,JR]
"""
    W = numbers(3, 3, 3, 2)
    residual = correlate(numpy.pad(L, ((0, 0), (1, 1), (1, 1), (0, 0))), W)
    close(values(text, {"L": L}, {"W": W})["L1"], numpy.concatenate([L, residual], 3))


def test_e16_dense_block_of_the_library_grows_by_its_growth() -> None:
    program = checked("Given L[6, 6, 4]\nD = DenseBlock(L, layers 3, growth 5)\nT = Transition(D)\n")
    assert shape(program, "D.L_3") == (6, 6, 19)
    assert shape(program, "T") == (3, 3, 9)
    assert parameters(program)["D.L_2.conv1.W"] == (1, 1, 9, 20)


def test_e17_families_of_layers_by_a_loop() -> None:
    L = numbers(2, 5)
    text = """
Given L_0[5]
n = 3
for l in 0..n:
    param W_l[I, 5]
    L_{l+1}[b,j] = relu(W_l[I,j] L_l[b,I])
output L_3
"""
    weights = {f"W_{k}": numbers(5, 5, seed=k) for k in range(3)}
    expected = L
    for k in range(3):
        expected = numpy.maximum(expected @ weights[f"W_{k}"], 0)
    close(values(text, {"L_0": L}, weights)["L_3"], expected)


def test_e17_library_blocks_in_a_loop_have_parameters_of_their_own() -> None:
    program = checked("Given L_0[6, 6, 4]\nfor l in 0..2: L_{l+1} = ResidualBlock(L_l)\n")
    assert [n for n in parameters(program) if n.endswith("conv1.W")] == ["L_1.conv1.W", "L_2.conv1.W"]


def test_e17_parameters_in_a_loop_of_a_layer_are_not_shared() -> None:
    text = """
Given L[5]
y = Deep(L)

layer Deep(L_0[b, i], Φ):
    for l in 0..2:
        param W[K, 3]
        L_{l+1}[b,j] = W[K,j] L_l[b,K]
    return L_2
"""
    assert parameters(checked(text)) == {"y.W_0": (5, 3), "y.W_1": (3, 3)}
