"""Weights in panels: made where they pay, and the sums over them right for any batch, against NumPy's float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import majuscule
from majuscule.api import compile_artifact
from majuscule.compiler.codegen import Target

Array = numpy.ndarray[Any, Any]

BATCHES = (1, 3, 8, 17)


def numbers(*shape: int) -> Array:
    return numpy.random.default_rng(sum(shape)).standard_normal(shape, numpy.float32)


def compiled(text: str, **options: Any) -> majuscule.Module:
    """A module whose convolutions are sums as they stand, with normal numbers for weights."""
    module = majuscule.compile(text, road="direct", **options)
    module.load_weights({info.name: numbers(*map(int, info.shape)) for info in module.parameters})
    return module


def panels(module: majuscule.Module) -> list[str]:
    """The weights that are laid out when the module is loaded."""
    return [entry["name"] for entry in module._manifest["prepared"] if "in panels of" in entry["name"]]


def agree(found: Array, expected: Array) -> None:
    assert found.shape == expected.shape
    assert abs(found - expected).max() <= 1e-5 * abs(expected).max()


def correlated(x: Array, w: Array, stride: int = 1, pad: int = 0) -> Array:
    """A convolution with channels last, in float64."""
    x = numpy.pad(x.astype(float), [(0, 0), (pad, pad), (pad, pad), (0, 0)])
    views = numpy.lib.stride_tricks.sliding_window_view(x, w.shape[:2], (1, 2))[:, ::stride, ::stride]
    return numpy.tensordot(views, w.astype(float), ([4, 5, 3], [0, 1, 2]))


@pytest.mark.parametrize(
    ("inputs", "units", "packed"),
    [
        (96, 1000, True),
        (200, 256, True),
        (640, 48, True),
        (512, 96, True),
        (257, 112, True),
        (96, 1009, True),
        (128, 104, True),
        (300, 70, False),
        (515, 10, False),
        (2000, 1, False),
        (32, 32, False),
        (1030, 515, False),
    ],
)
def test_fully_connected_layers(inputs: int, units: int, packed: bool) -> None:
    module = compiled(f"Given L[{inputs}]\nM = relu(FC(L, Φ, units {units}))\n")
    if packed:
        assert panels(module)
    weight, bias = module.weights["Φ.W"].astype(float), module.weights["Φ.B"]
    for batch in BATCHES:
        x = numbers(batch, inputs)
        agree(module(x), numpy.maximum(x @ weight + bias, 0))


@pytest.mark.parametrize(
    ("width", "stride", "pad", "channels", "filters", "packed"),
    [
        (1, 1, 0, 96, 160, True),
        (1, 2, 0, 128, 96, True),
        (1, 1, 0, 48, 20, False),
        (3, 2, 1, 32, 96, True),
        (3, 2, 1, 16, 80, True),
        (3, 1, 1, 48, 96, True),
        (1, 1, 0, 64, 1000, True),
        (3, 2, 1, 32, 200, True),
        (3, 2, 0, 20, 50, False),
        (3, 1, 1, 30, 33, False),
        (5, 1, 2, 16, 32, False),
        (4, 3, 1, 3, 64, False),
    ],
)
def test_convolutions(width: int, stride: int, pad: int, channels: int, filters: int, packed: bool) -> None:
    options = f"width {width}, stride {stride}, pad {pad}, filters {filters}"
    module = compiled(f"Given L[9, 7, {channels}]\nM = Conv(L, Φ, {options})\n")
    if packed:
        assert panels(module)
    for batch in BATCHES:
        x = numbers(batch, 9, 7, channels)
        agree(module(x), correlated(x, module.weights["Φ.W"], stride, pad) + module.weights["Φ.B"])


@pytest.mark.parametrize(
    ("stride", "groups", "channels", "filters"),
    [
        (1, 2, 64, 128),
        (2, 4, 64, 64),
        (1, 3, 48, 96),
        (1, 48, 48, 48),
        (2, 32, 32, 32),
        (1, 20, 20, 20),
        (1, 16, 16, 32),
        (1, 32, 128, 128),
        (2, 16, 128, 128),
        (1, 16, 32, 64),
        (1, 8, 64, 32),
        (2, 6, 24, 24),
        (1, 32, 64, 64),
        (1, 64, 64, 256),
        (1, 2, 6, 16),
        (1, 4, 12, 32),
    ],
)
def test_grouped_and_depthwise_convolutions(stride: int, groups: int, channels: int, filters: int) -> None:
    options = f"width 3, stride {stride}, pad 1, groups {groups}, filters {filters}"
    module = compiled(f"Given L[9, 7, {channels}]\nM = Conv(L, Φ, {options})\n")
    for batch in BATCHES:
        x = numbers(batch, 9, 7, channels)
        images, weights = numpy.split(x, groups, -1), numpy.split(module.weights["Φ.W"], groups, -1)
        expected = [correlated(part, weight, stride, 1) for part, weight in zip(images, weights, strict=True)]
        agree(module(x), numpy.concatenate(expected, -1) + module.weights["Φ.B"])


@pytest.mark.parametrize("cpu", ["haswell", "skylake-avx512"])
def test_pixels_of_an_open_number_of_samples_fill_tiles(cpu: str) -> None:
    """However few samples there are, an image has enough pixels to use each weight that is loaded several times."""
    program = majuscule.check("Given L[7, 7, 512]\nM = Conv(L, Φ, width 1, filters 256)\n").require()
    artifact = compile_artifact(program, target=cpu, road="direct")
    (step,) = (entry for entry in artifact.manifest["steps"] if entry["road"].startswith("matrix"))
    tile = step["road"].partition("tile of ")[2].split(", ")[0].split(" x ")
    assert any(part.split()[1] in ("x", "y") and int(part.split()[0]) > 3 for part in tile)


@pytest.mark.parametrize(("channels", "filters"), [(128, 128), (32, 64), (64, 128)])
def test_few_channels_of_a_group_still_fill_vectors(channels: int, filters: int) -> None:
    lanes = Target.host().lanes(32)
    module = compiled(f"Given L[9, 7, {channels}]\nM = Conv(L, Φ, width 3, groups 32, filters {filters})\n")
    (step,) = (entry for entry in module._manifest["steps"] if entry["road"].startswith(("direct", "depthwise")))
    assert lanes == 1 or f"vectors of {lanes} along" in step["road"]


@pytest.mark.parametrize(
    ("subscripts", "packed"),
    [("ij", True), ("ji", False), ("pqij", True), ("piqj", True), ("ipqj", True), ("jipq", False), ("pqji", False)],
)
def test_weights_with_their_axes_in_any_order(subscripts: str, packed: bool) -> None:
    sizes, names = {"p": 3, "q": 2, "i": 16, "j": 160}, {"p": "ΔX", "q": "ΔY", "i": "I", "j": "j"}
    if "p" not in subscripts:
        sizes |= {"p": 1, "q": 1, "i": 160}
    weight = ", ".join(str(sizes[axis]) for axis in subscripts)
    places = ",".join(names[axis] for axis in subscripts)
    data = "L[b,2*x+ΔX,y+ΔY,I]" if "p" in subscripts else "L[b,2*x,y,I]"
    rows, columns = 2 * 3 + sizes["p"], 4 + sizes["q"]
    module = compiled(
        f"Given L[{rows}, {columns}, {sizes['i']}]\nparam W[{weight}]\n"
        f"for x in 0..4, y in 0..5: S[b,x,y,j] = W[{places}] * {data}\n"
    )
    if packed:
        assert panels(module)
    plain = numpy.array(module.weights["W"])
    straight = numpy.einsum(f"{subscripts}->pqij", plain) if "p" in subscripts else plain[None, None]
    if subscripts == "ji":
        straight = straight.swapaxes(2, 3)
    for batch in (1, 3, 8):
        x = numbers(batch, rows, columns, sizes["i"])
        expected = correlated(x, straight)[:, ::2]
        agree(module(x), expected)


def test_one_tensor_may_be_read_by_two_layers() -> None:
    module = compiled("""\
