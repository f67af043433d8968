"""What stands before and after a convolution by Winograd's algorithm: paddings, epilogues, equations of its weights."""

from __future__ import annotations

import numpy
import pytest
from levels import sparse
from winograd_convolutions import (
    Array,
    agree,
    check,
    compiled,
    correlated,
    numbers,
    padded,
    roads,
    tiles,
)

# -- data and results -------------------------------------------------------------------------------


def test_bias_shortcut_and_relu_are_part_of_the_same_step() -> None:
    module = compiled("Given L[10, 9, 32]\nS = Conv(L, Φ, width 3, pad 1, filters 32)\nR = relu(S + L)\noutput R\n")
    assert len(tiles(module)) == len(roads(module)) == 1

    def expected(x: Array) -> Array:
        total = correlated(padded(x, [(1, 1)] * 2), module.weights["Φ.W"]) + module.weights["Φ.B"]
        return numpy.maximum(total + x, 0)

    check(module, expected, (10, 9, 32))


def test_cases_after_a_convolution_may_depend_on_the_place() -> None:
    module = compiled("""\
Given L[10, 9, 16]
S = Conv(L, Φ, width 3, pad 1, bias false, filters 16)
R[b,x in 0..10,y,j in 0..16] = { S[b,x,y,j] if j < 5 ; 2*L[b,x,y,j] if 6 < x ; 1 otherwise }
output R
""")
    assert len(tiles(module)) == 1

    def expected(x: Array) -> Array:
        cases = numpy.ones(x.shape)
        cases[:, 7:] = 2 * x[:, 7:]
        cases[..., :5] = correlated(padded(x, [(1, 1)] * 2), module.weights["Φ.W"])[..., :5]
        return cases

    check(module, expected, (10, 9, 16), batches=(1, 3))


def test_cases_before_a_convolution_may_depend_on_place_channel_and_data() -> None:
    module = compiled("""\
Given L[10, 9, 32]
param W[3, 3, 32, 16]
P[b,x,y,i in 0..32] = { L[b,x,y,i] if i < 20 and (x + y) % 2 == 0 ; 1 if x % 3 == 0 ; 3*L[b,x,y,i] otherwise }
Q[b,x,y,i] = { P[b,x,y,i] if L[b,x,y,i] > 0 ; 0 otherwise }
S[b,x,y,j] = W[ΔX,ΔY,I,j] * Q[b,x+ΔX,y+ΔY,I]
output S
""")
    assert len(tiles(module)) == 1

    def expected(image: Array) -> Array:
        x, y, i = numpy.ogrid[:10, :9, :32]
        cases = numpy.where((i < 20) & ((x + y) % 2 == 0), image, numpy.where(x % 3 == 0, 1, 3 * image))
        return correlated(numpy.where(image > 0, cases, 0), module.weights["W"])

    check(module, expected, (10, 9, 32), batches=(1, 3))


def test_padded_channels_are_right() -> None:
    module = compiled("""\
Given L[x 9, y 8, i 20]
param W[3, 3, 32, 16]
P = pad(L, x: 1, y: 1, i: (4,8))
S[b,x,y,j] = W[ΔX,ΔY,I,j] * P[b,x+ΔX,y+ΔY,I]
output S
""")
    assert not tiles(module)

    def expected(x: Array) -> Array:
        return correlated(numpy.pad(x, [(0, 0), (1, 1), (1, 1), (4, 8)]), module.weights["W"])

    check(module, expected, (9, 8, 20), batches=(1, 3))


def test_an_epilogue_that_selects_by_channel_is_right() -> None:
    module = compiled("""\
Given L[9, 8, 16], T[5]
Given k[16]: int64 without batch
param W[3, 3, 16, 16]
S[b,x,y,j] = W[ΔX,ΔY,I,j] * L[b,x+ΔX,y+ΔY,I]
R[b,x,y,j] = S[b,x,y,j] + T[b,k[j]]
output R
""")
    assert not tiles(module)
    x, table, chosen = numbers(3, 9, 8, 16), numbers(3, 5), numpy.arange(16) % 5
    agree(module(x, table, chosen), correlated(x, module.weights["W"]) + table[:, None, None, chosen])


