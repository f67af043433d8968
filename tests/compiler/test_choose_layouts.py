"""Layouts: what is chosen for programs of either order, and that no choice changes what a program means."""

from __future__ import annotations

import random
import re
from pathlib import Path
from unittest.mock import patch

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from levels import EXHAUSTIVE, sparse
from random_programs import programs, values_for

import majuscule
from majuscule.compiler import layout_choice, layout_costs
from majuscule.compiler.checker import check
from majuscule.compiler.codegen.actions import Launch
from majuscule.compiler.codegen.asked import Asked
from majuscule.compiler.codegen.kernel import Kernel, canonical
from majuscule.compiler.codegen.plan import make_plan
from majuscule.compiler.codegen.roads import choose
from majuscule.compiler.codegen.target import Target
from majuscule.compiler.graph import Graph
from majuscule.compiler.interpreter import evaluate
from majuscule.compiler.passes.choose_layouts import choose_layouts
from majuscule.compiler.pipeline import optimize, stages
from majuscule.dsl.equations import Recurrence, Reshape

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def every_axis(graph: Graph, *others: object) -> dict[str, list[int]]:
    """All axes of all tensors, in place of those worth a thought."""
    tensors = [name for name in graph if not isinstance(graph.operation(name), Recurrence)]
    return {name: list(range(len(graph.tensor(name).shape))) for name in tensors}


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(graph=programs(), seed=st.integers(0, 1 << 20))
def test_any_choice_of_layouts_keeps_the_meaning(graph: Graph, seed: int) -> None:
    def price(*about: object) -> float:
        return random.Random(f"{seed} {about[1:]}").random()

    with (
        patch.object(layout_choice, "wanted_axes", every_axis),
        patch.multiple(layout_costs.Kernel, computing=price, reading=price, storing=price),
        patch.multiple(layout_costs, copying=price, moving=price),
    ):
        laid_out = choose_layouts(graph)
    check(laid_out)
    assert laid_out.roots == graph.roots
    inputs, weights = values_for(graph)
    before, after = evaluate(graph, inputs, weights), evaluate(laid_out, inputs, weights)
    for root in graph.roots:
        numpy.testing.assert_allclose(after[root], before[root], rtol=1e-9, atol=1e-9)


# -- any spelling of a convolution ------------------------------------------------------------------

SIZES = {"x": 9, "y": 8, "i": 5, "j": 16, "k": 24, "p": 3, "q": 2}


def two_layers(image: str, first: str, middle: str, second: str, out: str) -> str:
    """A convolution over x, y and i to j, and one by a 1x1 window to k, with axes in these orders."""
    given = ", ".join(str(SIZES[axis]) for axis in image)
    weights = [", ".join(str(SIZES[axis]) for axis in order) for order in (first, second)]
    summed = {"p": "ΔX", "q": "ΔY", "i": "I", "x": "x+ΔX", "y": "y+ΔY"}
    return f"""Given L0[{given}]
param W1[{weights[0]}]
param W2[{weights[1]}]
param B[16]
L1[{", ".join(middle)}] = relu(W1[{", ".join(summed.get(a, a) for a in first)}] * L0[b, {
        ", ".join(summed.get(a, a) for a in image)
    }] - B[j])
L2[{", ".join(out)}] = W2[{", ".join("J" if a == "j" else a for a in second)}] * L1[{
        ", ".join("J" if a == "j" else a for a in middle)
    }]
output L2
"""


def expected(
    orders: tuple[str, str, str, str, str], image: numpy.ndarray, weights: dict[str, numpy.ndarray]
) -> numpy.ndarray:
    """The same in NumPy's float64, by einsum over a window's view."""
    given, first, _, second, out = orders
    data = numpy.moveaxis(image.astype(float), [1 + given.index(axis) for axis in "xyi"], [1, 2, 3])
    views = numpy.lib.stride_tricks.sliding_window_view(data, (SIZES["p"], SIZES["q"]), (1, 2))
    sums = numpy.einsum(f"bxyipq,{first}->bxyj", views, weights["W1"].astype(float))
    return numpy.einsum(f"bxyj,{second}->{out}", numpy.maximum(sums - weights["B"], 0), weights["W2"].astype(float))


spellings = st.tuples(*(st.permutations(axes).map("".join) for axes in ("xyi", "pqij", "bxyj", "jk", "bxyk")))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(orders=spellings)
def test_every_spelling_of_a_convolution_keeps_its_meaning(orders: tuple[str, str, str, str, str]) -> None:
    program = majuscule.check(two_layers(*orders)).require()
    before = Graph.from_program(program)
    inputs, weights = values_for(before)
    after = optimize(before, fold_weights=True, verify=True)
    numpy.testing.assert_allclose(
        evaluate(after, inputs, weights)["L2"], expected(orders, inputs["L0"], weights), rtol=1e-5, atol=1e-5
    )


