"""Transposed convolutions by the library's layers, and depth and space exchanged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .calls import Call
from .convolution import attribute_list, known_sizes
from .errors import CannotSay
from .sizes import Dim, Size
from .values import Constant, Tensor, Value, channels_last, letters
from .writing import LAYERS_DTYPE, known, pair

_LAYERS = {1: "ConvTranspose1d", 2: "ConvTranspose", 3: "ConvTranspose3d"}


def _transposed(call: Call) -> Sequence[Value]:
    data, weight = call.tensor(0), call.value(1)
    rank = data.rank - 2
    if rank not in _LAYERS or len(weight.shape) != data.rank:
        raise CannotSay(f"a convolution of {data.rank} axes with weights of {len(weight.shape)} is none")
    bias = call.value(2) if call.given(2) else None
    if not isinstance(weight, Constant) or not (bias is None or isinstance(bias, Constant)):
        raise CannotSay("its weights must be known without data")
    if data.dtype != LAYERS_DTYPE:
        raise CannotSay(f"the library's layers have weights of {LAYERS_DTYPE}, and the data are {data.dtype}")
    depth, each, *width = known_sizes(weight)
    groups = int(call.get("group", 1))
    if data.shape[1] != depth or depth % groups or list(call.get("kernel_shape") or width) != width:
        raise CannotSay(f"weights of shape {list(weight.shape)} do not fit {data.shape[1]} channels in {groups} groups")
    stride, dilation = attribute_list(call, "strides", rank, 1), attribute_list(call, "dilations", rank, 1)
    added = list(call.get("output_padding") or [0] * rank)
    spans = [spread * (wide - 1) + 1 for spread, wide in zip(dilation, width, strict=True)]
    pads, added = _pads(call, data.shape[2:], stride, spans, added)
    sizes: list[Dim] = [
        (size + -1) * step + (span + more - before - after)
        for size, step, span, more, (before, after) in zip(data.shape[2:], stride, spans, added, pads, strict=True)
    ]
    if any(isinstance(size, int) and size < 1 for size in sizes):
        raise CannotSay("nothing is left of the image")
    # rows that are cut off at the end alone are so much less output padding
    more = [extra + before - after for extra, (before, after) in zip(added, pads, strict=True)]
    if min(more, default=0) < 0:
        raise CannotSay(f"more is cut off behind the image than before it: pads {pads}")
    options: dict[str, object] = {"width": pair(width)}
    if set(stride) != {1}:
        options["stride"] = pair(stride)
    if any(before for before, _ in pads):
        options["pad"] = pair([before for before, _ in pads])
    if any(more):
        options["outpad"] = pair(more)
    if set(dilation) != {1}:
        options["dilation"] = pair(dilation)
    options |= ({"groups": groups} if groups > 1 else {}) | {"filters": each * groups}
    grouped = weight.array.reshape(groups, depth // groups, each, *width)
    turned = grouped.transpose(*range(3, 3 + rank), 1, 0, 2).reshape(*width, depth // groups, groups * each)
    weights = {"W": turned}
    if bias is None:
        options["bias"] = "false"
    else:
        weights["B"] = bias.array
    call.program.layer(call.name(), _LAYERS[rank], call.image(data), options, weights)
    return [call.result((data.shape[0], each * groups, *sizes), channels_last(data.rank), data.dtype)]


def _pads(
    call: Call, places: Sequence[Dim], stride: Sequence[int], spans: Sequence[int], added: Sequence[int]
) -> tuple[list[tuple[int, int]], list[int]]:
    """How many rows are cut off before and after each axis, and how many are added at its end."""
    rank = len(places)
    automatic = str(call.get("auto_pad", "NOTSET"))
    wanted = call.get("output_shape")
    if wanted or automatic in ("SAME_UPPER", "SAME_LOWER"):
        found, rest = [], list(added)
        for axis, (size, step, span) in enumerate(zip(places, stride, spans, strict=True)):
            target = list(wanted)[axis] if wanted else known(size) * step
            over = (known(size) - 1) * step + span + added[axis] - target
            if over < 0:  # rows that no window reaches
                rest[axis] -= over
                over = 0
            found.append((over // 2, over - over // 2) if automatic != "SAME_UPPER" else (over - over // 2, over // 2))
        if automatic == "SAME_UPPER":
            found = [(after, before) for before, after in found]
        return found, rest
    pads = list(call.get("pads") or [0] * 2 * rank) if automatic == "NOTSET" else [0] * 2 * rank
    if len(pads) != 2 * rank or min(pads, default=0) < 0:
        raise CannotSay(f"pads {pads} do not fit {rank} axes")
    return [(pads[axis], pads[axis + rank]) for axis in range(rank)], list(added)


def _blocks(call: Call) -> tuple[Tensor, int, int]:
    data = call.full(call.tensor(0))
    block = int(call.get("blocksize", 0))
    if data.rank != 4 or block < 1 or isinstance(data.shape[1], Size):
        raise CannotSay("it takes an image and the size of a block")
    return data, block, data.shape[1]


def _depth_to_space(call: Call) -> Sequence[Value]:
    data, block, channels = _blocks(call)
    if channels % (block * block):
        raise CannotSay(f"{channels} channels are no blocks of {block}×{block}")
    shape = (data.shape[0], channels // (block * block), data.shape[2] * block, data.shape[3] * block)
    marks = letters(data)
    b, x, y = marks[0], marks[2], marks[3]
    fused = "(m,n,k)" if str(call.get("mode", "DCR")) == "DCR" else "(k,m,n)"
    result = call.result(shape, data.order, data.dtype)
    body = data.read([b, fused, x, y])
    return [call.program.define(result, [b, "k", f"({x},m)", f"({y},n)"], body, {"m": block, "n": block})]


def _space_to_depth(call: Call) -> Sequence[Value]:
    data, block, channels = _blocks(call)
    rows, columns = known(data.shape[2]), known(data.shape[3])
    if rows % block or columns % block:
        raise CannotSay(f"an image of {rows}×{columns} is not made of blocks of {block}×{block}")
    shape = (data.shape[0], channels * block * block, rows // block, columns // block)
    marks = letters(data)
    b, i, x, y = marks
    result = call.result(shape, data.order, data.dtype)
    body = data.read([b, i, f"({x},m)", f"({y},n)"])
    fused = f"(m,n,{i})" if str(call.get("mode", "DCR")) == "DCR" else f"({i},m,n)"
    return [call.program.define(result, [b, fused, x, y], body, {"m": block, "n": block})]


RULES: dict[str, Callable[[Call], Sequence[Value]]] = {
    "ConvTranspose": _transposed,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
}
