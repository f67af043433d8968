"""Which column of a dataset belongs to which input of a program, and what is done to make it fit.

A column of an input's name is that input's.  Otherwise an input takes the one column that
fits it by kind and shape: whole numbers for an input of whole numbers, pictures of the right
size for an input of pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy

from ..arrays import Array, numpy_dtype
from ..errors import DataError
from ..signature import TensorInfo
from .columns import Column, MappedColumn, PictureColumn
from .dataset import Dataset
from .pictures import resize_arrays

_MOST_NAMED = 5
"""How many samples with impossible labels are told of one by one."""
_MOST_WRONG = 0.1
"""With more of them the labels are not broken here and there, but of another program."""


class _Misfit(Exception):
    """Why a column cannot be an input."""


def match_inputs(
    dataset: Dataset,
    inputs: Sequence[TensorInfo],
    *,
    classes: Mapping[str, int] | None = None,
    resize: bool = False,
) -> Dataset:
    """The dataset with a column for each input of a program, by its name and of its shape and dtype.

    Bytes become numbers from 0 to 1 for an input of floats, as pixels do; an axis of one channel
    is added or removed; pictures are scaled to the input's rows and columns if `resize`.

    `classes` tells how many values an input of whole numbers may have.  Samples with other labels
    are left out and told to the dataset's `problems`.  Raises `DataError`, which says what there
    is and what is wanted, if an input has no column or the labels are of another program.
    """
    chosen = _by_name(dataset, inputs)
    for info in inputs:
        if info.name not in chosen:
            chosen[info.name] = _by_shape(dataset, info, inputs, set(chosen.values()), resize)
    columns: dict[str, Column] = {}
    for info in inputs:
        column = chosen[info.name]
        try:
            columns[info.name] = _fitted(dataset.columns[column], info, resize)
        except _Misfit as reason:
            raise DataError(f"{dataset.name}: {column} does not fit the input {info}: {reason}") from None
    pixels = [info.name for info in inputs if _are_pixels(dataset.columns[chosen[info.name]], numpy_dtype(info.dtype))]
    matched = replace(dataset, columns=columns, pixels=tuple(pixels))
    for name, count in (classes or {}).items():
        if name in columns:
            matched = _with_labels_below(matched, name, count)
    return matched


def _by_name(dataset: Dataset, inputs: Sequence[TensorInfo]) -> dict[str, str]:
    """Inputs whose name, in letters of any case, is a column's."""
    columns = {name.casefold(): name for name in dataset.columns}
    return {info.name: columns[info.name.casefold()] for info in inputs if info.name.casefold() in columns}


def _by_shape(dataset: Dataset, info: TensorInfo, inputs: Sequence[TensorInfo], taken: set[str], resize: bool) -> str:
    free = [name for name in dataset.columns if name not in taken]
    reasons: dict[str, str] = {}
    for name in free:
        try:
            _fitted(dataset.columns[name], info, resize)
        except _Misfit as reason:
            reasons[name] = str(reason)
    fitting = [name for name in free if name not in reasons]
    if len(fitting) == 1:
        return fitting[0]
    if len(fitting) > 1:
        usual = [name for name in fitting if name == dataset.label]
        if len(usual) == 1:
            return usual[0]
        raise DataError(
            f"{dataset.name}: {' and '.join(fitting)} both fit the input {info}; "
            f"give one of them the input's name, or leave the other out"
        )
    found = "; ".join(f"{name} does not fit: {reason}" for name, reason in reasons.items())
    wanted = ", ".join(map(str, inputs))
    raise DataError(
        f"{dataset.name} has nothing for the input {info} ({found or 'all that it has is used for other inputs'}); "
        f"the program takes {wanted}"
    )


def _fitted(column: Column, info: TensorInfo, resize: bool) -> Column:
    """A column as an input takes it; raises `_Misfit`."""
    if not info.batched:
        raise _Misfit("it has no batch, so it is not given sample by sample")
    wanted = tuple(size if isinstance(size, int) else None for size in info.shape[1:])
    if isinstance(column, PictureColumn):
        column = _fitted_pictures(column, wanted, resize)
    column = _fitted_shape(column, wanted, resize)
    return _fitted_dtype(column, numpy_dtype(info.dtype))


def _fitted_pictures(column: PictureColumn, wanted: Sequence[int | None], resize: bool) -> Column:
    if len(wanted) not in (2, 3) or (len(wanted) == 3 and wanted[2] not in (1, 3, 4)):
        raise _Misfit("pictures have rows, columns and 1, 3 or 4 channels")
    return replace(column, size=(wanted[0], wanted[1]), channels=wanted[2] if len(wanted) == 3 else None, resize=resize)