def test_outputs_may_lie_in_a_concatenation() -> None:
    module = compiled("""\
Given L[10, 9, 16]
A = Conv(L, Φ1, width 3, pad 1, filters 32)
B = relu(Conv(L, Φ2, width 5, pad 2, filters 16))
for j in 0..32: C[b,x,y,j] = A[b,x,y,j]
for j in 0..16: C[b,x,y,j+32] = B[b,x,y,j]
output C
""")
    assert len(tiles(module)) == len(roads(module)) == 2  # nothing is copied
    weights = module.weights

    def expected(x: Array) -> Array:
        narrow = correlated(padded(x, [(1, 1)] * 2), weights["Φ1.W"]) + weights["Φ1.B"]
        wide = correlated(padded(x, [(2, 2)] * 2), weights["Φ2.W"]) + weights["Φ2.B"]
        return numpy.concatenate([narrow, numpy.maximum(wide, 0)], -1)

    check(module, expected, (10, 9, 16))


@pytest.mark.parametrize(("others", "copies"), [("width 3", 0), ("width 3, stride 2", 1)])
def test_a_padded_tensor_may_have_several_readers(others: str, copies: int) -> None:
    module = compiled(f"""\
Given L[x 10, y 9, i 16]
P = pad(L, x: 1, y: (0,2))
A = Conv(P, Φ1, width 3, filters 32)
B = Conv(P, Φ2, {others}, filters 16)
output A, B
""")
    assert len(roads(module)) == 2 + copies
    step = 2 if "stride" in others else 1
    for batch in (1, 3):
        x = numbers(batch, 10, 9, 16)
        around = padded(x, ((1, 1), (0, 2)))
        first, second = module(x)
        agree(first, correlated(around, module.weights["Φ1.W"]) + module.weights["Φ1.B"])
        agree(second, correlated(around, module.weights["Φ2.W"])[:, ::step, ::step] + module.weights["Φ2.B"])


def test_a_padded_tensor_that_is_an_output_is_kept() -> None:
    module = compiled("""\
Given L[x 10, y 9, i 16]
P = pad(L, x: 1, y: 1)
A = Conv(P, Φ, width 3, bias false, filters 16)
output A, P
""")
    assert len(tiles(module)) == 1
    x = numbers(2, 10, 9, 16)
    found = module(x)
    numpy.testing.assert_array_equal(found["P"], padded(x, [(1, 1)] * 2))
    agree(found["A"], correlated(found["P"], module.weights["Φ.W"]))


@pytest.mark.slow
def test_convolutions_in_a_row() -> None:
    module = compiled("""\
Given L[9, 10, 16]
A = relu(Conv(L, Φ1, width 3, pad 1, filters 32))
B = relu(Conv(A, Φ2, width 2, pad ((0,1),(1,0)), filters 16))
C = relu(Conv(B, Φ3, width 5, pad 2, filters 16) + L)
output C
""")
    assert len(tiles(module)) == len(roads(module)) == 3
    weights = module.weights

    def expected(x: Array) -> Array:
        a = numpy.maximum(correlated(padded(x, [(1, 1)] * 2), weights["Φ1.W"]) + weights["Φ1.B"], 0)
        b = numpy.maximum(correlated(padded(a, [(0, 1), (1, 0)]), weights["Φ2.W"]) + weights["Φ2.B"], 0)
        return numpy.maximum(correlated(padded(b, [(2, 2)] * 2), weights["Φ3.W"]) + weights["Φ3.B"] + x, 0)

    check(module, expected, (9, 10, 16))


# -- weights --------------------------------------------------------------------------------------


