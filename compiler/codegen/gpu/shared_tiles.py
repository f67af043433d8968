"""A sum of products of which a block of threads computes a tile: both factors come into memory that the block shares.

A factor may be any expression, a padded picture as well as a matrix: it is computed once for each row (or
column) of the tile and each step of the sum, and then used for all columns (rows).  Rows number the output
indices of the left factor together, columns those of the right factor, steps those of the reduction, each with
its last index fastest.  While a tile is multiplied, what the next one needs is already on its way to registers.

The arrangement is the usual one of matrix products on GPUs (Volkov and Demmel, "Benchmarking GPUs to tune dense
linear algebra", SC 2008), with factors that are computed as they are loaded (Chetlur et al., "cuDNN: Efficient
primitives for deep learning", 2014).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import BufferLoad, BufferStore

from ....dsl.equations import Apply, Axis, Expression, reads
from ....dsl.integers import Integer
from ..expressions import Lowering, Point
from ..kernel import Kernel
from ..nest import Nest
from ..roads.analysis import stride
from ..schedule import Schedule, SharedTiles
from ..statements import UNROLLED, Block, SharedArray, add, cast, integer, multiply, number, wait_for_block
from ..storage import working_dtype
from ..tiles import at_tile

_APART = 4  # elements between rows of shared memory beyond their length, so that columns lie in other banks
_TOGETHER = 4  # results next to each other that belong to one thread


def blocks(kernel: Kernel, shape: SharedTiles) -> Integer:
    """How many tiles there are."""
    rows, columns = _count(kernel, shape.row_indices), _count(kernel, shape.column_indices)
    tiles = ((rows + (shape.rows - 1)) // shape.rows) * ((columns + (shape.columns - 1)) // shape.columns)
    return tiles * _count(kernel, shape.batch)


def _count(kernel: Kernel, names: Sequence[str]) -> Integer:
    return reduce(Integer.__mul__, map(kernel.size, names), Integer.of(1))


@dataclass(frozen=True)
class Factor:
    """One of the two factors: its value, and the rows (or columns), so many from the `first` on, that a tile takes."""

    value: Expression
    names: Sequence[str]
    extent: int
    first: Expr


class SharedTilesNest(Nest):
    """Writes what one thread does, by its number in its block and that of the block."""

    def __init__(
        self, kernel: Kernel, shape: SharedTiles, lowering: Lowering, output: tirx.Var, thread: Expr, place: Expr
    ) -> None:
        super().__init__(kernel, Schedule((), shape.reduction), lowering, output)
        self.shape, self.thread, self.number = shape, thread, place
        self.conditions = ()
        self.dtype = kernel.accumulator

    def emit(self, block: Block) -> None:
        """All that one thread does."""
        shape, kernel = self.shape, self.kernel
        assert isinstance(kernel.body, Apply)
        left, right = kernel.body.arguments[:: -1 if shape.flipped else 1]
        rows, columns = _count(kernel, shape.row_indices), _count(kernel, shape.column_indices)
        across = self.lowering.size((columns + (shape.columns - 1)) // shape.columns)
        down = self.lowering.size((rows + (shape.rows - 1)) // shape.rows)
        rest = block.bind("tile", tirx.Div(self.number, across))
        column = block.bind("column", tirx.Mod(self.number, across) * shape.columns)
        row = block.bind("row", tirx.Mod(rest, down) * shape.rows)
        self._set(block, shape.batch, block.bind("batch", tirx.Div(rest, down)))
        factors = (
            Factor(left, shape.row_indices, shape.rows, row),
            Factor(right, shape.column_indices, shape.columns, column),
        )
        self._begin(block)
        sums = self._local(block, "sums", shape.height * shape.width)
        with block.loop("i", shape.height * shape.width, UNROLLED) as (body, i):
            body.append(BufferStore(sums, number(0, self.dtype), [i]))
        named = list(zip("ab", factors, strict=True))
        memory = [self._memory(block, name, factor) for name, factor in named]
        coming = [self._local(block, f"{name}_next", self._loads(factor)) for name, factor in named]
        chunks = self._chunks()
        for factor, registers in zip(factors, coming, strict=True):
            self._load(block, factor, registers, integer(0))
        with block.loop("chunk", chunks) as (body, chunk):
            for factor, registers, shared in zip(factors, coming, memory, strict=True):
                self._keep(body, factor, registers, shared)
            wait_for_block(body)
            more = body.child()
            for factor, registers in zip(factors, coming, strict=True):
                self._load(more, factor, registers, chunk + 1)
            body.branch(tirx.LT(chunk + 1, chunks), more)
            self._multiply(body, memory, factors, sums)
            wait_for_block(body)
        self._results(block, sums, row, column)

    # -- loading -------------------------------------------------------------------------------

    def _chunks(self) -> Expr:
        """How many times factors come in."""
        names, depth = self.shape.reduction, self.shape.depth
        if self.shape.split:
            outer = _count(self.kernel, names[:-1])
            return self.lowering.size(outer * (self.kernel.size(names[-1]) // depth))
        return self.lowering.size((_count(self.kernel, names) + (depth - 1)) // depth)

    def _loads(self, factor: Factor) -> int:
        """Elements of a factor that each thread brings in at a time."""
        return -(-factor.extent * self.shape.depth // self.shape.threads)

    def _by_step(self, factor: Factor) -> bool:
        """Whether neighbouring threads bring in neighbouring steps rather than rows (or columns)."""
        inner, last = (
            {stride(self.kernel, read, index) for read in reads(factor.value)}
            for index in (self.shape.reduction[-1], factor.names[-1])
        )
        return 1 in inner and 1 not in last

    def _place_of(self, factor: Factor, turn: Expr) -> tuple[Expr, Expr]:
        """Which step and which row (or column) of a tile a thread brings in, in one of its turns."""
        threads, depth = self.shape.threads, self.shape.depth
        element = self.thread + turn * threads
        if self._by_step(factor):
            return tirx.Mod(element, integer(depth)), tirx.Div(element, integer(depth))
        return tirx.Div(element, integer(factor.extent)), tirx.Mod(element, integer(factor.extent))

    def _load(self, block: Block, factor: Factor, registers: tirx.Var, chunk: Expr) -> None:
        """Bring elements of the factor for a chunk of steps into registers."""
        total = _count(self.kernel, factor.names)
        with block.loop("turn", self._loads(factor), UNROLLED) as (body, turn):
            step, line = self._place_of(factor, turn)
            step, line = body.bind("step", step), body.bind("line", line)
            # Beyond the last there is nothing; what is loaded in its place is never stored.
            place = body.bind("place", tirx.Min(factor.first + line, self.lowering.size(total - 1)))
            self._set(body, factor.names, place)
            exists = self._steps(body, chunk, step)
            if self._loads(factor) * self.shape.threads != factor.extent * self.shape.depth:
                inside = tirx.LT(step, integer(self.shape.depth))
                exists = inside if exists is None else tirx.And(inside, exists)
            there = body if exists is None else body.child()
            value = self.lowering.value(factor.value, Point(), there)
            there.append(BufferStore(registers, cast(value, self.dtype), [turn]))
            if exists is not None:
                otherwise = body.child()
                otherwise.append(BufferStore(registers, number(0, self.dtype), [turn]))
                body.branch(exists, there, otherwise)

    def _steps(self, block: Block, chunk: Expr, step: Expr) -> Expr | None:
        """Set the indices of the reduction to a step of a chunk; gives whether there is such a step, None if always."""
        names, depth = self.shape.reduction, self.shape.depth
        if not self.shape.split:
            total = _count(self.kernel, names)
            place = block.bind("step", chunk * depth + step)
            self._set(block, names, place)
            return (
                None
                if total.constant is not None and total.constant % depth == 0
                else tirx.LT(place, self.lowering.size(total))
            )
        each = self.lowering.size(self.kernel.size(names[-1]) // depth)
        self.lowering.indices[names[-1]] = block.bind(names[-1], tirx.Mod(chunk, each) * depth + step)
        self._set(block, names[:-1], block.bind("outer", tirx.Div(chunk, each)))
        return None

    def _keep(self, block: Block, factor: Factor, registers: tirx.Var, shared: SharedArray) -> None:
        """Put what is in registers into shared memory."""
        whole = self._loads(factor) * self.shape.threads == factor.extent * self.shape.depth
        with block.loop("turn", self._loads(factor), UNROLLED) as (body, turn):
            step, line = self._place_of(factor, turn)
            stored = body if whole else body.child()
            value = self._kept(BufferLoad(registers, [turn]))
            shared.set(stored, self._kept_at(factor, step, line), value)
            if not whole:
                body.branch(tirx.LT(step, integer(self.shape.depth)), stored)

    # -- shared memory -------------------------------------------------------------------------

    def _memory(self, block: Block, name: str, factor: Factor) -> SharedArray:
        """What the block shares of a factor."""
        return SharedArray(block, name, self.dtype, (factor.extent + _APART) * self.shape.depth)

    def _kept_at(self, factor: Factor, step: Expr, line: Expr) -> Expr:
        """Where the element of a step and of a row (or column) is kept."""
        return step * (factor.extent + _APART) + line

    def _kept(self, value: Expr) -> Expr:
        """A value as it is kept."""
        return value

    # -- multiplying ---------------------------------------------------------------------------

    def _multiply(self, block: Block, memory: Sequence[SharedArray], factors: Sequence[Factor], sums: tirx.Var) -> None:
        """All products of what is in shared memory that this thread's results are sums of."""
        height, width = self.shape.height, self.shape.width
        a, b = self._local(block, "a_here", height), self._local(block, "b_here", width)
        with block.loop("step", self.shape.depth) as (body, step):
            for mine, count, shared, factor, line in (
                (a, height, memory[0], factors[0], self._row), (b, width, memory[1], factors[1], self._column),
            ):  # fmt: skip
                with body.loop("i", count, UNROLLED) as (inner, i):
                    inner.append(BufferStore(mine, shared.get(self._kept_at(factor, step, line(i))), [i]))
            with body.loop("i", height, UNROLLED) as (outer, i), outer.loop("j", width, UNROLLED) as (inner, j):
                at = [self._sum(i, j)]
                product = multiply(BufferLoad(a, [i]), BufferLoad(b, [j]))
                inner.append(BufferStore(sums, add(BufferLoad(sums, at), product), at))

    # -- which results are a thread's ----------------------------------------------------------

    def _begin(self, block: Block) -> None:
        """Find out where a thread is in its block."""
        lines = self.shape.columns // self.shape.width
        self.down = block.bind("down", tirx.Div(self.thread, integer(lines)))
        self.across = block.bind("across", tirx.Mod(self.thread, integer(lines)))

    def _row(self, position: Expr) -> Expr:
        """The row of the tile in which a thread's result at a position down is."""
        return self._line(self.down, position, self.shape.height, self.shape.rows)

    def _column(self, position: Expr) -> Expr:
        """The column of the tile in which a thread's result at a position across is."""
        return self._line(self.across, position, self.shape.width, self.shape.columns)

    def _line(self, place: Expr, position: Expr, count: int, extent: int) -> Expr:
        """Threads that are neighbours have neighbouring groups of a few."""
        together = min(_TOGETHER, count)
        groups = count // together
        if groups == 1:
            return place * together + position
        inside = place * together + tirx.Mod(position, integer(together))
        return tirx.Div(position, integer(together)) * (extent // groups) + inside

    def _sum(self, down: Expr, across: Expr) -> Expr:
        """Where the sum of a thread's result is kept."""
        return down * self.shape.width + across

    def _results(self, block: Block, sums: tirx.Var, row: Expr, column: Expr) -> None:
        """The epilogue and the store of all results of this thread that there are."""
        shape = self.shape
        rows, columns = (self.lowering.size(_count(self.kernel, n)) for n in (shape.row_indices, shape.column_indices))
        with block.loop("i", shape.height, UNROLLED) as (outer, i):
            line = outer.bind("line", row + self._row(i))
            exists = outer.child()
            self._set(exists, shape.row_indices, line)
            with exists.loop("j", shape.width, UNROLLED) as (inner, j):
                place = inner.bind("place", column + self._column(j))
                there = inner.child()
                self._set(there, shape.column_indices, place)
                value = cast(BufferLoad(sums, [self._sum(i, j)]), working_dtype(self.kernel.dtype))
                self._finish(there, Point(), there.bind("value", value))
                inner.branch(tirx.LT(place, columns), there)
            outer.branch(tirx.LT(line, rows), exists)

    # -- places --------------------------------------------------------------------------------

    def _set(self, block: Block, names: Sequence[str], place: Expr) -> None:
        """Set indices to the place with a number among all, the last index fastest."""
        axes = [Axis(name, self.kernel.size(name)) for name in names]
        at_tile(block, self.lowering, [(axis, axis.size) for axis in axes], {}, place)

    def _local(self, block: Block, name: str, length: int) -> tirx.Var:
        buffer = tirx.decl_buffer((length,), self.dtype, name, scope="local", layout=None)
        block.append(tirx.AllocBuffer(buffer))
        return buffer
