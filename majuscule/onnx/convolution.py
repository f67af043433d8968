"""Convolutions: the library's layers where the weights are known, an equation where they are computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .calls import Call
from .errors import CannotSay
from .sizes import Dim, Size
from .values import Constant, Tensor, Value, channels_last, letters
from .writing import LAYERS_DTYPE, pair

_LAYERS = {1: "Conv1d", 2: "Conv", 3: "Conv3d"}
_PLACES = ("x", "y", "z")


def windows(
    call: Call, places: Sequence[Dim], width: Sequence[int]
) -> tuple[list[int], list[int], list[tuple[int, int]]]:
    """Strides, dilations, and places added before and after, for each axis.

    Raises `CannotSay` for lists that do not fit the axes.
    """
    rank = len(places)
    stride = attribute_list(call, "strides", rank, 1)
    dilation = attribute_list(call, "dilations", rank, 1)
    automatic = call.get("auto_pad", "NOTSET")
    pads = call.get("pads")
    if automatic in ("SAME_UPPER", "SAME_LOWER"):
        return stride, dilation, _same_pads(places, width, stride, dilation, lower=automatic == "SAME_LOWER")
    if automatic == "VALID" or pads is None:
        return stride, dilation, [(0, 0)] * rank
    if len(pads) != 2 * rank or min(pads) < 0:
        raise CannotSay(f"pads {list(pads)} do not fit {rank} axes")
    return stride, dilation, [(pads[axis], pads[axis + rank]) for axis in range(rank)]


def attribute_list(call: Call, name: str, rank: int, default: int) -> list[int]:
    """An attribute with a number for each axis; raises `CannotSay` if it has none."""
    found = list(call.get(name) or [default] * rank)
    if len(found) != rank or min(found, default=1) < 1:
        raise CannotSay(f"{name} {found} do not fit {rank} axes")
    return found


def _same_pads(
    places: Sequence[Dim], width: Sequence[int], stride: Sequence[int], dilation: Sequence[int], *, lower: bool
) -> list[tuple[int, int]]:
    found = []
    for size, wide, step, spread in zip(places, width, stride, dilation, strict=True):
        if isinstance(size, Size):
            if step != 1:
                raise CannotSay("its padding depends on an open size")
            over = spread * (wide - 1)
        else:
            over = max(0, (-(-size // step) - 1) * step + spread * (wide - 1) + 1 - size)
        found.append((over - over // 2, over // 2) if lower else (over // 2, over - over // 2))
    return found


def padding(pads: Sequence[tuple[int, int]]) -> str:
    """What is added around, as layers take it: a number, one for each axis, or pairs."""
    if all(before == after for before, after in pads):
        return pair([before for before, _ in pads])
    if len(pads) == 1:
        return str(pads[0])
    return f"({', '.join(str(one) for one in pads)})"


def covered(
    places: Sequence[Dim],
    width: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    pads: Sequence[tuple[int, int]],
) -> list[Dim]:
    """How many windows there are along each axis; raises `CannotSay` where there are none."""
    found: list[Dim] = []
    for size, wide, step, spread, (before, after) in zip(places, width, stride, dilation, pads, strict=True):
        count = (size + (before + after - spread * (wide - 1) - 1)) // step + 1
        if isinstance(count, int) and count < 1:
            raise CannotSay("its window is larger than the image")
        found.append(count)
    return found


def window_options(
    width: Sequence[int], stride: Sequence[int], dilation: Sequence[int], pads: Sequence[tuple[int, int]]
) -> dict[str, object]:
    """What a layer with a window is told, without what it takes by itself (a stride of 1 among it)."""
    options: dict[str, object] = {"width": pair(width)}
    if set(stride) != {1}:
        options["stride"] = pair(stride)
    if any(one != (0, 0) for one in pads):
        options["pad"] = padding(pads)
    if set(dilation) != {1}:
        options["dilation"] = pair(dilation)
    return options


def _conv(call: Call) -> Sequence[Value]:
    data, weight = call.tensor(0), call.value(1)
    rank = data.rank - 2
    if rank not in _LAYERS or len(weight.shape) != data.rank:
        raise CannotSay(f"a convolution of {data.rank} axes with weights of {len(weight.shape)} is none")
    filters, depth, *width = known_sizes(weight)
    groups = int(call.get("group", 1))
    if list(call.get("kernel_shape") or width) != width or data.shape[1] != depth * groups or filters % groups:
        raise CannotSay(f"weights of shape {list(weight.shape)} do not fit {data.shape[1]} channels in {groups} groups")
    stride, dilation, pads = windows(call, data.shape[2:], width)
    shape = (data.shape[0], filters, *covered(data.shape[2:], width, stride, dilation, pads))
    result = call.result(shape, channels_last(data.rank), data.dtype)
    bias = call.value(2) if call.given(2) else None
    if not (isinstance(weight, Constant) and (bias is None or isinstance(bias, Constant))) or (
        data.dtype != LAYERS_DTYPE
    ):
        return [_equation(call, data, weight, bias, result, groups, stride, dilation, pads)]
    options = window_options(width, stride, dilation, pads)
    options |= ({"groups": groups} if groups > 1 else {}) | {"filters": filters}
    weights = {"W": weight.array.transpose(*range(2, data.rank), 1, 0)}
    if bias is None:
        options["bias"] = "false"
    else:
        weights["B"] = bias.array
    call.program.layer(call.name(), _LAYERS[rank], call.image(data), options, weights)
    return [result]


def known_sizes(weight: Value) -> list[int]:
    """The shape of a weight; raises `CannotSay` if it is open."""
    sizes = [size for size in weight.shape if isinstance(size, int)]
    if len(sizes) != len(weight.shape) or min(sizes, default=0) < 1:
        raise CannotSay("the sizes of its weights are open")
    return sizes


def _equation(
    call: Call,
    data: Tensor,
    weight: Value,
    bias: Value | None,
    result: Tensor,
    groups: int,
    stride: Sequence[int],
    dilation: Sequence[int],
    pads: Sequence[tuple[int, int]],
) -> Tensor:
    """A convolution with weights that are tensors of the program."""
    kernel = call.full(call.as_tensor(weight))
    source = call.full(data)
    marks = letters(result)
    places = _PLACES[: data.rank - 2]
    if any(one != (0, 0) for one in pads):
        source = padded(call, source, pads)
    offsets = [f"Δ{place.upper()}" for place in places]
    reads = [window_read(place, place.upper(), s, d) for place, s, d in zip(places, stride, dilation, strict=True)]
    channel, filters, ranges = ("I", "j", {}) if groups == 1 else ("(h,I)", "(h,j)", {"h": groups})
    product = f"{kernel.read([filters, 'I', *offsets])} * {source.read([marks[0], channel, *reads])}"
    indices = [marks[0], filters, *places]
    if bias is None:
        return call.program.define(result, indices, product, ranges)
    if groups == 1:
        added = call.full(call.as_tensor(bias)).read([filters])
        return call.program.define(result, indices, f"{product} + {added}", ranges)
    sums = Tensor(call.program.names.give(f"{result.name}_sums"), result.shape, result.order, result.dtype)
    call.program.define(sums, indices, product, ranges)
    added = call.full(call.as_tensor(bias)).read([marks[1]])
    return call.program.define(result, marks, f"{sums.read(marks)} + {added}")


def padded(call: Call, source: Tensor, pads: Sequence[tuple[int, int]]) -> Tensor:
    """The tensor with places added around its spatial axes, the third one on."""
    named = call.named(source)
    assert named.names is not None
    name = call.program.names.give(f"{source.name}_padded")
    by_axis = {axis: named.names[named.order.index(axis)] for axis in range(2, named.rank)}
    amounts = ", ".join(f"{by_axis[axis]}: {one}" for axis, one in enumerate(pads, 2) if one != (0, 0))
    call.program.write(f"{name} = pad({named.name}, {amounts})")
    shape = (*named.shape[:2], *(size + sum(one) for size, one in zip(named.shape[2:], pads, strict=True)))
    return Tensor(name, shape, named.order, named.dtype)


def window_read(place: str, offset: str, stride: int, dilation: int) -> str:
    """A place of a window: `2*x + 3*ΔX`."""
    start = place if stride == 1 else f"{stride}*{place}"
    return f"{start}+{'' if dilation == 1 else f'{dilation}*'}Δ{offset}"


RULES: dict[str, Callable[[Call], Sequence[Value]]] = {"Conv": _conv}
