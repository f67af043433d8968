"""exp, log, tanh and their kin, written as TensorIR.

In float32 they are polynomials that vectorise, with an error of about 2 units in the last
place, right for infinities, NaN and denormal numbers.  The reductions and coefficients
for exp, log and tanh are those of Moshier's Cephes library.  Everything else, and all of
float64, calls the system's mathematical library, once per lane.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from tvm import tirx
from tvm.ir import Expr

from .statements import (
    Block,
    Local,
    add,
    bits_as,
    cast,
    choose,
    element_dtype,
    integer,
    lanes_of,
    matched,
    multiply,
    number,
    subtract,
    widen,
)

# Adding this to a float32 below 2**22 leaves its nearest integer in the lowest bits.
_ROUNDER = 12582912.0
_ROUNDER_BITS = 0x4B400000
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4

_EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
_LOG = (
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
    -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip
_TANH = (-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1)


def compare(kind: str, left: Expr, right: Expr) -> Expr:
    """`left < right` and so on, lanes matched; false where either is NaN, but for "ne"."""
    left, right = matched(left, right)
    if element_dtype(left) == "bool":
        left, right = cast(left, "uint8"), cast(right, "uint8")
    if kind == "ne":  # TVM's own NE is false where a number is NaN
        return tirx.Not(tirx.EQ(left, right))
    nodes = {"lt": tirx.LT, "le": tirx.LE, "gt": tirx.GT, "ge": tirx.GE, "eq": tirx.EQ}
    return nodes[kind](left, right)


def _f(value: float) -> Expr:
    return number(value, "float32")


def _polynomial(block: Block, x: Expr, coefficients: tuple[float, ...]) -> Expr:
    """Horner's scheme, highest power first."""
    result = widen(_f(coefficients[0]), lanes_of(x))
    for coefficient in coefficients[1:]:
        result = add(multiply(result, x), _f(coefficient))
    return block.bind("polynomial", result)


def _power_of_two(exponent: Expr) -> Expr:
    """2**n as a float32 for n in -126..127."""
    shifted = multiply(add(exponent, number(127, "int32")), number(1 << 23, "int32"))
    return bits_as(shifted, "float32")


def exp(block: Block, x: Expr) -> Expr:
    """e to the power of x."""
    if element_dtype(x) != "float32":
        return per_lane(block, "exp", x)
    x = block.bind("x", x)
    bounded = choose(compare("gt", x, _f(89.0)), _f(89.0), x)
    bounded = block.bind("bounded", choose(compare("lt", bounded, _f(-104.0)), _f(-104.0), bounded))
    rounder = block.bind("rounder", add(multiply(bounded, _f(math.log2(math.e))), _f(_ROUNDER)))
    n = block.bind("n", subtract(rounder, _f(_ROUNDER)))
    r = subtract(bounded, multiply(n, _f(_LN2_HIGH)))
    r = block.bind("r", subtract(r, multiply(n, _f(_LN2_LOW))))
    value = add(add(multiply(_polynomial(block, r, _EXP), multiply(r, r)), r), _f(1.0))
    # 2**n in two factors, since n may lie outside the exponents of normal numbers.
    exponent = block.bind("exponent", subtract(bits_as(rounder, "int32"), number(_ROUNDER_BITS, "int32")))
    first = block.bind("first", cast(multiply(cast(n, "float32"), _f(0.5)), "int32"))
    scaled = multiply(multiply(value, _power_of_two(first)), _power_of_two(subtract(exponent, first)))
    return block.bind("exp", choose(compare("ne", x, x), x, scaled))


def log(block: Block, x: Expr) -> Expr:
    """The natural logarithm: -inf at 0, NaN below."""
    if element_dtype(x) != "float32":
        return per_lane(block, "log", x)
    x = block.bind("x", x)
    small = block.bind("small", compare("lt", x, _f(1.1754943508222875e-38)))
    normal = block.bind("normal", choose(small, multiply(x, _f(2.0**23)), x))
    bits = block.bind("bits", bits_as(normal, "uint32"))
    # The mantissa in sqrt(1/2)..sqrt(2) and its exponent: 0x3F3504F3 is sqrt(1/2).
    moved = block.bind("moved", add(bits, number(0x3F800000 - 0x3F3504F3, "uint32")))
    whole = cast(tirx.Div(moved, widen(number(1 << 23, "uint32"), lanes_of(x))), "int32")
    fraction = tirx.Mod(moved, widen(number(1 << 23, "uint32"), lanes_of(x)))
    mantissa = bits_as(add(fraction, number(0x3F3504F3, "uint32")), "float32")
    exponent = cast(subtract(whole, number(127, "int32")), "float32")
    e = block.bind("e", subtract(exponent, choose(small, _f(23.0), _f(0.0))))
    m = block.bind("m", subtract(mantissa, _f(1.0)))
    square = block.bind("square", multiply(m, m))
    tail = multiply(multiply(_polynomial(block, m, _LOG), square), m)
    tail = add(tail, multiply(e, _f(_LN2_LOW)))
    tail = subtract(tail, multiply(square, _f(0.5)))
    value = add(add(m, tail), multiply(e, _f(_LN2_HIGH)))
    value = choose(compare("eq", x, _f(math.inf)), _f(math.inf), value)
    value = choose(compare("eq", x, _f(0.0)), _f(-math.inf), value)
    invalid = tirx.Not(compare("ge", x, _f(0.0)))
    return block.bind("log", choose(invalid, _f(math.nan), value))


