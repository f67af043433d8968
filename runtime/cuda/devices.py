"""The GPUs of this machine: what they are, and their memory."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from ..arrays import Array, address
from ..errors import ArgumentError, NoGpu
from .driver import Driver, driver

_MULTIPROCESSORS, _MAJOR, _MINOR = 16, 75, 76  # CUdevice_attribute
_NAME = 256
WITHOUT_TIME = 2  # CU_EVENT_DISABLE_TIMING


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU: its number, name, compute capability times ten (90 for 9.0), multiprocessors, and bytes of memory."""

    number: int
    name: str
    capability: int
    multiprocessors: int
    memory: int

    @property
    def architecture(self) -> str:
        """The name of its architecture, such as "sm_90"."""
        return f"sm_{self.capability}"

    def __str__(self) -> str:
        return (
            f"{self.name} ({self.architecture}, {self.multiprocessors} multiprocessors, {self.memory / 2**30:.0f} GiB)"
        )


def devices() -> list[Device]:
    """The GPUs of this machine, in the driver's order; none if there is a driver but no GPU.  Raises `NoGpu`."""
    library = driver()
    return [_described(library, number) for number in range(library.number("cuDeviceGetCount"))]


def require_device(number: int = 0) -> Device:
    """One of the GPUs; raises `NoGpu` if there is none of this number."""
    found = devices()
    if number >= len(found):
        raise NoGpu(
            f"there is no GPU {number} on this machine, which has {len(found)}"
            if found
            else "there is a driver, but no GPU on this machine; is CUDA_VISIBLE_DEVICES empty?"
        )
    return found[number]


def _described(library: Driver, number: int) -> Device:
    handle = library.number("cuDeviceGet", number)
    name = ctypes.create_string_buffer(_NAME)
    library.call("cuDeviceGetName", name, _NAME, handle)
    memory = ctypes.c_size_t()
    library.call("cuDeviceTotalMem_v2", ctypes.byref(memory), handle)
    several, major, minor = (
        library.number("cuDeviceGetAttribute", attribute, handle) for attribute in (_MULTIPROCESSORS, _MAJOR, _MINOR)
    )
    return Device(number, name.value.decode(errors="replace"), 10 * major + minor, several, memory.value)


class Context:
    """What a process does on one GPU: memory, copies, streams.  Threads must `enter` it before they use it."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.driver = driver()
        handle = self.driver.number("cuDeviceGet", device.number)
        self.handle = self.driver.handle("cuDevicePrimaryCtxRetain", handle)

    def enter(self) -> None:
        """Use this GPU on the calling thread."""
        self.driver.call("cuCtxSetCurrent", self.handle)

    def allocate(self, size: int) -> Memory:
        """So many bytes of the GPU's memory, with arbitrary contents; raises `OutOfMemory`."""
        return Memory(self, size)

    def write(self, target: int, array: Array, stream: int) -> None:
        """Copy an array to an address of the GPU's memory."""
        if array.nbytes:
            self.driver.call("cuMemcpyHtoDAsync_v2", target, address(array), array.nbytes, stream)

    def read(self, array: Array, source: int, stream: int) -> None:
        """Copy from an address of the GPU's memory into an array, which has it once the stream was waited for."""
        if array.nbytes:
            self.driver.call("cuMemcpyDtoHAsync_v2", address(array), source, array.nbytes, stream)

    def clear(self, target: int, size: int, stream: int) -> None:
        """Set bytes of the GPU's memory to 0."""
        if size:
            self.driver.call("cuMemsetD8Async", target, 0, size, stream)

    def order(self, first: int, then: int) -> None:
        """Have what a stream is given from now on wait for what another was given until now."""
        event = self.driver.handle("cuEventCreate", WITHOUT_TIME)
        try:
            self.driver.call("cuEventRecord", event, first)
            self.driver.call("cuStreamWaitEvent", then, event, 0)
        finally:
            self.driver.call("cuEventDestroy_v2", event)

    def wait(self, stream: int) -> None:
        """Return when all that was given to a stream is done; raises what went wrong."""
        self.driver.call("cuStreamSynchronize", stream)


def stream_handle(stream: object) -> int:
    """The driver's handle of a stream: a number, or what PyTorch, CuPy or another library has for one.

    Raises `ArgumentError` for anything else.
    """
    if isinstance(stream, int):
        return stream
    protocol = getattr(stream, "__cuda_stream__", None)
    if protocol is not None:
        return int(protocol()[1])
    for name in ("cuda_stream", "ptr"):
        found = getattr(stream, name, None)
        if isinstance(found, int):
            return found
    raise ArgumentError(f"a {type(stream).__name__} is no CUDA stream")


@lru_cache(maxsize=8)
def context(device: Device) -> Context:
    """The context of a GPU, one for the whole process."""
    return Context(device)


class Memory:
    """Bytes of a GPU's memory, given back when nobody refers to them any more."""

    __slots__ = ("_enter", "_free", "address", "size")

    def __init__(self, context: Context, size: int) -> None:
        self.address = 0
        self.size = size
        found = ctypes.c_uint64()
        context.driver.call("cuMemAlloc_v2", ctypes.byref(found), max(size, 1))
        self.address = found.value
        self._enter = partial(context.driver.library.cuCtxSetCurrent, context.handle)
        self._free: Any = context.driver.library.cuMemFree_v2

    def __del__(self) -> None:
        if self.address:
            self._enter()
            self._free(self.address)  # which waits for what still uses it
