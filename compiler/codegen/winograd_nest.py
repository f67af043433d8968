"""Loops of Winograd's algorithm: transform of the inputs, products, transform back.

The products are an ordinary matrix product per point of the transform, written by `nest`
like any other contraction; this file writes what stands before and after it, and the
transform of the weights.  Channels run along the lanes throughout, so the transforms add
and multiply whole vectors.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import Var

from ...dsl.equations import Apply, Axis, Expression, Read
from ...dsl.integers import Integer, Symbol
from .expressions import Lowering, Point
from .kernel import Kernel, Stored
from .nest import Nest
from .schedule import Schedule, cut
from .statements import PARALLEL, SERIAL, Block, all_of, cast, integer
from .storage import load, store
from .tiles import Coordinates, all_hold, at_tile, conditions_of, known_size, ramp, separable, vectors
from .toom_cook import transforms
from .winograd import WeightTransform, Winograd


class WinogradNest:
    """Writes a kernel whose body is the data and whose last tensor are the transformed weights."""

    def __init__(self, kernel: Kernel, spec: Winograd, lowering: Lowering, output: Var, scratch: Var) -> None:
        self.kernel = kernel
        self.spec = spec
        self.lowering = lowering
        self.output = output
        self.scratch = scratch
        self.kind = SERIAL if spec.private else PARALLEL
        self.outputs = [kernel.domain[x] for x, _ in spec.windows]
        self.windows = [kernel.reduction[p] for _, p in spec.windows]
        self.contracted, self.free = kernel.reduction[spec.contracted], kernel.domain[spec.free]
        sizes = tuple(known_size(axis) for axis in self.windows)
        self.matrices = [transforms(m, r) for m, r in zip(spec.tiles, sizes, strict=True)]
        self.points = spec.points(sizes)
        self.inputs_size = math.prod(self.points) * spec.chunk * known_size(self.contracted)
        self.conditions = conditions_of(kernel.body, self.contracted.name)

    def emit(self, block: Block) -> None:
        """All loops, into the body of the function."""
        chunk = integer(self.spec.chunk)
        total = block.bind("tiles", self.lowering.size(self._tile_count()))
        chunks = block.bind("chunks", tirx.Div(total + (self.spec.chunk - 1), chunk))
        if not self.spec.private:
            with block.loop("chunk", chunks) as (body, position):
                self._chunk(body, body.bind("start", position * chunk), total, integer(0))
            return
        threads = self.lowering.size(self.spec.threads)
        with block.loop("worker", threads, PARALLEL) as (body, worker):
            base = body.bind("base", worker * scratch_size(self.kernel, self.spec))
            first = body.bind("first", tirx.Div(worker * chunks, threads))
            count = tirx.Div((worker + 1) * chunks, threads) - first
            with body.loop("chunk", body.bind("count", count)) as (inner, position):
                self._chunk(inner, inner.bind("start", (first + position) * chunk), total, base)

    def _tile_count(self) -> Integer:
        total = Integer.of(1)
        for _, count in self._grid():
            total = total * count
        return total

    def _grid(self) -> list[tuple[Axis, Integer]]:
        """The axes of tiles, outermost first, with how many there are along each."""
        tiles = {x: m for (x, _), m in zip(self.spec.windows, self.spec.tiles, strict=True)}
        return [
            (axis, (axis.size + (tiles.get(position, 1) - 1)) // tiles.get(position, 1))
            for position, axis in enumerate(self.kernel.domain)
            if position != self.spec.free
        ]

    def _chunk(self, block: Block, start: Expr, total: Expr, base: Expr) -> None:
        count = block.bind("count", tirx.Min(integer(self.spec.chunk), total - start))
        for step in (self._transform_inputs, self._multiply, self._transform_back):
            step(block, start, count, base)

    def _at_tile(self, block: Block, tile: Expr) -> None:
        """Set the indices to the first element of a tile."""
        tiles = dict(zip((axis.name for axis in self.outputs), self.spec.tiles, strict=True))
        at_tile(block, self.lowering, self._grid(), tiles, tile)
        for axis in self.windows:
            self.lowering.indices[axis.name] = integer(0)

    # -- the three steps ------------------------------------------------------------------

    def _transform_inputs(self, block: Block, start: Expr, count: Expr, base: Expr) -> None:
        with block.loop("tile", count, self.kind) as (body, tile):
            self._at_tile(body, start + tile)
            if not self.conditions:
                self._transform_tile(body, tile, base, frozenset())
                return
            plain, careful = body.child(), body.child()
            self._transform_tile(plain, tile, base, frozenset(self.conditions))
            self._transform_tile(careful, tile, base, frozenset())
            extents = dict(zip((axis.name for axis in self.windows), self.points, strict=True))
            body.branch(all_hold(body, self.lowering, self.conditions, extents), plain, careful)

    def _shifts(self, place: Coordinates) -> Mapping[str, int]:
        return {axis.name: by for axis, by in zip(self.windows, place, strict=True)}

    def _transform_tile(self, block: Block, tile: Expr, base: Expr, assumed: frozenset[Expression]) -> None:
        channels, width = self.contracted.name, known_size(self.contracted)

        def write(body: Block, lanes: int) -> None:
            values = {}
            for place in itertools.product(*map(range, self.points)):
                point = Point(channels, lanes, self._shifts(place), assumed)
                values[place] = body.bind("input", cast(self.lowering.value(self.kernel.body, point, body), "float32"))
            values = separable(body, [found.inputs for found in self.matrices], values, "float32")
            first = body.bind("first", base + tile * width + self.lowering.indices[channels])
            for position, value in enumerate(values.values()):
                at = ramp(first + position * self.spec.chunk * width, lanes)
                store(body, self.scratch, at, value, "float32")

        vectors(block, self.lowering, self.contracted, self.spec.lanes, write)

    def _multiply(self, block: Block, start: Expr, count: Expr, base: Expr) -> None:
        """The products of all points: a contraction over panels of packed weights."""
        spec, weights = self.spec, list(self.kernel.tensors)[-1]
        kernel, schedule = product_kernel(self.kernel, spec)
        arrays = {"inputs": self.scratch, "weights": self.lowering.arrays[weights]}
        rounds = block.bind("rounds", tirx.Div(count + (spec.rows - 1), integer(spec.rows)))
        lowering = Lowering(kernel, arrays, {_ROUNDS: rounds}, None)
        lowering.indices["product base"] = base
        Nest(kernel, schedule, lowering, self.scratch).emit(block)

    def _transform_back(self, block: Block, start: Expr, count: Expr, base: Expr) -> None:
        ragged = [(axis, m) for axis, m in zip(self.outputs, self.spec.tiles, strict=True) if known_size(axis) % m]
        with block.loop("tile", count, self.kind) as (body, tile):
            self._at_tile(body, start + tile)
            if not ragged:
                self._finish_tile(body, tile, base, [])
                return
            inside = [tirx.LE(self.lowering.indices[axis.name], integer(known_size(axis) - m)) for axis, m in ragged]
            plain, careful = body.child(), body.child()
            self._finish_tile(plain, tile, base, [])
            self._finish_tile(careful, tile, base, [axis for axis, _ in ragged])
            body.branch(body.bind("whole", all_of(inside)), plain, careful)

    def _finish_tile(self, block: Block, tile: Expr, base: Expr, ragged: Sequence[Axis]) -> None:
        """Outputs of a tile, those that stick out along `ragged` axes left away."""
        outputs, width = self.free.name, known_size(self.free)

        def write(body: Block, lanes: int) -> None:
            first = body.bind("first", base + self.inputs_size + tile * width + self.lowering.indices[outputs])
            values = {}
            for position, place in enumerate(itertools.product(*map(range, self.points))):
                at = ramp(first + position * self.spec.chunk * width, lanes)
                values[place] = body.bind("product", load(self.scratch, at, "float32"))
            values = separable(body, [found.outputs for found in self.matrices], values, "float32")
            for place, value in values.items():
                shifts = {axis.name: by for axis, by in zip(self.outputs, place, strict=True)}
                self._store(body, value, Point(outputs, lanes, shifts), ragged)

        vectors(block, self.lowering, self.free, self.spec.lanes, write)

    def _store(self, block: Block, value: Expr, point: Point, ragged: Sequence[Axis]) -> None:
        tests = [
            tirx.LT(self.lowering.indices[axis.name] + point.shifts[axis.name], integer(known_size(axis)))
            for axis in ragged
            if point.shifts[axis.name]
        ]
        body = block.child() if tests else block
        result = self.lowering.staged(value, point, body)
        place = self.lowering.address(self.kernel.offset, point, body)
        store(body, self.output, place, result, self.kernel.output.dtype)
        if tests:
            block.branch(all_of(tests), body)


_ROUNDS = Symbol("rounds of rows", 1)


def scratch_size(kernel: Kernel, spec: Winograd) -> int:
    """Numbers of scratch memory that a chunk needs: transformed inputs and products."""
    sizes = tuple(known_size(kernel.reduction[p]) for _, p in spec.windows)
    channels = known_size(kernel.reduction[spec.contracted]) + known_size(kernel.domain[spec.free])
    return math.prod(spec.points(sizes)) * spec.chunk * channels


def product_kernel(kernel: Kernel, spec: Winograd) -> tuple[Kernel, Schedule]:
    """The matrix products of all points, on scratch memory from `product base` on, and their schedule."""
    sizes = tuple(known_size(kernel.reduction[p]) for _, p in spec.windows)
    points = math.prod(spec.points(sizes))
    inputs, outputs = known_size(kernel.reduction[spec.contracted]), known_size(kernel.domain[spec.free])
    panels = outputs // spec.width
    base, point, panel, group, row, column, channel = map(
        Integer.index, ("product base", "point", "panel", "group", "row", "column", "channel")
    )
    place = group * spec.rows + row
    data = Read("inputs", (base + (point * spec.chunk + place) * inputs + channel,), "float32")
    weight = Read("weights", (((point * panels + panel) * inputs + channel) * spec.width + column,), "float32")
    domain = tuple(
        Axis(name, Integer.of(size))
        for name, size in (
            ("point", points), ("panel", panels), ("group", Integer.atom(_ROUNDS)), ("row", spec.rows),
            ("column", spec.width),
        )
    )  # fmt: skip
    product = Kernel(
        domain=domain,
        reduction=(Axis("channel", Integer.of(inputs)),),
        combiner="sum",
        body=Apply("mul", (data, weight), "float32"),
        guard=None,
        dtype="float32",
        accumulator="float32",
        stages=(),
        offset=base
        + points * spec.chunk * inputs
        + (point * spec.chunk + place) * outputs
        + panel * spec.width
        + column,
        output=Stored((), "float32"),
        tensors={name: Stored((Integer.of(1),), "float32") for name in ("inputs", "weights")},
        ranges={},
    )
    lanes = spec.lanes
    while lanes > spec.width:
        lanes //= 2
    tiles = {"row": spec.rows, "column": -(-spec.width // lanes)}
    order = tuple(axis.name for axis in domain)
    schedule = Schedule(order, ("channel",), "column", lanes, tiles, parallel=0 if spec.private else 2)
    return product, schedule


class WeightNest:
    """Writes a kernel that transforms weights in float64 and packs them into panels."""

    def __init__(self, kernel: Kernel, spec: WeightTransform, lowering: Lowering, output: Var) -> None:
        self.kernel = kernel
        self.spec = spec
        self.lowering = lowering
        self.output = output

    def emit(self, block: Block) -> None:
        """Loops over the contracted index, panels and the vectors in them."""
        spec, lowering = self.spec, self.lowering
        windows = [self.kernel.reduction[p] for p in spec.windows]
        matrices = [transforms(m, known_size(axis)).window for m, axis in zip(spec.tiles, windows, strict=True)]
        channels, outputs = self.kernel.domain[spec.contracted], self.kernel.domain[spec.free]
        inputs, panels = known_size(channels), known_size(outputs) // spec.width
        for axis in windows:
            lowering.indices[axis.name] = integer(0)
        lanes = spec.lanes
        while lanes > spec.width:
            lanes //= 2
        with block.loop(channels.name, inputs, PARALLEL) as (body, channel):
            lowering.indices[channels.name] = channel
            with body.loop("panel", panels) as (inner, panel):
                for piece in cut(Integer.of(spec.width), 1, lanes):
                    with inner.loop("vector", lowering.size(piece.trips)) as (innermost, trip):
                        column = innermost.bind("column", trip * piece.step + lowering.size(piece.start))
                        place = innermost.bind(outputs.name, panel * spec.width + column)
                        lowering.indices[outputs.name] = place
                        values = {}
                        for at in itertools.product(*(range(known_size(axis)) for axis in windows)):
                            shifts = {axis.name: by for axis, by in zip(windows, at, strict=True)}
                            point = Point(outputs.name, piece.lanes, shifts)
                            value = lowering.value(self.kernel.body, point, innermost)
                            values[at] = innermost.bind("weight", cast(value, "float64"))
                        values = separable(innermost, matrices, values, "float64")
                        for position, value in enumerate(values.values()):
                            first = ((panel + position * panels) * inputs + channel) * spec.width + column
                            at_ = ramp(innermost.bind("first", first), piece.lanes)
                            store(innermost, self.output, at_, cast(value, "float32"), "float32")
