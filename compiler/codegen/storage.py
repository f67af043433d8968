"""Dtypes in memory and in registers.

Floats of 16 and 32 bits are computed in float32, float64 in itself, integers in int64 and
truth values as bool: what the interpreter does, up to rounding.  bfloat16 is the upper
half of a float32 and truth values are bytes of 0 and 1.
"""

from __future__ import annotations

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import BufferLoad, BufferStore, IntImm, Var

from ...dsl.equations import FLOATS
from .statements import Block, add, bits_as, cast, choose, lanes_of, number, vector_dtype, widen

BYTES = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4, "uint8": 1, "bool": 1,
}  # fmt: skip


def working_dtype(dtype: str) -> str:
    """The dtype in which values of a dtype are computed."""
    if dtype in FLOATS:
        return "float64" if dtype == "float64" else "float32"
    return "bool" if dtype == "bool" else "int64"


def memory_dtype(dtype: str) -> str:
    """The dtype that TVM sees in memory."""
    return {"bfloat16": "uint16", "bool": "uint8"}.get(dtype, dtype)


PARTLY = frozenset({"float32", "float64", "int64"})
"""Dtypes of which vectors can be loaded and stored in part: those in which numbers are computed as they are stored."""


def load(array: Var, place: Expr, dtype: str, used: int = 0) -> Expr:
    """Elements of an array, in the working dtype; only the first `used` of a vector if that is not 0, then zeros."""
    if used and isinstance(place, tirx.Ramp):
        lanes = lanes_of(place)
        nothing, kind = widen(number(0, dtype), lanes), vector_dtype(dtype, lanes)
        return tirx.call_llvm_intrin(kind, "llvm.masked.load", _first(array, place), _lanes(lanes, used), nothing)
    value = BufferLoad(array, [place])
    if dtype == "bool":
        return tirx.NE(value, widen(number(0, "uint8"), lanes_of(place)))
    if dtype == "bfloat16":
        high = tirx.Mul(cast(value, "uint32"), widen(number(1 << 16, "uint32"), lanes_of(place)))
        return bits_as(high, "float32")
    return cast(value, working_dtype(dtype))


def store(block: Block, array: Var, place: Expr, value: Expr, dtype: str, used: int = 0) -> None:
    """Write values of the working dtype, rounded to the dtype of the array; only the first `used` if that is not 0."""
    value = widen(value, lanes_of(place))
    if used:
        mask = _lanes(lanes_of(place), used)
        value = cast(value, dtype)
        call = tirx.call_llvm_intrin("void", "llvm.masked.store", value, _first(array, place), mask)
        block.append(tirx.Evaluate(call))
        return
    if dtype == "bool":
        value = cast(value, "uint8")
    elif dtype == "bfloat16":
        value = _bfloat16_bits(block, value)
    else:
        value = cast(value, dtype)
    block.append(BufferStore(array, value, [place]))


def _first(array: Var, place: Expr) -> Expr:
    """The address of the first lane."""
    return tirx.address_of(BufferLoad(array, [place.base]))


def _lanes(lanes: int, used: int) -> Expr:
    """Which lanes are used."""
    places = tirx.Ramp(IntImm("int32", 0), IntImm("int32", 1), lanes)
    return tirx.LT(places, tirx.Broadcast(IntImm("int32", used), lanes))


def _bfloat16_bits(block: Block, value: Expr) -> Expr:
    """The nearest bfloat16, ties to even, NaN kept as a quiet NaN."""
    value = block.bind("rounded", value)
    bits = block.bind("bits", bits_as(value, "uint32"))
    lanes = lanes_of(value)
    half = widen(number(1 << 16, "uint32"), lanes)
    upper = tirx.Div(bits, half)
    odd = tirx.Mod(upper, widen(number(2, "uint32"), lanes))
    nearest = tirx.Div(add(add(bits, number(0x7FFF, "uint32")), odd), half)
    quiet = widen(number(0x7FC0, "uint32"), lanes)
    return cast(choose(tirx.Not(tirx.EQ(value, value)), quiet, nearest), "uint16")
