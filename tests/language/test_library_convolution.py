"""The library's convolutions against PyTorch's, in float64."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
from programs import Array, checked, close, numbers, parameters, refused, shape, values

from majuscule.dsl.equations import Reshape

torch = pytest.importorskip("torch")
functional = torch.nn.functional
AXES = {1: "1d", 2: "2d", 3: "3d"}


def channels_first(array: Array) -> Any:
    """A batch of images (or signals, or volumes) in PyTorch's order of axes."""
    return torch.from_numpy(numpy.moveaxis(array, -1, 1).copy())


def channels_last(tensor: Any) -> Array:
    """The other way round."""
    return numpy.moveaxis(tensor.numpy(), 1, -1)


def convolution_weight(W: Array) -> Any:
    """[window, in / groups, out] as PyTorch has it: [out, in / groups, window]."""
    return torch.from_numpy(numpy.moveaxis(W, (-1, -2), (0, 1)).copy())


def transposed_weight(W: Array, groups: int) -> Any:
    """[window, in / groups, out] as PyTorch has it: [in, out / groups, window]."""
    *window, K, J = W.shape
    split = numpy.moveaxis(W.reshape(*window, K, groups, J // groups), (-2, -3, -1), (0, 1, 2))
    return torch.from_numpy(split.reshape(groups * K, J // groups, *window).copy())


def pair(text: str, rank: int = 2) -> tuple[int, ...]:
    """`(2,1)` or `2` as a tuple of numbers."""
    found = tuple(int(part) for part in text.strip("()").split(","))
    return found if len(found) == rank else found * rank


CASES = [
    (1, "3", "1", "0", "1", 1),
    (1, "5", "2", "2", "2", 2),
    (2, "3", "1", "0", "1", 1),
    (2, "(3,5)", "(2,1)", "(4,2)", "(3,1)", 1),
    (2, "1", "1", "0", "1", 1),
    (2, "3", "2", "1", "1", 2),
    (2, "3", "1", "1", "2", 4),
    (2, "2", "3", "(1,0)", "1", 1),
    (3, "(1,2,3)", "(1,2,1)", "1", "1", 1),
    (3, "2", "1", "0", "2", 2),
]


@pytest.mark.parametrize(("rank", "width", "stride", "pad", "dilation", "groups"), CASES)
@pytest.mark.parametrize("bias", [True, False])
def test_convolution(rank: int, width: str, stride: str, pad: str, dilation: str, groups: int, bias: bool) -> None:
    sizes = (9, 8, 7)[:rank]
    L, B = numbers(2, *sizes, 4), numbers(8)
    W = numbers(*pair(width, rank), 4 // groups, 8, seed=1)
    name = "Conv" if rank == 2 else f"Conv{AXES[rank]}"
    text = (
        f"Given L[{', '.join(map(str, sizes))}, 4]\n"
        f"A = {name}(L, width {width}, stride {stride}, pad {pad}, dilation {dilation}, groups {groups}, filters 8"
        f"{'' if bias else ', bias false'})\n"
    )
    found = values(text, {"L": L}, {"A.W": W, "A.B": B} if bias else {"A.W": W})
    convolve = getattr(functional, f"conv{AXES[rank]}")
    expected = convolve(
        channels_first(L), convolution_weight(W), torch.from_numpy(B) if bias else None, pair(stride, rank),
        pair(pad, rank), pair(dilation, rank), groups,
    )  # fmt: skip
    close(found[checked(text).outputs[0]], channels_last(expected))


def test_the_example_of_pytorchs_manual_has_its_shape() -> None:
    """F2: Conv2d(16, 33, (3,5), stride (2,1), padding (4,2), dilation (3,1)) on 20x16x50x100 gives 20x33x26x100."""
    text = "Given L[50, 100, 16]\nA = Conv2d(L, filters 33, width (3,5), stride (2,1), pad (4,2), dilation (3,1))\n"
    program = checked(text)
    assert shape(program, "A") == (26, 100, 33)
    assert parameters(program) == {"A.W": (3, 5, 16, 33), "A.B": (33,)}


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_padding_modes(mode: str) -> None:
    L, W, B = numbers(2, 6, 5, 3), numbers(3, 3, 3, 4, seed=1), numbers(4)
    text = f"Given L[6, 5, 3]\nA = Conv(L, width 3, pad (2,1), filters 4, mode {mode})\n"
    layer = torch.nn.Conv2d(3, 4, 3, padding=(2, 1), padding_mode=mode, dtype=torch.float64)
    layer.weight.data, layer.bias.data = convolution_weight(W), torch.from_numpy(B)
    with torch.no_grad():
        expected = layer(channels_first(L))
    close(values(text, {"L": L}, {"A.W": W, "A.B": B})["A"], channels_last(expected))


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize(("width", "dilation"), [(3, 1), (4, 1), (2, 3), (5, 2)])
def test_padding_same(width: int, dilation: int) -> None:
    L, W, B = numbers(2, 6, 7, 3), numbers(width, width, 3, 4, seed=1), numbers(4)
    text = f"Given L[6, 7, 3]\nA[6x7x4] = Conv(L, width {width}, pad same, dilation {dilation})\n"
    expected = functional.conv2d(
        channels_first(L), convolution_weight(W), torch.from_numpy(B), padding="same", dilation=dilation
    )
    close(values(text, {"L": L}, {"A.W": W, "A.B": B})["A"], channels_last(expected))


def test_padding_before_and_after() -> None:
    L, W = numbers(2, 6, 7, 3), numbers(3, 3, 3, 2, seed=1)
    text = "Given L[6, 7, 3]\nA = Conv(L, width 3, pad ((1,2), (0,3)), filters 2, bias false)\noutput A\n"
    padded = functional.pad(channels_first(L), (0, 3, 1, 2))
    close(values(text, {"L": L}, {"A.W": W})["A"], channels_last(functional.conv2d(padded, convolution_weight(W))))


def test_images_without_a_batch() -> None:
    L, W, B = numbers(6, 7, 3), numbers(3, 3, 3, 2, seed=1), numbers(2)
    text = "Given L[6, 7, 3] without batch\nA = Conv(L, width 3, filters 2)\n"
    expected = functional.conv2d(channels_first(L[None]), convolution_weight(W), torch.from_numpy(B))
    close(values(text, {"L": L}, {"A.W": W, "A.B": B})["A"], channels_last(expected)[0])


def test_images_of_any_size() -> None:
    L, W, B = numbers(2, 11, 7, 3), numbers(3, 3, 3, 2, seed=1), numbers(2)
    text = "Given L[X, Y, 3]\nA = Conv(L, width 3, stride 2, pad 1, filters 2)\n"
    expected = functional.conv2d(channels_first(L), convolution_weight(W), torch.from_numpy(B), 2, 1)
    close(values(text, {"L": L}, {"A.W": W, "A.B": B})["A"], channels_last(expected))


def test_depthwise_with_a_channel_multiplier() -> None:
    L, W, B = numbers(2, 6, 7, 3), numbers(3, 3, 1, 6, seed=1), numbers(6)
    text = "Given L[6, 7, 3]\nA = DepthwiseConv(L, width 3, pad 1, multiplier 2)\n"
    expected = functional.conv2d(channels_first(L), convolution_weight(W), torch.from_numpy(B), 1, 1, 1, 3)
    close(values(text, {"L": L}, {"A.W": W, "A.B": B})["A"], channels_last(expected))


def test_what_does_not_fit_is_cropped_filled_or_refused() -> None:
    """F1: W = 10, F = 3, S = 2, P = 0 gives 4.5."""
    L, W = numbers(2, 10, 10, 3), numbers(3, 3, 3, 2, seed=1)
    head = "Given L[10, 10, 3]\n"
    call = "A = Conv(L, width 3, stride 2, filters 2, bias false{})\noutput A\n"
    image, weight = channels_first(L), convolution_weight(W)
    cropped = channels_last(functional.conv2d(image, weight, stride=2))
    filled = channels_last(functional.conv2d(functional.pad(image, (0, 1, 0, 1)), weight, stride=2))
    close(values(head + call.format(""), {"L": L}, {"A.W": W})["A"], cropped)
    close(values(head + call.format(", fit crop"), {"L": L}, {"A.W": W})["A"], cropped)
    close(values(head + call.format(", fit pad"), {"L": L}, {"A.W": W})["A"], filled)
    assert "fit evenly" in refused(head + call.format(", fit exact"), "E522").message


def test_a_convolution_is_one_sum_of_products() -> None:
    program = checked("Given L[8, 8, 4]\nA = Conv(L, width 3, filters 2)\n")
    sums = [o for o in program.operations.values() if getattr(o, "combiner", None) == "sum"]
    assert len(sums) == 1
    assert len(program.operations) == 5, list(program.operations)


@pytest.mark.parametrize(("rank", "stride"), [(1, 1), (2, 1), (2, 2), (3, 2)])
def test_depthwise_convolution_takes_no_axes_apart(rank: int, stride: int) -> None:
    sizes = (7, 6, 5)[:rank]
    L, W, B = numbers(2, *sizes, 4), numbers(*(3,) * rank, 1, 4), numbers(4)
    name = "Conv" if rank == 2 else f"Conv{AXES[rank]}"
    text = (
        f"Given L[{', '.join(map(str, sizes))}, 4]\n"
        f"A = {name}(L, width 3, stride {stride}, pad 1, groups 4, filters 4)\n"
    )
    assert not any(isinstance(o, Reshape) for o in checked(text).operations.values())
    convolve = getattr(functional, f"conv{AXES[rank]}")
    expected = convolve(channels_first(L), convolution_weight(W), torch.from_numpy(B), stride, 1, 1, 4)
    close(values(text, {"L": L}, {"A.W": W, "A.B": B})["A"], channels_last(expected))


TRANSPOSED = [
    (1, "3", "1", "0", "0", "1", 1),
    (1, "4", "2", "1", "0", "1", 2),
    (2, "3", "2", "1", "1", "1", 1),
    (2, "2", "2", "0", "0", "1", 1),
    (2, "(3,2)", "(1,3)", "(0,1)", "(0,2)", "1", 2),
    (2, "3", "2", "2", "0", "2", 1),
    (2, "3", "1", "1", "0", "2", 4),
    (2, "1", "2", "0", "1", "1", 1),
    (3, "(2,1,3)", "(2,1,2)", "(0,0,1)", "(1,0,1)", "1", 1),
]


@pytest.mark.parametrize(("rank", "width", "stride", "pad", "outpad", "dilation", "groups"), TRANSPOSED)
def test_transposed_convolution(
    rank: int, width: str, stride: str, pad: str, outpad: str, dilation: str, groups: int
) -> None:
    sizes = (5, 4, 3)[:rank]
    L, B = numbers(2, *sizes, 4), numbers(8)
    W = numbers(*pair(width, rank), 4 // groups, 8, seed=1)
    name = "ConvTranspose" if rank == 2 else f"ConvTranspose{AXES[rank]}"
    text = (
        f"Given L[{', '.join(map(str, sizes))}, 4]\n"
        f"A = {name}(L, width {width}, stride {stride}, pad {pad}, outpad {outpad}, dilation {dilation}, "
        f"groups {groups}, filters 8)\n"
    )
    convolve = getattr(functional, f"conv_transpose{AXES[rank]}")
    expected = convolve(
        channels_first(L), transposed_weight(W, groups), torch.from_numpy(B), pair(stride, rank), pair(pad, rank),
        pair(outpad, rank), groups, pair(dilation, rank),
    )  # fmt: skip
    close(values(text, {"L": L}, {"A.W": W, "A.B": B})["A"], channels_last(expected))


def test_groups_that_do_not_divide_are_refused() -> None:
    assert "groups" in refused("Given L[8, 8, 3]\nA = Conv(L, width 3, filters 2, groups 2)\n", "E522").message
