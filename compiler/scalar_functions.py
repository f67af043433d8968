"""What each scalar operation and each combiner means, as NumPy functions.

Floats of every dtype are computed in float64, integers in int64, truth values as bool;
`stored` rounds to what memory would hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy

from ..dsl.equations import FLOATS, INTEGERS

Array = numpy.ndarray[Any, Any]


def working_dtype(dtype: str) -> type[numpy.generic]:
    """The NumPy type in which values of a dtype are computed."""
    return numpy.float64 if dtype in FLOATS else numpy.bool_ if dtype == "bool" else numpy.int64


def convert(value: Array, dtype: str) -> Array:
    """The meaning of `cast`: towards zero from floats to integers, modulo 2**n between integers."""
    if dtype not in INTEGERS:
        return value.astype(working_dtype(dtype))
    if value.dtype.kind == "f":
        value = numpy.trunc(value).astype(numpy.int64)
    return value.astype(dtype).astype(numpy.int64)


def stored(array: Array, dtype: str) -> Array:
    """The values rounded to `dtype`, as memory holds them (bfloat16 as float32 with a short fraction)."""
    if dtype != "bfloat16":
        return numpy.asarray(array).astype(dtype)
    bits = numpy.ascontiguousarray(array, numpy.float32).view(numpy.uint32)
    even = (bits >> numpy.uint32(16)) & numpy.uint32(1)
    rounded = ((bits + numpy.uint32(0x7FFF) + even) & numpy.uint32(0xFFFF0000)).view(numpy.float32)
    return cast(Array, numpy.where(numpy.isnan(array), numpy.float32(numpy.nan), rounded))


def _sigmoid(x: Array) -> Array:
    small = numpy.exp(-numpy.abs(x))
    return cast(Array, numpy.where(x >= 0, 1.0, small) / (1.0 + small))


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "add": numpy.add, "sub": numpy.subtract, "mul": numpy.multiply, "div": numpy.true_divide, "pow": numpy.power,
    "floordiv": numpy.floor_divide, "mod": numpy.mod, "neg": numpy.negative,
    "max": lambda a, b: numpy.where(a >= b, a, b), "min": lambda a, b: numpy.where(a <= b, a, b),
    "exp": numpy.exp, "log": numpy.log, "sqrt": numpy.sqrt, "abs": numpy.abs, "sign": numpy.sign,
    "tanh": numpy.tanh, "sigmoid": _sigmoid, "sin": numpy.sin, "cos": numpy.cos,
    "erf": numpy.vectorize(math.erf, otypes=[numpy.float64]),
    "floor": numpy.floor, "ceil": numpy.ceil, "round": numpy.rint,
    "lt": numpy.less, "le": numpy.less_equal, "eq": numpy.equal, "ne": numpy.not_equal,
    "and": numpy.logical_and, "or": numpy.logical_or, "not": numpy.logical_not,
}  # fmt: skip
"""Meaning of the operations but `select` and `cast`; `round` goes to the nearest even number."""

REDUCERS: Mapping[str, tuple[Any, Callable[[Any], Any]]] = {
    "sum": (numpy.add, lambda kind: 0), "prod": (numpy.multiply, lambda kind: 1),
    "max": (numpy.maximum, lambda kind: -numpy.inf if kind is numpy.float64 else numpy.iinfo(numpy.int64).min),
    "min": (numpy.minimum, lambda kind: numpy.inf if kind is numpy.float64 else numpy.iinfo(numpy.int64).max),
    "any": (numpy.logical_or, lambda kind: False), "all": (numpy.logical_and, lambda kind: True),
}  # fmt: skip
"""Combiner -> (its ufunc, the value that changes nothing)."""
