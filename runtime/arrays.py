"""Arrays as callers have them, and arrays as compiled code wants them.

`as_array` takes what is at hand: NumPy arrays, anything that speaks DLPack (a PyTorch
tensor on the CPU, say; its memory is used, not copied), nested lists of numbers.
`convert` changes the dtype where that keeps what the numbers say; `aligned_empty` makes
new arrays whose memory starts at a multiple of a cache line.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from functools import cache
from typing import Any, cast

import numpy

from .errors import ArgumentError, DtypeError
from .library import DLTensor

Array = numpy.ndarray[Any, numpy.dtype[Any]]

ALIGNMENT = 64
"""Bytes of a cache line, and of the widest vector register."""

_DATA = object.__basicsize__
"""Where an array's object has the address of its data: after what all objects have (NumPy's PyArrayObject_fields).

Ten times as quick as asking for `__array_interface__`, and a call reads several addresses.
"""
_read_pointer = ctypes.c_void_p.from_address

_KINDS = {"bool": 0, "int": 1, "uint": 1, "float": 2, "bfloat": 2}
_DLPACK_HOST_DEVICES = (1, 3, 11)  # kDLCPU, kDLCUDAHost, kDLROCMHost
_DLPACK_BFLOAT = 4


@cache
def numpy_dtype(name: str) -> numpy.dtype[Any]:
    """The NumPy dtype of one of the language's dtypes; raises TypeError for another name."""
    if name == "bfloat16":
        import ml_dtypes

        return cast("numpy.dtype[Any]", numpy.dtype(ml_dtypes.bfloat16))
    return numpy.dtype(name)


def aligned_empty(shape: Sequence[int], dtype: numpy.dtype[Any]) -> Array:
    """An array with arbitrary contents that starts at a multiple of `ALIGNMENT` bytes."""
    size = math.prod(shape) * dtype.itemsize
    memory = numpy.empty(size + ALIGNMENT, numpy.uint8)
    return numpy.ndarray(shape, dtype, memory, -address(memory) % ALIGNMENT)


def aligned_copy(array: Array) -> Array:
    """A row-major copy that starts at a multiple of `ALIGNMENT` bytes."""
    result = aligned_empty(array.shape, array.dtype)
    result[...] = array
    return result


def address(array: Array) -> int:
    """Where the first element of an array is in memory."""
    return _read_pointer(id(array) + _DATA).value or 0


def shape_of(value: Any) -> tuple[int, ...]:
    """The lengths of the axes of anything that `as_array` takes."""
    found = getattr(value, "shape", None)
    return tuple(found) if found is not None else numpy.shape(value)


def is_plain(array: Array) -> bool:
    """Whether compiled code can read the array's memory as it is."""
    flags = array.flags
    return flags.c_contiguous and flags.aligned


def as_array(value: object, name: str) -> Array:
    """`value` as a NumPy array, sharing its memory where possible; `name` is for messages.

    Raises `ArgumentError` for what is not an array of numbers or not in the CPU's memory.
    """
    if isinstance(value, numpy.ndarray):
        array = value
    elif hasattr(value, "__dlpack__"):
        array = _from_dlpack(value, name)
    else:
        try:
            array = numpy.asarray(value)
        except ValueError as error:
            raise ArgumentError(f"{name} is not an array: {error}") from error
    if array.dtype.hasobject or array.dtype.kind in "USMm":
        raise ArgumentError(f"{name} is not an array of numbers but {_describe_type(value)}")
    return array


def convert(array: Array, dtype: numpy.dtype[Any], name: str) -> Array:
    """`array` as a row-major array of `dtype`, the same object if it is one already.

    Truth values become integers, integers become floats, and floats floats of any width;
    integers become other integers if all values fit.  Raises `DtypeError` for the rest:
    floats do not become integers, nor complex numbers anything.
    """
    if array.dtype != dtype:
        source, target = _kind(array.dtype), _kind(dtype)
        if source is None or target is None or source > target:
            hint = f"; if you mean it: x.astype({dtype.name!r})" if source is not None else ""
            raise DtypeError(f"{name} must be {dtype.name}, but it is {array.dtype.name}{hint}")
        if source == target == _KINDS["int"]:
            _require_fit(array, dtype, name)
        with numpy.errstate(over="ignore"):
            array = array.astype(dtype, order="C")
    return array if is_plain(array) else array.copy(order="C")


def _kind(dtype: numpy.dtype[Any]) -> int | None:
    return _KINDS.get(dtype.name.rstrip("0123456789"))


def _require_fit(array: Array, dtype: numpy.dtype[Any], name: str) -> None:
    limits = numpy.iinfo(dtype)
    if numpy.can_cast(array.dtype, dtype) or not array.size:
        return
    low, high = int(array.min()), int(array.max())
    if low < limits.min or high > limits.max:
        outside = low if low < limits.min else high
        raise DtypeError(f"{name} must be {dtype.name}, which cannot hold {outside}, one of the values given")


def _describe_type(value: object) -> str:
    if isinstance(value, numpy.ndarray):
        return f"an array of {value.dtype}"
    return f"a {type(value).__name__}"


def _from_dlpack(value: Any, name: str) -> Array:
    device = int(value.__dlpack_device__()[0])
    if device not in _DLPACK_HOST_DEVICES:
        raise ArgumentError(f"{name} is in the memory of a GPU; give x.cpu(), a copy in the CPU's memory")
    try:
        return numpy.from_dlpack(value)
    except (BufferError, RuntimeError) as error:
        # NumPy knows no bfloat16; other reasons (a tensor that requires gradients) are the caller's.
        array = _bfloat16_from_dlpack(value)
        if array is None:
            raise ArgumentError(f"{name} cannot be read: {error}") from error
        return array


def _bfloat16_from_dlpack(value: Any) -> Array | None:
    try:
        capsule = value.__dlpack__()
    except (BufferError, RuntimeError):
        return None
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    tensor = DLTensor.from_address(get_pointer(capsule, b"dltensor"))
    if (tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes) != (_DLPACK_BFLOAT, 16, 1):
        return None
    shape = tensor.shape[: tensor.ndim]
    if tensor.strides:
        strides = tensor.strides[: tensor.ndim]
    else:
        strides = [math.prod(shape[axis + 1 :]) for axis in range(tensor.ndim)]
    if not math.prod(shape):
        return numpy.empty(shape, numpy_dtype("bfloat16"))
    count = 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    memory = (ctypes.c_uint16 * count).from_address(tensor.data + tensor.byte_offset)
    memory.owner = capsule  # the capsule, unless consumed, frees the tensor when it is collected
    return numpy.ndarray(shape, numpy_dtype("bfloat16"), memory, strides=[2 * stride for stride in strides])
