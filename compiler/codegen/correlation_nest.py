"""Loops of Winograd's algorithm for sums over whole maps at a few offsets (see `correlation`).

For a chunk of tiles at a time, all threads transform what the two factors are in each tile and then add
the products of the chunk to those before, one matrix product for each point; what comes out is transformed
back at the end.  The order in which tiles are summed does not depend on the number of threads.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import Var

from ...dsl.equations import Apply, Axis, Expression, Read
from ...dsl.integers import Integer, Symbol
from .correlation import Correlation
from .expressions import Lowering, Point
from .kernel import Kernel, Stored
from .nest import Nest
from .schedule import Schedule
from .statements import PARALLEL, Block, cast, integer
from .storage import load, store
from .tiles import all_hold, at_tile, conditions_of, known_size, ramp, separable, vectors
from .toom_cook import Matrix, transforms

_TERMS = Symbol("tiles of a chunk", 1)


@dataclass(frozen=True)
class _Factor:
    """One factor: the index that vectors run along, the places of a tile that are read, their transform.

    The transformed tiles of a chunk are in scratch memory from `base` on.
    """

    body: Expression
    channels: Axis
    extents: tuple[int, ...]
    matrices: tuple[Matrix, ...]
    base: int


class CorrelationNest:
    """Writes a kernel whose body is the product of the two factors."""

    def __init__(self, kernel: Kernel, spec: Correlation, lowering: Lowering, output: Var, scratch: Var) -> None:
        self.kernel = kernel
        self.spec = spec
        self.lowering = lowering
        self.output = output
        self.scratch = scratch
        self.offsets = [kernel.domain[p] for p, _ in spec.windows]
        self.places = [kernel.reduction[x] for _, x in spec.windows]
        self.row, self.column = kernel.domain[spec.row], kernel.domain[spec.column]
        sizes = tuple(known_size(axis) for axis in self.offsets)
        self.points = spec.points(sizes)
        self.count = math.prod(self.points)
        found = [transforms(m, r) for m, r in zip(sizes, spec.tiles, strict=True)]
        self.back = [each.outputs for each in found]
        assert isinstance(kernel.body, Apply)
        data, other = kernel.body.arguments
        inputs = self.count * spec.chunk * known_size(self.row)
        self.factors = (
            _Factor(data, self.row, self.points, tuple(each.inputs for each in found), 0),
            _Factor(other, self.column, spec.tiles, tuple(each.window for each in found), inputs),
        )
        self.sums = inputs + self.count * spec.chunk * known_size(self.column)

    def emit(self, block: Block) -> None:
        """All loops, into the body of the function."""
        length = integer(self.spec.chunk)
        total = block.bind("tiles", self.lowering.size(self._tile_count()))
        chunks = block.bind("chunks", tirx.Div(total + (self.spec.chunk - 1), length))
        with block.loop("chunk", chunks) as (body, position):
            start = body.bind("start", position * length)
            count = body.bind("count", tirx.Min(length, total - start))
            with body.loop("tile", count, PARALLEL) as (inner, tile):
                self._at_tile(inner, start + tile)
                for factor in self.factors:
                    self._transform(inner, factor, tile)
            self._multiply(body, count, tirx.GT(position, integer(0)))
        self._transform_back(block)

    def _tile_count(self) -> Integer:
        return math.prod((count for _, count in self._grid()), start=Integer.of(1))

    def _grid(self) -> list[tuple[Axis, Integer]]:
        """The axes of tiles, outermost first, with how many there are along each."""
        samples = [self.kernel.reduction[position] for position in self.spec.samples]
        along = [(axis, (axis.size + (r - 1)) // r) for axis, r in zip(self.places, self.spec.tiles, strict=True)]
        return [*((axis, axis.size) for axis in samples), *along]

    def _at_tile(self, block: Block, tile: Expr) -> None:
        """Set the indices to the first place of a tile."""
        tiles = dict(zip((axis.name for axis in self.places), self.spec.tiles, strict=True))
        at_tile(block, self.lowering, self._grid(), tiles, tile)
        for axis in self.offsets:
            self.lowering.indices[axis.name] = integer(0)

    # -- the three steps ------------------------------------------------------------------

    def _transform(self, block: Block, factor: _Factor, tile: Expr) -> None:
        conditions = conditions_of(factor.body, factor.channels.name)
        if not conditions:
            self._transform_tile(block, factor, tile, frozenset())
            return
        plain, careful = block.child(), block.child()
        self._transform_tile(plain, factor, tile, frozenset(conditions))
        self._transform_tile(careful, factor, tile, frozenset())
        extents = dict(zip((axis.name for axis in self.places), factor.extents, strict=True))
        block.branch(all_hold(block, self.lowering, conditions, extents), plain, careful)

    def _transform_tile(self, block: Block, factor: _Factor, tile: Expr, assumed: frozenset[Expression]) -> None:
        channels, width = factor.channels.name, known_size(factor.channels)

        def write(body: Block, lanes: int) -> None:
            values = {}
            for place in itertools.product(*map(range, factor.extents)):
                shifts = {axis.name: by for axis, by in zip(self.places, place, strict=True)}
                point = Point(channels, lanes, shifts, assumed)
                values[place] = body.bind("input", cast(self.lowering.value(factor.body, point, body), "float32"))
            found = separable(body, factor.matrices, values, "float32")
            first = body.bind("first", factor.base + tile * width + self.lowering.indices[channels])
            for position, value in enumerate(found.values()):
                at = ramp(first + position * self.spec.chunk * width, lanes)
                store(body, self.scratch, at, value, "float32")

        vectors(block, self.lowering, factor.channels, self.spec.lanes, write)

    def _multiply(self, block: Block, count: Expr, later: Expr) -> None:
        """The products of all points, added to those of the chunks before."""
        kernel, schedule = self._product()
        lowering = Lowering(kernel, {"left": self.scratch, "right": self.scratch}, {_TERMS: count}, None)
        Nest(kernel, schedule, lowering, self.scratch, continues=later).emit(block)

    def _product(self) -> tuple[Kernel, Schedule]:
        spec, rows, columns = self.spec, known_size(self.row), known_size(self.column)
        point, row, column, term = map(Integer.index, ("point", "row", "column", "term"))
        left, right = (factor.base for factor in self.factors)
        body = (
            Read("left", (left + (point * spec.chunk + term) * rows + row,), "float32"),
            Read("right", (right + (point * spec.chunk + term) * columns + column,), "float32"),
        )
        domain = tuple(
            Axis(name, Integer.of(size)) for name, size in (("point", self.count), ("row", rows), ("column", columns))
        )
        kernel = Kernel(
            domain=domain,
            reduction=(Axis("term", Integer.atom(_TERMS)),),
            combiner="sum",
            body=Apply("mul", body, "float32"),
            guard=None,
            dtype="float32",
            accumulator="float32",
            stages=(),
            offset=self.sums + (point * rows + row) * columns + column,
            output=Stored((), "float32"),
            tensors={name: Stored((Integer.of(1),), "float32") for name in ("left", "right")},
            ranges={},
        )
        tiles = {"row": spec.rows, "column": spec.columns}
        order = tuple(axis.name for axis in domain)
        return kernel, Schedule(order, ("term",), "column", spec.lanes, tiles, parallel=2)

    def _transform_back(self, block: Block) -> None:
        rows, columns = known_size(self.row), known_size(self.column)

        def write(body: Block, lanes: int) -> None:
            place = self.lowering.indices[self.row.name] * columns + self.lowering.indices[self.column.name]
            first = body.bind("first", place + self.sums)
            values = {}
            for position, point in enumerate(itertools.product(*map(range, self.points))):
                at = ramp(first + position * rows * columns, lanes)
                values[point] = body.bind("sum", load(self.scratch, at, "float32"))
            for offset, value in separable(body, self.back, values, "float32").items():
                shifts = {axis.name: by for axis, by in zip(self.offsets, offset, strict=True)}
                self._store(body, value, Point(self.column.name, lanes, shifts))

        with block.loop(self.row.name, integer(rows), PARALLEL) as (body, row):
            self.lowering.indices[self.row.name] = row
            for axis in self.offsets:
                self.lowering.indices[axis.name] = integer(0)
            vectors(body, self.lowering, self.column, self.spec.lanes, write)

    def _store(self, block: Block, value: Expr, point: Point) -> None:
        result = self.lowering.staged(value, point, block)
        place = self.lowering.address(self.kernel.offset, point, block)
        store(block, self.output, place, result, self.kernel.output.dtype)


def correlation_scratch(sizes: Sequence[int], spec: Correlation, rows: int, columns: int) -> int:
    """Numbers of scratch memory: a chunk's transformed tiles, and the sums; `sizes` count the offsets."""
    return math.prod(spec.points(tuple(sizes))) * (spec.chunk * (rows + columns) + rows * columns)
