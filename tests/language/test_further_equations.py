"""Equations E23 to E25 and E28 to E30: centred windows, other convolutions, patterns, time, attention."""

from __future__ import annotations

import numpy
import pytest
from levels import sparse
from programs import Array, checked, close, loops, notes, numbers, parameters, refused, shape, values


def test_e23_centred_windows_cut_off_the_edges_or_pad() -> None:
    a, W = numbers(2, 6, 5, 3), numbers(3, 3, 2, 3, seed=1)
    text = """
Given a[i 6, j 5, n 3]
param W[3, 3, 2, 3]
H = 3
P = {}
z[b,i,j,k] = W[L,M,k,N] P[b, i+L−(H−1)/2, j+M−(H−1)/2, N]
"""

    def at(image: Array, b: int, i: int, j: int, k: int) -> float:
        return sum(W[u, v, k] @ image[b, i + u, j + v] for u in range(3) for v in range(3))

    cut = values(text.format("cut(a, i: 1, j: 1)"), {"a": a}, {"W": W})["z"]
    close(cut, loops((2, 4, 3, 2), lambda *p: at(a, *p)))
    padded = numpy.pad(a, ((0, 0), (1, 1), (1, 1), (0, 0)))
    zeros = values(text.replace("−(H−1)/2", "").format("pad(a, i: 1, j: 1)"), {"a": a}, {"W": W})["z"]
    close(zeros, loops((2, 6, 5, 2), lambda *p: at(padded, *p)))


def test_e23_negative_offsets_without_a_word_about_edges_are_refused() -> None:
    diagnostic = refused("Given a[6, 3]\nparam W[3, 3]\nz[b,i] = W[L,N] a[b,i+L-1,N]\n", "E404")
    assert any("pad(" in note for note in diagnostic.notes)
    assert any("cut(" in note for note in diagnostic.notes)


def test_e24_transposed_convolution_by_partial_definitions() -> None:
    L, W = numbers(2, 5, 3), numbers(4, 3, 2, seed=1)
    text = """
Given L[x 5, i 3]
param W[4, 3, 2]
P = pad(L, x: 1)
for x in 0..6: T[b,2*x,j] = W[0,I,j] P[b,x+1,I] + W[2,I,j] P[b,x,I]
for x in 0..6: T[b,2*x+1,j] = W[1,I,j] P[b,x+1,I] + W[3,I,j] P[b,x,I]
"""
    expected = numpy.zeros((2, 12, 2))
    for x in range(5):
        for k in range(4):
            expected[:, 2 * x + k] += L[:, x] @ W[k]
    close(values(text, {"L": L}, {"W": W})["T"], expected)


def test_e24_one_and_three_dimensional_and_pointwise_convolutions() -> None:
    S, V, L = numbers(2, 9, 3), numbers(2, 4, 5, 6, 2), numbers(2, 4, 4, 3)
    text = """
Given S[9, 3], V[4, 5, 6, 2], L[4, 4, 3]
param A[4, 3, 2]
param C[2, 3, 2, 2, 3]
param D[3, 5]
S1[b,x,j] = A[ΔX,I,j] S[b,x+ΔX,I]
V1[b,x,y,z,j] = C[ΔX,ΔY,ΔZ,I,j] V[b,x+ΔX,y+ΔY,z+ΔZ,I]
L1[b,x,y,j] = D[I,j] L[b,x,y,I]
"""
    A, C, D = numbers(4, 3, 2), numbers(2, 3, 2, 2, 3), numbers(3, 5)
    found = values(text, {"S": S, "V": V, "L": L}, {"A": A, "C": C, "D": D})
    close(found["S1"], loops((2, 6, 2), lambda b, x, j: (A[:, :, j] * S[b, x : x + 4]).sum()))
    volume = loops((2, 3, 3, 5, 3), lambda b, x, y, z, j: (C[..., j] * V[b, x : x + 2, y : y + 3, z : z + 2]).sum())
    close(found["V1"], volume)
    close(found["L1"], L @ D)


def test_e24_the_gradient_of_the_input_is_a_full_convolution_with_the_turned_filter() -> None:
    δ, W = numbers(2, 4, 4, 2), numbers(3, 3, 3, 2, seed=1)
    text = """
Given δ[x 4, y 4, j 2]
param W[3, 3, 3, 2]
P = pad(δ, 2)
G[b,x,y,i] = W[2-ΔX,2-ΔY,i,J] P[b,x+ΔX,y+ΔY,J]
"""
    expected = numpy.zeros((2, 6, 6, 3))
    for x in range(4):
        for y in range(4):
            expected[:, x : x + 3, y : y + 3] += numpy.einsum("uvij,bj->buvi", W, δ[:, x, y])
    close(values(text, {"δ": δ}, {"W": W})["G"], expected)


CONVOLUTION = "CONV(filters 6, width 3, pad 1) -> RELU"
PATTERNS = [
    ("image -> FC(units 10)", 1),
    (f"image -> {CONVOLUTION} -> FC(units 10)", 2),
    (f"image -> [{CONVOLUTION} -> POOL(width 2)]*2 -> FC(units 20) -> RELU -> FC(units 10)", 4),
    (f"image -> [{CONVOLUTION} -> {CONVOLUTION} -> POOL(width 2)]*3 -> [FC(units 20) -> RELU]*2 -> FC(units 10)", 9),
]


