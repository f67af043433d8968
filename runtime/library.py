"""The machine code of a module: loaded, called and configured through TVM's C interface.

Only `libtvm_ffi` and `libtvm_runtime` are loaded, with `ctypes`: importing the packages
`tvm` or `tvm_ffi` would load the compiler (and, where it is installed, PyTorch), which
costs a second and 200 MB that a program which only runs a module should not pay.  If
those packages are imported anyway, before or after, the process still has one copy of
each library.

The structures mirror `tvm/ffi/c_api.h` and `dlpack.h`.  A `ctypes` call releases
Python's global lock, so other Python threads run while a kernel does.
"""

from __future__ import annotations

import ctypes
import importlib.machinery
import os
import sys
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from .errors import ExecutionError, NativeLibraryError

_NONE, _INT, _DLTENSOR_POINTER, _RAW_STRING = 0, 1, 7, 8
_STATIC_OBJECT_BEGIN = 64
_SHARE_ALL_CORES = -3  # TVM's AffinityMode::kSpecifyThreadShareAllCore


class _Value(ctypes.Union):
    _fields_ = (("v_int64", ctypes.c_int64), ("v_ptr", ctypes.c_void_p), ("v_c_str", ctypes.c_char_p))


class _Any(ctypes.Structure):
    _fields_ = (("type_index", ctypes.c_int32), ("padding", ctypes.c_uint32), ("value", _Value))


class _ByteArray(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("size", ctypes.c_size_t))


class _ObjectHeader(ctypes.Structure):
    _fields_ = (
        ("reference_count", ctypes.c_uint64),
        ("type_index", ctypes.c_int32),
        ("padding", ctypes.c_uint32),
        ("deleter", ctypes.c_void_p),
    )


class _ErrorCell(ctypes.Structure):
    _fields_ = (("kind", _ByteArray), ("message", _ByteArray))