Given L[7, 6, 48]
A = relu(Conv(L, Φ1, width 1, filters 192))
B = Conv(A, Φ2, width 1, filters 64)
C = Conv(A, Φ3, width 3, stride 2, pad 1, filters 80)
output B, C
""")
    assert len(panels(module)) == 3
    weights = module.weights
    for batch in BATCHES:
        x = numbers(batch, 7, 6, 48)
        a = numpy.maximum(correlated(x, weights["Φ1.W"]) + weights["Φ1.B"], 0)
        found = module(x)
        agree(found["B"], correlated(a, weights["Φ2.W"]) + weights["Φ2.B"])
        agree(found["C"], correlated(a, weights["Φ3.W"], 2, 1) + weights["Φ3.B"])


def test_panels_that_two_sums_read_are_made_once() -> None:
    module = compiled("""\
Given L[256], M[256]
param W[256, 128]
S[b,j] = W[I,j] * L[b,I]
R[b,j] = W[I,j] * M[b,I]
output S, R
""")
    assert len(panels(module)) == 1
    x, y = numbers(3, 256), numbers(3, 256) - 1
    found = module(x, y)
    agree(found["S"], x.astype(float) @ module.weights["W"])
    agree(found["R"], y.astype(float) @ module.weights["W"])


PARTS = {
    "some of the outputs": ("for j in 0..64: S[b,j] = sum[i in 0..128](W[i,j] * M[b,i])", "i<128, j<64"),
    "some of the inputs": ("S[b,j] = sum[i in 0..96](W[i,j] * M[b,i])", "i<96, j<128"),
    "some of both": ("for j in 0..96: S[b,j] = sum[i in 0..64](W[i,j] * M[b,i])", "i<64, j<96"),
    "the other way": ("S[b,i] = sum[j in 0..128](W[i,j] * M[b,j])", "transposed"),
}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("first", [True, False])
def test_sums_over_parts_of_a_weight_have_panels_of_their_own(part: str, first: bool) -> None:
    equation, used = PARTS[part]
    equations = ["R[b,j] = sum[i in 0..128](W[i,j] * L[b,i])"]
    equations.insert(0 if first else 1, equation)
    module = compiled("\n".join(["Given L[128], M[128]", "param W[128, 128]", *equations, "output R, S\n"]))
    weight = module.weights["W"].astype(float)
    if used == "transposed":
        taken = weight.T
    else:
        inputs, outputs = (int(limit.partition("<")[2]) for limit in used.split(", "))
        taken = weight[:inputs, :outputs]
    for batch in (1, 8):
        x, y = numbers(batch, 128), numbers(batch, 128) + 1
        found = module(x, y)
        agree(found["R"], x @ weight)
        agree(found["S"], y[:, : len(taken)] @ taken)


def test_windows_over_parts_of_a_weight_have_panels_of_their_own() -> None:
    def summed(names: str, *sizes: int) -> str:
        return ", ".join(f"{name} in 0..{size}" for name, size in zip(names, sizes, strict=True))

    module = compiled(f"""\