@pytest.mark.slow
@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(orders=spellings)
def test_every_spelling_of_a_convolution_compiles_to_the_same_numbers(orders: tuple[str, str, str, str, str]) -> None:
    module = majuscule.compile(two_layers(*orders))
    rng = numpy.random.default_rng(0)
    weights = {info.name: rng.standard_normal(list(map(int, info.shape)), numpy.float32) for info in module.parameters}
    module.load_weights(weights)
    image = rng.standard_normal([3, *(SIZES[axis] for axis in orders[0])], numpy.float32)
    numpy.testing.assert_allclose(module(image), expected(orders, image, weights), rtol=1e-4, atol=1e-4)


# -- what is chosen -----------------------------------------------------------------------------------


def spelled(text: str, channel_first: bool) -> str:
    """A text with axes in PyTorch's order or with channels last: `<b|x|y|j>` of images, `{p|q|i|j}` of weights."""

    def axes(found: re.Match[str]) -> str:
        parts = found.group(1).split("|")
        if found.group(0)[0] == "{":
            p, q, i, j = parts
            return f"[{', '.join((j, i, p, q) if channel_first else (p, q, i, j))}]"
        *batch, x, y, j = parts
        return f"[{', '.join((*batch, j, x, y) if channel_first else (*batch, x, y, j))}]"

    return re.sub(r"<([^<>]*\|[^<>]*)>|\{([^{}]*\|[^{}]*)\}", lambda m: axes(re.match(r".(.*).", m.group(0))), text)


RESIDUAL = """Given L0<x 56|y 56|i 64>
param W1{3|3|64|64}
param W2{3|3|64|128}
param W3{3|3|128|128}
param W4{1|1|64|128}
param G1[64]
param H1[64]
param G2[128]
param H2[128]
S1<b|x|y|j> = W1{ΔX|ΔY|I|j} * pad(L0, x: 1, y: 1)<b|x+ΔX|y+ΔY|I>
L1<b|x|y|j> = relu(G1[j] * S1<b|x|y|j> + H1[j] + L0<b|x|y|j>)
S2<b|x|y|j> = W2{ΔX|ΔY|I|j} * pad(L1, x: 1, y: 1)<b|2*x+ΔX|2*y+ΔY|I>
L2<b|x|y|j> = relu(G2[j] * S2<b|x|y|j> + H2[j])
S3<b|x|y|j> = W3{ΔX|ΔY|I|j} * pad(L2, x: 1, y: 1)<b|x+ΔX|y+ΔY|I>
R<b|x|y|j> = W4{0|0|I|j} * L1<b|2*x|2*y|I>
L3<b|x|y|j> = relu(S3<b|x|y|j> + R<b|x|y|j>)
M[b,i] = mean[x,y](L3<b|x|y|i>)
output M
"""
BRANCHES = """Given L0<x 28|y 28|i 96>
param W1{1|1|96|64}
param W2{1|1|96|32}
param W3{5|5|32|64}
param W4{3|3|128|64}
param W5{5|5|64|1}
L1<b|x|y|j> = relu(W1{0|0|I|j} * L0<b|x|y|I>)
L2<b|x|y|j> = relu(W2{0|0|I|j} * L0<b|x|y|I>)
L3<b|x|y|j> = relu(W3{ΔX|ΔY|I|j} * pad(L2, x: 2, y: 2)<b|x+ΔX|y+ΔY|I>)
L4<b|x|y|J1+J2> = L1<b|x|y|J1> ; L3<b|x|y|J2>
L5<b|x|y|j> = max_{Δx<2,Δy<2} L4<b|2*x+Δx|2*y+Δy|j>
L6<b|x|y|j> = relu(W4{ΔX|ΔY|I|j} * L5<b|x+ΔX|y+ΔY|I>)
L7<b|x|y|j> = relu(W5{ΔX|ΔY|j|0} * L6<b|x+ΔX|y+ΔY|j>)
M[b,i] = mean[x,y](L7<b|x|y|i>)
output M
"""


def launches(text: str, exact: bool = False) -> list[tuple[str, Kernel]]:
    """The kernels of a call: their roads, and the kernels as they are compiled."""
    target = Target.named("x86-64-v4", cores=2)
    graph = optimize(Graph.from_program(majuscule.check(text).require()), fold_weights=True, verify=True)
    actions = make_plan(graph, target, asked=Asked(exact=exact)).run
    kernels = [canonical(action.kernel)[0] for action in actions if isinstance(action, Launch)]
    return [(choose(kernel, target).name, kernel) for kernel in kernels]


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("text", [RESIDUAL, BRANCHES], ids=["residual", "branches"])
def test_a_network_with_channels_first_has_the_kernels_of_one_with_channels_last(text: str, exact: bool) -> None:
    last, first = launches(spelled(text, False), exact), launches(spelled(text, True), exact)
    roads, of_last = ([name for name, _ in found] for found in (first, last))
    assert sorted(roads) in (sorted(of_last), sorted([*of_last, "elementwise"]))  # the input may be turned
    common = [kernel for _, kernel in last if kernel in [other for _, other in first]]
    assert len(common) >= len(last) - 3  # all but those that read the input


