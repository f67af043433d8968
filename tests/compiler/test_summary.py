"""Sizes, weights and receptive fields of networks, against the numbers of the slides and textbooks."""

from __future__ import annotations

import pytest

from majuscule.compiler.summary import Row, Summary, summarize
from majuscule.dsl.front_end import check_text


def summary_of(text: str, depth: int = 0) -> Summary:
    return summarize(check_text(text, "test.maj").require(), depth=depth)


def rows_of(text: str, depth: int = 0) -> dict[str, Row]:
    return {row.name: row for row in summary_of(text, depth).rows}


def numbers(row: Row) -> tuple[list[int | None], int | None, int | None, int | None]:
    return [size.constant for size in row.shape], row.neurons.constant, row.weights.constant, row.biases.constant


ALEXNET = """\
Given Input[227, 227, 3]
L1[55x55x96]  = ReLU(CONV(Input, Φ1, width 11, pad 0, stride 4))
L2[27x27x96]  = MaxPool(L1, width 3, stride 2)
L3[27x27x256] = ReLU(CONV(L2, Φ3, width 5, pad 2, stride 1))
L4[13x13x256] = MaxPool(L3, width 3, stride 2)
L5[13x13x384] = ReLU(CONV(L4, Φ5, width 3, pad 1, stride 1))
L6[13x13x384] = ReLU(CONV(L5, Φ6, width 3, pad 1, stride 1))
L7[13x13x256] = ReLU(CONV(L6, Φ7, width 3, pad 1, stride 1))
L8[6x6x256]   = MaxPool(L7, width 3, stride 2)
L9[4096]      = ReLU(FC(L8, Φ9))
L10[4096]     = ReLU(FC(L9, Φ10))
s[1000]       = FC(L10, Φs)
"""


def test_alexnet_has_the_numbers_of_the_slides() -> None:
    summary = summary_of(ALEXNET)
    rows = {row.name: row for row in summary.rows}
    assert numbers(rows["Input"]) == ([227, 227, 3], 154_587, 0, 0)
    assert numbers(rows["L1"]) == ([55, 55, 96], 290_400, 34_848, 96)
    assert rows["L1"].multiply_adds.constant == 55 * 55 * 96 * 11 * 11 * 3
    assert rows["L1"].memory.constant == 4 * 290_400
    assert numbers(rows["L8"]) == ([6, 6, 256], 9_216, 0, 0)
    assert numbers(rows["L9"]) == ([4096], 4096, 37_748_736, 4096)
    assert (summary.weights + summary.biases).constant == 62_378_344


def test_receptive_fields_of_alexnet() -> None:
    # Araujo, Norris, Sim: "Computing receptive fields of convolutional neural networks", 2019: AlexNet's pool5 has 195.
    fields = {name: row.receptive_field["Input"] for name, row in rows_of(ALEXNET).items()}
    assert fields["L1"] == (11, 11)
    assert fields["L2"] == (19, 19)
    assert fields["L8"] == (195, 195)
    assert fields["L9"] == (None, None)


