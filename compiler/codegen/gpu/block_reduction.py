"""A reduction for which the threads of a block work together: each takes its share, then shares are combined.

They are combined half with half, in memory that the block shares, so the order in which numbers are added
depends on the kernel alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from tvm import tirx
from tvm.ir import Expr

from ....dsl.equations import Axis
from ....dsl.integers import Integer
from ..combiners import Accumulator
from ..expressions import Lowering, Point
from ..kernel import Kernel
from ..nest import Nest
from ..roads import analysis
from ..schedule import BlockReduction, Schedule
from ..statements import Block, SharedArray, choose, integer, wait_for_block
from ..tiles import at_tile


def results(kernel: Kernel) -> Integer:
    """How many elements the output has."""
    return reduce(Integer.__mul__, (axis.size for axis in kernel.domain), Integer.of(1))


class BlockReductionNest(Nest):
    """Writes what one thread does, by its number in its block and that of the block."""

    def __init__(
        self, kernel: Kernel, shape: BlockReduction, lowering: Lowering, output: tirx.Var, thread: Expr, number: Expr
    ) -> None:
        super().__init__(kernel, Schedule((), analysis.by_reads(kernel)), lowering, output)
        self.shape, self.thread, self.number = shape, thread, number
        self.conditions = ()

    def emit(self, block: Block) -> None:
        """All that one thread does."""
        across, along = self.shape.across, self.shape.along
        share = block.bind("share", tirx.Div(self.thread, integer(across)))
        task = block.bind("task", self.number * across + tirx.Mod(self.thread, integer(across)))
        exists = block.bind("exists", tirx.LT(task, self.lowering.size(results(self.kernel))))
        self._place(block, analysis.by_output(self.kernel), task)
        accumulator = Accumulator(block, self.kernel, 1)
        names = self.schedule.reduction_order
        steps = reduce(Integer.__mul__, map(self.kernel.size, names), Integer.of(1))
        mine = tirx.Div(self.lowering.size(steps + (along - 1)) - share, integer(along))
        with block.loop("step", choose(exists, mine, integer(0))) as (body, step):
            self._place(body, names, body.bind("place", share + step * along))
            self._update(body, Point(), accumulator)
        self._combine(block, accumulator, share)
        first = block.child()
        self._finish(first, Point(), accumulator.result(first))
        block.branch(tirx.And(exists, tirx.EQ(share, integer(0))), first)

    def _place(self, block: Block, names: Sequence[str], number: Expr) -> None:
        """Set indices to the place with a number among all, the last index fastest."""
        axes = [Axis(name, self.kernel.size(name)) for name in names]
        at_tile(block, self.lowering, [(axis, axis.size) for axis in axes], {}, number)

    def _combine(self, block: Block, accumulator: Accumulator, share: Expr) -> None:
        """The shares of a block, always half with half; the first of each result then has all of it."""
        across, left = self.shape.across, self.shape.along
        if left == 1:
            return
        shares = SharedArray(block, "shares", self.kernel.accumulator, across * left)
        shares.set(block, self.thread, accumulator.running())
        while left > 1:
            left //= 2
            wait_for_block(block)
            takes = block.child()
            accumulator.take(takes, shares.get(self.thread + integer(left * across)))
            shares.set(takes, self.thread, accumulator.running())
            block.branch(tirx.LT(share, integer(left)), takes)
