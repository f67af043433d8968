"""Files of named arrays: safetensors and NumPy's npz.

Safetensors are read in place from a memory map and written from where the arrays are, so
that gigabytes of weights are not copied, and they start at cache lines, so that compiled
code can use them where they lie.  The library `safetensors` copies each tensor, orders
them in its own way, and its NumPy side reads no bfloat16.
"""

from __future__ import annotations

import json
import math
import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy

from .arrays import ALIGNMENT, Array, numpy_dtype
from .errors import WeightsFileError

_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
_CODES = {name: code for code, name in _DTYPES.items()}
_LARGEST_HEADER = 100_000_000  # bytes; the safetensors library's own limit


def read_tensors(path: str | os.PathLike[str]) -> dict[str, Array]:
    """The arrays of a `.safetensors` or `.npz` file, known by its contents; raises `WeightsFileError`."""
    try:
        with open(path, "rb") as file:
            start = file.read(4)
        if start == b"PK\x03\x04":
            return _read_npz(path)
        return parse_safetensors(map_file(path))
    except OSError as error:
        raise WeightsFileError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # NumPy's reader raises whatever a damaged archive provokes
        raise WeightsFileError(
            f"{Path(path).name} is not a file of weights (.safetensors or .npz), or it is damaged: {error}"
        ) from error


def _read_npz(path: str | os.PathLike[str]) -> dict[str, Array]:
    with numpy.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    if not all(isinstance(array, numpy.ndarray) for array in arrays.values()):
        raise ValueError("it holds other things than arrays; of PyTorch's files, give what torch.load makes of them")
    return arrays


def map_file(path: str | os.PathLike[str]) -> memoryview:
    """The bytes of a file as a read-only memory map; it lives for as long as a view of it does."""
    with open(path, "rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def parse_safetensors(data: memoryview) -> dict[str, Array]:
    """Read-only arrays over the bytes of a safetensors file; raises ValueError if they are not one."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(len(data) - 8, _LARGEST_HEADER):
        raise ValueError("the header of the safetensors is cut off")
    try:
        header = json.loads(bytes(data[8 : 8 + length]))
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        return {name: _tensor(data[8 + length :], entry) for name, entry in tensors.items()}
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"the header of the safetensors is not valid: {error}") from error


def _tensor(data: memoryview, entry: Mapping[str, Any]) -> Array:
    dtype = numpy_dtype(_DTYPES[entry["dtype"]])
    shape = [int(size) for size in entry["shape"]]
    start, end = (int(offset) for offset in entry["data_offsets"])
    size = math.prod(shape) * dtype.itemsize
    if min((start, *shape)) < 0 or end > len(data) or end - start != size:
        raise ValueError("a tensor lies outside of the safetensors")
    return numpy.frombuffer(data[start:end], numpy.uint8).view(dtype).reshape(shape)


def safetensors_parts(tensors: Mapping[str, Array]) -> list[memoryview]:
    """The contents of a safetensors file, in parts that share the tensors' memory.

    Tensors whose size is a multiple of a cache line come first, so that they start at one.
    """
    arrays = {name: numpy.asarray(array, order="C") for name, array in tensors.items()}
    order = sorted(arrays, key=lambda name: (arrays[name].nbytes % ALIGNMENT > 0, -arrays[name].itemsize, name))
    header: dict[str, Any] = {}
    position = 0
    for name in order:
        array = arrays[name]
        end = position + array.nbytes
        header[name] = {"dtype": _CODES[array.dtype.name], "shape": array.shape, "data_offsets": (position, end)}
        position = end
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)  # spaces may follow the header
    start = len(text).to_bytes(8, "little") + text
    return [memoryview(start), *(arrays[name].reshape(-1).view(numpy.uint8).data for name in order)]