def test_weights_may_be_computed_from_parameters() -> None:
    module = compiled("""\
Given L[9, 8, 16]
param W[3, 3, 16, 32]
param g[32]
V[p,q,i,j] = W[p,q,i,j] * g[j]
S[b,x,y,j] = V[ΔX,ΔY,I,j] * L[b,x+ΔX,y+ΔY,I]
output S
""")
    assert len(tiles(module)) == 1

    def expected(x: Array) -> Array:
        return correlated(x, module.weights["W"].astype(float) * module.weights["g"])

    check(module, expected, (9, 8, 16), batches=(1, 3))
    module.load_weights({"W": numbers(3, 3, 16, 32) + 1, "g": numbers(32) - 2})
    check(module, expected, (9, 8, 16), batches=(2,))


def test_weights_that_depend_on_the_input_stay_direct() -> None:
    module = compiled("""\
Given L[9, 8, 16], g[16]
param W[3, 3, 16, 16]
V[b,p,q,i,j] = W[p,q,i,j] * g[b,j]
S[b,x,y,j] = V[b,ΔX,ΔY,I,j] * L[b,x+ΔX,y+ΔY,I]
output S
""")
    assert not tiles(module)
    check(
        module, lambda x, g: correlated(x, module.weights["W"]) * g[:, None, None, :].astype(float), (9, 8, 16), (16,)
    )


def sums(names: str, *ranges: int) -> str:
    return ", ".join(f"{name} in 0..{size}" for name, size in zip(names, ranges, strict=True))


WHOLE = sums("pqi", 3, 3, 32)
SHARED = {
    "the same sum": (f"S[b,x,y,j] = sum[{WHOLE}](W[p,q,i,j] * M[b,x+p,y+q,i])", "pqij", (3, 3, 32, 32)),
    "channels the other way": (
        f"S[b,x,y,i] = sum[{sums('pqj', 3, 3, 32)}](W[p,q,i,j] * M[b,x+p,y+q,j])", "pqji", (3, 3, 32, 32)
    ),
    "axes of the window in another order": (
        f"S[b,x,y,j] = sum[{sums('qpi', 3, 3, 32)}](W[p,q,i,j] * M[b,x+p,y+q,i])", "pqij", (3, 3, 32, 32)
    ),
    "a window that is turned": (f"S[b,x,y,j] = sum[{WHOLE}](W[p,q,i,j] * M[b,x+q,y+p,i])", "qpij", (3, 3, 32, 32)),
    "part of the window": (
        f"S[b,x,y,j] = sum[{sums('pqi', 2, 2, 32)}](W[p,q,i,j] * M[b,x+p,y+q,i])", "pqij", (2, 2, 32, 32)
    ),
    "some of the inputs": (
        f"S[b,x,y,j] = sum[{sums('pqi', 3, 3, 16)}](W[p,q,i,j] * M[b,x+p,y+q,i])", "pqij", (3, 3, 16, 32)
    ),
    "some of the outputs": (
        f"for j in 0..16: S[b,x,y,j] = sum[{WHOLE}](W[p,q,i,j] * M[b,x+p,y+q,i])", "pqij", (3, 3, 32, 16)
    ),
}  # fmt: skip


@pytest.mark.parametrize("other", sparse(SHARED, 2))
@pytest.mark.parametrize("first", [True, False])
def test_one_weight_may_serve_different_sums(other: str, first: bool) -> None:
    equation, axes, part = SHARED[other]
    plain = f"R[b,x,y,j] = sum[{WHOLE}](W[p,q,i,j] * L[b,x+p,y+q,i])"
    equations = [equation, plain] if first else [plain, equation]
    module = compiled(
        "\n".join(["Given L[9, 8, 32], M[9, 8, 32]", "param W[3, 3, 32, 32]", *equations, "output R, S\n"])
    )
    assert len(tiles(module)) == 2
    x, y, w = numbers(2, 9, 8, 32), numbers(3, 9, 8, 32)[:2], numpy.array(module.weights["W"])
    found = module(x, y)
    agree(found["R"], correlated(x, w))
    used = numpy.einsum(f"pqij->{axes}", w[: part[0], : part[1], : part[2], : part[3]])
    agree(found["S"], correlated(y[..., : used.shape[2]], used))
