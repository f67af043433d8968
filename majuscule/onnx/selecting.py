"""Operators that take parts of tensors and put them together: slices, gathers, padding, concatenation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy

from .calls import Call, scalar
from .errors import CannotSay
from .rearranging import without
from .sizes import Dim, Size
from .values import Constant, Tensor, Value, letters
from .writing import known, number

_FRESH = "kmnopqrs"


def _concat(call: Call) -> Sequence[Value]:
    values = [call.value(position) for position in range(len(call.inputs))]
    rank = len(values[0].shape)
    axis = call.axis(call.get("axis", 0), rank)
    if any(len(value.shape) != rank for value in values):
        raise CannotSay("the tensors do not all have as many axes")
    pieces = [call.as_tensor(value) for value in values if value.shape[axis] != 0]
    for other in range(rank):
        sizes = {piece.shape[other] for piece in pieces}
        if other != axis and len(sizes) > 1:
            if other or axis == 0 or call.fixed_batch not in sizes or len(sizes) > 2:
                raise CannotSay(f"the tensors do not fit along axis {other}: {' and '.join(map(str, sizes))}")
            pieces = [_for_any_batch(call, piece) for piece in pieces]
    if len(pieces) == 1:
        return pieces
    pieces = [piece if axis in piece.order else call.full(piece) for piece in pieces]
    first = max(pieces, key=lambda piece: len(piece.order))
    present = {one for piece in pieces for one in piece.order}
    order = (*first.order, *(one for one in range(rank) if one in present and one not in first.order))
    size: Dim = 0
    for piece in pieces:
        size = piece.shape[axis] + size
    shape = tuple(size if one == axis else whole for one, whole in enumerate(first.shape))
    result = call.result(shape, order, first.dtype)
    marks = letters(result)
    parts = [f"{marks[axis].upper()}{count}" for count in range(1, len(pieces) + 1)]
    reads = [
        piece.read([part if one == axis else mark for one, mark in enumerate(marks)])
        for piece, part in zip(pieces, parts, strict=True)
    ]
    left = ["+".join(parts) if one == axis else mark for one, mark in enumerate(marks)]
    return [call.program.define(result, left, " ; ".join(reads))]


def _for_any_batch(call: Call, piece: Tensor) -> Tensor:
    """A piece that is the same for all samples, for as many as there are."""
    if isinstance(piece.shape[0], Size):
        return piece
    if 0 in piece.order and piece.shape[0] != 1:
        raise CannotSay(f"it holds a number for each of {call.fixed_batch} samples")
    return without(call, piece, [axis for axis in piece.order if axis == 0])


def taken(call: Call, data: Tensor, chosen: dict[int, tuple[int, int, int]], position: int = 0) -> Tensor:
    """Parts of axes: from `start` on, so many places, each a `step` further."""
    shape = tuple(chosen[axis][1] if axis in chosen else size for axis, size in enumerate(data.shape))
    if any(size == 0 for size in shape):
        raise CannotSay("a tensor without elements cannot be said")
    result = call.result(shape, data.order, data.dtype, position)
    marks = letters(result)
    reads, ranges = list(marks), {}
    for axis, (start, count, step) in chosen.items():
        if axis in data.order:
            reads[axis] = _place(marks[axis], start, step)
            ranges[marks[axis]] = count
    return call.program.define(result, marks, data.read(reads), ranges)


def _place(mark: str, start: int, step: int) -> str:
    if step < 0:
        return f"{start}-{'' if step == -1 else f'{-step}*'}{mark}"
    return ("" if step == 1 else f"{step}*") + mark + (f"+{start}" if start else "")


def _slice(call: Call) -> Sequence[Value]:
    data = call.tensor(0)
    starts, ends = (list(call.constant(k, what).reshape(-1)) for k, what in ((1, "starts"), (2, "ends")))
    axes = call.integers(3, "axes") if call.given(3) else list(range(len(starts)))
    steps = call.integers(4, "steps") if call.given(4) else [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise CannotSay("starts, ends, axes and steps do not fit together")
    chosen: dict[int, tuple[int, int, int]] = {}
    for listed, start, end, step in zip(axes, starts, ends, steps, strict=True):
        axis = call.axis(listed, data.rank)
        size = data.shape[axis]
        if start == 0 and step == 1 and (end == size or (not isinstance(end, Size) and end >= 2**31 - 1)):
            continue
        if isinstance(size, Size) or isinstance(start, Size) or isinstance(end, Size):
            raise CannotSay(f"a part of the open size {size} is taken")
        within = range(size)[_python_slice(int(start), int(end), step, size)]
        if (within.start, len(within), within.step) != (0, size, 1):
            chosen[axis] = (within.start, len(within), within.step)
    if data.filled_with is not None and not data.order:
        return [replace(data, shape=tuple(chosen[k][1] if k in chosen else n for k, n in enumerate(data.shape)))]
    return [taken(call, data, chosen)] if chosen else [data]


def _python_slice(start: int, end: int, step: int, size: int) -> slice:
    return slice(start, None if step < 0 and end < -size else end, step)


def _split(call: Call) -> Sequence[Value]:
    data = call.tensor(0)
    axis = call.axis(call.get("axis", 0), data.rank)
    size = known(data.shape[axis])
    count = int(call.get("num_outputs") or len(call.outputs))
    if call.given(1):
        sizes = call.integers(1, "split")
    else:
        each = -(-size // count)
        sizes = [min(each, size - each * part) for part in range(count)]
    if sum(sizes) != size or min(sizes) < 0 or len(call.outputs) > len(sizes):
        raise CannotSay(f"an axis of {size} cannot be split into {sizes}")
    found: list[Value] = []
    for position in range(len(call.outputs)):
        if not sizes[position]:
            shape = [0 if other == axis else known(size) for other, size in enumerate(data.shape)]
            found.append(Constant(numpy.zeros(shape, data.dtype), call.outputs[position]))
            continue
        found.append(taken(call, data, {axis: (sum(sizes[:position]), sizes[position], 1)}, position))
    return found


def _gather(call: Call) -> Sequence[Value]:
    data, places = call.tensor(0), call.value(1)
    axis = call.axis(call.get("axis", 0), data.rank)
    size = data.shape[axis]
    if axis not in data.order:
        data = call.full(data)
    if isinstance(places, Constant):
        array = places.array
        if isinstance(size, Size) and array.size and array.min() < 0:
            raise CannotSay(f"it counts from the end of the open size {size}")
        if isinstance(size, int):
            if array.size and not -size <= array.min() <= array.max() < size:
                raise CannotSay(f"it reads beyond an axis of {size}")
            array = numpy.where(array < 0, array + size, array)
        if not array.ndim:
            return [_one(call, data, axis, str(array))]
        steps = numpy.unique(numpy.diff(array)) if array.ndim == 1 else numpy.zeros(2)
        if array.ndim == 1 and len(array) > 0 and len(steps) <= 1:
            step = int(steps[0]) if len(steps) else 1
            if step:
                return [taken(call, data, {axis: (int(array[0]), len(array), step)})]
        places = Constant(numpy.asarray(array, numpy.int64), places.name)
    index = call.full(call.as_tensor(places))
    if not isinstance(places, Constant):
        index = _from_the_front(call, index, size)
    return [_gathered(call, data, axis, index)]


def _one(call: Call, data: Tensor, axis: int, place: str) -> Tensor:
    marks = letters(data)
    kept = [one for one in range(data.rank) if one != axis]
    order = [kept.index(one) for one in data.order if one != axis]
    result = call.result([data.shape[one] for one in kept], order, data.dtype)
    reads = [place if one == axis else mark for one, mark in enumerate(marks)]
    return call.program.define(result, [marks[one] for one in kept], data.read(reads))


def _from_the_front(call: Call, index: Tensor, size: Dim) -> Tensor:
    """Places of which negative ones are counted from the end, all counted from the front."""
    if index.dtype == "uint8":
        return index
    marks = letters(index)
    read = index.read(marks)
    found = replace(index, name=call.program.names.give(f"{call.name()}_place"))
    return call.program.define(found, marks, f"{{ {read} if {read} >= 0 ; {read} + {known(size)} otherwise }}")


def _gathered(call: Call, data: Tensor, axis: int, index: Tensor) -> Tensor:
    marks = letters(data)
    fresh = [letter for letter in _FRESH if letter not in marks]
    own = [marks[axis]] if index.rank == 1 else fresh[: index.rank]
    reads = [index.read(own) if one == axis else mark for one, mark in enumerate(marks)]
    left = [*marks[:axis], *own, *marks[axis + 1 :]]
    shape = [*data.shape[:axis], *index.shape, *data.shape[axis + 1 :]]
    order: list[int] = []
    for one in data.order:
        if one == axis:
            order += range(axis, axis + index.rank)
        else:
            order.append(one if one < axis else one + index.rank - 1)
    return call.program.define(call.result(shape, order, data.dtype), left, data.read(reads))


def _gather_elements(call: Call) -> Sequence[Value]:
    data, places = call.full(call.tensor(0)), call.value(1)
    axis = call.axis(call.get("axis", 0), data.rank)
    others = [other for other in range(data.rank) if other != axis]
    if len(places.shape) != data.rank or any(places.shape[k] != data.shape[k] for k in others):
        raise CannotSay("the places are for a part of the other axes")
    index = _from_the_front(call, call.full(call.as_tensor(places)), data.shape[axis])
    marks = letters(data)
    reads = [index.read(marks) if other == axis else mark for other, mark in enumerate(marks)]
    return [call.program.define(call.result(places.shape, data.order, data.dtype), marks, data.read(reads))]


def _one_hot(call: Call) -> Sequence[Value]:
    places = call.full(call.tensor(0))
    depth = int(call.constant(1, "depth").reshape(-1)[0])
    values = call.constant(2, "values")
    rank = places.rank + 1
    axis = call.axis(call.get("axis", -1), rank)
    if depth < 1 or values.size != 2:
        raise CannotSay("it takes a depth and two values")
    dtype = values.dtype.name
    off, on = (number(value, dtype) for value in values)
    index = _from_the_front(call, places, depth)
    shape = [*places.shape[:axis], depth, *places.shape[axis:]]
    marks = letters(Tensor("", tuple(shape), tuple(range(rank)), dtype))
    own = [*marks[:axis], *marks[axis + 1 :]]
    body = f"{dtype}({{ {on} if {marks[axis]} == {index.read(own)} ; {off} otherwise }})"
    return [call.program.define(call.result(shape, range(rank), dtype), marks, body, {marks[axis]: depth})]


_MODES = {"constant": "", "reflect": ", mode reflect", "edge": ", mode replicate", "wrap": ", mode circular"}


def _pad(call: Call) -> Sequence[Value]:
    data = call.full(call.tensor(0))
    amounts = call.integers(1, "pads")
    axes = call.integers(3, "axes") if call.given(3) else list(range(data.rank))
    axes = [call.axis(axis, data.rank) for axis in axes]
    if len(amounts) != 2 * len(axes):
        raise CannotSay(f"pads {amounts} do not fit {len(axes)} axes")
    mode = str(call.get("mode", "constant"))
    rest = _MODES.get(mode)
    if rest is None:
        raise CannotSay(f"the mode {mode} is not known")
    if mode == "constant" and call.given(2):
        value = scalar(call.value(2))
        if value is None:
            raise CannotSay("the number that it adds must be known without data")
        if value != 0:
            rest = f", value: {number(value, data.dtype)}"
    ends = {axis: (amounts[k], amounts[k + len(axes)]) for k, axis in enumerate(axes)}
    cut = {
        axis: (max(0, -before), known(data.shape[axis]) + min(0, before) + min(0, after), 1)
        for axis, (before, after) in ends.items() if min(before, after) < 0
    }  # fmt: skip
    added = {axis: (max(0, b), max(0, a)) for axis, (b, a) in ends.items() if max(b, a) > 0}
    if not added:
        return [taken(call, data, cut)] if cut else [data]
    if cut:
        if any(count < 1 for _, count, _ in cut.values()):
            raise CannotSay("nothing is left of an axis")
        name = call.program.names.give(f"{data.name}_cut")
        shape = tuple(cut[axis][1] if axis in cut else size for axis, size in enumerate(data.shape))
        marks = letters(data)
        reads = [_place(mark, cut[axis][0], 1) if axis in cut else mark for axis, mark in enumerate(marks)]
        data = call.program.define(
            Tensor(name, shape, data.order, data.dtype), marks, data.read(reads),
            {marks[axis]: count for axis, (_, count, _) in cut.items()},
        )  # fmt: skip
    named = call.named(data)
    assert named.names is not None
    places = ", ".join(f"{named.names[named.order.index(axis)]}: {one}" for axis, one in added.items())
    shape = tuple(size + sum(added.get(axis, ())) for axis, size in enumerate(data.shape))
    result = call.result(shape, named.order, data.dtype)
    call.program.write(f"{result.name} = pad({named.name}, {places}{rest})")
    return [result]


def _tile(call: Call) -> Sequence[Value]:
    data = call.tensor(0)
    repeats = call.integers(1, "repeats")
    if len(repeats) != data.rank or min(repeats, default=1) < 1:
        raise CannotSay(f"{repeats} repetitions do not fit {data.rank} axes")
    shape = tuple(size * count for size, count in zip(data.shape, repeats, strict=True))
    single = [axis for axis in data.order if data.shape[axis] == 1 and repeats[axis] > 1]
    data = without(call, data, single)
    again = [axis for axis in data.order if repeats[axis] > 1]
    if not again:
        return [replace(data, shape=shape)]
    marks = letters(data)
    fresh = iter(letter for letter in _FRESH if letter not in marks)
    turns = {axis: next(fresh) for axis in again}
    left = [f"({turns[axis]},{mark})" if axis in turns else mark for axis, mark in enumerate(marks)]
    ranges = {turns[axis]: repeats[axis] for axis in again}
    return [call.program.define(call.result(shape, data.order, data.dtype), left, data.read(marks), ranges)]


def _trilu(call: Call) -> Sequence[Value]:
    data = call.full(call.tensor(0))
    if data.rank < 2:
        raise CannotSay("it takes matrices")
    shift = int(call.constant(1, "k").reshape(-1)[0]) if call.given(1) else 0
    marks = letters(data)
    row, column = marks[-2:]
    sign = ">=" if call.get("upper", 1) else "<="
    result = call.result(data.shape, data.order, data.dtype)
    moved = f"{row} + {shift}" if shift > 0 else f"{row} - {-shift}" if shift else row
    zero = "false" if data.dtype == "bool" else "0"
    return [call.program.define(
        result, marks, f"{{ {data.read(marks)} if {column} {sign} {moved} ; {zero} otherwise }}",
        {row: known(data.shape[-2]), column: known(data.shape[-1])},
    )]  # fmt: skip


RULES: dict[str, Callable[[Call], Sequence[Value]]] = {
    "Concat": _concat,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "OneHot": _one_hot,
    "Pad": _pad,
    "Slice": _slice,
    "Split": _split,
    "Tile": _tile,
    "Trilu": _trilu,
}
