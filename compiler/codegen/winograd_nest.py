"""Loops of Winograd's algorithm: transform of the inputs, products, transform back.

The products are an ordinary matrix product per point of the transform, written by `nest`
like any other contraction; this file writes what stands before and after it, and the
transform of the weights.  Channels run along the lanes throughout, so the transforms add
and multiply whole vectors.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import Var

from ...dsl.equations import Apply, Axis, Expression, Literal, Number, Read, reads, walk
from ...dsl.integers import Element, FloorDiv, Integer, Symbol
from .expressions import Lowering, Point, depends
from .kernel import Kernel, Stored
from .nest import Nest
from .schedule import Schedule, cut
from .statements import PARALLEL, SERIAL, Block, add, all_of, cast, integer, multiply, number, subtract
from .storage import load, store
from .toom_cook import Matrix, Row, transforms
from .winograd import WeightTransform, Winograd

Coordinates = tuple[int, ...]


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
        sizes = tuple(_known(axis) for axis in self.windows)
        self.matrices = [transforms(m, r) for m, r in zip(spec.tiles, sizes, strict=True)]
        self.points = spec.points(sizes)
        self.inputs_size = math.prod(self.points) * spec.chunk * _known(self.contracted)
        self.conditions = _conditions(kernel.body, self.contracted.name)

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
        for depth, (axis, count) in reversed(list(enumerate(self._grid()))):
            place = tile
            if depth:
                extent = self.lowering.size(count)
                place = block.bind("place", tirx.Mod(tile, extent))
                tile = block.bind("tile", tirx.Div(tile, extent))
            if axis.name in tiles:
                place = block.bind(axis.name, place * tiles[axis.name])
            self.lowering.indices[axis.name] = place
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
            body.branch(self._all_hold(body), plain, careful)

    def _all_hold(self, block: Block) -> Expr:
        """Whether no input of a tile is in the padding; tests of affine inequalities only at the corners."""
        tests = []
        for condition in self.conditions:
            ends = [(0, n - 1) if _convex(condition) else tuple(range(n)) for n in self.points]
            for corner in itertools.product(*ends):
                tests.append(self.lowering.value(condition, Point(shifts=self._shifts(corner)), block))
        return block.bind("whole", all_of(tests))

    def _shifts(self, place: Coordinates) -> Mapping[str, int]:
        return {axis.name: by for axis, by in zip(self.windows, place, strict=True)}

    def _transform_tile(self, block: Block, tile: Expr, base: Expr, assumed: frozenset[Expression]) -> None:
        channels, width = self.contracted.name, _known(self.contracted)

        def write(body: Block, lanes: int) -> None:
            values = {}
            for place in itertools.product(*map(range, self.points)):
                point = Point(channels, lanes, self._shifts(place), assumed)
                values[place] = body.bind("input", cast(self.lowering.value(self.kernel.body, point, body), "float32"))
            values = separable(body, [found.inputs for found in self.matrices], values, "float32")
            first = body.bind("first", base + tile * width + self.lowering.indices[channels])
            for position, value in enumerate(values.values()):
                at = _ramp(first + position * self.spec.chunk * width, lanes)
                store(body, self.scratch, at, value, "float32")

        self._vectors(block, self.contracted, write)

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
        ragged = [(axis, m) for axis, m in zip(self.outputs, self.spec.tiles, strict=True) if _known(axis) % m]
        with block.loop("tile", count, self.kind) as (body, tile):
            self._at_tile(body, start + tile)
            if not ragged:
                self._finish_tile(body, tile, base, [])
                return
            inside = [tirx.LE(self.lowering.indices[axis.name], integer(_known(axis) - m)) for axis, m in ragged]
            plain, careful = body.child(), body.child()
            self._finish_tile(plain, tile, base, [])
            self._finish_tile(careful, tile, base, [axis for axis, _ in ragged])
            body.branch(body.bind("whole", all_of(inside)), plain, careful)

    def _finish_tile(self, block: Block, tile: Expr, base: Expr, ragged: Sequence[Axis]) -> None:
        """Outputs of a tile, those that stick out along `ragged` axes left away."""
        outputs, width = self.free.name, _known(self.free)

        def write(body: Block, lanes: int) -> None:
            first = body.bind("first", base + self.inputs_size + tile * width + self.lowering.indices[outputs])
            values = {}
            for position, place in enumerate(itertools.product(*map(range, self.points))):
                at = _ramp(first + position * self.spec.chunk * width, lanes)
                values[place] = body.bind("product", load(self.scratch, at, "float32"))
            values = separable(body, [found.outputs for found in self.matrices], values, "float32")
            for place, value in values.items():
                shifts = {axis.name: by for axis, by in zip(self.outputs, place, strict=True)}
                self._store(body, value, Point(outputs, lanes, shifts), ragged)

        self._vectors(block, self.free, write)

    def _store(self, block: Block, value: Expr, point: Point, ragged: Sequence[Axis]) -> None:
        tests = [
            tirx.LT(self.lowering.indices[axis.name] + point.shifts[axis.name], integer(_known(axis)))
            for axis in ragged
            if point.shifts[axis.name]
        ]
        body = block.child() if tests else block
        result = self.lowering.staged(value, point, body)
        place = self.lowering.address(self.kernel.offset, point, body)
        store(body, self.output, place, result, self.kernel.output.dtype)
        if tests:
            block.branch(all_of(tests), body)

    def _vectors(self, block: Block, axis: Axis, write: Callable[[Block, int], None]) -> None:
        """Loops over the vectors of an axis, the last of which may overlap the one before."""
        most = self.spec.lanes
        while most > _known(axis):
            most //= 2
        for piece in cut(axis.size, 1, most):
            with block.loop(axis.name, self.lowering.size(piece.trips)) as (body, trip):
                place = trip * piece.step + self.lowering.size(piece.start)
                self.lowering.indices[axis.name] = body.bind(axis.name, place)
                write(body, piece.lanes)


_ROUNDS = Symbol("rounds of rows", 1)


def scratch_size(kernel: Kernel, spec: Winograd) -> int:
    """Numbers of scratch memory that a chunk needs: transformed inputs and products."""
    sizes = tuple(_known(kernel.reduction[p]) for _, p in spec.windows)
    channels = _known(kernel.reduction[spec.contracted]) + _known(kernel.domain[spec.free])
    return math.prod(spec.points(sizes)) * spec.chunk * channels


def product_kernel(kernel: Kernel, spec: Winograd) -> tuple[Kernel, Schedule]:
    """The matrix products of all points, on scratch memory from `product base` on, and their schedule."""
    sizes = tuple(_known(kernel.reduction[p]) for _, p in spec.windows)
    points = math.prod(spec.points(sizes))
    inputs, outputs = _known(kernel.reduction[spec.contracted]), _known(kernel.domain[spec.free])
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
        matrices = [transforms(m, _known(axis)).window for m, axis in zip(spec.tiles, windows, strict=True)]
        channels, outputs = self.kernel.domain[spec.contracted], self.kernel.domain[spec.free]
        inputs, panels = _known(channels), _known(outputs) // spec.width
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
                        for at in itertools.product(*(range(_known(axis)) for axis in windows)):
                            shifts = {axis.name: by for axis, by in zip(windows, at, strict=True)}
                            point = Point(outputs.name, piece.lanes, shifts)
                            value = lowering.value(self.kernel.body, point, innermost)
                            values[at] = innermost.bind("weight", cast(value, "float64"))
                        values = separable(innermost, matrices, values, "float64")
                        for position, value in enumerate(values.values()):
                            first = ((panel + position * panels) * inputs + channel) * spec.width + column
                            at_ = _ramp(innermost.bind("first", first), piece.lanes)
                            store(innermost, self.output, at_, cast(value, "float32"), "float32")


# -- linear transforms ------------------------------------------------------------------------


def separable(
    block: Block, matrices: Sequence[Matrix], values: Mapping[Coordinates, Expr], dtype: str
) -> dict[Coordinates, Expr]:
    """The values of a box multiplied along each axis by that axis' matrix; row-major order."""
    found = dict(values)
    for axis, matrix in enumerate(matrices):
        lines: dict[Coordinates, list[Coordinates]] = {}
        for place in found:
            lines.setdefault(place[:axis] + place[axis + 1 :], []).append(place)
        result = {}
        for rest, places in lines.items():
            line = [found[place] for place in sorted(places, key=lambda place: place[axis])]
            for row, value in enumerate(_transformed(block, matrix, line, dtype)):
                result[(*rest[:axis], row, *rest[axis:])] = value
        found = result
    return dict(sorted(found.items()))


