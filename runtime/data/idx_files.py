"""IDX, the format of MNIST (http://yann.lecun.com/exdb/mnist/) and its kin, plain or compressed with gzip.

Two zero bytes, a code for the type of the numbers, the number of axes, each length as four
bytes (big-endian), then the numbers, row-major and big-endian.
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import IO, cast

import numpy

from ..arrays import Array
from ..errors import DataError
from .array_files import require_memory

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MOST_AXES = 8
_BEST_COMPRESSION = 1100
"""How many bytes gzip can make one of; a file that promises more is cut off or lies."""


def is_idx(path: Path) -> bool:
    """Whether a file is named as IDX files are, such as `train-images-idx3-ubyte.gz`."""
    return any(f"{mark}idx{axes}" in path.name for mark in "-." for axes in range(1, _MOST_AXES + 1))


def read_idx(path: Path) -> Array:
    """The array of an IDX file, mapped into memory if it is not compressed; raises `DataError`."""
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
        size = os.fstat(file.fileno()).st_size
    try:
        if compressed:
            with gzip.open(path) as unpacked:
                return _read(cast(IO[bytes], unpacked), path, size * _BEST_COMPRESSION)
        with path.open("rb") as file:
            shape, dtype = _header(file)
            start = file.tell()
        expected = math.prod(shape) * dtype.itemsize
        if size - start != expected:
            raise ValueError(_wrong_size(expected, size - start))
        mapped = numpy.memmap(path, dtype, "r", start, shape) if expected else numpy.zeros(shape, dtype)
    except (ValueError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} cannot be read as an IDX file: {error}") from error
    return numpy.asarray(mapped)


def _read(file: IO[bytes], path: Path, limit: int) -> Array:
    shape, dtype = _header(file)
    expected = math.prod(shape) * dtype.itemsize
    if expected > limit:
        raise ValueError(_wrong_size(expected, limit))
    require_memory(str(path), expected)
    data = file.read(expected)
    if len(data) != expected or file.read(1):
        raise ValueError(_wrong_size(expected, len(data)))
    return numpy.frombuffer(data, dtype).reshape(shape)


def _wrong_size(expected: int, found: int) -> str:
    what = "it is cut off" if found < expected else "something follows its numbers"
    return (
        f"{what}: its header tells of {expected:,} bytes, and it has {'at most ' if found < expected else ''}{found:,}"
    )


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], numpy.dtype[numpy.generic]]:
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _DTYPES or not 1 <= start[3] <= _MOST_AXES:
        raise ValueError("it does not start as one")
    lengths = file.read(4 * start[3])
    if len(lengths) < 4 * start[3]:
        raise ValueError("its header is cut off")
    return tuple(int(length) for length in numpy.frombuffer(lengths, ">u4")), numpy.dtype(_DTYPES[start[2]])
