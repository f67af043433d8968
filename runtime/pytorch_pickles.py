"""The part of pickle that PyTorch writes tensors with, read without running anything.

A pickle is a program for a small stack machine, which may call any function that can be imported.
This machine has only the instructions that build tuples, lists, dictionaries, numbers and texts,
and calls nothing: the four names that `torch.save` writes for a dictionary of tensors
(`collections.OrderedDict` and those of `torch._utils` that rebuild tensors) stand for functions of
this file, and any other name is refused.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from .arrays import Array, numpy_dtype

STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool",
}  # fmt: skip
"""PyTorch's class of a storage -> the dtype of its elements."""

StorageReader = Callable[[str, numpy.dtype[Any], int], Array]
"""Gives the elements of a storage, one axis, by its key, its dtype and how many there are."""


class Refused(ValueError):
    """A pickle asks for something else than tensors; the message names it."""


@dataclass(frozen=True)
class _Global:
    """A name that a pickle would import."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class _Mark:
    """Where a group of values begins on the stack."""


_MARK = _Mark()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE")
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MOST_INSTRUCTIONS = 1 << 21  # of a model with a thousand tensors it has some 50,000
_ORDERED_DICT = "collections.OrderedDict"


def read_pickle(data: bytes, storage: StorageReader) -> object:
    """The value that a pickle of tensors describes; the tensors are arrays over what `storage` gives.

    Raises `Refused` for a pickle that would run anything, and other exceptions for a damaged one.
    """
    machine = _Machine(storage)
    for number, (operation, argument, _) in enumerate(pickletools.genops(data)):
        if number > _MOST_INSTRUCTIONS:
            raise Refused(f"it has more than {_MOST_INSTRUCTIONS:,} instructions")
        if operation.name == "STOP":
            return machine.stack.pop()
        machine.step(operation.name, argument)
    raise ValueError("the pickle is cut off")


class _Machine:
    """The stack and the memo of a pickle that is being read."""

    def __init__(self, storage: StorageReader) -> None:
        self.stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._storage = storage

    def step(self, operation: str, argument: Any) -> None:
        """Carry out one instruction."""
        stack = self.stack
        if operation in _LITERALS:
            stack.append(argument)
        elif operation in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = stack[-1]
        elif operation == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif operation in ("BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif operation == "MARK":
            stack.append(_MARK)
        elif operation in _CONSTANTS:
            stack.append(_CONSTANTS[operation])
        elif operation in _TUPLES:
            stack.append(tuple(self._pop(_TUPLES[operation])))
        elif operation == "TUPLE":
            stack.append(tuple(self._group()))
        elif operation in ("EMPTY_LIST", "EMPTY_DICT"):
            stack.append([] if operation == "EMPTY_LIST" else {})
        elif operation in ("APPEND", "APPENDS"):
            self._extend(self._pop(1) if operation == "APPEND" else self._group())
        elif operation in ("SETITEM", "SETITEMS"):
            self._set_items(self._pop(2) if operation == "SETITEM" else self._group())
        elif operation == "GLOBAL":
            stack.append(_Global(*argument.split(" ", 1)))
        elif operation == "STACK_GLOBAL":
            stack.append(_Global(*map(str, self._pop(2))))
        elif operation == "BINPERSID":
            stack.append(self._persistent(*self._pop(1)))
        elif operation == "REDUCE":
            stack.append(self._call(*self._pop(2)))
        elif operation == "BUILD":
            self._build(*self._pop(1))
        elif operation not in ("PROTO", "FRAME"):
            raise Refused(f"it uses pickle's instruction {operation}, which no dictionary of tensors needs")
        self._check_top()

    def _check_top(self) -> None:
        """Refuse names as soon as they appear: what they would be used for does not matter."""
        top = self.stack[-1] if self.stack else None
        if isinstance(top, _Global) and not (str(top) in _FUNCTIONS or _storage_dtype(top) is not None):
            raise Refused(f"it asks for {top}, and nothing of a file of weights is run")

    def _pop(self, count: int) -> list[Any]:
        if count > len(self.stack):
            raise ValueError("the pickle takes more from its stack than there is")
        values = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        if any(value is _MARK for value in values):
            raise ValueError("the pickle takes a mark for a value")
        return values

    def _group(self) -> list[Any]:
        """The values above the last mark, which is removed with them."""
        place = next((n for n in reversed(range(len(self.stack))) if self.stack[n] is _MARK), None)
        if place is None:
            raise ValueError("the pickle has no mark where it needs one")
        values = self.stack[place + 1 :]
        del self.stack[place:]
        return values

    def _extend(self, values: Sequence[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise ValueError("the pickle appends to something that is no list")
        self.stack[-1].extend(values)

    def _set_items(self, values: Sequence[Any]) -> None:
        if type(self.stack[-1]) is not dict:
            raise ValueError("the pickle sets items of something that is no dictionary")
        self.stack[-1].update(zip(values[::2], values[1::2], strict=True))

    def _persistent(self, identity: Any) -> Array:
        """What PyTorch keeps outside of the pickle: `("storage", class, key, place, number of elements)`."""
        kind, storage, key, _, count = identity
        dtype = _storage_dtype(storage) if kind == "storage" else None
        if dtype is None or type(key) is not str or type(count) is not int:
            raise Refused(f"it keeps {kind!r} {storage} outside of the pickle, which is no storage of numbers")
        return self._storage(key, dtype, count)

    def _call(self, function: Any, arguments: Any) -> object:
        if not isinstance(function, _Global) or str(function) not in _FUNCTIONS:
            raise Refused(f"it calls {function if isinstance(function, _Global) else 'something that is no function'}")
        return _FUNCTIONS[str(function)](*arguments)

    def _build(self, state: Any) -> None:
        """PyTorch's dictionaries of tensors carry `_metadata`, which does not matter here."""
        if type(self.stack[-1]) is not dict or type(state) is not dict:
            raise Refused("it sets the attributes of an object")


def _storage_dtype(found: object) -> numpy.dtype[Any] | None:
    if isinstance(found, _Global) and found.module == "torch" and found.name in STORAGES:
        return numpy_dtype(STORAGES[found.name])
    return None


def _new_dictionary(*arguments: object) -> dict[Any, Any]:
    if arguments:
        raise Refused("it makes a dictionary of a list of pairs, as PyTorch does not")
    return {}


def _tensor(storage: Array, offset: int, shape: Sequence[int], strides: Sequence[int], *_: object) -> Array:
    """`torch._utils._rebuild_tensor_v2`: a view of a storage; offset and strides count elements."""
    if not isinstance(storage, numpy.ndarray) or storage.ndim != 1:
        raise ValueError("a tensor is made of something that is no storage")
    numbers = (offset, *shape, *strides)
    if any(type(number) is not int or number < 0 for number in numbers) or len(shape) != len(strides):
        raise ValueError("a tensor has sizes that are no sizes")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if offset > len(storage) or (0 not in shape and last >= len(storage)):
        raise ValueError("a tensor lies outside of its storage")
    steps = [stride * storage.itemsize for stride in strides]
    return numpy.lib.stride_tricks.as_strided(storage[offset:], tuple(shape), steps, writeable=False)


def _parameter(tensor: object, *_: object) -> object:
    """`torch._utils._rebuild_parameter`: a tensor that is trained."""
    return tensor


_FUNCTIONS: dict[str, Callable[..., object]] = {
    _ORDERED_DICT: _new_dictionary,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
}
