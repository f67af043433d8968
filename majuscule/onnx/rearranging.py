"""Operators that only look at a tensor otherwise: transposing, stretching, fusing axes and taking them apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy

from .calls import Call
from .elementwise import broadcast
from .errors import CannotSay
from .model_files import tensor_array
from .sizes import Dim, Size, divided, total
from .values import LARGEST_RANK, Tensor, Value, letters
from .writing import dtype_of, known, number

_FRESH = "ghkmnopqruvw"


def _transpose(call: Call) -> Sequence[Value]:
    data = call.tensor(0)
    perm = list(call.get("perm") or reversed(range(data.rank)))
    if sorted(perm) != list(range(data.rank)):
        raise CannotSay(f"{perm} is no order of {data.rank} axes")
    return [data.transposed(perm)]


def _axes(call: Call, rank: int, default: Sequence[int]) -> list[int]:
    if not call.given(1):
        return list(default)
    return [call.axis(axis, rank) for axis in call.integers(1, "axes")]


def _squeeze(call: Call) -> Sequence[Value]:
    data = call.tensor(0)
    axes = _axes(call, data.rank, [axis for axis, size in enumerate(data.shape) if size == 1])
    if any(data.shape[axis] != 1 for axis in axes):
        raise CannotSay(f"axes {axes} of shape {list(map(str, data.shape))} are not all of size 1")
    return [reshaped(call, data, [size for axis, size in enumerate(data.shape) if axis not in axes])]


def _unsqueeze(call: Call) -> Sequence[Value]:
    data = call.tensor(0)
    numbers = call.integers(1, "axes")
    rank = data.rank + len(numbers)
    axes = [call.axis(axis, rank) for axis in numbers]
    if len(set(axes)) != len(axes):
        raise CannotSay(f"axes {numbers} are not different")
    rest = iter(data.shape)
    return [reshaped(call, data, [1 if axis in axes else next(rest) for axis in range(rank)])]


def _flatten(call: Call) -> Sequence[Value]:
    data = call.tensor(0)
    axis = int(call.get("axis", 1))
    if not -data.rank <= axis <= data.rank:
        raise CannotSay(f"there is no axis {axis} among {data.rank}")
    axis = axis + data.rank if axis < 0 else axis
    return [reshaped(call, data, [total(data.shape[:axis]), total(data.shape[axis:])])]


def _reshape(call: Call) -> Sequence[Value]:
    data = call.tensor(0)
    wanted = list(call.constant(1, "shape").reshape(-1))
    sizes: list[Dim] = [entry if isinstance(entry, Size) else int(entry) for entry in wanted]
    if not call.get("allowzero", 0):
        if any(size == 0 and axis >= data.rank for axis, size in enumerate(sizes)):
            raise CannotSay(f"shape {sizes} takes over sizes that are not there")
        sizes = [data.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    if sizes.count(-1) == 1:
        rest = divided(total(data.shape), total(size for size in sizes if size != -1))
        if rest is None:
            raise CannotSay(f"{_shown(data.shape)} cannot become {_shown(sizes)}")
        sizes[sizes.index(-1)] = rest
    if call.fixed_batch is not None and total(sizes) != total(data.shape):
        sizes = _with_the_batch(data.shape, sizes, call.fixed_batch)
    if total(sizes) != total(data.shape) or any(isinstance(size, int) and size < 0 for size in sizes):
        raise CannotSay(f"{_shown(data.shape)} cannot become {_shown(sizes)}")
    return [reshaped(call, data, sizes)]


def _with_the_batch(shape: Sequence[Dim], sizes: list[Dim], fixed: int) -> list[Dim]:
    """A shape that was written for so many samples, for any number of them.

    Raises `CannotSay` if that number may be in several of its sizes.
    """
    batch = next((size for size in shape if isinstance(size, Size)), None)
    found = []
    for axis, size in enumerate(sizes):
        if batch is None or isinstance(size, Size) or size % fixed:
            continue
        opened: list[Dim] = [*sizes[:axis], Size(1, batch.symbols[:1]) * (size // fixed), *sizes[axis + 1 :]]
        if total(opened) == total(shape) and _common(shape, opened) is not None:
            found.append(opened)
    if len(found) > 1 and sizes[0] == fixed and shape[0] == batch:
        return found[0]
    if len(found) > 1:
        raise CannotSay(
            f"where the samples are in {_shown(sizes)} is not certain; export the model with a first axis that is open"
        )
    return found[0] if found else sizes


def _shown(shape: Sequence[Dim]) -> str:
    return "×".join(map(str, shape)) or "a single number"


def reshaped(call: Call, data: Tensor, shape: Sequence[Dim]) -> Tensor:
    """The same elements, row by row, in another shape.

    Both shapes are cut into the factors that they have in common; where there are none, all axes are
    fused first.  Axes of size 1 come and go without a statement.
    """
    if len(shape) > LARGEST_RANK:
        raise CannotSay(f"{len(shape)} axes are more than {LARGEST_RANK}")
    if total(shape) == 0:
        raise CannotSay("a tensor without elements cannot be said")
    kept = [axis for axis, size in enumerate(data.shape) if size != 1]
    wanted = [axis for axis, size in enumerate(shape) if size != 1]
    if [data.shape[axis] for axis in kept] == [shape[axis] for axis in wanted]:
        return _same_axes(call, data, shape, dict(zip(kept, wanted, strict=True)))
    data = call.full(data)
    parts = _common([data.shape[axis] for axis in kept], [shape[axis] for axis in wanted])
    if parts is None and data.rank == 1:
        raise CannotSay(f"{_shown(data.shape)} cannot be taken apart into {_shown(shape)}")
    if parts is None:
        flat = Tensor(call.program.names.give(f"{call.name()}_flat"), (total(data.shape),), (0,), data.dtype)
        marks = letters(data)
        call.program.define(flat, [f"({','.join(marks)})"], data.read(marks))
        return reshaped(call, flat, shape)
    factors, sources, targets = parts
    marks = letters(data)
    names: list[str] = [""] * len(factors)
    unused = iter(letter for letter in _FRESH if letter not in marks)
    ranges: dict[str, int] = {}
    for axis, group in zip(kept, sources, strict=True):
        for factor in group:
            names[factor] = marks[axis] if factor == group[-1] else next(unused)
        open_ones = [factor for factor in group if isinstance(factors[factor], Size)]
        if len(open_ones) > 1:
            raise CannotSay(f"an axis of size {data.shape[axis]} is taken apart into several open sizes")
        derived = open_ones[0] if open_ones else group[-1]
        ranges |= {names[factor]: known(factors[factor]) for factor in group if factor != derived}
    indices = ["0"] * data.rank
    for axis, group in zip(kept, sources, strict=True):
        indices[axis] = _fused([names[factor] for factor in group])
    place = {factor: position for position, factor in enumerate(
        factor for axis in data.order if axis in kept for factor in sources[kept.index(axis)])}  # fmt: skip
    order = sorted(range(len(wanted)), key=lambda position: min(place[factor] for factor in targets[position]))
    left = ["0"] * len(shape)
    for axis, group in zip(wanted, targets, strict=True):
        left[axis] = _fused([names[factor] for factor in group])
    result = call.result(shape, [wanted[position] for position in order], data.dtype)
    return call.program.define(result, left, data.read(indices), ranges)


def _fused(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"({','.join(names)})"


def _same_axes(call: Call, data: Tensor, shape: Sequence[Dim], became: dict[int, int]) -> Tensor:
    """The tensor with other axes of size 1: those that the program's tensor has keep their places if they can."""
    if all(axis in became for axis in data.order):
        return replace(data, shape=tuple(shape), order=tuple(became[axis] for axis in data.order))
    marks = letters(data)
    result = call.result(shape, [became[axis] for axis in data.order if axis in became], data.dtype)
    left = ["0"] * len(shape)
    for old, new in became.items():
        left[new] = marks[old]
    return call.program.define(result, left, data.read([
        marks[axis] if axis in became else "0" for axis in range(data.rank)
    ]))  # fmt: skip


