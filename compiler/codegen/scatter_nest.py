"""Loops of a scatter: the output is set to 0, each term is added where it belongs, the epilogue follows.

Threads and vectors run along an output index that all terms have, so that no two of them
write the same element, and the order of each sum is that of the loops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tvm import tirx
from tvm.ir import Expr

from .expressions import Lowering, Point
from .kernel import Kernel
from .roads.scatter import Scattered
from .schedule import Schedule, cut
from .statements import PARALLEL, SERIAL, Block, add, all_of, integer, number
from .storage import load, store


class ScatterNest:
    """Writes a kernel that is a scatter."""

    def __init__(
        self, kernel: Kernel, found: Scattered, schedule: Schedule, lowering: Lowering, output: tirx.Var
    ) -> None:
        self.kernel = kernel
        self.found = found
        self.schedule = schedule
        self.lowering = lowering
        self.output = output
        self.others = [axis.name for axis in kernel.domain if axis.name != schedule.vector]

    def emit(self, block: Block) -> None:
        """All loops, into the body of the function."""
        vector = self.schedule.vector
        if vector is None:
            self._share(block, Point())
            return
        kind = PARALLEL if self.schedule.parallel else SERIAL
        for piece in cut(self.kernel.size(vector), 1, self.schedule.lanes, overlap=False):
            with block.loop(vector, self.lowering.size(piece.trips), kind) as (body, trip):
                place = trip * piece.step if piece.step != 1 else trip
                place = place + self.lowering.size(piece.start) if piece.start.terms else place
                self.lowering.indices[vector] = body.bind(vector, place)
                self._share(body, Point(vector if piece.lanes > 1 else None, piece.lanes))

    def _share(self, block: Block, point: Point) -> None:
        """What one thread computes: all elements along the other indices."""
        dtype = self.kernel.output.dtype

        def clear(body: Block) -> None:
            store(body, self.output, self._address(body, point), number(0.0, dtype), dtype)

        def finish(body: Block) -> None:
            place = self._address(body, point)
            value = self.lowering.staged(load(self.output, place, dtype), point, body)
            store(body, self.output, place, value, dtype)

        self._loops(block, self.others, clear)
        inner = [name for name in self.others if name != self.found.index]
        self._loops(block, [*self.schedule.reduction_order, *inner], lambda body: self._add(body, point))
        if self.kernel.stages:
            self._loops(block, self.others, finish)

    def _loops(self, block: Block, names: Sequence[str], write: Callable[[Block], None]) -> None:
        if not names:
            write(block)
            return
        with block.loop(names[0], self.lowering.size(self.kernel.size(names[0]))) as (body, index):
            self.lowering.indices[names[0]] = index
            self._loops(body, names[1:], write)

    def _add(self, block: Block, point: Point) -> None:
        """Add one term to the element that it belongs to, if there is one."""
        dtype = self.kernel.output.dtype
        place = block.bind("place", self.lowering.integer(self.found.place, Point(), block))
        size = self.lowering.size(self.kernel.size(self.found.index))
        tests = [tirx.GE(place, integer(0)), tirx.LT(place, size)]
        tests += [self.lowering.value(condition, Point(), block) for condition in self.found.conditions]
        then = block.child()
        self.lowering.indices[self.found.index] = place
        address = self._address(then, point)
        value = self.lowering.value(self.found.value, point, then)
        store(then, self.output, address, add(load(self.output, address, dtype), value), dtype)
        block.branch(all_of(tests), then)

    def _address(self, block: Block, point: Point) -> Expr:
        return self.lowering.address(self.kernel.offset, point, block)
