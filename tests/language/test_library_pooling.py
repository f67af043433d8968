"""The library's pooling layers against PyTorch's, in float64."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
from programs import Array, checked, close, notes, numbers, refused, shape, values

torch = pytest.importorskip("torch")
functional = torch.nn.functional


def first(array: Array) -> Any:
    """Channels first, as PyTorch has it."""
    return torch.from_numpy(numpy.moveaxis(array, -1, 1).copy())


def last(tensor: Any) -> Array:
    """Channels last."""
    return numpy.moveaxis(tensor.numpy(), 1, -1)


SIZES = (9, 8, 7)
CASES = [
    (1, "width 3", {"kernel_size": 3}),
    (1, "width 3, stride 2, pad 1", {"kernel_size": 3, "stride": 2, "padding": 1}),
    (2, "width 2, stride 2", {"kernel_size": 2}),
    (2, "width 3, stride 2", {"kernel_size": 3, "stride": 2}),
    (2, "width (3,2), stride (1,2), pad 1", {"kernel_size": (3, 2), "stride": (1, 2), "padding": 1}),
    (2, "width 3, stride 2, ceil true", {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
    (2, "width 2, stride 3, ceil true", {"kernel_size": 2, "stride": 3, "ceil_mode": True}),
    (2, "width 3, stride 3, pad 1, ceil true", {"kernel_size": 3, "padding": 1, "ceil_mode": True}),
    (2, "width 2, stride 2, pad 1, ceil true", {"kernel_size": 2, "padding": 1, "ceil_mode": True}),
    (3, "width 2, pad (0,1,1)", {"kernel_size": 2, "padding": (0, 1, 1)}),
    (3, "width (1,2,3), ceil true", {"kernel_size": (1, 2, 3), "ceil_mode": True}),
]


def layer(kind: str, rank: int) -> str:
    return f"{kind}Pool" if rank == 2 else f"{kind}Pool{rank}d"


def program(kind: str, rank: int, arguments: str) -> str:
    sizes = ", ".join(map(str, SIZES[:rank]))
    return f"Given L[{sizes}, 3]\nA = {layer(kind, rank)}(L, {arguments})\n"


@pytest.mark.parametrize(("rank", "arguments", "keywords"), CASES)
def test_max_pooling(rank: int, arguments: str, keywords: dict[str, Any]) -> None:
    L = -abs(numbers(2, *SIZES[:rank], 3))  # a padding of zeros would win
    expected = getattr(functional, f"max_pool{rank}d")(first(L), **keywords)
    close(values(program("Max", rank, arguments), {"L": L})["A"], last(expected))


@pytest.mark.parametrize(("rank", "arguments", "keywords"), CASES)
def test_mean_pooling_counts_what_is_there(rank: int, arguments: str, keywords: dict[str, Any]) -> None:
    L = numbers(2, *SIZES[:rank], 3)
    expected = getattr(functional, f"avg_pool{rank}d")(first(L), **keywords, count_include_pad=False)
    close(values(program("Mean", rank, arguments), {"L": L})["A"], last(expected))


@pytest.mark.parametrize(("rank", "arguments", "keywords"), [c for c in CASES if "ceil" not in c[1]])
def test_mean_pooling_may_count_the_padding(rank: int, arguments: str, keywords: dict[str, Any]) -> None:
    L = numbers(2, *SIZES[:rank], 3)
    expected = getattr(functional, f"avg_pool{rank}d")(first(L), **keywords)
    found = values(program("Mean", rank, f"{arguments}, count_padding true"), {"L": L})
    close(found["A"], last(expected))


def test_dilated_max_pooling() -> None:
    L = numbers(2, 9, 8, 3)
    text = "Given L[9, 8, 3]\nA = MaxPool(L, width 3, stride 1, dilation (2,1))\n"
    close(values(text, {"L": L})["A"], last(functional.max_pool2d(first(L), 3, 1, dilation=(2, 1))))


def test_a_single_image() -> None:
    L = numbers(9, 8, 3)
    found = values("Given L[9, 8, 3] without batch\nA = MaxPool(L, width 2)\n", {"L": L})["A"]
    close(found, last(functional.max_pool2d(first(L[None]), 2))[0])


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_global_pooling(rank: int) -> None:
    L = numbers(2, *SIZES[:rank], 3)
    suffix = "" if rank == 2 else f"{rank}d"
    sizes = ", ".join(map(str, SIZES[:rank]))
    text = f"Given L[{sizes}, 3]\nA = GlobalMeanPool{suffix}(L)\nB = GlobalMaxPool{suffix}(L)\n"
    found = values(text, {"L": L})
    spatial = tuple(range(1, rank + 1))
    close(found["A"], L.mean(spatial))
    close(found["B"], L.max(spatial))


@pytest.mark.parametrize("size", [(4, 5), (9, 8), (3, 2), (1, 1), (12, 3)])
def test_adaptive_mean_pooling(size: tuple[int, int]) -> None:
    L = numbers(2, 9, 8, 3)
    text = f"Given L[9, 8, 3]\nA = AdaptiveMeanPool(L, size {size})\n"
    close(values(text, {"L": L})["A"], last(functional.adaptive_avg_pool2d(first(L), size)))


def test_pooling_of_images_of_any_size() -> None:
    L = numbers(2, 7, 9, 3)
    text = "Given L[X, Y, 3]\nA = MaxPool(L, width 3, stride 2, ceil true)\nB = MeanPool(L, width 2)\n"
    found = values(text, {"L": L})
    close(found["A"], last(functional.max_pool2d(first(L), 3, 2, ceil_mode=True)))
    close(found["B"], last(functional.avg_pool2d(first(L), 2)))


def test_cropping_is_noted() -> None:
    found = notes("Given L[10, 10, 3]\nA = MaxPool(L, width 3, stride 2)\n", "N501")
    assert [d.place.line for d in found] == [2, 2]
    assert "last place" in found[0].message


def test_padding_that_is_cropped_is_not_noted() -> None:
    assert not notes("Given L[10, 10, 3]\nA = MaxPool(L, width 3, stride 2, pad 1)\n", "N501")


def test_a_window_wholly_in_the_padding_is_refused() -> None:
    refused("Given L[4, 4, 3]\nA = MaxPool(L, width 2, pad 2)\n", "E309")


def test_sizes_of_alexnet_pools() -> None:
    for size, result in ((55, 27), (27, 13), (13, 6)):
        assert shape(checked(f"Given L[{size}, {size}, 2]\nA = MaxPool(L, width 3, stride 2)\n"), "A") == (
            result,
            result,
            2,
        )
