"""The facts F2 to F8: shapes, weights and neurons of the course's networks, layer by layer, from their programs."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from levels import EXHAUSTIVE, sparse
from programs import checked, parameters, shape

from majuscule.compiler.summary import summarize

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def example(name: str) -> str:
    return (EXAMPLES / f"{name}.maj").read_text(encoding="utf-8")


def count(text: str, suffix: str = "") -> int:
    """The number of parameters whose names end in `suffix`."""
    return sum(math.prod(size) for name, size in parameters(checked(text)).items() if name.endswith(suffix))


def test_f02_weights_of_a_filter_and_a_bias() -> None:
    assert count("Given L[32, 32, 3]\nA = CONV(L, width 5, filters 1)\n", "W") == 75
    assert count("Given L[32, 32, 3]\nA = CONV(L, width 5, filters 1)\n") == 76
    assert count("Given L[32, 32, 16]\nA = CONV(L, width 3, filters 20)\n") == 3 * 3 * 16 * 20 + 20


def test_f02_full_connections_against_a_patch() -> None:
    whole = count("Given L[128, 128, 3]\nA = FC(L, units 64)\n", "W")
    assert whole == 128 * 128 * 3 * 64 == 3_145_728
    assert count("Given L[128, 128, 3]\nA = CONV(L, width 3, filters 64)\n", "W") == 1728


def test_f02_shapes() -> None:
    assert shape(checked("Given L[32, 32, 3]\nA = CONV(L, width 5, filters 6)\n"), "A") == (28, 28, 6)
    cifar = checked("""
Given INPUT[32, 32, 3]
C[32x32x12] = CONV(INPUT, width 3, pad 1)
R = RELU(C)
P[16x16x12] = POOL(R, width 2)
s[10] = FC(P)
""")
    assert shape(cifar, "s") == (10,)


def test_f02_the_first_layer_of_alexnet() -> None:
    program = checked(example("alexnet"))
    assert math.prod(shape(program, "L1")) == 290_400
    W, B = (math.prod(parameters(program)[f"Φ1.{n}"]) for n in "WB")
    assert (W, B, W + B) == (34_848, 96, 34_944)
    unshared = checked("""
Given L[227, 227, 3]
param W[55, 55, 11, 11, 3, 96] = 0
param B[55, 55, 96] = 0
A[b,x,y,j] = W[x,y,ΔX,ΔY,I,j] L[b,4*x+ΔX,4*y+ΔY,I] + B[x,y,j]
""")
    assert sum(map(math.prod, parameters(unshared).values())) == 290_400 * 364 == 105_705_600


def test_f03_alexnet() -> None:
    program = checked(example("alexnet"))
    assert [shape(program, f"L{k}") for k in range(1, 11)] == [
        (55, 55, 96), (27, 27, 96), (27, 27, 256), (13, 13, 256), (13, 13, 384), (13, 13, 384), (13, 13, 256),
        (6, 6, 256), (4096,), (4096,),
    ]  # fmt: skip
    assert math.prod(shape(program, "L8")) == 9216
    assert parameters(program) == {
        "Φ1.W": (11, 11, 3, 96), "Φ1.B": (96,), "Φ3.W": (5, 5, 96, 256), "Φ3.B": (256,), "Φ5.W": (3, 3, 256, 384),
        "Φ5.B": (384,), "Φ6.W": (3, 3, 384, 384), "Φ6.B": (384,), "Φ7.W": (3, 3, 384, 256), "Φ7.B": (256,),
        "Φ9.W": (9216, 4096), "Φ9.B": (4096,), "Φ10.W": (4096, 4096), "Φ10.B": (4096,), "Φs.W": (4096, 1000),
        "Φs.B": (1000,),
    }  # fmt: skip
    assert program.outputs == ("s",)


def test_f04_zfnet() -> None:
    program = checked("""
Given image[224, 224, 3]
L1[110x110x96] = ReLU(CONV(image, width 7, stride 2, pad 1))
L2[55x55x96]   = MaxPool(L1, width 3, stride 2, ceil true)
L3[26x26x256]  = ReLU(CONV(L2, width 5, stride 2))
L4[13x13x256]  = MaxPool(L3, width 3, stride 2, ceil true)
L5[13x13x512]  = ReLU(CONV(L4, width 3, pad 1))
L6[13x13x1024] = ReLU(CONV(L5, width 3, pad 1))
L7[13x13x512]  = ReLU(CONV(L6, width 3, pad 1))
L8[6x6x512]    = MaxPool(L7, width 3, stride 2)
L9[4096]       = ReLU(FC(L8))
L10[4096]      = ReLU(FC(L9))
s[1000]        = FC(L10)
""")
    assert shape(program, "s") == (1000,)


STAGES = {
    "A": ([64], [128], [256, 256], [512, 512], [512, 512]),
    "B": ([64, 64], [128, 128], [256, 256], [512, 512], [512, 512]),
    "C": ([64, 64], [128, 128], [256, 256, 1], [512, 512, 1], [512, 512, 1]),
    "D": ([64, 64], [128, 128], [256] * 3, [512] * 3, [512] * 3),
    "E": ([64, 64], [128, 128], [256] * 4, [512] * 4, [512] * 4),
}


@pytest.mark.parametrize(
    ("name", "millions", "layers"), [("A", 133, 11), ("B", 133, 13), ("C", 134, 16), ("D", 138, 16), ("E", 144, 19)]
)
def test_f05_vgg_as_a_pattern(name: str, millions: int, layers: int) -> None:
    stages = STAGES[name]
    filters = [max(stage) for stage in stages for _ in stage]
    widths = [1 if size == 1 else 3 for stage in stages for size in stage]
    pads = [(width - 1) // 2 for width in widths]
    text = f"""
