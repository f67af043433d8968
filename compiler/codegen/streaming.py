"""Reductions that read a large operand once, in the order in which it lies in memory.

A fully connected layer applied to one sample is bound by reading its weights.  With the
outputs in registers, a tile of them would jump through the weights with a large stride;
here each task instead owns a stretch of outputs, keeps their sums in the first cache, and
walks the operand row by row, a few rows at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import BufferLoad, BufferStore, Var

from .combiners import combine, identity
from .expressions import Lowering, Point
from .kernel import Kernel
from .schedule import Schedule, cut
from .statements import PARALLEL, SERIAL, Block, cast, integer, stack_array, widen
from .storage import store, working_dtype

_ROWS = 4


class Stream:
    """Loops: stretches of the vector index, other output indices, reduction, vectors."""

    def __init__(self, kernel: Kernel, schedule: Schedule, lowering: Lowering, output: Var) -> None:
        self.kernel = kernel
        self.schedule = schedule
        self.lowering = lowering
        self.output = output
        self.vector = str(schedule.vector)
        self.combiner = str(kernel.combiner)

    def emit(self, block: Block) -> None:
        """All loops, into the body of the function."""
        size, stretch = self.kernel.size(self.vector), self.schedule.stretch
        tasks = self.lowering.size((size + (stretch - 1)) // stretch)
        kind = PARALLEL if self.schedule.parallel else SERIAL
        with block.loop("stretch", tasks, kind) as (body, task):
            self.start = body.bind("start", task * stretch)
            self.length = body.bind("length", tirx.Min(integer(stretch), self.lowering.size(size) - self.start))
            self.sums = stack_array(body, "sums", self.kernel.accumulator, stretch)
            self._outputs(body, [name for name in self.schedule.order if name != self.vector])

    def _outputs(self, block: Block, names: Sequence[str]) -> None:
        if names:
            with block.loop(names[0], self.lowering.size(self.kernel.size(names[0]))) as (body, index):
                self.lowering.indices[names[0]] = index
                self._outputs(body, names[1:])
            return
        first = identity(self.combiner, self.kernel.accumulator)
        for body, point, place in self._vectors(block):
            body.append(BufferStore(self.sums, widen(first, point.lanes), [place]))
        self._rows(block, self.schedule.reduction_order)
        for body, point, place in self._vectors(block):
            self._finish(body, point, place)

    def _rows(self, block: Block, names: Sequence[str]) -> None:
        """The reduction; the innermost index a few values at a time."""
        size = self.kernel.size(names[0])
        if len(names) > 1:
            with block.loop(names[0], self.lowering.size(size)) as (body, index):
                self.lowering.indices[names[0]] = index
                self._rows(body, names[1:])
            return
        for piece in cut(size, _ROWS, 1):
            with block.loop(names[0], self.lowering.size(piece.trips)) as (body, trip):
                place = trip * piece.step + self.lowering.size(piece.start)
                self.lowering.indices[names[0]] = body.bind(names[0], place)
                for inner, point, at in self._vectors(body):
                    self._accumulate(inner, point, at, names[0], piece.shifts)

    def _accumulate(self, block: Block, point: Point, place: Expr, row: str, shifts: Sequence[int]) -> None:
        total: Expr = block.bind("sum", BufferLoad(self.sums, [place]))
        for shift in shifts:
            moved = Point(point.vector, point.lanes, {row: shift})
            value = cast(self.lowering.value(self.kernel.body, moved, block), self.kernel.accumulator)
            value = value if self.combiner == "sum" else block.bind("term", value)
            total = block.bind("sum", combine(self.combiner, total, value))
        block.append(BufferStore(self.sums, widen(total, point.lanes), [place]))

    def _finish(self, block: Block, point: Point, place: Expr) -> None:
        """The epilogue and the store."""
        value = cast(BufferLoad(self.sums, [place]), working_dtype(self.kernel.dtype))
        value = self.lowering.staged(value, point, block)
        store(
            block, self.output, self.lowering.address(self.kernel.offset, point, block), value, self.kernel.output.dtype
        )

    def _vectors(self, block: Block) -> Iterator[tuple[Block, Point, Expr]]:
        """Bodies of the loops over the stretch: whole vectors, then single elements."""
        lanes = self.schedule.lanes
        whole = block.bind("whole", tirx.Div(self.length, integer(lanes)))
        with self._loop(block, whole, lanes, integer(0)) as (body, place):
            point = Point(self.vector, lanes) if lanes > 1 else Point()
            yield body, point, tirx.Ramp(place, integer(1), lanes) if lanes > 1 else place
        if lanes > 1:
            done = whole * lanes
            with self._loop(block, self.length - done, 1, done) as (body, place):
                yield body, Point(), place

    @contextmanager
    def _loop(self, block: Block, trips: Expr, step: int, first: Expr) -> Iterator[tuple[Block, Expr]]:
        with block.loop("vector", trips) as (body, trip):
            place = body.bind("place", trip * step + first)
            self.lowering.indices[self.vector] = body.bind(self.vector, self.start + place)
            yield body, place
