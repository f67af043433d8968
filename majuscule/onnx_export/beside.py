"""Weights in a file beside the model, as ONNX has it for models above 2 GiB."""

from __future__ import annotations

from typing import IO

import numpy
import onnx
from onnx import helper

from ..runtime.arrays import Array
from .builder import numpy_type

_ALIGNMENT = 4096
"""Where tensors start, so that readers can map them into memory."""


def stored(array: Array, dtype: str) -> Array:
    """The numbers as they lie in a file."""
    return numpy.ascontiguousarray(array, numpy_type(dtype)).reshape(numpy.shape(array))


class Beside:
    """The file called `location`, in the model's folder; `write` comes after all tensors are there."""

    def __init__(self, location: str) -> None:
        self._location = location
        self._tensors: list[tuple[int, Array, str]] = []
        self._end = 0

    def tensor(self, name: str, array: Array, dtype: str) -> onnx.TensorProto:
        """A tensor of the model whose numbers lie in the file."""
        kind = numpy_type(dtype)
        offset = -(-self._end // _ALIGNMENT) * _ALIGNMENT
        length = array.size * kind.itemsize
        self._tensors.append((offset, array, dtype))
        self._end = offset + length
        made = onnx.TensorProto(name=name, dims=array.shape, data_type=helper.np_dtype_to_tensor_dtype(kind))
        made.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", self._location), ("offset", offset), ("length", length)):
            made.external_data.add(key=key, value=str(value))
        return made

    def write(self, file: IO[bytes]) -> None:
        """Write all numbers, one tensor after the other."""
        for offset, array, dtype in self._tensors:
            kind = numpy_type(dtype)
            file.write(bytes(offset - file.tell()))
            file.write(stored(array, dtype).astype(kind.newbyteorder("<"), copy=False).tobytes())
