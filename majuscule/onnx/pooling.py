"""Pooling over windows and over all positions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .calls import Call
from .convolution import covered, padded, window_options, windows
from .errors import CannotSay
from .sizes import Dim, Size
from .values import Tensor, Value, channels_last

_SUFFIX = {1: "1d", 2: "", 3: "3d"}


def _pool(call: Call, layer: str) -> Tensor:
    data = call.tensor(0)
    rank = data.rank - 2
    if rank not in _SUFFIX:
        raise CannotSay(f"pooling of {data.rank} axes is not known")
    if len(call.outputs) > 1:
        raise CannotSay("the places of the maxima are asked for")
    width = list(call.get("kernel_shape") or [])
    if len(width) != rank or min(width) < 1:
        raise CannotSay(f"kernel_shape {width} does not fit {rank} axes")
    places = data.shape[2:]
    stride, dilation, pads = windows(call, places, width)
    image = call.image(data)
    seen = pads
    if call.get("ceil_mode", 0):
        counts, seen = _sticking_out(places, width, stride, dilation, pads)
    else:
        counts = covered(places, width, stride, dilation, pads)
    if layer == "MeanPool" and call.get("count_include_pad", 0) and any(one != (0, 0) for one in pads):
        image = padded(call, image, pads)
        seen = [(0, max(0, after - own)) for (_, after), (_, own) in zip(seen, pads, strict=True)]
    options = window_options(width, stride, dilation, seen)
    if set(stride) == {1} and set(width) != {1}:
        options = {"width": options.pop("width"), "stride": 1} | options
    elif options.get("stride") == options["width"]:
        del options["stride"]
    call.program.layer(call.name(), layer + _SUFFIX[rank], image, options, {})
    return call.result((*data.shape[:2], *counts), channels_last(data.rank), data.dtype)


def _sticking_out(
    places: Sequence[Dim],
    width: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    pads: Sequence[tuple[int, int]],
) -> tuple[list[Dim], list[tuple[int, int]]]:
    """How many windows there are if the last may stick out, and the places that all of them cover around the image.

    A window must begin within the image or the places before it.
    """
    counts: list[Dim] = []
    found = []
    for size, wide, step, spread, (before, after) in zip(places, width, stride, dilation, pads, strict=True):
        if isinstance(size, Size):
            raise CannotSay("how many windows stick out depends on an open size")
        span = spread * (wide - 1) + 1
        count = -(-(size + before + after - span) // step) + 1
        if (count - 1) * step >= size + before:
            count -= 1
        if count < 1:
            raise CannotSay("its window is larger than the image")
        counts.append(count)
        found.append((before, max(0, (count - 1) * step + span - size - before)))
    return counts, found


def _global(layer: str) -> Callable[[Call], Sequence[Value]]:
    def rule(call: Call) -> Sequence[Value]:
        data = call.tensor(0)
        if data.rank - 2 not in _SUFFIX:
            raise CannotSay(f"pooling of {data.rank} axes is not known")
        call.program.layer(call.name(), layer + _SUFFIX[data.rank - 2], call.image(data), {}, {})
        return [call.result((*data.shape[:2], *(1,) * (data.rank - 2)), (0, 1), data.dtype)]

    return rule


RULES: dict[str, Callable[[Call], Sequence[Value]]] = {
    "AveragePool": lambda call: [_pool(call, "MeanPool")],
    "GlobalAveragePool": _global("GlobalMeanPool"),
    "GlobalMaxPool": _global("GlobalMaxPool"),
    "MaxPool": lambda call: [_pool(call, "MaxPool")],
}
