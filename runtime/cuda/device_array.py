"""Arrays in a GPU's memory, and how they come and go without a copy, through DLPack.

The structures mirror `dlpack.h`.  A capsule that is given away is the consumer's; a capsule that is taken keeps
its tensor alive until the array is collected.
"""

from __future__ import annotations

import ctypes
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from ..arrays import Array, numpy_dtype
from ..errors import ArgumentError, DtypeError
from ..library import DLTensor
from .devices import Context, Memory
from .streams import Stream

DLPACK_CUDA = 2  # kDLCUDA
_CODES = {"bool": 6, "int": 0, "uint": 1, "float": 2, "bfloat": 4}
_NAMES = {(code, bits): f"{kind}{bits}" for kind, code in _CODES.items() for bits in (8, 16, 32, 64) if kind != "bool"}
_NAMES[_CODES["bool"], 8] = "bool"


class _Managed(ctypes.Structure):
    """DLManagedTensor."""

    _fields_ = (("tensor", DLTensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


class DeviceArray:
    """A row-major array in a GPU's memory.

    Others take it without a copy through DLPack (`torch.from_dlpack(array)`); `numpy()` copies it to the CPU.
    What fills it may still be running in `stream`; whoever takes it through DLPack is made to wait for that.
    """

    def __init__(
        self, context: Context, address: int, shape: Sequence[int], dtype: str, owner: object, stream: int = 0
    ) -> None:
        self._context = context
        self._owner = owner
        self.address = address
        self.shape = tuple(shape)
        self.dtype = numpy_dtype(dtype)
        self.stream = stream

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    def numpy(self) -> Array:
        """A copy in the CPU's memory."""
        found = numpy.empty(self.shape, self.dtype)
        self._context.enter()
        self._context.read(found, self.address, self.stream)
        self._context.wait(self.stream)
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("an array in a GPU's memory cannot become one of NumPy without a copy")
        found = self.numpy()
        return found if dtype is None else found.astype(dtype)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an array without axes")
        return self.shape[0]

    def __repr__(self) -> str:
        return f"DeviceArray({self.dtype.name}{list(self.shape)} on {self._context.device.name})"

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        kind = "|u2" if self.dtype.name == "bfloat16" else self.dtype.str
        return {
            "shape": self.shape, "typestr": kind, "data": (self.address, False), "version": 3, "strides": None,
            "stream": self.stream or 1,
        }  # fmt: skip

    def __dlpack_device__(self) -> tuple[int, int]:
        return DLPACK_CUDA, self._context.device.number

    def __dlpack__(self, *, stream: int | None = None, **_: Any) -> object:
        if stream not in (None, -1, self.stream):
            self._context.order(self.stream, 0 if stream in (1, 2) else int(stream or 0))
        return _given(self)


def imported(value: Any, context: Context, stream: int, name: str) -> DeviceArray:
    """An array of another library, in the memory of the same GPU, without a copy.

    What its library has still to do for it is done before what `stream` is given next.  Raises `ArgumentError` if
    it is on another GPU or not row-major, `DtypeError` for complex numbers and the like.
    """
    if isinstance(value, DeviceArray):
        if value.stream != stream:
            context.order(value.stream, stream)
        return value
    kind, number = (int(part) for part in value.__dlpack_device__())
    if kind != DLPACK_CUDA or number != context.device.number:
        raise ArgumentError(f"{name} is on another device than the module, which runs on GPU {context.device.number}")
    try:
        capsule = value.__dlpack__(stream=stream or 1)
    except (BufferError, RuntimeError) as error:
        raise ArgumentError(f"{name} cannot be read: {error}") from error
    tensor = DLTensor.from_address(_pointer(capsule, b"dltensor"))
    dtype = _NAMES.get((tensor.dtype.code, tensor.dtype.bits))
    if dtype is None or tensor.dtype.lanes != 1:
        raise DtypeError(f"{name} has numbers of a kind that programs do not have")
    shape = tuple(tensor.shape[: tensor.ndim])
    if tensor.strides and not _is_row_major(shape, tensor.strides[: tensor.ndim]):
        raise ArgumentError(f"{name} is not row-major; give x.contiguous(), a copy that is")
    return DeviceArray(context, (tensor.data or 0) + tensor.byte_offset, shape, dtype, capsule, stream)


def is_on_gpu(value: object) -> bool:
    """Whether something is an array in a GPU's memory."""
    device: Callable[[], tuple[int, int]] | None = getattr(value, "__dlpack_device__", None)
    return device is not None and not isinstance(value, numpy.ndarray) and int(device()[0]) == DLPACK_CUDA


def new_array(context: Context, shape: Sequence[int], dtype: str, stream: Stream | None = None) -> DeviceArray:
    """An array with arbitrary contents, to be filled in a stream; raises `OutOfMemory`."""
    memory = Memory(context, math.prod(shape) * numpy_dtype(dtype).itemsize)
    handle = 0 if stream is None else stream.handle
    return DeviceArray(context, memory.address, shape, dtype, (memory, stream), handle)


def _is_row_major(shape: Sequence[int], strides: Sequence[int]) -> bool:
    expected = 1
    for length, stride in zip(reversed(shape), reversed(strides), strict=True):
        if length != 1 and stride != expected:
            return math.prod(shape) == 0
        expected *= length
    return True


# -- capsules ------------------------------------------------------------------------------

_alive: dict[int, tuple[Any, ...]] = {}
"""What tensors that were given away refer to, by the number in their `context`, until their deleters run."""
_numbers = itertools.count(1)


def _pointer(capsule: object, name: bytes) -> int:
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return int(get(capsule, name))


def _delete(managed: int) -> None:
    """Called by whoever took a tensor and needs it no more."""
    _alive.pop(_Managed.from_address(managed).context or 0, None)


def _drop(capsule: int) -> None:
    """Called when a capsule is collected: one that nobody took still owns its tensor."""
    valid = ctypes.pythonapi.PyCapsule_IsValid
    valid.restype, valid.argtypes = ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p]
    get = ctypes.PyDLL(None).PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_char_p]
    if valid(capsule, b"dltensor"):
        _delete(get(capsule, b"dltensor"))


_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_deleter, _destructor = _CALLBACK(_delete), _CALLBACK(_drop)


def _given(array: DeviceArray) -> object:
    """An array as a capsule that another library takes."""
    managed = _Managed()
    shape = (ctypes.c_int64 * max(array.ndim, 1))(*array.shape)
    tensor = managed.tensor
    tensor.data, tensor.ndim, tensor.shape = array.address, array.ndim, shape
    tensor.device.device_type, tensor.device.device_id = array.__dlpack_device__()
    kind = array.dtype.name.rstrip("0123456789")
    tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes = _CODES[kind], 8 * array.dtype.itemsize, 1
    number = next(_numbers)
    managed.context, managed.deleter = number, ctypes.cast(_deleter, ctypes.c_void_p)
    _alive[number] = (array, managed, shape)
    make = ctypes.pythonapi.PyCapsule_New
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    return make(ctypes.addressof(managed), b"dltensor", ctypes.cast(_destructor, ctypes.c_void_p))
