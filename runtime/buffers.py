"""Large buffers: memory straight from the system, in huge pages where it has them, and given back at once.

What a program's own heap frees mostly stays with the process, and pages of 4 KiB are so many in
large weights that a core keeps forgetting where they are.
"""

from __future__ import annotations

import mmap
from contextlib import suppress

import numpy

from .arrays import Array, address, aligned_empty

_LARGE = 1 << 16  # bytes from which on a buffer has pages of its own
_HUGE_PAGE = 1 << 21  # on x86-64, and on AArch64 with pages of 4 KiB


def new_buffer(size: int) -> Array:
    """Bytes with arbitrary contents that start at a cache line; raises `MemoryError` if there are none.

    A large buffer takes no memory where it has not been written yet, and none once it is freed.
    """
    if size < _LARGE or not hasattr(mmap, "MAP_PRIVATE"):
        return aligned_empty([size], numpy.dtype(numpy.uint8))
    try:
        # Private, since a forked process must not share it.
        memory = mmap.mmap(-1, size + _HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, OverflowError, ValueError) as error:
        raise MemoryError(f"the system does not give {size} bytes") from error
    start = -_start(memory) % _HUGE_PAGE
    whole = size // _HUGE_PAGE * _HUGE_PAGE  # the rest stays in small pages: no byte more than asked for
    if whole and hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a system without them
            memory.madvise(mmap.MADV_HUGEPAGE, start, whole)
    return numpy.frombuffer(memory, numpy.uint8, size, start)


def let_go(array: Array) -> None:
    """Take an array that lies in a mapped file out of memory: it is read from the file again when it is needed.

    Does nothing for other arrays.
    """
    file = _mapped_file(array)
    if file is None or not array.nbytes or not hasattr(mmap, "MADV_DONTNEED"):
        return
    first = address(array) - _start(file)
    start = first // mmap.PAGESIZE * mmap.PAGESIZE
    with suppress(OSError):  # a system that does not let go
        file.madvise(mmap.MADV_DONTNEED, start, first + array.nbytes - start)


def _mapped_file(array: Array) -> mmap.mmap | None:
    """The map of a file, which nobody can write through, that an array's memory belongs to."""
    owner: object = array
    while isinstance(owner, numpy.ndarray):
        owner = owner.base
    if isinstance(owner, memoryview):
        owner = owner.obj
    return owner if isinstance(owner, mmap.mmap) and memoryview(owner).readonly else None


def _start(memory: mmap.mmap) -> int:
    return address(numpy.frombuffer(memory, numpy.uint8))