def _transformed(block: Block, matrix: Matrix, values: Sequence[Expr], dtype: str) -> list[Expr]:
    """A matrix times a vector of values.

    Rows that differ only in the signs of some coefficients (those of opposite points) share
    their sums: one is `even + odd`, the other `even - odd`.
    """
    results: dict[int, Expr] = {}
    for position, row in enumerate(matrix):
        if position in results:
            continue
        twin = next(
            (k for k in range(position + 1, len(matrix)) if k not in results and _opposite(row, matrix[k])), None
        )
        if twin is None:
            results[position] = _combination(block, row, values, dtype)
            continue
        same = [c if c == d else Fraction(0) for c, d in zip(row, matrix[twin], strict=True)]
        turned = [c if c != d else Fraction(0) for c, d in zip(row, matrix[twin], strict=True)]
        even, odd = (_combination(block, part, values, dtype) for part in (same, turned))
        results[position] = block.bind("sum", add(even, odd))
        results[twin] = block.bind("difference", subtract(even, odd))
    return [results[position] for position in range(len(matrix))]


def _opposite(row: Row, other: Row) -> bool:
    """Whether two rows agree but for signs, and sharing saves something."""
    same = sum(1 for c, d in zip(row, other, strict=True) if c and c == d)
    turned = sum(1 for c, d in zip(row, other, strict=True) if c and c == -d)
    return (
        same > 0 and turned > 0 and same + turned > 2 and all(abs(c) == abs(d) for c, d in zip(row, other, strict=True))
    )


