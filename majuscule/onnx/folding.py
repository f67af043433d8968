"""What is known without data: constants of constants, and shapes with their open sizes.

Numbers alone are computed by ONNX's own reference implementation; arithmetic with open sizes is done
here, on arrays of objects, for the operators that shape computations are made of.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy

from .errors import CannotSay
from .sizes import Dim, Size
from .values import Array, Constant, Value

if TYPE_CHECKING:
    from onnx import NodeProto

_LARGEST = 2**26
"""Elements of a constant that is computed."""
_GROWING = frozenset(["ConstantOfShape", "Expand", "Range", "Tile", "OneHot", "Pad", "Resize"])
_RANDOM = frozenset([
    "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike",
])  # fmt: skip
_LOOKING = frozenset(["Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze"])
CONTROL = frozenset(["Loop", "Scan", "SequenceMap"])
"""Operators that repeat a part of the model."""


def folded(
    node: NodeProto, version: int, inputs: Sequence[Value | None], attributes: Mapping[str, Any]
) -> list[Constant] | None:
    """The outputs of a node if they do not depend on data, else None; raises `CannotSay`."""
    operator = node.op_type
    if operator == "Shape" and inputs[0] is not None:
        shape = inputs[0].shape[slice(attributes.get("start"), attributes.get("end"))]
        return [_made(node, _as_objects(shape))]
    if operator == "Size" and inputs[0] is not None:
        return [_made(node, _as_objects([math.prod(inputs[0].shape)]).reshape(()))]
    if operator in _RANDOM:
        return None
    if operator == "Identity" and isinstance(inputs[0], Constant):  # exporters share equal weights in this way
        return [Constant(inputs[0].array, node.output[0], inputs[0].is_learnt)]
    if not all(value is None or isinstance(value, Constant) for value in inputs):
        return None
    constants = [value for value in inputs if value is None or isinstance(value, Constant)]
    if operator == "Expand" and constants[0] is not None and constants[0].is_learnt:
        return None  # a weight that is stretched stays as it is
    if any(value is not None and value.is_open for value in constants):
        return _with_open_sizes(node, constants, attributes)
    if operator in _GROWING:
        _require_small(node, constants)
    found = _by_reference(node, version, constants)
    if operator in _LOOKING and constants[0] is not None:  # the same numbers under the name that they have
        found = [Constant(found[0].array, constants[0].name, constants[0].is_learnt)]
    return found


def _made(node: NodeProto, array: Array, position: int = 0) -> Constant:
    if array.dtype == object and not any(isinstance(entry, Size) for entry in array.flat):
        array = array.astype(numpy.int64)
    return Constant(array, node.output[position])


def _as_objects(sizes: Sequence[Dim]) -> Array:
    found = numpy.empty(len(sizes), object)
    found[:] = list(sizes)
    return found


def _require_small(node: NodeProto, inputs: Sequence[Constant | None]) -> None:
    """Refuse what would fill the memory: the size of the result is told by the numbers in the inputs."""
    arrays = [numpy.zeros(0) if value is None else value.array for value in inputs]
    numbers = [array.astype(numpy.float64).reshape(-1) if array.dtype.kind in "iuf" else array for array in arrays]
    shape = numpy.array(arrays[0].shape, numpy.float64)
    operator = node.op_type
    if operator == "Range":
        start, limit, step = (value[0] for value in numbers)
        sizes = numpy.array([abs(limit - start) / abs(step) if step else math.inf])
    elif operator == "ConstantOfShape":
        sizes = numbers[0]
    elif operator in ("Expand", "OneHot", "Tile"):
        sizes = numpy.append(numbers[1], arrays[0].size)
    elif operator == "Pad":
        sizes = numpy.append(shape, 0) + numpy.maximum(numbers[1], 0).sum()
    else:  # Resize, by scales or by sizes
        sizes = numpy.concatenate([shape, *(numpy.maximum(value, 1) for value in numbers[2:])])
    if not numpy.prod(numpy.maximum(sizes, 1)) <= _LARGEST:
        raise CannotSay(f"a constant of more than {_LARGEST:,} elements would be computed")


def _by_reference(node: NodeProto, version: int, inputs: Sequence[Constant | None]) -> list[Constant]:
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    given = {name: value.array for name, value in zip(node.input, inputs, strict=False) if value is not None}
    untyped = [helper.make_value_info(name, helper.make_tensor_type_proto(0, None)) for name in given]
    results = [name for name in node.output if name]
    graph = helper.make_graph([node], "constant", untyped, [helper.make_empty_tensor_value_info(n) for n in results])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)])
    try:
        with numpy.errstate(all="ignore"):
            found = ReferenceEvaluator(model).run(results, given)
    except Exception as error:  # the reference raises whatever wrong numbers provoke
        raise CannotSay(f"its constants cannot be computed: {' '.join(str(error).split())[:200]}") from error
    arrays = dict(zip(results, found, strict=True))
    if not all(isinstance(array, numpy.ndarray | numpy.generic) for array in arrays.values()):
        raise CannotSay("its results are no tensors")
    return [Constant(numpy.asarray(arrays[name]) if name else numpy.zeros(0), name) for name in node.output]


def _with_open_sizes(
    node: NodeProto, inputs: Sequence[Constant | None], attributes: Mapping[str, Any]
) -> list[Constant] | None:
    rule = _OPEN.get(node.op_type)
    if rule is None:
        return None
    arrays = [None if value is None else value.array.astype(object) for value in inputs]
    try:
        return [_made(node, numpy.asarray(rule(attributes, *arrays), object))]
    except (TypeError, ValueError, IndexError) as error:
        raise CannotSay(f"an open size cannot be computed with: {error}") from error


def _listed(array: Array | None) -> list[int]:
    return [] if array is None else [int(entry) for entry in array.reshape(-1)]


def _slice(attributes: Mapping[str, Any], data: Array, *more: Array | None) -> Array:
    starts, ends = _listed(more[0]), _listed(more[1])
    axes = _listed(more[2] if len(more) > 2 else None) or list(range(len(starts)))
    steps = _listed(more[3] if len(more) > 3 else None) or [1] * len(starts)
    chosen = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        chosen[axis] = slice(start, None if step < 0 and end < -data.shape[axis] else end, step)
    return data[tuple(chosen)]


def _squeeze(attributes: Mapping[str, Any], data: Array, axes: Array | None = None) -> Array:
    return numpy.squeeze(data, tuple(_listed(axes)) or None)


def _unsqueeze(attributes: Mapping[str, Any], data: Array, axes: Array) -> Array:
    return numpy.expand_dims(data, tuple(_listed(axes)))


def _divide(attributes: Mapping[str, Any], left: Array, right: Array) -> Array:
    return left // right


_OPEN: dict[str, Callable[..., Any]] = {
    "Add": lambda attributes, left, right: left + right,
    "Cast": lambda attributes, data: data,
    "Concat": lambda attributes, *parts: numpy.concatenate(parts, attributes["axis"]),
    "Div": _divide,
    "Equal": lambda attributes, left, right: left == right,
    "Gather": lambda attributes, data, at: numpy.take(data, at.astype(numpy.int64), attributes.get("axis", 0)),
    "Mul": lambda attributes, left, right: left * right,
    "Reshape": lambda attributes, data, shape: data.reshape(_listed(shape)),
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Sub": lambda attributes, left, right: left - right,
    "Unsqueeze": _unsqueeze,
    "Where": lambda attributes, chosen, left, right: numpy.where(chosen.astype(bool), left, right),
}
"""Operators on arrays that hold open sizes."""