Given L[9, 8, 32]
param W[3, 3, 32, 160]
for j in 0..96: A[b,x,y,j] = sum[{summed("pqi", 3, 3, 32)}](W[p,q,i,j] * L[b,2*x+p,2*y+q,i])
B[b,x,y,j] = sum[{summed("pqi", 3, 3, 32)}](W[p,q,i,j] * L[b,2*x+p,2*y+q,i])
C[b,x,y,j] = sum[{summed("qpi", 3, 3, 32)}](W[p,q,i,j] * L[b,2*x+q,2*y+p,i])
D[b,x,y,j] = sum[{summed("qpi", 2, 3, 16)}](W[p,q,i,j] * L[b,2*x+p,2*y+q,i])
output A, B, C, D
""")
    assert len(panels(module)) == 4
    w = numpy.array(module.weights["W"])
    for batch in (1, 3):
        x = numbers(batch, 9, 8, 32)
        found = module(x)
        agree(found["A"], correlated(x, w[..., :96], 2))
        agree(found["B"], correlated(x, w, 2))
        agree(found["C"], correlated(x, w.swapaxes(0, 1), 2))
        agree(found["D"], correlated(x[..., :16], w[:, :2, :16], 2))


def test_new_weights_are_packed_anew() -> None:
    module = compiled("Given L[160]\nM = FC(L, Φ, units 128)\n")
    assert panels(module)
    x = numbers(3, 160)
    for shift in (0, 1):
        module.load_weights({"Φ.W": numbers(160, 128) + shift, "Φ.B": numbers(128)})
        agree(module(x), x.astype(float) @ module.weights["Φ.W"] + module.weights["Φ.B"])


def test_weights_that_are_computed_are_packed_too() -> None:
    module = compiled("""\
Given L[160]
param W[160, 128]
param g[128]
V[i,j] = W[i,j] * g[j]
S[b,j] = V[I,j] * L[b,I]
output S
""")
    assert panels(module)
    x = numbers(3, 160)
    agree(module(x), x.astype(float) @ module.weights["W"] * module.weights["g"])


def test_weights_that_a_program_changes_stay_as_they_are() -> None:
    text = """\
Given L[160], G[160, 128] without batch
state W[160, 128] = 0.5
S[b,j] = W[I,j] * L[b,I]
update W = W + G
output S
"""
    assert panels(compiled(text))
    assert not panels(compiled(text, mode="training"))


@st.composite
def products(draw: st.DrawFn) -> tuple[int, int, int, str]:
    """Inputs, outputs, window, and what follows."""
    inputs = draw(st.one_of(st.sampled_from((16, 32, 48)), st.integers(1, 60)))
    outputs = draw(st.one_of(st.sampled_from((32, 96, 160, 240)), st.integers(1, 120)))
    after = draw(st.sampled_from(("S", "relu(S)", "2*S + 1")))
    return inputs, outputs, draw(st.sampled_from((1, 2, 3))), after


@given(case=products(), stride=st.integers(1, 2), batches=st.lists(st.integers(1, 30), min_size=1, max_size=3))
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_sums_of_products_of_any_shape(case: tuple[int, int, int, str], stride: int, batches: Sequence[int]) -> None:
    inputs, outputs, window, after = case
    module = compiled(f"""\
Given L[5, 6, {inputs}]
S = Conv(L, Φ, width {window}, stride {stride}, filters {outputs})
R = {after}
output R
""")
    for batch in batches:
        x = numbers(batch, 5, 6, inputs)
        s = correlated(x, module.weights["Φ.W"], stride) + module.weights["Φ.B"]
        agree(module(x), {"S": s, "relu(S)": numpy.maximum(s, 0), "2*S + 1": 2 * s + 1}[after])