Given image[224, 224, 3]
repeats = {[len(stage) for stage in stages]}
s = image -> [[CONV(filters {filters}, width {widths}, pad {pads}) -> RELU]*repeats -> POOL(width 2)]*5 -> \\
    [FC(units 4096) -> RELU]*2 -> FC(units 1000)
"""
    program = checked(text)
    total = sum(map(math.prod, parameters(program).values()))
    assert round(total / 1e6) == millions
    assert sum(n.endswith("W") for n in parameters(program)) == layers


def test_f05_vgg16_row_by_row() -> None:
    program = checked(example("vgg16"), folder=EXAMPLES)
    weights = {n.removesuffix(".W"): math.prod(s) for n, s in parameters(program).items() if n.endswith(".W")}
    rows = {
        "stage1.conv_1": 1_728, "stage1.conv_2": 36_864, "stage2.conv_1": 73_728, "stage2.conv_2": 147_456,
        "stage3.conv_1": 294_912, "stage3.conv_2": 589_824, "stage3.conv_3": 589_824, "stage4.conv_1": 1_179_648,
        "stage4.conv_2": 2_359_296, "stage4.conv_3": 2_359_296, "stage5.conv_1": 2_359_296,
        "stage5.conv_2": 2_359_296, "stage5.conv_3": 2_359_296, "fc6": 102_760_448, "fc7": 16_777_216,
        "fc8": 4_096_000,
    }  # fmt: skip
    assert weights == {f"scores.{name}": count for name, count in rows.items()}
    neurons = {row.name: row.neurons.constant for row in summarize(program, depth=1).rows}
    assert neurons["image"] == 224 * 224 * 3
    sizes = [row.neurons.constant for row in summarize(program, depth=1).rows if row.name == "conv_1"]
    assert sizes == [3_211_264, 1_605_632, 802_816, 401_408, 100_352]
    assert [neurons[f"stage{k}"] for k in range(1, 6)] == [802_816, 401_408, 200_704, 100_352, 25_088]
    assert (neurons["fc6"], neurons["fc7"], neurons["fc8"]) == (4096, 4096, 1000)


GOOGLENET = {
    "3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64), "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64), "4c": (128, 128, 256, 24, 64, 64), "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128), "5a": (256, 160, 320, 32, 128, 128), "5b": (384, 192, 384, 48, 128, 128),
}  # fmt: skip


def test_f06_googlenet() -> None:
    rows = []
    for name, columns in GOOGLENET.items():
        source = {"3a": "pool2", "4a": "pool3", "5a": "pool4"}.get(name, f"i{name[0]}{chr(ord(name[1]) - 1)}")
        rows.append(f"i{name} = Inception({source}, {', '.join(map(str, columns))})")
        if name in ("3b", "4e"):
            rows.append(f"pool{name[0]} = MaxPool(i{name}, width 3, stride 2, ceil true)")
    text = f"""