VGG16 = [64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool", 512, 512, 512, "pool"]


def test_vgg16_has_the_table_of_the_slides_and_its_receptive_field() -> None:
    lines, size, before = ["Given L0[224, 224, 3]"], 224, 0
    for number, channels in enumerate(VGG16, 1):
        if channels == "pool":
            lines.append(f"L{number} = MaxPool(L{before}, width 2, stride 2)")
            size //= 2
        else:
            lines.append(f"L{number}[{size}x{size}x{channels}] = ReLU(CONV(L{before}, Φ{number}, width 3, pad 1))")
        before = number
    lines += ["F1[4096] = ReLU(FC(L18, Φf))", "F2[4096] = ReLU(FC(F1, Φg))", "s[1000] = FC(F2, Φs)"]
    rows = rows_of("\n".join(lines))
    weights = [row.weights.constant for row in rows.values() if row.weights.constant]
    assert weights == [
        1_728, 36_864, 73_728, 147_456, 294_912, 589_824, 589_824, 1_179_648, 2_359_296, 2_359_296,
        2_359_296, 2_359_296, 2_359_296, 102_760_448, 16_777_216, 4_096_000,
    ]  # fmt: skip
    neurons = [row.neurons.constant for row in rows.values()]
    assert neurons[:4] == [150_528, 3_211_264, 3_211_264, 802_816]
    assert rows["L18"].receptive_field["L0"] == (212, 212)


def test_of_a_program_that_is_one_call_the_layers_within_are_shown() -> None:
    text = """\
layer Net(L[..., i], Φ, units J):
    hidden = Linear(L, units J)
    scores = Linear(relu(hidden), units 3)
    return scores
Given x[4]
y = Net(x, units 5)
"""
    summary = summary_of(text)
    assert [(row.name, row.depth) for row in summary.rows] == [("x", 0), ("hidden", 0), ("scores", 0)]
    assert [row.weights.constant for row in summary.rows] == [0, 20, 15]
    assert summary.neurons.constant == 4 + 5 + 3
    assert {row.name: row.depth for row in summary_of(text, 1).rows}["S"] == 1
    assert list(rows_of(text + "z = 2*y\n")) == ["x", "y", "z"]
    assert list(rows_of("Given x[4]\ny = Linear(x, units 5)\n")) == ["x", "y"]


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("width", [3, 5])
def test_stacked_convolutions_see_1_plus_count_times_width_minus_1(count: int, width: int) -> None:
    lines = ["Given L0[100, 100, 2]"]
    lines += [f"L{n} = CONV(L{n - 1}, Φ{n}, width {width}, filters 2)" for n in range(1, count + 1)]
    assert rows_of("\n".join(lines))[f"L{count}"].receptive_field["L0"] == (1 + count * (width - 1),) * 2


def test_dilation_stride_and_unequal_axes() -> None:
    text = """\
Given L[40, 60, 2]
param W[3, 2, 2, 4] ~ xavier
A[b,x,y,j] = W[ΔX,ΔY,I,j] * L[b, 2*x + 3*ΔX, y + ΔY, I]
B[b,x,y,j] = max[Δx in 0..2, Δy in 0..5](A[b, x+Δx, y+Δy, j])
C[b,x,j] = mean[y](B[b,x,y,j])
"""
    rows = rows_of(text)
    assert rows["A"].receptive_field["L"] == (7, 2)
    assert rows["B"].receptive_field["L"] == (9, 6)
    assert rows["C"].receptive_field["L"] == (9, None)
    assert rows["A"].weights.constant == 3 * 2 * 2 * 4
    assert rows["A"].multiply_adds.constant == 17 * 59 * 4 * 12


def test_upsampling_sees_one_place_and_skips_are_united() -> None:
    text = """\
Given L[8, 8, 2]
U[b, x in 0..16, y in 0..16, i] = L[b, x//2, y//2, i]
V[b, x in 0..7, y in 0..7, i] = L[b,x,y,i] + L[b,x+1,y,i]
"""
    rows = rows_of(text)
    assert rows["U"].receptive_field["L"] == (1, 1)
    assert rows["V"].receptive_field["L"] == (2, 1)


def test_concatenation_sees_what_its_pieces_see() -> None:
    text = """\
Given L[20, 20, 2]
A = CONV(L, ΦA, width 3, pad 1, filters 4)
B = CONV(L, ΦB, width 5, pad 2, filters 6)
C[b,x,y,I+J] = A[b,x,y,I] ; B[b,x,y,J]
"""
    row = rows_of(text)["C"]
    assert row.receptive_field["L"] == (5, 5)
    assert [size.constant for size in row.shape] == [20, 20, 10]


def test_shared_weights_count_once() -> None:
    text = """\
Given x[8]
a = FC(x, Φ, units 8)
b = FC(a, Φ, units 8)
"""
    summary = summary_of(text)
    rows = {row.name: row for row in summary.rows}
    assert (rows["a"].weights.constant, rows["b"].weights.constant, summary.weights.constant) == (64, 0, 64)
    assert rows["b"].multiply_adds.constant == 64


def test_a_recurrence_sees_all_of_its_sequence_and_open_sizes_stay_symbols() -> None:
    text = """\
Given x[t T, i 5]
h, c = LSTM(x, Φ, units 4)
"""
    row = rows_of(text)["h"]
    assert str(row.neurons) == "4*T"
    assert row.receptive_field["x"] == (None,)
    assert (row.weights + row.biases).constant == 4 * (5 * 4 + 4 * 4 + 4)
    assert str(row.multiply_adds) == f"{4 * (5 * 4 + 4 * 4)}*T"


def test_rows_inside_layers_on_request() -> None:
    text = "Given L[9, 9, 2]\nA = ReLU(CONV(L, Φ, width 3, pad 1, filters 4))\n"
    assert {row.depth for row in summary_of(text).rows} == {0}
    inner = [row for row in summary_of(text, depth=1).rows if row.depth == 1]
    assert sum(row.weights.constant or 0 for row in inner) == 3 * 3 * 2 * 4
