"""Winograd's algorithm, forced wherever it can be used, against sums of windows in NumPy's float64."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from levels import sparse
from winograd_convolutions import (
    MODES,
    Array,
    Margins,
    agree,
    check,
    compiled,
    correlated,
    numbers,
    padded,
    roads,
    tiles,
)

import majuscule
from majuscule.compiler.codegen.actions import Launch
from majuscule.compiler.codegen.plan import make_plan
from majuscule.compiler.codegen.roads import winograd as road
from majuscule.compiler.codegen.roads.costs import Estimate
from majuscule.compiler.codegen.target import Target
from majuscule.compiler.codegen.winograd import Winograd
from majuscule.compiler.graph import Graph
from majuscule.compiler.pipeline import optimize

# -- windows and paddings ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "sizes", "window", "inputs", "filters", "taken"),
    [
        ("Conv1d", (23,), (2,), 16, 32, "F(3, 2)"),
        ("Conv1d", (21,), (3,), 32, 16, ""),
        ("Conv1d", (14,), (5,), 48, 32, "F(2, 5)"),
        ("Conv", (9, 10), (2, 2), 32, 32, "F(3, 2) x F(3, 2)"),
        ("Conv", (13, 11), (3, 3), 32, 48, ""),
        ("Conv", (9, 12), (5, 5), 16, 16, "F(2, 5) x F(2, 5)"),
        ("Conv", (8, 9), (3, 5), 16, 32, ""),
        ("Conv", (7, 9), (1, 3), 32, 16, ""),
        ("Conv3d", (5, 6, 5), (2, 2, 2), 16, 16, "F(3, 2) x F(3, 2) x F(3, 2)"),
        ("Conv3d", (5, 4, 6), (3, 2, 3), 16, 16, ""),
    ],
)
def test_windows_along_one_two_and_three_axes(
    layer: str, sizes: tuple[int, ...], window: tuple[int, ...], inputs: int, filters: int, taken: str
) -> None:
    shape = ", ".join(map(str, (*sizes, inputs)))
    width = window[0] if len(window) == 1 else window
    module = compiled(f"Given L[{shape}]\nS = {layer}(L, Φ, width {width}, filters {filters})\n")
    (found,) = tiles(module)
    assert taken in found
    check(module, lambda x: correlated(x, module.weights["Φ.W"]) + module.weights["Φ.B"], (*sizes, inputs))


@pytest.mark.parametrize("mode", sparse(MODES, 3))
@pytest.mark.parametrize(("pad", "margins"), [("(2,1)", ((2, 2), (1, 1))), ("((0,2), (3,1))", ((0, 2), (3, 1)))])
def test_paddings(mode: str, pad: str, margins: Margins) -> None:
    module = compiled(f"Given L[10, 9, 16]\nS = Conv(L, Φ, width 3, pad {pad}, mode {mode}, bias false, filters 32)\n")
    assert len(tiles(module)) == 1
    # zeros are never written to memory
    assert len(roads(module)) == (1 if mode == "zeros" else 2)
    check(module, lambda x: correlated(padded(x, margins, mode), module.weights["Φ.W"]), (10, 9, 16), batches=(1, 3))


@pytest.mark.parametrize(("width", "margins"), [(2, (0, 1)), (3, (1, 1)), (5, (2, 2))])
def test_padding_to_the_same_size(width: int, margins: tuple[int, int]) -> None:
    module = compiled(f"Given L[11, 13, 16]\nS = Conv(L, Φ, width {width}, pad same, bias false, filters 16)\n")
    assert len(tiles(module)) == 1
    check(module, lambda x: correlated(padded(x, [margins] * 2), module.weights["Φ.W"]), (11, 13, 16), batches=(1, 2))


@pytest.mark.parametrize("sizes", [(2, 9), (3, 4), (4, 5), (5, 6), (6, 7), (8, 8), (7, 3)])
def test_maps_that_tiles_do_not_divide(sizes: tuple[int, int]) -> None:
    module = compiled(f"Given L[{sizes[0]}, {sizes[1]}, 16]\nS = Conv(L, Φ, width 3, pad 1, bias false, filters 16)\n")
    assert len(tiles(module)) == 1
    check(module, lambda x: correlated(padded(x, [(1, 1)] * 2), module.weights["Φ.W"]), (*sizes, 16), batches=(1, 5))


def test_a_program_without_a_batch() -> None:
    module = compiled("Given L[12, 11, 32] without batch\nS = Conv(L, Φ, width 3, pad 1, filters 32)\n")
    assert len(tiles(module)) == 1
    x = numbers(12, 11, 32)
    expected = correlated(padded(x[None], [(1, 1)] * 2), module.weights["Φ.W"])[0] + module.weights["Φ.B"]
    for threads in (1, 2, 3):
        module.set_threads(threads)
        agree(module(x), expected)


def test_axes_of_open_size_beside_the_window() -> None:
    module = compiled("Given L[T, 9, 16]\nparam W[3, 16, 16]\nS[b,t,x,j] = W[ΔX,I,j] * L[b,t,x+ΔX,I]\n")
    assert len(tiles(module)) == 1
    for times in (1, 4):
        x = numbers(2, times, 9, 16)
        agree(module(x), correlated(x.reshape(-1, 9, 16), module.weights["W"]).reshape(2, times, 7, 16))


@pytest.mark.parametrize(
    ("equation", "weight", "data"),
    [
        ("S[b,j,x,y] = W[j,I,ΔX,ΔY] * L[b,I,x+ΔX,y+ΔY]", "jipq", "bixy"),
        ("S[x,j,y,b] = W[ΔX,ΔY,j,I] * L[b,y+ΔY,I,x+ΔX]", "pqji", "byix"),
        ("S[b,x,y,j] = L[b,x+ΔX,y+ΔY,I] * W[I,ΔY,j,ΔX]", "iqjp", "bxyi"),
        ("S[b,y,x,j] = W[ΔX,ΔY,I,j] * L[b,I,y+ΔY,x+ΔX]", "pqij", "biyx"),
    ],
)
def test_axes_in_any_order(equation: str, weight: str, data: str) -> None:
    sizes = {"p": 3, "q": 2, "i": 16, "j": 32, "x": 8, "y": 7, "b": 3}
    shape = ", ".join(str(sizes[axis]) for axis in data[1:])
    module = compiled(f"Given L[{shape}]\nparam W[{', '.join(str(sizes[a]) for a in weight)}]\n{equation}\n")
    assert len(tiles(module)) == 1
    x = numbers(*(sizes[axis] for axis in data))
    straight = correlated(
        numpy.einsum(f"{data}->bxyi", x), numpy.einsum(f"{weight}->pqij", numpy.array(module.weights["W"]))
    )
    result = equation[2 : equation.index("]")].replace(",", "")
    agree(module(x), numpy.einsum(f"bxyj->{result}", straight))


def test_an_image_may_be_walked_backwards() -> None:
    module = compiled("Given L[11, 16]\nparam W[3, 16, 16]\nfor x in 0..9: S[b,x,j] = W[ΔX,I,j] * L[b,10-x-ΔX,I]\n")
    assert len(tiles(module)) == 1
    check(module, lambda x: correlated(x[:, ::-1], module.weights["W"]), (11, 16), batches=(1, 2))


@pytest.mark.parametrize(
    ("weight", "data", "flipped"),
    [
        ("2-ΔX,2-ΔY,I,j", "b,x+ΔX,y+ΔY,I", (0, 1)),
        ("2-ΔX,ΔY,I,j", "b,x+ΔX,y+ΔY,I", (0,)),
        ("ΔX,ΔY,I,j", "b,x+2-ΔX,y+2-ΔY,I", (0, 1)),
        ("ΔX,2-ΔY,I,j", "b,x+2-ΔX,y+2-ΔY,I", (0,)),
        ("ΔX,2-ΔY,I,j", "b,x+ΔX,y+2-ΔY,I", ()),
        ("ΔX,ΔY,15-I,j", "b,x+ΔX,y+ΔY,I", (2,)),
        ("2-ΔX,ΔY,I,31-j", "b,x+ΔX,y+ΔY,I", (0, 3)),
    ],
)
def test_windows_may_be_walked_backwards(weight: str, data: str, flipped: tuple[int, ...]) -> None:
    module = compiled(f"Given L[11, 9, 16]\nparam W[3, 3, 16, 32]\nR[b,x,y,j] = W[{weight}] * L[{data}]\n")
    assert len(tiles(module)) == 1
    x = numbers(3, 11, 9, 16)
    agree(module(x), correlated(x, numpy.flip(module.weights["W"], flipped)))


# -- where it cannot be used ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "sizes"),
    [
        ("Conv(L, Φ, width 3, stride 2, filters 16)", (9, 8, 16)),
        ("Conv(L, Φ, width 3, dilation 2, filters 16)", (9, 8, 16)),
        ("Conv(L, Φ, width 3, groups 2, filters 32)", (9, 8, 32)),
        ("Conv(L, Φ, width 3, groups 16, filters 16)", (9, 8, 16)),
        ("Conv(L, Φ, width 7, filters 16)", (9, 8, 16)),
        ("Conv(L, Φ, width 1, filters 16)", (9, 8, 16)),
        ("Conv(L, Φ, width 3, filters 10)", (9, 8, 16)),
        ("Conv(L, Φ, width 3, filters 16)", (3, 8, 16)),
    ],
)
def test_other_convolutions_are_computed_directly(layer: str, sizes: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    module = compiled(f"Given L[{', '.join(map(str, sizes))}]\nS = {layer}\n")
    assert not tiles(module)
    words = layer.strip(")").replace(",", "").split()
    options = {name: int(words[words.index(name) + 1]) for name in ("stride", "dilation", "groups") if name in words}
    weight, bias = (torch.from_numpy(numpy.array(module.weights[name])).double() for name in ("Φ.W", "Φ.B"))

    def expected(x: Array) -> Array:
        image = torch.from_numpy(x).double().permute(0, 3, 1, 2)
        found = torch.nn.functional.conv2d(image, weight.permute(3, 2, 0, 1), bias, **options)
        return numpy.asarray(found.permute(0, 2, 3, 1))

    check(module, expected, sizes, batches=(1, 3))


def test_sums_over_several_channel_axes_are_computed_directly() -> None:
    module = compiled(
        "Given L[9, 8, 4, 8]\nparam W[3, 3, 4, 8, 16]\nS[b,x,y,j] = W[ΔX,ΔY,I,K,j] * L[b,x+ΔX,y+ΔY,I,K]\n"
    )
    assert not tiles(module)

    def expected(x: Array) -> Array:
        return correlated(x.reshape(-1, 9, 8, 32), module.weights["W"].reshape(3, 3, 32, 16))

    check(module, expected, (9, 8, 4, 8), batches=(1, 3))


def test_convolutions_of_a_recurrence() -> None:
    """What reads the input alone is computed for all times at once; that of the state stays direct."""
    module = compiled("""\