def _common(source: Sequence[Dim], target: Sequence[Dim]) -> tuple[list[Dim], list[list[int]], list[list[int]]] | None:
    """Factors of which both shapes are made, with those of each axis; None if they have no such factors."""
    factors: list[Dim] = []
    groups: tuple[list[list[int]], list[list[int]]] = ([[] for _ in source], [[] for _ in target])
    sizes = (list(source), list(target))
    at = [len(source) - 1, len(target) - 1]
    while at[0] >= 0 and at[1] >= 0:
        left, right = sizes[0][at[0]], sizes[1][at[1]]
        if divided(left, right) is not None:
            factor = right
        elif divided(right, left) is not None:
            factor = left
        else:
            return None
        for side in (0, 1):
            groups[side][at[side]].insert(0, len(factors))
            rest = divided(sizes[side][at[side]], factor)
            assert rest is not None
            sizes[side][at[side]] = rest
            if rest == 1:
                at[side] -= 1
        factors.append(factor)
    return factors, *groups


def _expand(call: Call) -> Sequence[Value]:
    data = call.tensor(0)
    wanted = [entry if isinstance(entry, Size) else int(entry) for entry in call.constant(1, "shape").reshape(-1)]
    shape = broadcast([data.shape, wanted])
    more = len(shape) - data.rank
    stretched = [axis for axis in data.order if data.shape[axis] == 1 and shape[axis + more] != 1]
    data = without(call, data, stretched)
    return [replace(data, shape=shape, order=tuple(axis + more for axis in data.order))]


def _filled(call: Call) -> Sequence[Value]:
    """A tensor of an open shape, all of whose elements are one number."""
    shape = [entry if isinstance(entry, Size) else int(entry) for entry in call.constant(0, "shape").reshape(-1)]
    value = call.get("value")
    only = numpy.float32(0) if value is None else tensor_array(value, None).reshape(-1)[0]
    dtype = dtype_of(numpy.asarray(only))
    found = call.program.define(call.result((), (), dtype), (), number(only, dtype))
    return [replace(found, shape=tuple(shape), filled_with=float(only))]


def without(call: Call, data: Tensor, axes: Sequence[int]) -> Tensor:
    """The tensor without some axes of size 1 in the program."""
    if not axes:
        return data
    marks = letters(data)
    name = call.program.names.give(f"{data.name}_flat")
    kept = replace(data, name=name, order=tuple(axis for axis in data.order if axis not in axes))
    return call.program.define(kept, marks, data.read(["0" if axis in axes else m for axis, m in enumerate(marks)]))


RULES: dict[str, Callable[[Call], Sequence[Value]]] = {
    "ConstantOfShape": _filled,
    "Expand": _expand,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
