"""A kernel of which every thread of the GPU computes one tile of the output.

Tasks are numbered as on the CPU, where threads take many in turn; here there is a thread for each.  The
innermost output index moves fastest, so that neighbouring threads read and write neighbouring elements.
"""

from __future__ import annotations

from functools import reduce

from tvm import tirx
from tvm.ir import Expr

from ....dsl.integers import Integer
from ..expressions import Lowering
from ..kernel import Kernel
from ..nest import Nest, trips
from ..schedule import Schedule, cut
from ..statements import Block


def tasks(kernel: Kernel, schedule: Schedule) -> Integer:
    """How many tiles of the output there are."""
    pieces = (cut(kernel.size(index), schedule.tiles.get(index, 1), 1) for index in schedule.order)
    return reduce(Integer.__mul__, map(trips, pieces), Integer.of(1))


class ThreadNest(Nest):
    """Writes what one thread does: the tile whose number is `task`, or nothing if there are not so many."""

    def __init__(self, kernel: Kernel, schedule: Schedule, lowering: Lowering, output: tirx.Var, task: Expr) -> None:
        super().__init__(kernel, schedule, lowering, output)
        self.task = task

    def emit(self, block: Block) -> None:
        """All that one thread does."""
        order = self.schedule.order
        pieces = [self._pieces(index) for index in order]
        inside = block.child()
        if order:
            self._task(inside, order, pieces, self.task, [trips(found) for found in pieces])
        else:
            self._in_parts(inside, order, pieces, {})
        total = self.lowering.size(tasks(self.kernel, self.schedule))
        block.branch(tirx.LT(self.task, total), inside)

    def _look_ahead(self, block: Block) -> None:
        """Nothing: other threads compute while one waits for memory."""