def tanh(block: Block, x: Expr) -> Expr:
    """The hyperbolic tangent."""
    if element_dtype(x) != "float32":
        return per_lane(block, "tanh", x)
    x = block.bind("x", x)
    magnitude = block.bind("magnitude", absolute(x))
    square = block.bind("square", multiply(x, x))
    near = add(multiply(multiply(_polynomial(block, square, _TANH), square), x), x)
    power = add(exp(block, add(magnitude, magnitude)), _f(1.0))
    far = subtract(_f(1.0), tirx.Div(widen(_f(2.0), lanes_of(x)), widen(power, lanes_of(x))))
    signed = choose(compare("lt", x, _f(0.0)), subtract(_f(0.0), far), far)
    return block.bind("tanh", choose(compare("lt", magnitude, _f(0.625)), near, signed))


def sigmoid(block: Block, x: Expr) -> Expr:
    """1 / (1 + exp(-x)), from exp(-|x|) so that it cannot overflow."""
    dtype = element_dtype(x)
    one, zero = number(1.0, dtype), number(0.0, dtype)
    x = block.bind("x", x)
    small = exp(block, subtract(zero, absolute(x)))
    numerator = choose(compare("ge", x, zero), one, small)
    return block.bind("sigmoid", tirx.Div(*matched(numerator, add(one, small))))


def absolute(x: Expr) -> Expr:
    """|x|."""
    if element_dtype(x) in ("float32", "float64"):
        return tirx.abs(x)
    zero = number(0, element_dtype(x))
    return choose(compare("lt", x, zero), subtract(zero, x), x)


def sign(x: Expr) -> Expr:
    """-1, 0 or 1 as x is; NaN stays NaN."""
    dtype = element_dtype(x)
    zero = number(0, dtype)
    negative = choose(compare("lt", x, zero), number(-1, dtype), x)
    return choose(compare("gt", x, zero), number(1, dtype), negative)


def per_lane(block: Block, name: str, *arguments: Expr) -> Expr:
    """Call a function of the mathematical library, lane after lane; `name` is that for float64."""
    arguments = tuple(matched(*arguments))
    dtype, lanes = element_dtype(arguments[0]), lanes_of(arguments[0])
    symbol = f"{name}f" if dtype == "float32" else name
    if lanes == 1:
        return block.bind(name, tirx.call_pure_extern(dtype, symbol, *arguments))
    inputs = [Local(block, "argument", dtype, lanes) for _ in arguments]
    result = Local(block, name, dtype, lanes)
    for local, argument in zip(inputs, arguments, strict=True):
        local.set(block, argument)
    with block.loop("lane", integer(lanes)) as (body, lane):
        value = tirx.call_pure_extern(dtype, symbol, *(local.lane(lane) for local in inputs))
        result.set_lane(body, lane, value)
    return block.bind(name, result.get())


FUNCTIONS: dict[str, Callable[[Block, Expr], Expr]] = {
    "exp": exp,
    "log": log,
    "tanh": tanh,
    "sigmoid": sigmoid,
    "erf": lambda block, x: per_lane(block, "erf", x),
    "sin": lambda block, x: per_lane(block, "sin", x),
    "cos": lambda block, x: per_lane(block, "cos", x),
    "sqrt": lambda block, x: tirx.sqrt(x),
    "floor": lambda block, x: tirx.floor(x),
    "ceil": lambda block, x: tirx.ceil(x),
    "round": lambda block, x: tirx.nearbyint(x),
    "abs": lambda block, x: absolute(x),
    "sign": lambda block, x: sign(x),
    "neg": lambda block, x: negative(x),
    "not": lambda block, x: tirx.Not(x),
}
"""The operations of one argument, on values of the working dtype."""


def negative(x: Expr) -> Expr:
    """-x, with the sign of zero turned as well."""
    dtype = element_dtype(x)
    return subtract(number(-0.0 if dtype.startswith("float") else 0, dtype), x)
