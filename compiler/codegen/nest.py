"""A kernel and its schedule become loops.

One scheme serves every road.  Output indices are cut into tiles; the tile of one element
per index but for a few indices is computed at once, each element (or vector of elements)
with an accumulator in a register; the reduction runs inside.  A convolution is such a nest
with a tile of pixels by channels, a pooling one with a tile of channels, an element-wise
chain one without a reduction.  What remains at the end of an axis has loops of its own, so
inner loops hold no masks.

The order in which a reduction is summed is written down here and does not depend on the
number of threads.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

from tvm import tirx
from tvm.ir import Expr

from ...dsl.equations import Apply, Expression, reads, walk
from ...dsl.integers import Integer, Symbol
from .combiners import Accumulator
from .expressions import Lowering, Point, depends
from .fetching import LINE, Part, fetch, next_part
from .kernel import Kernel, step
from .schedule import Piece, Schedule, cut
from .statements import PARALLEL, SERIAL, Block, all_of, integer, lanes_of, number, opaque, widen
from .storage import load, store

_LONG = 64  # steps of a reduction in which more than a few lines of memory arrive
_STREAM = 1 << 17  # elements that lie next to each other; the hardware has noticed long before their end
_BYTES = 4  # of an element
_ROUNDS = 64  # uses of a part of an operand besides which waiting for it counts for nothing


@dataclass(frozen=True)
class _Element:
    """An element of a register tile (or a vector of them) and its running value.

    `wide` holds partial results in lanes where vectors run along the reduction.
    """

    point: Point
    accumulator: Accumulator
    wide: Accumulator | None


@dataclass(frozen=True)
class _Ahead:
    """What a tile asks for: `each` elements of a part in each step of its reduction, from `start` on."""

    part: Part
    start: Expr
    each: int


class Nest:
    """Writes a kernel by one schedule; where `continues` holds, sums are added to those in the output."""

    def __init__(
        self,
        kernel: Kernel,
        schedule: Schedule,
        lowering: Lowering,
        output: tirx.Var,
        continues: Expr | None = None,
    ) -> None:
        self.kernel = kernel
        self.schedule = schedule
        self.lowering = lowering
        self.output = output
        self.horizontal = schedule.vector in {axis.name for axis in kernel.reduction}
        self.conditions = _conditions(kernel, schedule.vector)
        self.rounds: dict[str, tuple[Expr, int]] = {}  # of the loops around a tile, and how many there are at least
        self.ahead: _Ahead | None = None
        self.part: tuple[Expr, Expr] | None = None  # where the part in use of an index begins, and its length
        self.continues = continues
        self.begun: Expr | None = None  # whether the output holds sums over parts of the reduction

    # -- loops over the output ------------------------------------------------------------

    def emit(self, block: Block) -> None:
        """All loops, into the body of the function."""
        order = self.schedule.order
        pieces = [self._pieces(index) for index in order]
        if not self.schedule.parallel:
            self._in_parts(block, order, pieces, {})
            return
        if self.schedule.threads_from is None:
            self._spread(block, order, pieces)
            return
        several, alone = block.child(), block.child()
        self._spread(several, order, pieces)
        self._in_parts(alone, order, pieces, {})
        enough = tirx.GE(self.lowering.size(self.schedule.threads_from), integer(0))
        block.branch(enough, several, alone)

    def _spread(self, block: Block, order: Sequence[str], pieces: list[list[Piece]]) -> None:
        """One parallel loop over the outermost indices, the others inside of it."""
        counts = [trips(found) for found in pieces[: self.schedule.parallel]]
        total = reduce(Integer.__mul__, counts)
        with block.loop("task", self.lowering.size(total), PARALLEL) as (body, task):
            self._task(body, order, pieces, task, counts)

    def _task(
        self, body: Block, order: Sequence[str], pieces: list[list[Piece]], task: Expr, counts: Sequence[Integer]
    ) -> None:
        """One of the tasks that the outermost indices make, in as many rounds as `counts` says: its share of loops."""
        rounds: list[Expr] = []
        for position, count in reversed(list(enumerate(counts))):
            extent = self.lowering.size(count)
            if position == 0:
                rounds.insert(0, task)
            else:
                rounds.insert(0, body.bind("round", tirx.Mod(task, extent)))
                task = body.bind("task", tirx.Div(task, extent))
        self._decoded(body, order, pieces, rounds, {})

    def _decoded(
        self,
        block: Block,
        order: Sequence[str],
        pieces: list[list[Piece]],
        rounds: list[Expr],
        chosen: dict[str, Piece],
    ) -> None:
        """Indices whose round is known from the task; then the serial loops."""
        if not rounds:
            self._in_parts(block, order, pieces, chosen)
            return
        self._decoded_piece(block, order, pieces, rounds, chosen, Integer(()))

    def _decoded_piece(
        self,
        block: Block,
        order: Sequence[str],
        pieces: list[list[Piece]],
        rounds: list[Expr],
        chosen: dict[str, Piece],
        before: Integer,
    ) -> None:
        """The piece of the first index to which its round belongs, `before` rounds being gone."""
        piece, *others = pieces[0]
        then = block.child() if others else block
        trip = rounds[0] - self.lowering.size(before) if before.terms else rounds[0]
        self._at(then, order[0], piece, trip)
        self.rounds[order[0]] = trip, _least(piece.trips)
        self._decoded(then, order[1:], pieces[1:], rounds[1:], {**chosen, order[0]: piece})
        if others:
            otherwise = block.child()
            after = before + piece.trips
            self._decoded_piece(otherwise, order, [others, *pieces[1:]], rounds, chosen, after)
            block.branch(tirx.LT(rounds[0], self.lowering.size(after)), then, otherwise)

    def _in_parts(
        self, block: Block, order: Sequence[str], pieces: list[list[Piece]], chosen: dict[str, Piece]
    ) -> None:
        """The serial loops, once for each part of the reduction if it is done in parts."""
        self.begun = self.continues
        self._part(block, self.schedule.reduction_order[: self.schedule.parts], order, pieces, chosen)

    def _part(
        self,
        block: Block,
        names: Sequence[str],
        order: Sequence[str],
        pieces: list[list[Piece]],
        chosen: dict[str, Piece],
    ) -> None:
        if names:
            with block.loop(names[0], self.lowering.size(self.kernel.size(names[0]))) as (body, index):
                self.lowering.indices[names[0]] = index
                self._has_begun(index)
                self._part(body, names[1:], order, pieces, chosen)
        elif self.schedule.part:
            size = self.lowering.size(self.kernel.size(self.schedule.reduction_order[self.schedule.parts]))
            length = integer(self.schedule.part)
            with block.loop("part", tirx.Div(size + (self.schedule.part - 1), length)) as (body, part):
                start = body.bind("start", part * length)
                self.part = start, body.bind("length", tirx.Min(length, size - start))
                self._has_begun(part)
                self._serial(body, order, pieces, chosen)
        else:
            self._serial(block, order, pieces, chosen)

    def _has_begun(self, turn: Expr) -> None:
        later = tirx.GT(turn, integer(0))
        self.begun = later if self.begun is None else tirx.Or(self.begun, later)

    def _serial(self, block: Block, order: Sequence[str], pieces: list[list[Piece]], chosen: dict[str, Piece]) -> None:
        if not order:
            self._tile(block, chosen)
            return
        for piece in pieces[0]:
            with block.loop(order[0], self.lowering.size(piece.trips), SERIAL) as (body, trip):
                self._at(body, order[0], piece, trip)
                self.rounds[order[0]] = trip, _least(piece.trips)
                self._serial(body, order[1:], pieces[1:], {**chosen, order[0]: piece})

    def _at(self, block: Block, index: str, piece: Piece, trip: Expr) -> None:
        place = trip * piece.step if piece.step != 1 else trip
        if piece.start.terms:
            place = place + self.lowering.size(piece.start)
        self.lowering.indices[index] = block.bind(index, place)

    def _pieces(self, index: str) -> list[Piece]:
        lanes = self.schedule.lanes if index == self.schedule.vector else 1
        # What is computed twice may not be added twice.
        return cut(
            self.kernel.size(index),
            self.schedule.tiles.get(index, 1),
            lanes,
            overlap=self.schedule.parts + self.schedule.part == 0 and self.continues is None,
        )

    # -- one tile ---------------------------------------------------------------------------

    def _tile(self, block: Block, chosen: dict[str, Piece]) -> None:
        lanes = 1 if self.horizontal or self.schedule.vector is None else chosen[self.schedule.vector].lanes
        vector = None if self.horizontal or lanes == 1 else self.schedule.vector
        used = 0 if vector is None else chosen[vector].used
        names = [name for name, piece in chosen.items() if len(piece.shifts) > 1]
        # The longest outermost: what is loaded for one of its elements is used at once and then needs no register.
        names.sort(key=lambda name: -len(chosen[name].shifts))
        points = [
            Point(vector, lanes, dict(zip(names, shifts, strict=True)), used=used)
            for shifts in itertools.product(*(chosen[name].shifts for name in names))
        ]
        if self.kernel.combiner is None:
            for point in points:
                self._finish(block, point, self.lowering.value(self.kernel.body, point, block))
            return
        self.ahead = self._look_ahead(block)
        wide = self.schedule.lanes if self.horizontal else 0
        one = self._one(block, wide or lanes) if self.schedule.multiplied else None
        tile = [
            _Element(
                point,
                Accumulator(block, self.kernel, lanes, None if wide else one),
                Accumulator(block, self.kernel, wide, one) if wide else None,
            )
            for point in points
        ]
        if self.begun is not None:
            for element in tile:
                place = self.lowering.address(self.kernel.offset, element.point, block)
                before = load(self.output, place, self.kernel.output.dtype, used)
                element.accumulator.begin_with(block, self.begun, before)
        self._reduce(block, self.schedule.reduction_order[self.schedule.parts :], tile)
        for element in tile:
            if element.wide is not None:
                element.accumulator.absorb(block, element.wide)
            self._finish(block, element.point, element.accumulator.result(block))

    def _one(self, block: Block, lanes: int) -> Expr:
        """The number 1 in a register."""
        return block.bind("one", opaque(widen(number(1, self.kernel.accumulator), lanes)))

    def _finish(self, block: Block, point: Point, value: Expr) -> None:
        """The epilogue and the store."""
        value = self.lowering.staged(value, point, block)
        place = self.lowering.address(self.kernel.offset, point, block)
        store(block, self.output, place, value, self.kernel.output.dtype, point.used)

    # -- memory that is needed next ---------------------------------------------------------

    def _look_ahead(self, block: Block) -> _Ahead | None:
        """What to ask for while a tile is computed: its share of the part that follows the part in use."""
        order = self.schedule.order
        counts = {name: trips(self._pieces(name)) for name in order}
        lanes = {self.schedule.vector: self.schedule.lanes}
        extents = {name: self._extent_of_tile(name, lanes.get(name, 1)) for name in order}
        part = next_part(self.kernel, order, extents, counts)
        if part is None:
            return None
        inner = [name for name in order[order.index(part.index) + 1 :] if counts[name].constant != 1]
        rounds = math.prod(self.rounds[name][1] for name in inner)
        steps = math.prod(axis.size.constant or 0 for axis in self.kernel.reduction)
        streams = rounds == 1 and part.span > _STREAM
        if not 0 < rounds <= _ROUNDS or steps == 0 or streams or self.schedule.parts or self.schedule.part:
            return None
        each = -(-part.span // (rounds * steps))
        if part.panels and steps < _LONG:
            return None
        # What is no panel is worth asking for if it is used several times and lines arrive in every turn of a loop.
        again = rounds > 1 and rounds * steps >= _LONG and counts[part.index].constant is not None
        if not part.panels and not (again and each * self._steps_of_a_turn() * _BYTES >= LINE):
            return None
        turn: Expr = integer(0)
        for name in inner:
            turn = turn * self.rounds[name][1] + self.rounds[name][0]
        if inner:
            turn = tirx.Min(turn, integer(rounds - 1))
        return _Ahead(part, block.bind("ahead", self.lowering.size(part.start) + turn * (steps * each)), each)

    def _extent_of_tile(self, index: str, lanes: int) -> int:
        """How many elements along an index belong to a register tile."""
        extent, size = self.schedule.tiles.get(index, 1) * lanes, self.kernel.size(index).constant
        return extent if size is None else min(extent, size)

    def _steps_of_a_turn(self) -> int:
        """Steps of the reduction in one turn of its innermost loop."""
        order = self.schedule.reduction_order
        names = order[len(order) - self.schedule.written_out :]
        return math.prod(self.kernel.size(name).constant or 1 for name in names)

    def _fetch(self, block: Block) -> None:
        """Ask for what one turn of the innermost loop of the reduction is to ask for."""
        if self.ahead is None:
            return
        order, turn, steps = self.schedule.reduction_order[self.schedule.parts :], integer(0), 1
        for position, name in enumerate(order):
            size = self.kernel.size(name).constant or 0
            if position < len(order) - self.schedule.written_out:
                turn = turn * size + self.lowering.indices[name]
            else:
                steps *= size
        tensor = self.ahead.part.read.tensor
        place = block.bind("ahead", self.ahead.start + turn * (steps * self.ahead.each))
        dtype = self.kernel.tensors[tensor].dtype
        fetch(block, self.lowering.arrays[tensor], place, steps * self.ahead.each, dtype)

    # -- the reduction --------------------------------------------------------------------

    def _reduce(self, block: Block, order: Sequence[str], tile: list[_Element]) -> None:
        """Loops over the reduction indices; where all conditions are settled, a copy without them."""
        settled = [c for c in self.conditions if not any(depends(c, index) for index in order)]
        if settled and len(settled) == len(self.conditions) and not tile[0].point.assumed and order:
            self._two_ways(block, order, tile)
            return
        if len(order) <= self.schedule.written_out:
            self._fetch(block)
        if not order:
            for element in tile:
                self._update(block, element.point, element.accumulator)
            return
        if self.horizontal and order[0] == self.schedule.vector:
            self._along_lanes(block, tile)
            return
        if len(order) <= self.schedule.written_out:
            self._written_out(block, order, tile)
            return
        start, length = self._extent(order[0])
        with block.loop(order[0], length) as (body, index):
            self.lowering.indices[order[0]] = index if start is None else body.bind(order[0], start + index)
            self._reduce(body, order[1:], tile)

    def _extent(self, index: str) -> tuple[Expr | None, Expr]:
        """Where the values of a reduction index begin, if not at 0, and how many there are."""
        if self.part is not None and index == self.schedule.reduction_order[self.schedule.parts]:
            return self.part
        return None, self.lowering.size(self.kernel.size(index))

    def _written_out(self, block: Block, order: Sequence[str], tile: list[_Element]) -> None:
        """The steps of the last reduction indices one after the other; those that share what they load together."""
        self.lowering.indices.update({name: integer(0) for name in order})
        updates = []
        for places in itertools.product(*(range(self.kernel.size(name).constant or 0) for name in order)):
            moved = dict(zip(order, places, strict=True))
            for element in tile:
                point = replace(element.point, shifts={**element.point.shifts, **moved})
                updates.append((self._shared(point), point, element.accumulator))
        for _, point, accumulator in sorted(updates, key=lambda update: update[0]):
            self._update(block, point, accumulator)

    def _shared(self, point: Point) -> int:
        """Where at a point the operand is read that a window slides over, but for what all points have in common."""
        slid = self.schedule.slid
        return 0 if slid is None else sum(by * (step(slid, name) or 0) for name, by in point.shifts.items())

    def _two_ways(self, block: Block, order: Sequence[str], tile: list[_Element]) -> None:
        """The rest of the reduction where all conditions hold for the whole tile, and where some do not."""
        tests: dict[object, Expr] = {}
        for element, condition in itertools.product(tile, self.conditions):
            moved = tuple((name, by) for name, by in element.point.shifts.items() if depends(condition, name))
            if (condition, moved) not in tests:
                tests[condition, moved] = block.bind("holds", self.lowering.value(condition, element.point, block))
        plain, careful = block.child(), block.child()
        assumed = frozenset(self.conditions)
        self._reduce(plain, order, [replace(e, point=replace(e.point, assumed=assumed)) for e in tile])
        masked = [replace(e, point=replace(e.point, masked=True)) for e in tile]
        conditions, self.conditions = self.conditions, ()
        self._reduce(careful, order, masked)
        self.conditions = conditions
        block.branch(all_of(list(tests.values())), plain, careful)

    def _update(self, block: Block, point: Point, accumulator: Accumulator) -> None:
        guard = self.kernel.guard
        position = self._position(point, block) if accumulator.paired else None
        if guard is None or guard in point.assumed:
            accumulator.update(block, self.lowering.value(self.kernel.body, point, block), position)
            return
        test = block.bind("allowed", self.lowering.value(guard, point, block))
        if lanes_of(test) > 1 or (point.masked and self.lowering.maskable(self.kernel.body, point)):
            accumulator.update(block, self.lowering.value(self.kernel.body, point, block, test), position, test)
            return
        body = block.child()
        accumulator.update(body, self.lowering.value(self.kernel.body, point, body), position)
        block.branch(test, body)

    def _position(self, point: Point, block: Block) -> Expr:
        """The row-major position within the reduction box."""
        place = Integer(())
        for axis in self.kernel.reduction:
            place = place * axis.size + Integer.index(axis.name)
        return self.lowering.integer(place, point, block)

    def _along_lanes(self, block: Block, tile: list[_Element]) -> None:
        """The loop over the vector index of the reduction: whole vectors, then what is left."""
        vector, lanes = str(self.schedule.vector), self.schedule.lanes
        for piece in cut(self.kernel.size(vector), 1, lanes, overlap=False):
            with block.loop(vector, self.lowering.size(piece.trips)) as (inner, trip):
                self._at(inner, vector, piece, trip)
                for element in tile:
                    if piece.lanes == lanes and element.wide is not None:
                        self._update(inner, replace(element.point, vector=vector, lanes=lanes), element.wide)
                    else:
                        self._update(inner, element.point, element.accumulator)


def trips(pieces: Sequence[Piece]) -> Integer:
    """In how many rounds the tiles of all pieces of an axis are done."""
    return sum((piece.trips for piece in pieces), start=Integer(()))


def _least(size: Integer) -> int:
    """The smallest that a size may be."""
    return size.evaluate({atom.name: atom.minimum for atom in size.atoms() if isinstance(atom, Symbol)})


def _conditions(kernel: Kernel, vector: str | None) -> tuple[Expression, ...]:
    """The guard and the conditions of selects in the body, if some loop can be freed of them."""
    found = [] if kernel.guard is None else [kernel.guard]
    found += [node.arguments[0] for node in walk(kernel.body) if isinstance(node, Apply) and node.operation == "select"]
    found = [condition for condition in found if not reads(condition)]
    if vector is not None and any(depends(condition, vector) for condition in found):
        return ()
    return tuple(dict.fromkeys(found))
