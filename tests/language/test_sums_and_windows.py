"""Equations E1 to E8 of the slides: sums, windows, strides, dilation, pooling, full connections."""

from __future__ import annotations

import numpy
import pytest
from programs import Array, checked, close, loops, numbers, refused, shape, values

IMAGE = "Given L0[6, 7, 3]\nparam W[3, 3, 3, 4]\nparam B[4]\n"


def logistic(x: Array) -> Array:
    return 1 / (1 + numpy.exp(-x))


def convolution(L: Array, W: Array, stride: int = 1, dilation: int = 1) -> Array:
    """The sum over the window and the channels, written out."""
    F = W.shape[0]
    X, Y = ((n - dilation * (F - 1) - 1) // stride + 1 for n in L.shape[1:3])

    def element(b: int, x: int, y: int, j: int) -> float:
        return sum(
            W[dx, dy, i, j] * L[b, stride * x + dilation * dx, stride * y + dilation * dy, i]
            for dx in range(F) for dy in range(F) for i in range(L.shape[3])
        )  # fmt: skip

    return loops((L.shape[0], X, Y, W.shape[3]), element)


@pytest.fixture(scope="module")
def image() -> dict[str, Array]:
    return {"L0": numbers(2, 6, 7, 3)}


@pytest.fixture(scope="module")
def weights() -> dict[str, Array]:
    return {"W": numbers(3, 3, 3, 4, seed=1), "B": numbers(4, seed=2)}


def test_e01_linear_threshold_units_with_an_explicit_sum(image: dict[str, Array], weights: dict[str, Array]) -> None:
    expected = logistic(convolution(image["L0"], weights["W"]) - weights["B"])
    for equation in (
        "L1[b,x,y,j] = σ((Σ_{Δx,Δy,i} W[Δx,Δy,i,j] L0[b,x+Δx,y+Δy,i]) − B[j])",
        "L1[b,x,y,j] = σ(sum[Δx,Δy,i](W[Δx,Δy,i,j]*L0[b,x+Δx,y+Δy,i]) - B[j])",
        "L1[b,x,y,j] = sigma((sum_{dx,dy,i} W[dx,dy,i,j] L0[b,x+dx,y+dy,i]) - B[j])",
    ):
        close(values(f"{IMAGE}{equation}\n", image, weights)["L1"], expected)


def test_e02_linear_threshold_units_implicitly_summed(image: dict[str, Array], weights: dict[str, Array]) -> None:
    expected = logistic(convolution(image["L0"], weights["W"]) - weights["B"])
    for equation in (
        "L1[b,x,y,j] = σ( W[ΔX,ΔY,I,j] L0[b,x+ΔX,y+ΔY,I] − B[j] )",
        "L1[b,x,y,j] = sigma(W[DX,DY,I,j] * L0[b,x+DX,y+DY,I] - B[j])",
    ):
        close(values(f"{IMAGE}{equation}\n", image, weights)["L1"], expected)


def test_e02_the_bias_is_subtracted_once(image: dict[str, Array], weights: dict[str, Array]) -> None:
    text = IMAGE + "L1[b,x,y,j] = W[ΔX,ΔY,I,j] L0[b,x+ΔX,y+ΔY,I] − B[j]\n"
    close(values(text, image, weights)["L1"], convolution(image["L0"], weights["W"]) - weights["B"])


def test_e03_zero_padding_keeps_the_size(image: dict[str, Array], weights: dict[str, Array]) -> None:
    text = IMAGE + "L' = Padd(L0, 1)\nL1[b,x,y,j] = ReLU(W[ΔX,ΔY,I,j] L'[b,x+ΔX,y+ΔY,I] − B[j])\n"
    padded = numpy.pad(image["L0"], ((0, 0), (1, 1), (1, 1), (0, 0)))
    found = values(text, image, weights)["L1"]
    close(found, numpy.maximum(convolution(padded, weights["W"]) - weights["B"], 0))
    assert found.shape == (2, 6, 7, 4)


@pytest.mark.parametrize(("width", "stride"), [(2, 2), (3, 2), (3, 1), (2, 3)])
def test_e04_max_and_mean_pooling_with_stride(image: dict[str, Array], width: int, stride: int) -> None:
    text = f"""
Given L0[6, 7, 3]
s = {stride}
L1[b,x,y,i] = max_{{Δx in 0..{width}, Δy in 0..{width}}} L0[b, s*x+Δx, s*y+Δy, i]
L2[b,x,y,i] = mean[Δx in 0..{width}, Δy in 0..{width}](L0[b, s*x+Δx, s*y+Δy, i])
"""
    L = image["L0"]
    X, Y = ((n - width) // stride + 1 for n in (6, 7))

    def window(b: int, x: int, y: int, i: int) -> Array:
        return L[b, stride * x : stride * x + width, stride * y : stride * y + width, i]

    found = values(text, image)
    close(found["L1"], loops((2, X, Y, 3), lambda *at: window(*at).max()))
    close(found["L2"], loops((2, X, Y, 3), lambda *at: window(*at).mean()))


def test_e05_strided_convolution(image: dict[str, Array], weights: dict[str, Array]) -> None:
    text = IMAGE + "s = 2\nL1[b,x,y,j] = W[ΔX,ΔY,I,j] L0[b,s*x+ΔX,s*y+ΔY,I] + B[j]\n"
    close(values(text, image, weights)["L1"], convolution(image["L0"], weights["W"], stride=2) + weights["B"])


def test_e06_dilated_convolution(image: dict[str, Array], weights: dict[str, Array]) -> None:
    text = IMAGE + "d = 2\nL1[b,x,y,j] = W[ΔX,ΔY,I,j] L0[b,x+d*ΔX,y+d*ΔY,I] + B[j]\n"
    close(values(text, image, weights)["L1"], convolution(image["L0"], weights["W"], dilation=2) + weights["B"])


def test_e06_a_classifier_made_fully_convolutional_by_dilation() -> None:
    """Every later window is dilated by the strides removed before it: one pass gives every offset's answer."""
    classifier = """
Given L[{n}, {n}, 2]
A = ReLU(CONV(L, Φ1, filters 3, width 3))
P = MaxPool(A, width 2, stride {s}, dilation 1)
C = CONV(P, Φ2, filters 4, width 3, dilation {s2})
"""
    N, M = 8, 12
    L = numbers(1, M, M, 2)
    weights = {"Φ1.W": numbers(3, 3, 2, 3), "Φ1.B": numbers(3), "Φ2.W": numbers(3, 3, 3, 4), "Φ2.B": numbers(4)}
    whole = values(classifier.format(n=M, s=1, s2=2), {"L": L}, weights)["C"]
    patch = classifier.format(n=N, s=2, s2=1)
    for x, y in ((0, 0), (1, 3), (4, 2)):
        one = values(patch, {"L": L[:, x : x + N, y : y + N]}, weights)["C"]
        close(one[0, 0, 0], whole[0, x, y])


def test_e07_fully_connected_layer(image: dict[str, Array]) -> None:
    text = """
Given L0[6, 7, 3]
param W[5, 126]
param B[5]
L'[b,(x,y,i)] = L0[b,x,y,i]
L1[b,j] = σ( W[j,I'] L'[b,I'] − B[j] )
"""
    W, B = numbers(5, 126), numbers(5)
    found = values(text, image, {"W": W, "B": B})["L1"]
    close(found, logistic(image["L0"].reshape(2, -1) @ W.T - B))


def test_e08_image_to_column_makes_convolution_a_matrix_product(
    image: dict[str, Array], weights: dict[str, Array]
) -> None:
    text = (
        IMAGE
        + """
for Δx in 0..3, Δy in 0..3: L̃[b,x,y,Δx,Δy,i] = L0[b,x+Δx,y+Δy,i]
M[(b,x,y),(Δx,Δy,i)] = L̃[b,x,y,Δx,Δy,i]
V[(Δx,Δy,i),j] = W[Δx,Δy,i,j]
C[n,j] = M[n,K] V[K,j] + B[j]
D[(b,x,y),j] = L̃[(b,x,y),(ΔX,ΔY,I)] W[(ΔX,ΔY,I),j] + B[j]
"""
    )
    expected = (convolution(image["L0"], weights["W"]) + weights["B"]).reshape(-1, 4)
    found = values(text, image, weights)
    close(found["C"], expected)
    close(found["D"], expected)


def test_f01_output_sizes() -> None:
    def size(W: int, F: int, S: int, P: int, D: int = 1) -> int:
        return shape(
            checked(f"Given L[{W}, 9]\nA = Conv1d(L, width {F}, stride {S}, pad {P}, dilation {D}, filters 2)\n"), "A"
        )[0]

    assert size(7, 3, 1, 0) == 5
    assert size(7, 3, 2, 0) == 3
    assert size(10, 3, 2, 0) == 4  # 4.5: cropped
    assert size(10, 3, 2, 1, 2) == (10 + 2 - 2 * 2 - 1) // 2 + 1
    assert size(5, 3, 1, 1) == 5


def test_f01_a_window_larger_than_its_image_is_an_error() -> None:
    refused("Given L[4, 3]\nA = Conv1d(L, width 5, filters 2)\n", "E405")