def _combination(block: Block, row: Sequence[Fraction], values: Sequence[Expr], dtype: str) -> Expr:
    """The sum of values times coefficients, those of 1 and -1 without a multiplication."""
    total: Expr | None = None
    # Plain terms first: multiplications that follow are fused with their additions.
    terms = sorted(((c, v) for c, v in zip(row, values, strict=True) if c), key=lambda term: term[0] != 1)
    for coefficient, value in terms:
        term = value if abs(coefficient) == 1 else multiply(value, number(float(abs(coefficient)), dtype))
        if total is None:
            total = term if coefficient > 0 else subtract(number(0.0, dtype), term)
        else:
            total = add(total, term) if coefficient > 0 else subtract(total, term)
    return block.bind("combination", number(0.0, dtype) if total is None else total)


# -- conditions ---------------------------------------------------------------------------------


def _conditions(body: Expression, channel: str) -> tuple[Expression, ...]:
    """The conditions under which the body reads what it reads, that depend neither on data nor on the channel."""
    found = [node.arguments[0] for node in walk(body) if isinstance(node, Apply) and node.operation == "select"]
    return tuple(
        dict.fromkeys(condition for condition in found if not reads(condition) and not depends(condition, channel))
    )


def _convex(condition: Expression) -> bool:
    """Whether a condition that holds at two points holds between them: conjunctions of affine inequalities."""
    if not isinstance(condition, Apply):
        return False
    if condition.operation == "and":
        return all(map(_convex, condition.arguments))
    return condition.operation in ("le", "lt") and all(_affine(argument) for argument in condition.arguments)


def _affine(expression: Expression) -> bool:
    if isinstance(expression, Literal):
        return True
    return isinstance(expression, Number) and not any(
        isinstance(atom, (FloorDiv, Element)) for atom in expression.value.atoms()
    )


def _ramp(place: Expr, lanes: int) -> Expr:
    return tirx.Ramp(place, integer(1), lanes) if lanes > 1 else place


def _known(axis: Axis) -> int:
    assert axis.size.constant is not None
    return axis.size.constant