@pytest.mark.parametrize(("pattern", "layers"), PATTERNS)
def test_e25_the_four_example_nets(pattern: str, layers: int) -> None:
    program = checked(f"Given image[32, 32, 3]\ns = {pattern}\n")
    assert shape(program, "s") == (10,)
    assert sum(name.endswith(".W") for name in parameters(program)) == layers


@pytest.mark.parametrize(("N", "M", "K"), sparse([(1, 2, 1), (0, 0, 0), (2, 3, 0), (3, 1, 2)], 2))
@pytest.mark.parametrize("pool", ["true", "false"])
def test_e25_the_whole_pattern_with_its_numbers_given(N: int, M: int, K: int, pool: str) -> None:
    text = f"""
Given INPUT[16, 16, 3]
N = {N}
M = {M}
K = {K}
s = INPUT → [[CONV(filters 4, width 3, pad 1) → RELU]*N → POOL(width 2)?({pool})]*M → \\
    [FC(units 5) → RELU]*K → FC(units 2)
"""
    program = checked(text)
    weights = {name: numbers(*size, seed=3) for name, size in parameters(program).items()}
    assert sum(len(size) == 4 for size in parameters(program).values()) == N * M
    L = numbers(2, 16, 16, 3)
    found = values(text, {"INPUT": L}, weights)["s"]
    W = iter(weights.values())
    for _ in range(M):
        for _ in range(N):
            filters, bias = next(W), next(W)
            windows = numpy.lib.stride_tricks.sliding_window_view(
                numpy.pad(L, ((0, 0), (1, 1), (1, 1), (0, 0))), (3, 3), (1, 2)
            )
            L = numpy.maximum(numpy.einsum("bxyiuv,uvij->bxyj", windows, filters) + bias, 0)
        if pool == "true":
            L = L.reshape(2, L.shape[1] // 2, 2, L.shape[2] // 2, 2, L.shape[3]).max((2, 4))
    L = L.reshape(2, -1)
    for last in [False] * K + [True]:
        L = L @ next(W) + next(W)
        L = L if last else numpy.maximum(L, 0)
    close(found, L)


def test_e25_hyperparameters_by_lists() -> None:
    text = """
Given image[8, 8, 3]
s = image -> [[CONV(filters [4, 5, 6], width 3, pad 1) -> RELU]*[1, 2] -> POOL(width 2)]*2 -> FC(units 2)
"""
    shapes = [size for name, size in parameters(checked(text)).items() if name.endswith("W")]
    assert shapes == [(3, 3, 3, 4), (3, 3, 4, 5), (3, 3, 5, 6), (24, 2)]


def test_e28_recurrences() -> None:
    """h[b,t,j] = tanh( W[J,j] h[b,t−1,J] + U[I,j] x[b,t,I] − B[j] ), without knowing the length."""
    x, W, U, B = numbers(2, 6, 3), numbers(4, 4), numbers(3, 4), numbers(4)
    text = """
Given x[T, 3]
param W[4, 4]
param U[3, 4]
param B[4]
h[b,-1,j] = 0
h[b,t,j] = tanh( W[J,j] h[b,t−1,J] + U[I,j] x[b,t,I] − B[j] )
"""
    h = numpy.zeros((2, 4))
    expected = []
    for t in range(6):
        h = numpy.tanh(h @ W + x[:, t] @ U - B)
        expected.append(h)
    close(values(text, {"x": x}, {"W": W, "U": U, "B": B})["h"], numpy.stack(expected, 1))
    assert len(checked(text).operations) == len(checked(text.replace("[T, 3]", "[60, 3]")).operations)


def test_e29_attention() -> None:
    h, e, v = numbers(2, 5, 4), numbers(2, 3, 4, seed=1), numbers(2, 5, 6, seed=2)
    text = """
Given h[T, 4], e[W, 4], v[T, 6]
α[b,w,t] = softmax[t](e[b,w,I] h[b,t,I])
c[b,w,j] = α[b,w,T] v[b,T,j]
"""
    s = numpy.einsum("bwi,bti->bwt", e, h)
    weights = numpy.exp(s) / numpy.exp(s).sum(2, keepdims=True)
    found = values(text, {"h": h, "e": e, "v": v})
    close(found["α"], weights)
    close(found["c"], weights @ v)


def test_e30_a_fixed_kernel() -> None:
    L = numbers(2, 5, 6)
    text = """
Given L[X, Y]
K = [[0,1,0],[1,−4,1],[0,1,0]]
E[b,x,y] = K[ΔX,ΔY] L[b,x+ΔX,y+ΔY]
"""
    expected = L[:, :-2, 1:-1] + L[:, 2:, 1:-1] + L[:, 1:-1, :-2] + L[:, 1:-1, 2:] - 4 * L[:, 1:-1, 1:-1]
    close(values(text, {"L": L})["E"], expected)
    assert not notes(text, "N501")
