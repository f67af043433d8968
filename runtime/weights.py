"""Weights for a module: given by a file or a mapping, fitted to what the module declares."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy

from .arrays import Array, aligned_copy, as_array, convert, numpy_dtype
from .checkpoints import is_checkpoint
from .errors import ModuleError, WeightsError
from .signature import TensorInfo, nearest
from .tensor_files import read_tensors

WeightsSource = str | os.PathLike[str] | Mapping[str, object]
"""A `.safetensors` or `.npz` file, or a mapping from names to arrays (a PyTorch state dict, say)."""


def read_weights(source: WeightsSource, wanted: Sequence[TensorInfo]) -> dict[str, Array]:
    """Copies of the wanted weights from a file or a mapping, which may change afterwards.

    Of a checkpoint of a training, what an optimiser kept is left out.

    Raises `WeightsError`, which names everything that does not fit, or `WeightsFileError`.
    """
    given: Mapping[str, object]
    if not isinstance(source, str | os.PathLike):
        given = source
    else:
        given = read_tensors(source)
        if is_checkpoint(source):
            given = {info.name: given[info.name] for info in wanted if info.name in given}
    return {name: aligned_copy(array) for name, array in fit_weights(given, wanted).items()}


def fit_weights(given: Mapping[str, object], wanted: Sequence[TensorInfo]) -> dict[str, Array]:
    """The wanted weights from a mapping, whose memory they share where they can.

    Floats are converted to the width that is wanted; anything else must fit exactly.  Raises
    `WeightsError`, which names everything that does not fit.
    """
    expected = {info.name: info for info in wanted}
    problems: list[str] = []
    found: dict[str, Array] = {}
    unexpected = [name for name in given if name not in expected]
    for name, info in expected.items():
        if name not in given:
            problems.append(f"{info} is missing{nearest(name, unexpected)}")
            continue
        try:
            found[name] = _fitted(given[name], info)
        except ModuleError as error:
            problems.append(error.message)
    problems += [f"{name} is not a weight of this program{nearest(name, expected)}" for name in unexpected]
    if any(name.endswith((".weight", ".bias")) for name in unexpected):
        problems.append("`maj import-weights` turns PyTorch's names and layouts into the program's")
    if problems:
        raise WeightsError("the weights do not fit the program:\n" + "\n".join(f"  {text}" for text in problems))
    return found


def _fitted(value: object, info: TensorInfo) -> Array:
    detach = getattr(value, "detach", None)  # PyTorch's parameters carry gradients, which NumPy refuses
    array = as_array(detach() if detach is not None else value, info.name)
    if array.shape != info.shape:
        raise WeightsError(f"{info.name} has shape {list(array.shape)} and must have {list(info.shape)}")
    dtype = numpy_dtype(info.dtype)
    if _is_float(array.dtype) != _is_float(dtype):
        raise WeightsError(f"{info.name} has dtype {array.dtype.name} and must have {dtype.name}")
    return convert(array, dtype, info.name)


def _is_float(dtype: numpy.dtype[numpy.generic]) -> bool:
    return "float" in dtype.name