Given L[T, 10, 16]
param W[3, 16, 16]
param V[3, 16, 16]
Q[b,t,x,j] = W[ΔX,I,j] * L[b,t,x+ΔX,I]
h[b,-1,x,j] = 0
h[b,t,x,j] = tanh(
    0.1*Q[b,t,x,j]
    + 0.1*sum[p in 0..3, i in 0..16](V[p,i,j] * { h[b,t-1,x+p-1,i] if 1 <= x+p and x+p <= 8 ; 0 otherwise })
)
output h
""")
    assert len(tiles(module)) == 1
    for times in (1, 4):
        x = numbers(2, times, 10, 16)
        state, expected = numpy.zeros((2, 8, 16)), []
        for t in range(times):
            inside = correlated(x[:, t], module.weights["W"]) + correlated(padded(state, [(1, 1)]), module.weights["V"])
            state = numpy.tanh(0.1 * inside)
            expected.append(state)
        agree(module(x), numpy.stack(expected, 1))


# -- orders, targets, the choice ----------------------------------------------------------------------


@pytest.mark.parametrize("private", [True, False])
@pytest.mark.parametrize("chunk", sparse([1, 14], 2))
def test_every_order_gives_the_same(private: bool, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    choices = road.choices

    def forced(*arguments: Any) -> list[tuple[Winograd, Estimate]]:
        rows = min(chunk, 5)
        tiles = -(-chunk // rows) * rows
        return [(replace(spec, private=private, chunk=tiles, rows=rows), cost) for spec, cost in choices(*arguments)]

    monkeypatch.setattr(road, "choices", forced)
    module = compiled("Given L[13, 10, 16]\nS = relu(Conv(L, Φ, width 3, pad 1, filters 48))\n", cache=False)
    share = "each thread its own" if private else "shared by all threads"
    assert share in module._manifest["steps"][0]["road"]

    def expected(x: Array) -> Array:
        return numpy.maximum(correlated(padded(x, [(1, 1)] * 2), module.weights["Φ.W"]) + module.weights["Φ.B"], 0)

    check(module, expected, (13, 10, 16), threads=(1, 2, 3))


@pytest.mark.usefixtures("all_cores")
def test_results_do_not_depend_on_the_number_of_threads() -> None:
    module = compiled("Given L[13, 10, 32]\nS = Conv(L, width 3, pad 1, filters 48)\n")
    x = numbers(3, 13, 10, 32)
    first = module(x)
    for threads in (1, 2, 3):
        module.set_threads(threads)
        numpy.testing.assert_array_equal(module(x), first)


@pytest.mark.parametrize("target", ["x86-64-v3", "x86-64-v2"])
def test_narrower_vectors_give_the_same(target: str) -> None:
    module = compiled("Given L[10, 9, 20]\nS = Conv(L, Φ, width 3, pad 1, filters 24)\n", target=target)
    assert len(tiles(module)) == 1

    def expected(x: Array) -> Array:
        return correlated(padded(x, [(1, 1)] * 2), module.weights["Φ.W"]) + module.weights["Φ.B"]

    check(module, expected, (10, 9, 20), batches=(1, 3))


def chosen(size: int, channels: int, filters: int, options: str = "", cpu: str = "x86-64-v4") -> Winograd | None:
    """The algorithm that a 3 x 3 convolution takes by itself on two cores."""
    text = f"Given L[{size}, {size}, {channels}]\nS = Conv(L, width 3, pad 1, filters {filters}{options})\n"
    graph = optimize(Graph.from_program(majuscule.check(text).require()), fold_weights=True)
    launches = [a for a in make_plan(graph, Target.named(cpu, cores=2)).run if isinstance(a, Launch)]
    found = [launch.kernel.algorithm for launch in launches if isinstance(launch.kernel.algorithm, Winograd)]
    return found[0] if found else None


@pytest.mark.parametrize(("size", "channels"), [(112, 64), (56, 64), (56, 256), (28, 128), (28, 512), (14, 256)])
def test_large_maps_take_large_tiles_by_themselves(size: int, channels: int) -> None:
    found = chosen(size, channels, channels)
    assert found is not None
    assert found.tiles == (4, 4)


@pytest.mark.parametrize(
    ("size", "channels", "filters", "options"),
    [(224, 3, 64, ""), (56, 64, 128, ", stride 2"), (56, 64, 64, ", groups 64"), (56, 64, 50, "")],
)
def test_convolutions_that_gain_nothing_stay_direct(size: int, channels: int, filters: int, options: str) -> None:
    assert chosen(size, channels, filters, options) is None


# -- anything ---------------------------------------------------------------------------------------


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[tuple[int, int], tuple[int, int], Margins, str, int, int, str]:
    """Sizes, window, margins, mode of padding, channels in and out, and what follows."""
    window = draw(st.tuples(*[st.sampled_from((2, 3, 5))] * 2))
    margins = draw(st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2))
    sizes = tuple(draw(st.integers(max(w + 3 - sum(m), 3), 12)) for w, m in zip(window, margins, strict=True))
    channels, filters = draw(st.sampled_from((3, 16, 20, 32))), draw(st.sampled_from((16, 32, 48)))
    after = draw(st.sampled_from(("A", "relu(A)", "2*A - 1", "relu(A) + A")))
    return sizes, window, margins, draw(st.sampled_from(sorted(MODES))), channels, filters, after


@pytest.mark.slow
@given(case=convolutions(), batches=st.lists(st.integers(1, 9), min_size=1, max_size=3), threads=st.integers(1, 3))
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_convolutions_of_any_shape(case: Any, batches: list[int], threads: int) -> None:
    sizes, window, margins, mode, channels, filters, after = case
    pad = ", ".join(f"({low},{high})" for low, high in margins)
    module = compiled(f"""\
Given L[{sizes[0]}, {sizes[1]}, {channels}]
A = Conv(L, Φ, width {window}, pad ({pad}), mode {mode}, filters {filters})
R = {after}
output R
""")
    assert len(tiles(module)) == 1

    def expected(x: Array) -> Array:
        a = correlated(padded(x, margins, mode), module.weights["Φ.W"]) + module.weights["Φ.B"]
        return {"A": a, "relu(A)": numpy.maximum(a, 0), "2*A - 1": 2 * a - 1}.get(after, numpy.maximum(a, 0) + a)

    check(module, expected, (*sizes, channels), batches=batches, threads=(threads,))
