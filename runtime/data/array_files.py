"""NumPy's files: .npy, mapped into memory, and .npz.  No pickles: a file of data must not run code."""

from __future__ import annotations

import contextlib
import math
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy

from ..arrays import Array
from ..errors import DataError


def read_npy(path: Path) -> Array:
    """The array of a .npy file, mapped into memory and read-only; raises `DataError`."""
    with _damage_is_told(path):
        with path.open("rb") as file:
            shape, dtype = _header(file)
            _require_size(path.name, os.fstat(file.fileno()).st_size - file.tell(), shape, dtype)
        if not math.prod(shape):  # nothing to map
            return numpy.zeros(shape, dtype)
        return numpy.asarray(numpy.load(path, mmap_mode="r", allow_pickle=False))


def read_npz(path: Path) -> dict[str, Array]:
    """The arrays of a .npz file by name; raises `DataError`."""
    with _damage_is_told(path):
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                with archive.open(info) as member:
                    shape, dtype = _header(member)
                    _require_size(info.filename, info.file_size - member.tell(), shape, dtype)
                require_memory(f"{path}, {info.filename}", info.file_size)
        with numpy.load(path, allow_pickle=False) as loaded:
            return {name: loaded[name] for name in loaded.files}


@contextlib.contextmanager
def _damage_is_told(path: Path) -> Iterator[None]:
    """Whatever NumPy, zipfile and zlib raise when a file is damaged becomes a `DataError`."""
    try:
        yield
    except DataError:
        raise
    except OSError as error:
        if error.errno:  # the system's, not of the contents
            raise
        raise DataError(f"{path} cannot be read as NumPy arrays: {error}") from error
    except MemoryError:
        raise
    except Exception as error:
        raise DataError(f"{path} cannot be read as NumPy arrays: {error}") from error


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], numpy.dtype[Any]]:
    """Shape and dtype of the array that starts here."""
    form = numpy.lib.format
    version = form.read_magic(file)
    read = form.read_array_header_1_0 if version == (1, 0) else form.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which only a pickle can store; save arrays of numbers")
    return shape, dtype


def _require_size(name: str, found: int, shape: tuple[int, ...], dtype: numpy.dtype[Any]) -> None:
    expected = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or found < expected:
        raise ValueError(f"{name} is cut off: it should hold {expected:,} bytes and has {max(found, 0):,}")


def require_memory(name: str, size: int) -> None:
    """Raise `DataError` for data that no memory of this machine can hold, before any of them are read."""
    if not hasattr(os, "sysconf"):
        return
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory:
        raise DataError(f"{name} takes {size / 1e9:,.1f} GB, and this machine has {memory / 1e9:,.1f} GB of memory")


def lines_of(path: Path) -> Iterator[str]:
    """The lines of a text, such as the names of classes, without empty ones; raises `DataError`."""
    try:
        yield from filter(None, map(str.strip, path.read_text(encoding="utf-8").splitlines()))
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text") from error
