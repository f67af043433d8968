"""The CUDA driver's library: the functions that are used of it, and what its errors mean.

It comes with the driver, so a machine has it if and only if it can run kernels; no toolkit is needed.  The
signatures are those of the CUDA Driver API.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

from ..errors import ExecutionError, NoGpu, OutOfMemory

LIBRARY = "libcuda.so.1"
"""What the system's loader calls the library."""

_INT, _SIZE, _ADDRESS, _HANDLE = ctypes.c_int, ctypes.c_size_t, ctypes.c_uint64, ctypes.c_void_p
_UNSIGNED, _POINTER = ctypes.c_uint, ctypes.c_void_p
_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "cuInit": (_UNSIGNED,),
    "cuDeviceGetCount": (_POINTER,),
    "cuDeviceGet": (_POINTER, _INT),
    "cuDeviceGetName": (_POINTER, _INT, _INT),
    "cuDeviceGetAttribute": (_POINTER, _INT, _INT),
    "cuDeviceTotalMem_v2": (_POINTER, _INT),
    "cuDevicePrimaryCtxRetain": (_POINTER, _INT),
    "cuCtxSetCurrent": (_HANDLE,),
    "cuModuleLoadData": (_POINTER, _POINTER),
    "cuModuleUnload": (_HANDLE,),
    "cuModuleGetFunction": (_POINTER, _HANDLE, ctypes.c_char_p),
    "cuMemAlloc_v2": (_POINTER, _SIZE),
    "cuMemFree_v2": (_ADDRESS,),
    "cuMemcpyHtoDAsync_v2": (_ADDRESS, _POINTER, _SIZE, _HANDLE),
    "cuMemcpyDtoHAsync_v2": (_POINTER, _ADDRESS, _SIZE, _HANDLE),
    "cuMemsetD8Async": (_ADDRESS, ctypes.c_ubyte, _SIZE, _HANDLE),
    "cuStreamCreate": (_POINTER, _UNSIGNED),
    "cuStreamDestroy_v2": (_HANDLE,),
    "cuStreamSynchronize": (_HANDLE,),
    "cuStreamWaitEvent": (_HANDLE, _HANDLE, _UNSIGNED),
    "cuEventCreate": (_POINTER, _UNSIGNED),
    "cuEventRecord": (_HANDLE, _HANDLE),
    "cuEventQuery": (_HANDLE,),
    "cuEventSynchronize": (_HANDLE,),
    "cuEventElapsedTime": (_POINTER, _HANDLE, _HANDLE),
    "cuEventDestroy_v2": (_HANDLE,),
    "cuLaunchKernel": (_HANDLE, *[_UNSIGNED] * 7, _HANDLE, _POINTER, _POINTER),
    "cuStreamBeginCapture_v2": (_HANDLE, _INT),
    "cuStreamEndCapture": (_HANDLE, _POINTER),
    "cuGraphInstantiateWithFlags": (_POINTER, _HANDLE, ctypes.c_ulonglong),
    "cuGraphLaunch": (_HANDLE, _HANDLE),
    "cuGraphDestroy": (_HANDLE,),
    "cuGraphExecDestroy": (_HANDLE,),
    "cuGetErrorName": (_INT, _POINTER),
    "cuGetErrorString": (_INT, _POINTER),
}
_OUT_OF_MEMORY = 2
_ADVICE = {
    3: "the driver was not started in this process; after a fork it cannot be: start processes with `spawn`",
    35: "the driver is older than this program needs; update NVIDIA's driver",
    803: "the driver and its library are of different versions; restart the machine",
    999: "the driver does not say why; `nvidia-smi` may",
}
TOO_LARGE = -1
"""What the code of a module says where a kernel would need more threads than there can be."""


class Driver:
    """The library, ready for use; functions are called by name and raise what their results mean."""

    def __init__(self) -> None:
        try:
            self.library = ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise NoGpu(
                f"no NVIDIA driver was found on this machine ({error}); a module for a GPU needs one, "
                "or compile the program for the CPU: --target cpu"
            ) from error
        for name, arguments in _FUNCTIONS.items():
            function = getattr(self.library, name, None)
            if function is None:
                raise NoGpu(f"NVIDIA's driver on this machine has no {name}; update it to version 580 or later")
            function.argtypes, function.restype = arguments, _INT
        result = self.library.cuInit(0)
        if result:
            raise NoGpu(f"NVIDIA's driver cannot be used: {self.meaning(result)}")

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function; raises `OutOfMemory` or `ExecutionError` if it fails."""
        self.check(getattr(self.library, name)(*arguments))

    def check(self, result: int) -> None:
        """Raise what a result of the driver, or of a module's code, means; nothing if it is a success."""
        if result == _OUT_OF_MEMORY:
            raise OutOfMemory("the GPU has not enough free memory; a smaller batch needs less")
        if result == TOO_LARGE:
            raise ExecutionError("a kernel would need more threads than a GPU can start at once; take a smaller batch")
        if result:
            raise ExecutionError(f"the GPU reports a failure: {self.meaning(result)}")

    def meaning(self, result: int) -> str:
        """What a result says, with its name."""
        texts = []
        for function in ("cuGetErrorName", "cuGetErrorString"):
            text = ctypes.c_char_p()
            getattr(self.library, function)(result, ctypes.byref(text))
            texts.append((text.value or b"").decode(errors="replace"))
        said = _ADVICE.get(result) or texts[1] or "unknown"
        return f"{said} ({texts[0] or result})"

    def number(self, name: str, *arguments: Any) -> int:
        """The integer that a function writes to its first argument."""
        found = ctypes.c_int()
        self.call(name, ctypes.byref(found), *arguments)
        return found.value

    def handle(self, name: str, *arguments: Any) -> int:
        """The handle that a function writes to its first argument."""
        found = ctypes.c_void_p()
        self.call(name, ctypes.byref(found), *arguments)
        return found.value or 0

    def address(self, name: str) -> int:
        """Where a function of the library is, for compiled code that calls it."""
        return ctypes.cast(getattr(self.library, name), ctypes.c_void_p).value or 0


@lru_cache(maxsize=1)
def driver() -> Driver:
    """The driver of this machine; raises `NoGpu` if there is none that works."""
    return Driver()
