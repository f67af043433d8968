"""Operators that go over axes: sums and maxima, where these lie, softmax and running sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from .calls import Call
from .values import Tensor, Value, letters
from .writing import known


def _axes(call: Call, rank: int) -> list[int] | None:
    """The axes to go over, an input or an attribute by the version; None for none at all."""
    listed = call.integers(1, "axes") if call.given(1) else list(call.get("axes") or [])
    if not listed:
        return None if call.get("noop_with_empty_axes", 0) else list(range(rank))
    return sorted({call.axis(axis, rank) for axis in listed})


def _reduced(call: Call, formula: str, on_truth: str = "") -> Sequence[Value]:
    """`formula` has `<over>` for the indices and `{0}` for the element."""
    data = call.tensor(0)
    axes = _axes(call, data.rank)
    body = formula if data.dtype != "bool" or not on_truth else on_truth
    if axes is None or not axes:
        marks = letters(data)
        plain = body.replace("<over>", "k in 0..1").format(data.read(marks))
        return [call.program.define(call.result(data.shape, data.order, data.dtype), marks, plain)]
    data = call.full(data)
    marks = letters(data)
    text = body.replace("<over>", ",".join(marks[axis] for axis in axes)).format(data.read(marks))
    return [_without(call, data, axes, marks, text, data.dtype)]


def _without(call: Call, data: Tensor, axes: Sequence[int], marks: Sequence[str], body: str, dtype: str) -> Tensor:
    """What is left when some axes are gone over, or of size 1."""
    kept = [axis for axis in range(data.rank) if axis not in axes]
    order = [axis for axis in data.order if axis in kept]
    if call.get("keepdims", 1):
        shape = [1 if axis in axes else size for axis, size in enumerate(data.shape)]
        return call.program.define(call.result(shape, order, dtype), marks, body)
    result = call.result([data.shape[axis] for axis in kept], [kept.index(axis) for axis in order], dtype)
    return call.program.define(result, [marks[axis] for axis in kept], body)


def _over(formula: str, on_truth: str = "") -> Callable[[Call], Sequence[Value]]:
    return lambda call: _reduced(call, formula, on_truth)


def _place(reducer: str) -> Callable[[Call], Sequence[Value]]:
    def rule(call: Call) -> Sequence[Value]:
        data = call.full(call.tensor(0))
        axis = call.axis(call.get("axis", 0), data.rank)
        marks = letters(data)
        mark = marks[axis]
        if not call.get("select_last_index", 0):
            return [_without(call, data, [axis], marks, f"{reducer}[{mark}]({data.read(marks)})", "int64")]
        size = known(data.shape[axis])  # counted from the end, the last of several is the first
        turned = [f"{size - 1}-{mark}" if k == axis else one for k, one in enumerate(marks)]
        body = f"{size - 1} - {reducer}[{mark} in 0..{size}]({data.read(turned)})"
        return [_without(call, data, [axis], marks, body, "int64")]

    return rule


def _softmax(call: Call) -> Sequence[Value]:
    data = call.full(call.tensor(0))
    axis = call.axis(call.get("axis", -1), data.rank)
    result = call.result(data.shape, data.order, data.dtype)
    if data.order[-1] == axis:
        call.program.layer(result.name, "Softmax", data, {}, {})
        return [result]
    marks = letters(data)
    return [call.program.define(result, marks, f"softmax[{marks[axis]}]({data.read(marks)})")]


def _log_softmax(call: Call) -> Sequence[Value]:
    data = call.full(call.tensor(0))
    axis = call.axis(call.get("axis", -1), data.rank)
    marks = letters(data)
    inner = ["k" if position == axis else mark for position, mark in enumerate(marks)]
    body = f"{data.read(marks)} - logsumexp[k]({data.read(inner)})"
    return [call.program.define(call.result(data.shape, data.order, data.dtype), marks, body)]


def _hardmax(call: Call) -> Sequence[Value]:
    data = call.full(call.tensor(0))
    axis = call.axis(call.get("axis", -1), data.rank)
    marks = letters(data)
    kept = tuple(position for position in data.order if position != axis)
    name = call.program.names.give(f"{call.name()}_place")
    places = call.program.define(
        replace(data, name=name, order=kept, dtype="int64"), marks, f"argmax[{marks[axis]}]({data.read(marks)})"
    )
    result = call.result(data.shape, data.order, data.dtype)
    body = f"{{ 1 if {marks[axis]} == {places.read(marks)} ; 0 otherwise }}"
    typed = f"{data.dtype}({body})"
    return [call.program.define(result, marks, typed, {marks[axis]: known(data.shape[axis])})]


def _lp(call: Call) -> Sequence[Value]:
    data = call.full(call.tensor(0))
    axis = call.axis(call.get("axis", -1), data.rank)
    marks = letters(data)
    inner = data.read(["k" if position == axis else mark for position, mark in enumerate(marks)])
    norm = f"sum[k](abs({inner}))" if call.get("p", 2) == 1 else f"sqrt(sum[k]({inner}^2))"
    name = call.program.names.give(f"{call.name()}_norm")
    kept = tuple(position for position in data.order if position != axis)
    length = call.program.define(replace(data, name=name, order=kept), marks, norm)
    body = f"{{ 0 if {length.read(marks)} == 0 ; {data.read(marks)} / {length.read(marks)} otherwise }}"
    return [call.program.define(call.result(data.shape, data.order, data.dtype), marks, body)]


def _running(call: Call) -> Sequence[Value]:
    reducer, start = ("prod", "1") if call.operator == "CumProd" else ("sum", "0")
    data = call.full(call.tensor(0))
    axis = call.axis(call.integers(1, "axis")[0], data.rank)
    marks = letters(data)
    size, mark = known(data.shape[axis]), marks[axis]
    sign = ">" if call.get("reverse", 0) else "<"
    within = sign if call.get("exclusive", 0) else f"{sign}="
    inner = ["k" if position == axis else one for position, one in enumerate(marks)]
    body = f"{reducer}[k in 0..{size}]({{ {data.read(inner)} if k {within} {mark} ; {start} otherwise }})"
    result = call.result(data.shape, data.order, data.dtype)
    return [call.program.define(result, marks, body, {mark: size})]


RULES: dict[str, Callable[[Call], Sequence[Value]]] = {
    "ArgMax": _place("argmax"),
    "ArgMin": _place("argmin"),
    "CumProd": _running,
    "CumSum": _running,
    "Hardmax": _hardmax,
    "LpNormalization": _lp,
    "LogSoftmax": _log_softmax,
    "ReduceL1": _over("sum[<over>](abs({0}))"),
    "ReduceL2": _over("sqrt(sum[<over>]({0}^2))"),
    "ReduceLogSum": _over("log(sum[<over>]({0}))"),
    "ReduceLogSumExp": _over("logsumexp[<over>]({0})"),
    "ReduceMax": _over("max[<over>]({0})", "any[<over>]({0})"),
    "ReduceMean": _over("mean[<over>]({0})"),
    "ReduceMin": _over("min[<over>]({0})", "all[<over>]({0})"),
    "ReduceProd": _over("prod[<over>]({0})"),
    "ReduceSum": _over("sum[<over>]({0})"),
    "ReduceSumSquare": _over("sum[<over>]({0}^2)"),
    "Softmax": _softmax,
}