def _fitted_shape(column: Column, wanted: Sequence[int | None], resize: bool) -> Column:
    shape = column.shape
    if len(shape) - 1 == len(wanted) + 1 and shape[-1] == 1:
        column = MappedColumn(column, shape[:-1], column.dtype, lambda array: array[..., 0])
    elif len(shape) - 1 == len(wanted) - 1 and wanted[-1] == 1:
        column = MappedColumn(column, (*shape, 1), column.dtype, lambda array: array[..., None])
    shape = column.shape[1:]
    if len(shape) != len(wanted):
        raise _Misfit(f"a sample has {_sizes(shape)}, and the input takes {_sizes(wanted)}")
    if _agree(shape, wanted):
        return column
    if len(shape) == 3 and _agree((shape[1], shape[2], shape[0]), wanted):
        raise _Misfit("channels come last here: save numpy.transpose(x, (0, 2, 3, 1))")
    if len(shape) in (2, 3) and _agree(shape[2:], wanted[2:]):
        if not resize:
            raise _Misfit(
                f"a sample has {_sizes(shape)}, and the input takes {_sizes(wanted)}; "
                "pictures are scaled on request (--resize)"
            )
        return _resized(column, wanted)
    raise _Misfit(f"a sample has {_sizes(shape)}, and the input takes {_sizes(wanted)}")


def _resized(column: Column, wanted: Sequence[int | None]) -> Column:
    rows, columns = (size or own for size, own in zip(wanted, column.shape[1:3], strict=False))
    if rows is None or columns is None:
        raise _Misfit("its size is not known")
    whole = column.dtype if column.dtype == numpy.uint8 else numpy.dtype(numpy.float32)
    shape = (column.shape[0], rows, columns, *column.shape[3:])
    return MappedColumn(column, shape, whole, lambda array: resize_arrays(array, rows, columns))


def _fitted_dtype(column: Column, wanted: numpy.dtype[Any]) -> Column:
    found = column.dtype
    whole, wants_whole = found.kind in "iub", wanted.kind in "iub"
    if not whole and wants_whole:
        raise _Misfit(f"it holds {found.name}, and the input takes whole numbers")
    if not whole and "float" not in found.name:
        raise _Misfit(f"it holds {found.name}, and the input takes {wanted.name}")
    if found == wanted:
        return column
    scaled = _are_pixels(column, wanted)

    def converted(array: Array) -> Array:
        return (array / numpy.float32(255)).astype(wanted) if scaled else array.astype(wanted)

    return MappedColumn(column, column.shape, wanted, converted)


def _are_pixels(column: Column, wanted: numpy.dtype[Any]) -> bool:
    """Whether bytes become numbers from 0 to 1."""
    return column.dtype == numpy.uint8 and "float" in wanted.name and len(column.shape) > 1


def _with_labels_below(dataset: Dataset, name: str, count: int) -> Dataset:
    """The samples whose label is one of the program's classes."""
    labels = dataset.columns[name].read(dataset.samples)[0]
    wrong = ((labels < 0) | (labels >= count)).reshape(len(labels), -1).any(1)
    if not wrong.any():
        return dataset
    if wrong.mean() > _MOST_WRONG or dataset.problems.strict:
        hint = "; labels count from 0" if labels.min() == 1 and labels.max() == count else ""
        raise DataError(
            f"{dataset.name}: labels run from {labels.min()} to {labels.max()}, "
            f"and the program has {count} classes, 0 to {count - 1}{hint}"
        )
    places = numpy.flatnonzero(wrong)
    for place in places[:_MOST_NAMED]:
        dataset.problems.add(
            f"{dataset.name}: sample {dataset.samples[place]} has the label {labels[place]}, "
            f"and the program has {count} classes, 0 to {count - 1}"
        )
    if len(places) > _MOST_NAMED:
        dataset.problems.add(f"{dataset.name}: {len(places) - _MOST_NAMED:,} more samples have such labels")
    return dataset.subset(numpy.flatnonzero(~wrong))


def _agree(shape: Sequence[int | None], wanted: Sequence[int | None]) -> bool:
    return len(shape) == len(wanted) and all(
        a is None or b is None or a == b for a, b in zip(shape, wanted, strict=True)
    )


def _sizes(shape: Sequence[int | None]) -> str:
    return "×".join("any" if size is None else str(size) for size in shape) or "a single number"
