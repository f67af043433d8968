"""Images made larger or smaller: places read again where they are whole, products with matrices where they are mixed.

Resizing goes along one axis after the other, and what it does along an axis is a matrix.  Which one, ONNX's own
reference implementation tells: it is what becomes of the unit matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy

from .calls import Call
from .errors import CannotSay
from .sizes import Dim
from .values import Array, Constant, Tensor, Value, letters
from .writing import known

_LARGEST = 1 << 24
"""Elements of a matrix."""


def _resize(call: Call) -> Sequence[Value]:
    data = call.full(call.tensor(0))
    if str(call.get("coordinate_transformation_mode", "half_pixel")) == "tf_crop_and_resize":
        raise CannotSay("cutting out while resizing is not known")
    if str(call.get("keep_aspect_ratio_policy", "stretch")) != "stretch":
        raise CannotSay("keeping the aspect ratio is not known")
    axes = [call.axis(axis, data.rank) for axis in call.get("axes") or range(data.rank)]
    kind, numbers = _asked(call)
    if len(numbers) != len(axes):
        raise CannotSay(f"{kind} {numbers} do not fit {len(axes)} axes")
    steps: dict[int, Array] = {}
    for axis, number in zip(axes, numbers, strict=True):
        if number != (data.shape[axis] if kind == "sizes" else 1):
            steps[axis] = _matrix(call, known(data.shape[axis]), kind, number)
    if not steps:
        return [data]
    return [_applied(call, data, steps)]


def _asked(call: Call) -> tuple[str, list[float]]:
    """Whether sizes or scales are asked for, and which."""
    for position, kind in ((3, "sizes"), (2, "scales")):
        if call.given(position):
            array = call.constant(position, kind)
            if array.dtype == object:
                return kind, list(array.reshape(-1))
            if array.size:
                return kind, [entry.item() for entry in array.reshape(-1)]
    raise CannotSay("neither sizes nor scales are given")


def _matrix(call: Call, size: int, kind: str, number: float) -> Array:
    """What resizing does along an axis: [places, places before]."""
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    if not 1 <= (number if kind == "sizes" else number * size) <= _LARGEST / size:
        raise CannotSay(f"an axis of {size} cannot be resized by {kind} {number}")
    attributes = {name: value for name, value in call.attributes.items() if name != "axes"}
    given: dict[str, Array] = {"unit": numpy.eye(size, dtype="float32")}
    if kind == "sizes":
        inputs = ["unit", "", "", "asked"]
        given["asked"] = numpy.array([size, int(number)], "int64")
    else:
        inputs = ["unit", "", "asked"]
        given["asked"] = numpy.array([1, number], "float32")
    node = helper.make_node("Resize", inputs, ["resized"], **attributes)
    untyped = [helper.make_value_info(name, helper.make_tensor_type_proto(TensorProto.FLOAT, None)) for name in given]
    graph = helper.make_graph([node], "resize", untyped, [helper.make_empty_tensor_value_info("resized")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)])
    try:
        (found,) = ReferenceEvaluator(model).run(None, given)
    except Exception as error:  # the reference raises whatever wrong attributes provoke
        raise CannotSay(f"it cannot be computed: {' '.join(str(error).split())[:200]}") from error
    return numpy.asarray(found, "float32").T


def _applied(call: Call, data: Tensor, steps: dict[int, Array]) -> Tensor:
    """The tensor resized along its axes: all reads of whole places at once, then a product for each other axis."""
    whole = {axis: factor for axis, matrix in steps.items() if (factor := _repetition(matrix))}
    mixed = [axis for axis in steps if axis not in whole]
    marks = letters(data)
    shape: list[Dim] = list(data.shape)
    if whole:
        reads = [f"{mark}//{whole[axis]}" if axis in whole else mark for axis, mark in enumerate(marks)]
        ranges = {marks[axis]: len(steps[axis]) for axis in whole}
        for axis in whole:
            shape[axis] = len(steps[axis])
        data = call.program.define(_next(call, data, shape, last=not mixed), marks, data.read(reads), ranges)
    for axis in mixed:
        matrix = call.as_tensor(Constant(steps[axis].astype(data.dtype), f"{call.name()}_{marks[axis]}"))
        shape[axis] = len(steps[axis])
        over = marks[axis].upper()
        reads = [over if other == axis else mark for other, mark in enumerate(marks)]
        body = f"{matrix.read([marks[axis], over])} * {data.read(reads)}"
        data = call.program.define(_next(call, data, shape, last=axis == mixed[-1]), marks, body)
    return data


def _next(call: Call, data: Tensor, shape: Sequence[Dim], *, last: bool) -> Tensor:
    name = call.name() if last else call.program.names.give(f"{call.name()}_part")
    return replace(data, name=name, shape=tuple(shape), names=None, filled_with=None)


def _repetition(matrix: Array) -> int:
    """How often each place is repeated, if that is all that happens, else 0."""
    factor = len(matrix) // matrix.shape[1]
    repeated = factor and numpy.array_equal(matrix, numpy.repeat(numpy.eye(matrix.shape[1]), factor, 0))
    return factor if repeated else 0


RULES: dict[str, Callable[[Call], Sequence[Value]]] = {"Resize": _resize}