Given image[224, 224, 3]
conv1[112x112x64] = ReLU(CONV(image, width 7, stride 2, pad 3))
pool1[56x56x64] = MaxPool(conv1, width 3, stride 2, ceil true)
reduce2[56x56x64] = ReLU(CONV(pool1, width 1))
conv2[56x56x192] = ReLU(CONV(reduce2, width 3, pad 1))
pool2[28x28x192] = MaxPool(conv2, width 3, stride 2, ceil true)
{chr(10).join(rows)}
pool5[1x1x1024] = MeanPool(i5b, width 7, stride 1)
drop = Dropout(pool5, rate 0.4)
linear[1000] = FC(drop)
s = Softmax(linear)
"""
    program = checked(text)
    sizes = {"3a": (28, 256), "3b": (28, 480), "4a": (14, 512), "4b": (14, 512), "4c": (14, 512), "4d": (14, 528),
             "4e": (14, 832), "5a": (7, 832), "5b": (7, 1024)}  # fmt: skip
    for name, (size, channels) in sizes.items():
        assert shape(program, f"i{name}") == (size, size, channels)
    channels = [192, 256, 480, 512, 512, 512, 528, 832, 832]
    by_hand = 7 * 7 * 3 * 64 + 64 + 64 * 64 + 64 + 9 * 64 * 192 + 192 + 1024 * 1000 + 1000
    for n, (a, b, c, d, e, f) in zip(channels, GOOGLENET.values(), strict=True):
        by_hand += n * (a + b + d + f) + 9 * b * c + 25 * d * e + a + b + c + d + e + f
    total = sum(map(math.prod, parameters(program).values()))
    assert total == by_hand
    assert 6.9e6 < total < 7.1e6  # and not the 5 million of the slide


RESNETS = [
    (18, "ResidualBlock", [2, 2, 2, 2], 11_689_512), (34, "ResidualBlock", [3, 4, 6, 3], 21_797_672),
    (50, "Bottleneck", [3, 4, 6, 3], 25_557_032), (101, "Bottleneck", [3, 4, 23, 3], 44_549_160),
    (152, "Bottleneck", [3, 8, 36, 3], 60_192_808),
]  # fmt: skip


@pytest.mark.parametrize(("depth", "block", "layers", "total"), sparse(RESNETS, 5, EXHAUSTIVE))
def test_f07_resnets_by_a_loop(depth: int, block: str, layers: list[int], total: int) -> None:
    wide = 4 if block == "Bottleneck" else 1
    text = f"""
Given image[224, 224, 3]
conv1 = Conv(image, filters 64, width 7, stride 2, pad 3, bias false)
norm1 = BatchNorm(conv1)
L_0 = MaxPool(relu(norm1), width 3, stride 2, pad 1)
blocks = {layers}
n = 0
for l in 0..4:
    for k in 0..blocks[l]:
        L_{{n+1}} = {block}(L_{{n}}, filters {64 * wide}*2^l, stride 2 if k == 0 and l > 0 else 1)
        n = n + 1
features = GlobalMeanPool(L_{{n}})
s = FC(features, units 1000)
"""
    program = checked(text)
    found = parameters(program)
    assert sum(map(math.prod, found.values())) == total
    assert sum(n.endswith("W") and "shortcut" not in n for n in found) == depth
    assert shape(program, "features") == (512 * wide,)


@pytest.mark.parametrize("n", [3, 5])
def test_f07_cifar_resnets_have_6n_plus_2_layers(n: int) -> None:
    text = f"""
Given image[32, 32, 3]
L_0 = ConvNorm(image, filters 16)
m = 0
for l in 0..3:
    for k in 0..{n}:
        L_{{m+1}} = ResidualBlock(L_{{m}}, filters 16*2^l, stride 2 if k == 0 and l > 0 else 1, shortcut zeros)
        m = m + 1
features = GlobalMeanPool(L_{{m}})
s = FC(features, units 10)
"""
    found = parameters(checked(text))
    assert sum(name.endswith("W") for name in found) == 6 * n + 2


@pytest.mark.parametrize(("K", "layers"), [(3, 1), (3, 4), (5, 3), (7, 2)])
def test_f08_receptive_field_of_stacked_convolutions(K: int, layers: int) -> None:
    """An image as large as the receptive field, 1 + L(K - 1), gives exactly one position."""
    field = 1 + layers * (K - 1)
    text = f"Given L_0[{{}}, 1]\nfor l in 0..{layers}: L_{{{{l+1}}}} = Conv1d(L_l, width {K}, filters 1)\n"
    assert shape(checked(text.format(field)), f"L_{layers}") == (1, 1)
    assert shape(checked(text.format(field + 5)), f"L_{layers}") == (6, 1)


def test_f08_receptive_field_with_strides() -> None:
    """AlexNet's third pool sees 195 pixels: 11 + 4*(2 + 2*4 + ...), each step by the strides before it."""
    windows = [(11, 4), (3, 2), (5, 1), (3, 2), (3, 1), (3, 1), (3, 1), (3, 2)]
    field, step, lines = 1, 1, []
    for k, (width, stride) in enumerate(windows):
        field, step = field + (width - 1) * step, step * stride
        layer = (
            f"MaxPool1d(L_{k}, width {width}, stride {stride})"
            if k in (1, 3, 7)
            else f"Conv1d(L_{k}, width {width}, stride {stride}, filters 1)"
        )
        lines.append(f"L_{k + 1} = {layer}")
    assert field == 195
    assert shape(checked(f"Given L_0[{field}, 1]\n" + "\n".join(lines) + "\n"), "L_8") == (1, 1)
    assert shape(checked(f"Given L_0[{field + 31}, 1]\n" + "\n".join(lines) + "\n"), "L_8") == (1, 1)
    assert shape(checked(f"Given L_0[{field + 32}, 1]\n" + "\n".join(lines) + "\n"), "L_8") == (2, 1)
