"""Accumulators: the running value of a reduction, held in registers.

A sum starts at 0 and adds; a maximum starts at minus infinity; argmax carries the best
value and its position, where a position of -1 says that nothing was seen yet.
"""

from __future__ import annotations

import math

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import IntImm

from .elementary import compare
from .kernel import Kernel
from .statements import Block, Local, add, cast, choose, element_dtype, matched, multiply, number, widen
from .storage import working_dtype

_LEAST, _MOST = -(2**63), 2**63 - 1


class Accumulator:
    """The running value of one output element, or of `lanes` of them.

    A sum that is given `one`, the number 1, takes its terms times that: see `Schedule`.
    """

    def __init__(self, block: Block, kernel: Kernel, lanes: int, one: Expr | None = None) -> None:
        self.combiner = str(kernel.combiner)
        self.paired = self.combiner in ("argmax", "argmin")
        self._dtype = kernel.accumulator
        self._result_dtype = working_dtype(kernel.dtype)
        self._lanes = lanes
        self._one = one
        self._value = Local(block, "sum", self._dtype, lanes)
        self._value.set(block, widen(identity(self.combiner, self._dtype), lanes))
        if self.paired:
            self._place = Local(block, "place", "int64", lanes)
            self._place.set(block, number(-1, "int64"))

    def begin_with(self, block: Block, condition: Expr, value: Expr) -> None:
        """Go on from another value where a condition holds."""
        self._value.set(block, choose(condition, *matched(cast(value, self._dtype), self._value.get())))

    def update(self, block: Block, value: Expr, position: Expr | None = None, mask: Expr | None = None) -> None:
        """Take in one more value, at `position` of the reduction; only where `mask` holds, if given."""
        value = block.bind("term", cast(value, self._dtype)) if self.combiner != "sum" else cast(value, self._dtype)
        old = self._value.get()
        if self.paired:
            assert position is not None
            self._update_pair(block, value, position, mask)
            return
        new = combine(self.combiner, old, value if self._one is None else multiply(value, self._one))
        if mask is not None:
            new = choose(mask, *matched(new, widen(old, self._lanes)))
        self._value.set(block, new)

    def _update_pair(self, block: Block, value: Expr, position: Expr, mask: Expr | None) -> None:
        best, place = block.bind("best", self._value.get()), block.bind("seen", self._place.get())
        better = compare("gt" if self.combiner == "argmax" else "lt", value, best)
        if self._dtype != "int64":  # the first NaN counts as the extreme
            nan = tirx.And(*matched(compare("ne", value, value), compare("eq", best, best)))
            better = tirx.Or(*matched(better, nan))
        better = tirx.Or(*matched(better, compare("lt", place, number(0, "int64"))))
        if mask is not None:
            better = tirx.And(*matched(better, mask))
        better = block.bind("better", better)
        self._value.set(block, choose(better, *matched(value, best)))
        self._place.set(block, choose(better, *matched(position, place)))

    def running(self) -> Expr:
        """What was taken in so far; of argmax and argmin, the best value."""
        return self._value.get()

    def take(self, block: Block, other: Expr) -> None:
        """Take in what another accumulator of this kind has taken in; not for argmax and argmin."""
        self._value.set(block, combine(self.combiner, self._value.get(), other))

    def result(self, block: Block) -> Expr:
        """The finished value, in the working dtype of the equation."""
        if self.paired:
            return cast(self._place.get(), self._result_dtype)
        return cast(self._value.get(), self._result_dtype)

    def absorb(self, block: Block, other: Accumulator) -> None:
        """Combine all lanes of another accumulator, always half with half, and take the result in."""
        value, lanes = other._value.get(), other._lanes
        while lanes > 1:  # a power of two
            lanes //= 2
            first, second = (
                tirx.Shuffle([value], [IntImm("int32", start + lane) for lane in range(lanes)]) for start in (0, lanes)
            )
            value = block.bind("pair", combine(self.combiner, first, second))
        self.take(block, value)


def identity(combiner: str, dtype: str) -> Expr:
    """The value that changes nothing."""
    if combiner in ("any", "all"):
        return number(combiner == "all", "bool")
    if combiner in ("sum", "prod"):
        return number(0 if combiner == "sum" else 1, dtype)
    highest = combiner in ("min", "argmin")
    if dtype == "int64":
        return number(_MOST if highest else _LEAST, dtype)
    return number(math.inf if highest else -math.inf, dtype)


def combine(combiner: str, left: Expr, right: Expr) -> Expr:
    """Two values as one; a NaN wins against any number.

    What x86-64 calls a maximum gives its second operand, `left`, where either is NaN, so one more test, that of
    `right`, is enough.
    """
    if combiner == "sum":
        return add(left, right)
    if combiner == "prod":
        return multiply(left, right)
    if combiner in ("any", "all"):
        return (tirx.Or if combiner == "any" else tirx.And)(*matched(left, right))
    best = choose(compare("gt" if combiner == "max" else "lt", right, left), right, left)
    dtype = element_dtype(left)
    return choose(compare("ne", right, right), number(math.nan, dtype), best) if dtype.startswith("float") else best
