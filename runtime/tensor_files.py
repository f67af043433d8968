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
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy

from .arrays import ALIGNMENT, Array, numpy_dtype
from .errors import WeightsFileError
from .whole_files import whole_file

_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
_CODES = {name: code for code, name in _DTYPES.items()}
_METADATA = "__metadata__"
WRITABLE = (".safetensors", ".npz")
"""Endings of the files that `write_tensors` writes."""
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
        raise ValueError("it holds other things than arrays; `maj import-weights` reads PyTorch's files")
    return arrays


def map_file(path: str | os.PathLike[str]) -> memoryview:
    """The bytes of a file as a read-only memory map; it lives for as long as a view of it does."""
    with open(path, "rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def parse_safetensors(data: memoryview) -> dict[str, Array]:
    """Read-only arrays over the bytes of a safetensors file; raises ValueError if they are not one."""
    header, start = _header(data)
    entries = {name: entry for name, entry in header.items() if name != _METADATA}
    try:
        _require_no_gaps(sorted(tuple(entry["data_offsets"]) for entry in entries.values()), len(data) - start)
        return {name: _tensor(data[start:], entry) for name, entry in entries.items()}
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"the header of the safetensors is not valid: {error}") from error


def _require_no_gaps(ranges: Sequence[tuple[int, int]], size: int) -> None:
    """Tensors lie one after the other, from the first byte behind the header to the last of the file."""
    position = 0
    for start, end in ranges:
        if start != position:
            raise ValueError("tensors of the safetensors overlap, or there are bytes between them")
        position = end
    if position != size:
        raise ValueError("the safetensors are cut off, or bytes follow them")


def safetensors_metadata(data: memoryview) -> dict[str, str]:
    """The texts that were written beside the tensors of a safetensors file; ValueError if it is none."""
    found = _header(data)[0].get(_METADATA, {})
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ValueError("the metadata of the safetensors are not valid")
    return found


def _header(data: memoryview) -> tuple[dict[str, Any], int]:
    """The header of a safetensors file, and where the tensors start."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(len(data) - 8, _LARGEST_HEADER):
        raise ValueError("the header of the safetensors is cut off")
    try:
        header = json.loads(bytes(data[8 : 8 + length]))
    except RecursionError as error:
        raise ValueError(f"the header of the safetensors is not valid: {error}") from error
    if not isinstance(header, dict):
        raise ValueError("the header of the safetensors is not valid")
    return header, 8 + length


def _tensor(data: memoryview, entry: Mapping[str, Any]) -> Array:
    dtype = numpy_dtype(_DTYPES[entry["dtype"]])
    shape = [int(size) for size in entry["shape"]]
    start, end = (int(offset) for offset in entry["data_offsets"])
    size = math.prod(shape) * dtype.itemsize
    if min((start, *shape)) < 0 or end > len(data) or end - start != size:
        raise ValueError("a tensor lies outside of the safetensors")
    return numpy.frombuffer(data[start:end], numpy.uint8).view(dtype).reshape(shape)


def safetensors_parts(tensors: Mapping[str, Array], metadata: Mapping[str, str] | None = None) -> list[memoryview]:
    """The contents of a safetensors file, in parts that share the tensors' memory; the header is the first.

    `metadata` are texts to be kept beside the tensors.
    Tensors whose size is a multiple of a cache line come first, so that they start at one.
    """
    arrays = {name: numpy.asarray(array, order="C") for name, array in tensors.items()}
    order = sorted(arrays, key=lambda name: (arrays[name].nbytes % ALIGNMENT > 0, -arrays[name].itemsize, name))
    header: dict[str, Any] = {_METADATA: dict(metadata)} if metadata else {}
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


def write_npz(file: IO[bytes], arrays: Mapping[str, Array]) -> None:
    """Write arrays as `numpy.savez` does, which cannot take one that is called `file`."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                numpy.lib.format.write_array(member, numpy.asanyarray(array), allow_pickle=False)


def write_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Array], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named arrays to a `.safetensors` file, with `metadata`, or to a `.npz` file, whole or not at all.

    Raises `WeightsFileError` for another ending, and for what cannot be written.
    """
    ending = Path(path).suffix.lower()
    if ending not in WRITABLE:
        raise WeightsFileError(
            f"cannot write weights to {os.fspath(path)}: its name must end in {' or '.join(WRITABLE)}"
        )
    if ending == ".npz" and any(array.dtype.name == "bfloat16" for array in tensors.values()):
        raise WeightsFileError("NumPy's files have no bfloat16; write a .safetensors file")
    try:
        with whole_file(path) as file:
            if ending == ".npz":
                write_npz(file, tensors)
            else:
                for part in safetensors_parts(tensors, metadata):
                    file.write(part)
    except OSError as error:
        raise WeightsFileError(f"cannot write {os.fspath(path)}: {error.strerror or error}") from error