class _DLDevice(ctypes.Structure):
    _fields_ = (("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32))


class _DLDataType(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class DLTensor(ctypes.Structure):
    """A tensor as DLPack describes it."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _DLDevice),
        ("ndim", ctypes.c_int32),
        ("dtype", _DLDataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _Runtime:
    """TVM's two runtime libraries and the few functions needed of them."""

    def __init__(self) -> None:
        self.ffi = _open(_library_path("tvm_ffi", "libtvm_ffi"))
        _open(_library_path("tvm", "libtvm_runtime"))
        self.ffi.TVMFFIFunctionCall.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32, ctypes.c_void_p]
        self.ffi.TVMFFIFunctionGetGlobal.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        self.ffi.TVMFFIObjectDecRef.argtypes = [ctypes.c_void_p]
        self.ffi.TVMFFIErrorMoveFromRaised.argtypes = [ctypes.c_void_p]
        self.ffi.TVMFFIErrorMoveFromRaised.restype = None
        self._globals: dict[str, int] = {}

    def function(self, name: str) -> int:
        """The handle of one of TVM's global functions."""
        if name not in self._globals:
            text = name.encode()
            key = _ByteArray(ctypes.cast(ctypes.c_char_p(text), ctypes.c_void_p), len(text))
            handle = ctypes.c_void_p()
            failed = self.ffi.TVMFFIFunctionGetGlobal(ctypes.byref(key), ctypes.byref(handle))
            if failed or not handle.value:
                raise NativeLibraryError(f"TVM's runtime has no function {name}; is apache-tvm 0.27 installed?")
            self._globals[name] = handle.value
        return self._globals[name]

    def call(self, function: int, *arguments: int | bytes | _Object | None) -> Any:
        """Call a function; the result is an int, an `_Object` or None."""
        cells = (_Any * max(len(arguments), 1))()
        for cell, argument in zip(cells, arguments, strict=False):
            if isinstance(argument, bytes):
                cell.type_index, cell.value.v_c_str = _RAW_STRING, argument
            elif isinstance(argument, _Object):
                cell.type_index, cell.value.v_ptr = argument.type_index, argument.handle
            elif isinstance(argument, int):
                cell.type_index, cell.value.v_int64 = _INT, argument
        result = _Any()
        if self.ffi.TVMFFIFunctionCall(function, cells, len(arguments), ctypes.byref(result)):
            raise NativeLibraryError(self.raised_message())
        if result.type_index >= _STATIC_OBJECT_BEGIN:
            return _Object(self, result.value.v_ptr, result.type_index)
        return result.value.v_int64 if result.type_index else None

    def raised_message(self) -> str:
        """Take the error that the last failing call left behind, and give its message."""
        handle = ctypes.c_void_p()
        self.ffi.TVMFFIErrorMoveFromRaised(ctypes.byref(handle))
        if not handle.value:
            return "unknown failure in compiled code"
        cell = _ErrorCell.from_address(handle.value + ctypes.sizeof(_ObjectHeader))
        message = ctypes.string_at(cell.message.data, cell.message.size).decode(errors="replace")
        self.ffi.TVMFFIObjectDecRef(handle)
        return message


class _Object:
    """A reference to one of TVM's objects, given back when this one is collected."""

    __slots__ = ("_release", "handle", "type_index")

    def __init__(self, runtime: _Runtime, handle: int, type_index: int) -> None:
        self.handle = handle
        self.type_index = type_index
        self._release = runtime.ffi.TVMFFIObjectDecRef

    def __del__(self) -> None:
        self._release(self.handle)


@lru_cache(maxsize=1)
def _get_runtime() -> _Runtime:
    return _Runtime()  # two threads may both make one, which does no harm


def _library_path(package: str, stem: str) -> Path:
    """Where a package that is not imported keeps a shared library."""
    suffix = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
    spec = importlib.machinery.PathFinder.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(folder) / "lib" / f"{stem}{suffix}"
        if path.is_file():
            return path
    raise NativeLibraryError(
        f"cannot find {stem}{suffix}, which runs compiled modules; "
        "install it with: pip install apache-tvm==0.27.0.post1"
    )


def _open(path: Path) -> ctypes.CDLL:
    try:
        # Global, because libtvm_runtime and the modules take their symbols from libtvm_ffi.
        return ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise NativeLibraryError(f"cannot load {path}: {error}") from error


class Function:
    """A compiled function of three vectors: buffer addresses, sizes, status."""

    def __init__(self, runtime: _Runtime, function: _Object, name: str) -> None:
        self._runtime = runtime
        self._function = function
        self._call = runtime.ffi.TVMFFIFunctionCall
        self._name = name

    def __call__(self, arguments: Arguments) -> None:
        """Run it on the calling thread; raises `ExecutionError`."""
        result = _Any()
        if self._call(self._function.handle, arguments.cells, arguments.count, ctypes.byref(result)):
            raise ExecutionError(f"{self._name} failed: {self._runtime.raised_message()}")


class Arguments:
    """Vectors of integers as arguments of a `Function`.

    Each is given as (address, length, bits of an element); whoever owns the memory keeps
    it alive for as long as these arguments are used.
    """

    def __init__(self, vectors: Sequence[tuple[int, int, int]]) -> None:
        self.count = len(vectors)
        self.cells = (_Any * self.count)()
        self._tensors = (DLTensor * self.count)()
        self._shapes = [(ctypes.c_int64 * 1)(length) for _, length, _ in vectors]
        self._strides = (ctypes.c_int64 * 1)(1)
        for cell, tensor, shape, (address, _, bits) in zip(
            self.cells, self._tensors, self._shapes, vectors, strict=True
        ):
            tensor.data, tensor.ndim, tensor.shape = address, 1, shape
            tensor.strides = self._strides
            tensor.device = _DLDevice(1, 0)
            tensor.dtype = _DLDataType(0, bits, 1)
            cell.type_index, cell.value.v_ptr = _DLTENSOR_POINTER, ctypes.addressof(tensor)


class Library:
    """The shared library of a module."""

    def __init__(self, code: bytes) -> None:
        """Load machine code; raises `NativeLibraryError`.

        The system's loader reads files only, so the code goes through a temporary one,
        which is gone when this returns.
        """
        self._runtime = _get_runtime()
        folder = tempfile.mkdtemp(prefix="majuscule-")
        path = os.path.join(folder, "module.so")
        try:
            with open(path, "wb") as file:
                file.write(code)
            load = self._runtime.function("ffi.ModuleLoadFromFile")
            self._module: _Object = self._runtime.call(load, os.fsencode(path))
            self._handle = ctypes.CDLL(path)  # the same library again, which the system knows by its file
        except OSError as error:
            raise NativeLibraryError(f"cannot write the module's code to {folder}: {error}") from error
        except NativeLibraryError as error:
            raise NativeLibraryError(
                f"the system cannot load the module's code: {error.message} (if the folder {folder} does not "
                "allow programs to run, set TMPDIR to one that does)"
            ) from error
        finally:
            if os.path.exists(path):
                os.unlink(path)
            os.rmdir(folder)

    def symbols(self) -> ctypes.CDLL:
        """The library for `ctypes`: the variables that it exports."""
        return self._handle

    def function(self, name: str) -> Function:
        """An exported function; raises `NativeLibraryError` if there is none of this name."""
        get = self._runtime.function("ffi.ModuleGetFunction")
        found = self._runtime.call(get, self._module, name.encode(), 0)
        if found is None:
            raise NativeLibraryError(f"the module's code has no function {name}")
        return Function(self._runtime, found, name)


def configure_threads(threads: int, cores: Sequence[int]) -> None:
    """Give the calling thread a pool with which `threads` threads in all run parallel loops.

    TVM keeps one pool for each thread that calls compiled code.  The pool's size is settled
    when it is made, from the length of the list of cores; the second call then lets its
    threads move freely among all `cores`, because threads pinned to the same few cores by
    several processes would queue there while other cores idle.
    """
    runtime = _get_runtime()
    configure = runtime.function("runtime.config_threadpool")
    array = runtime.function("ffi.Array")
    few = [cores[i % len(cores)] for i in range(threads)]
    for chosen in (few, cores):
        names = runtime.call(array, *(str(core).encode() for core in chosen))
        runtime.call(configure, _SHARE_ALL_CORES, threads, names)