@pytest.mark.parametrize("name", sparse(sorted(path.stem for path in EXAMPLES.glob("*.maj")), 4, EXHAUSTIVE))
def test_networks_with_channels_last_stay_as_they_are(name: str) -> None:
    program = majuscule.check(EXAMPLES / f"{name}.maj").require()
    *_, (_, before), (last, after) = stages(Graph.from_program(program), fold_weights=True)
    assert last == "choose_layouts"
    assert after is before


def reasons(text: str, tensor: str) -> list[str]:
    """What is told of a tensor's layout."""
    graph = optimize(Graph.from_program(majuscule.check(text).require()), fold_weights=True, verify=True)
    return [note.text for note in graph.notes if (note.pass_name, note.tensor) == ("choose_layouts", tensor)]


def test_it_is_told_which_tensors_are_stored_otherwise_and_why() -> None:
    text = spelled(RESIDUAL, True)
    assert reasons(text, "L1")[0].startswith(
        "is stored in the order [b, x, y, j], not [b, j, x, y] as written: L1, part#2.pad and R can work in vectors"
    )
    assert reasons(text, "W4") == [
        "is copied once, when weights are loaded, into the order [1, 1, 64, 128], as W4.permuted, which suits R"
    ]
    assert reasons(text, "W1.scaled") == [
        "is stored in the order [ΔX, ΔY, I, j], not [j, I, ΔX, ΔY] as written: L1 can work in vectors along j"
    ]


def test_an_output_keeps_its_order_and_is_copied_where_another_order_suits_the_rest() -> None:
    text = spelled(RESIDUAL, True).replace("output M", "output M, L2, L1")
    after = optimize(Graph.from_program(majuscule.check(text).require()), fold_weights=True, verify=True)
    assert [str(size) for size in after.tensor("L2").shape] == ["batch", "128", "28", "28"]
    assert reasons(text, "L2")[-1] == "is copied from L2.permuted into the order of the output"


def test_weights_are_put_in_order_for_data_that_need_nothing() -> None:
    """PyTorch's order of weights, channels last in images: the same kernels."""
    last = spelled(RESIDUAL, False)
    weights = re.sub(
        r"\{([^{}]*\|[^{}]*)\}", lambda m: f"[{', '.join(m.group(1).split('|')[k] for k in (3, 2, 0, 1))}]", RESIDUAL
    )
    assert launches(spelled(weights, False)) == launches(last)
    assert launches(spelled(weights, False), "direct") == launches(last, "direct")


GROUPED = """Given L0[i 128, x 28, y 28]
param W1[128, 128]
param W2[4, 32, 32, 3, 3]
param W3[64, 128]
L1[b,j,x,y] = relu(W1[j,I] * L0[b,I,x,y])
L2[b,(g,j),x,y] = W2[g,j,I,ΔX,ΔY] * pad(L1, x: 1, y: 1)[b,(g,I),x+ΔX,y+ΔY]
L3[b,j,x,y] = relu(W3[j,I] * L2[b,I,x,y])
M[b,i] = mean[x,y](L3[b,i,x,y])
output M
"""


def test_channels_that_are_joined_from_groups_are_innermost_on_both_sides_of_the_reshape() -> None:
    after = optimize(Graph.from_program(majuscule.check(GROUPED).require()), fold_weights=True, verify=True)
    shapes = {name: [str(size) for size in after.tensor(name).shape] for name in ("L2.unfused", "L2")}
    assert shapes == {"L2.unfused": ["batch", "28", "28", "4", "32"], "L2": ["batch", "28", "28", "128"]}
    assert isinstance(after.operation("L2"), Reshape)
    inputs, weights = values_for(after)
    before = evaluate(Graph.from_program(after.program), inputs, weights)
    numpy.testing.assert_allclose(evaluate(after, inputs, weights)["M"], before["M"], rtol=1e-5, atol=1e-5)


ATTENTION = """Given Q[20, 24, 4, 8], K[22, 26, 4, 8], V[22, 26, 4, 8]
A[b,x,y,h,Δx,Δy] = softmax[Δx in 0..3, Δy in 0..3](Q[b,x,y,h,I] * K[b,x+Δx,y+Δy,h,I])
S[b,x,y,h,i] = A[b,x,y,h,ΔX,ΔY] * V[b,x+ΔX,y+ΔY,h,i]
"""


def test_places_that_windows_slide_over_are_innermost_where_channels_fill_no_vectors() -> None:
    after = optimize(Graph.from_program(majuscule.check(ATTENTION).require()), fold_weights=True, verify=True)
    shapes = {name: [str(size) for size in after.tensor(name).shape] for name in ("K.permuted", "A.sum", "A.max", "A")}
    scores = ["batch", "20", "4", "3", "3", "24"]
    assert shapes == {
        "K.permuted": ["batch", "22", "4", "8", "26"],
        "A.sum": scores,
        "A.max": ["batch", "20", "4", "24"],
        "A": scores,
    }
    inputs, weights = values_for(after)
    before = evaluate(Graph.from_program(after.program), inputs, weights)
    numpy.testing.assert_allclose(evaluate(after, inputs, weights)["S"], before["S"], rtol=1e-5, atol=1e-5)
