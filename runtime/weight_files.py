"""Tensors of weights as other tools keep them: `.safetensors`, `.pt` and `.pth` of PyTorch, `.npz`.

Files are known by their contents, mapped into memory, and trusted in nothing: no code of theirs is
run, and memory is taken only for a tensor that is read, after its shape is known.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from .arrays import Array
from .errors import ModuleError, WeightsFileError
from .pytorch_files import read_state_dict, require_zip
from .tensor_files import map_file, parse_safetensors
from .zip_members import Packed, zip_members

_ZIP = b"PK\x03\x04"
_LONGEST_HEADER = 1 << 16  # bytes at the start of a .npy that hold its shape and dtype


@dataclass(frozen=True)
class StoredTensor:
    """Shape and dtype of a tensor in a file; `read` gives its numbers, which may lie in the mapped file."""

    shape: tuple[int, ...]
    dtype: numpy.dtype[Any]
    read: Callable[[], Array]

    @staticmethod
    def of(array: Array) -> StoredTensor:
        """A tensor that is at hand."""
        return StoredTensor(array.shape, array.dtype, lambda: array)


@dataclass(frozen=True)
class WeightsFile:
    """The tensors of a file by name; `ordered` if they stand in the order in which their model defines them."""

    tensors: Mapping[str, StoredTensor]
    ordered: bool


def open_weights(path: str | os.PathLike[str], inside: str | None = None) -> WeightsFile:
    """The tensors of a file; `inside` chooses a dictionary of a PyTorch file that has several.

    Raises `WeightsFileError` for a file that cannot be read, is damaged, holds something else, or
    would have to be run.
    """
    name = Path(path).name
    try:
        data = map_file(path)
        start = bytes(data[:512])
        require_zip(start, name)
        if not start.startswith(_ZIP):
            return WeightsFile(_stored(parse_safetensors(data)), ordered=False)
        members = zip_members(data)
        if members and all(member.endswith(".npy") for member in members):
            return WeightsFile(_npz(members), ordered=True)
        return WeightsFile(_stored(read_state_dict(members, name, inside)), ordered=True)
    except ModuleError:
        raise
    except OSError as error:
        raise WeightsFileError(f"cannot read {os.fspath(path)}: {error.strerror or error}") from error
    except (Exception, RecursionError) as error:  # whatever a damaged archive provokes
        kinds = ".safetensors, .npz, or PyTorch's .pt and .pth"
        raise WeightsFileError(f"{name} is not a file of weights ({kinds}), or it is damaged: {error}") from error


def _stored(arrays: Mapping[str, Array]) -> dict[str, StoredTensor]:
    return {name: StoredTensor.of(array) for name, array in arrays.items()}


def _npz(members: Mapping[str, memoryview | Packed]) -> dict[str, StoredTensor]:
    """The arrays of a .npz in the order of their names in it."""
    return {
        member.removesuffix(".npy"): _packed(contents) if isinstance(contents, Packed) else _mapped(contents)
        for member, contents in members.items()
    }


def _mapped(contents: memoryview) -> StoredTensor:
    shape, is_fortran, dtype, start = _array_header(bytes(contents[:_LONGEST_HEADER]), len(contents))
    flat = numpy.frombuffer(contents[start:], numpy.uint8).view(dtype)
    return StoredTensor.of(flat.reshape(shape, order="F" if is_fortran else "C"))


def _packed(member: Packed) -> StoredTensor:
    def read() -> Array:
        contents = member.start(member.size)
        if len(contents) != member.size:
            raise WeightsFileError("a compressed array is cut off")
        return numpy.frombuffer(contents[start:], dtype).reshape(shape, order="F" if is_fortran else "C")

    shape, is_fortran, dtype, start = _array_header(member.start(_LONGEST_HEADER), member.size)
    return StoredTensor(shape, dtype, read)


def _array_header(text: bytes, size: int) -> tuple[tuple[int, ...], bool, numpy.dtype[Any], int]:
    """Shape, whether columns come first, dtype, and where the numbers of a .npy of `size` bytes start."""
    file = io.BytesIO(text)
    version = numpy.lib.format.read_magic(file)
    reader = numpy.lib.format.read_array_header_1_0 if version == (1, 0) else numpy.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = reader(file)
    if dtype.hasobject:
        raise ValueError("it holds objects, which only a pickle can make")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != size - file.tell():
        raise ValueError("an array has another size than it says")
    return tuple(shape), bool(is_fortran), dtype, file.tell()
