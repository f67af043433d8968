"""Normalisation: the library's layers, or equations where the model computes the weights or names other axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .calls import Call
from .errors import CannotSay
from .values import Constant, Tensor, Value, letters
from .writing import LAYERS_DTYPE, number

_EPSILON = 1e-5


def _epsilon(call: Call) -> str:
    return number(call.get("epsilon", _EPSILON), "float32")


def _known(call: Call, positions: Sequence[int], size: object) -> list[Constant] | None:
    """Weights of one size that are all known and of the dtype that layers have, or None."""
    found = [call.value(position) for position in positions]
    known = [
        value
        for value in found
        if isinstance(value, Constant) and value.shape == (size,) and value.array.dtype.name == LAYERS_DTYPE
    ]
    return known if len(known) == len(found) else None


def _batch(call: Call) -> Sequence[Value]:
    data = call.tensor(0)
    if call.get("training_mode", 0) or len(call.outputs) > 1:
        raise CannotSay("it is exported for training; export the model after eval()")
    if data.rank < 2:
        raise CannotSay("there is no axis of channels")
    channels = data.shape[1]
    result = call.result(data.shape, data.order, data.dtype)
    weights = _known(call, (1, 2, 3, 4), channels)
    last = [axis for axis in data.order if axis != 1]
    if weights is not None:
        named = dict(zip(("γ", "β", "running_mean", "running_var"), (one.array for one in weights), strict=True))
        epsilon = _epsilon(call)
        options: dict[str, object] = {} if epsilon == number(_EPSILON, "float32") else {"epsilon": epsilon}
        source = data if data.is_whole() and data.order[-1] == 1 else call.full(data, (0, *range(2, data.rank), 1))
        call.program.layer(call.name(), "BatchNorm", source, options, named)
        return [call.result(data.shape, source.order, data.dtype)]
    source = call.full(data, (*last, 1) if len(last) == data.rank - 1 else None)
    result = call.result(data.shape, source.order, data.dtype)
    marks = letters(result)
    scale, shift, mean, variance = (call.full(call.tensor(k)).read([marks[1]]) for k in (1, 2, 3, 4))
    body = f"{scale} * (({source.read(marks)} - {mean}) / sqrt({variance} + {_epsilon(call)})) + {shift}"
    return [call.program.define(result, marks, body)]


def _over(
    call: Call, data: Tensor, axes: Sequence[int], scale: str, shift: str, marks: Sequence[str], result: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean 0 and deviation 1 over some axes, then scale and shift; the mean and the variance, too."""
    kept = tuple(axis for axis in data.order if axis not in axes)
    shape = tuple(1 if axis in axes else size for axis, size in enumerate(data.shape))
    over = ",".join(marks[axis] for axis in axes)
    program = call.program
    mean = Tensor(program.names.give(f"{call.name()}_mean"), shape, kept, data.dtype)
    program.define(mean, marks, f"mean[{over}]({data.read(marks)})")
    variance = Tensor(program.names.give(f"{call.name()}_variance"), shape, kept, data.dtype)
    program.define(variance, marks, f"mean[{over}](({data.read(marks)} - {mean.read(marks)})^2)")
    scaled = f"({data.read(marks)} - {mean.read(marks)}) / sqrt({variance.read(marks)} + {_epsilon(call)})"
    body = f"{scale} * ({scaled})" if scale else scaled
    return program.define(result, marks, f"{body} + {shift}" if shift else body), mean, variance


def _layer(call: Call) -> Sequence[Value]:
    data = call.tensor(0)
    start = call.axis(call.get("axis", -1), data.rank)
    axes = range(start, data.rank)
    positions = (1, 2) if call.given(2) else (1,)
    weights = _known(call, positions, data.shape[-1])
    is_plain = start == data.rank - 1 and len(positions) == 2 and len(call.outputs) == 1
    if is_plain and weights and data.order and data.order[-1] == start:
        epsilon = _epsilon(call)
        options: dict[str, object] = {} if epsilon == number(_EPSILON, "float32") else {"epsilon": epsilon}
        call.program.layer(call.name(), "LayerNorm", data, options, {"γ": weights[0].array, "β": weights[1].array})
        return [call.result(data.shape, data.order, data.dtype)]
    source = call.full(data)
    result = call.result(source.shape, source.order, source.dtype)
    marks = letters(result)
    parts = [_stretched(call, position, data, marks) for position in positions]
    shift = parts[1] if len(parts) > 1 else ""
    found, mean, variance = _over(call, source, axes, parts[0], shift, marks, result)
    if len(call.outputs) == 1:
        return [found]
    deviation = call.result(variance.shape, variance.order, variance.dtype, 2)
    body = f"1 / sqrt({variance.read(marks)} + {_epsilon(call)})"
    return [found, mean, call.program.define(deviation, marks, body)]


def _stretched(call: Call, position: int, data: Tensor, marks: Sequence[str]) -> str:
    """A weight read along the last axes of the data."""
    weight = call.tensor(position)
    more = data.rank - weight.rank
    if more < 0 or any(a not in (1, b) for a, b in zip(weight.shape, data.shape[more:], strict=True)):
        raise CannotSay(f"weights of shape {list(weight.shape)} do not fit data of shape {list(data.shape)}")
    aligned = [
        "0" if size == 1 and data.shape[axis] != 1 else marks[axis] for axis, size in enumerate(weight.shape, more)
    ]
    return weight.read(aligned)


def _instance(call: Call) -> Sequence[Value]:
    data = call.tensor(0)
    if data.rank < 3:
        raise CannotSay("there are no positions to normalise over")
    weights = _known(call, (1, 2), data.shape[1])
    image = call.image(data)
    result = call.result(data.shape, image.order, data.dtype)
    if weights is not None and data.rank == 4:
        epsilon = _epsilon(call)
        options: dict[str, object] = {} if epsilon == number(_EPSILON, "float32") else {"epsilon": epsilon}
        named = {"γ": weights[0].array, "β": weights[1].array}
        call.program.layer(call.name(), "InstanceNorm", image, options | {"affine": "true"}, named)
        return [result]
    marks = letters(result)
    scale, shift = (call.full(call.tensor(k)).read([marks[1]]) for k in (1, 2))
    return [_over(call, image, range(2, data.rank), scale, shift, marks, result)[0]]


def _response(call: Call) -> Sequence[Value]:
    data = call.tensor(0)
    size = int(call.get("size", 0))
    if data.rank < 3 or size < 1:
        raise CannotSay("it needs an image and a size")
    alpha, beta, k = (call.get(name, default) for name, default in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)))
    options: dict[str, object] = {
        "size": size, "alpha": number(alpha, "float32"), "beta": number(beta, "float32"), "k": number(k, "float32"),
    }  # fmt: skip
    if size % 2 == 0:
        raise CannotSay("an even number of neighbours lies otherwise in the language's layer")
    image = call.image(data)
    call.program.layer(call.name(), "LocalResponseNorm", image, options, {})
    return [call.result(data.shape, image.order, data.dtype)]


RULES: dict[str, Callable[[Call], Sequence[Value]]] = {
    "BatchNormalization": _batch,
    "InstanceNormalization": _instance,
    "LayerNormalization": _layer,
    "LRN": _response,
}
