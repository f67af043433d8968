"""A kernel and its road become a function that every thread of the GPU runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr, Range
from tvm.tirx import IntImm, IterVar, PrimFunc, Stmt

from ....dsl.integers import Integer
from ...random_numbers import WORDS
from ..kernel import Kernel
from ..lower import signature
from ..roads.gpu import BLOCK
from ..roads.random import draw, words
from ..schedule import Road, SharedTiles
from ..statements import Block, array_at, cast, integer, pointer
from ..storage import memory_dtype
from .block_reduction import BlockReductionNest, results
from .shared_tiles import SharedTilesNest, blocks
from .tensor_cores import TensorCoresNest
from .threads import ThreadNest, tasks


@dataclass(frozen=True)
class Grid:
    """How a kernel is started: so many blocks of so many threads."""

    blocks: Integer
    threads: int


@dataclass(frozen=True)
class Place:
    """A thread's number in its block and its block's number, as int64."""

    thread: Expr
    block: Expr


def grid(kernel: Kernel, road: Road) -> Grid:
    """The threads that a kernel is run by."""
    if isinstance(road.shared, SharedTiles):
        return Grid(blocks(kernel, road.shared), road.shared.threads)
    if road.shared is not None:
        across = road.shared.across
        return Grid((results(kernel) + (across - 1)) // across, across * road.shared.along)
    ((_, schedule),) = road.variants
    return Grid((tasks(kernel, schedule) + (BLOCK - 1)) // BLOCK, BLOCK)


def lower(kernel: Kernel, road: Road, name: str) -> tuple[PrimFunc, list[str]]:
    """A function of what `signature` says, and its checks."""
    body = Block()
    parameters, output, _, lowering = signature(kernel, body)
    shape = grid(kernel, road)

    def write(block: Block, place: Place) -> None:
        if isinstance(road.shared, SharedTiles):
            nest = TensorCoresNest if road.shared.numbers else SharedTilesNest
            nest(kernel, road.shared, lowering, output, place.thread, place.block).emit(block)
            return
        if road.shared is not None:
            BlockReductionNest(kernel, road.shared, lowering, output, place.thread, place.block).emit(block)
            return
        task = block.bind("task", place.block * shape.threads + place.thread)
        ThreadNest(kernel, road.variants[0][1], lowering, output, task).emit(block)

    statement = _on_grid(body, lowering.size(shape.blocks), shape.threads, write)
    return _device_function(parameters, statement, name), lowering.checks


def random_grid(count: Integer) -> Grid:
    """The threads that fill so many elements with random numbers, each those of one counter."""
    each = BLOCK * WORDS
    return Grid((count + (each - 1)) // each, BLOCK)


def lower_random(dtype: str, name: str) -> PrimFunc:
    """As `roads.random.lower`, a thread for each counter."""
    body = Block()
    address = pointer("output_address", memory_dtype(dtype))
    output = array_at(body, address, memory_dtype(dtype), "output")
    count, seed, step, stream = (tirx.Var(n, "int64") for n in ("count", "seed", "step", "stream"))

    def write(block: Block, place: Place) -> None:
        counter = block.bind("counter", place.block * BLOCK + place.thread)
        inside = block.child()
        for position, word in enumerate(words(inside, counter, seed, step, stream)):
            element = inside.child()
            draw(element, output, counter * WORDS + position, word, dtype)
            inside.branch(tirx.LT(counter * WORDS + position, count), element)
        block.branch(tirx.LT(counter * WORDS, count), inside)

    each = BLOCK * WORDS
    statement = _on_grid(body, tirx.Div(count + (each - 1), integer(each)), BLOCK, write)
    return _device_function([address, count, seed, step, stream], statement, name)


def _on_grid(body: Block, blocks: Expr, threads: int, write: Callable[[Block, Place], None]) -> Stmt:
    """What `write` writes for one thread, run by `threads` threads in each of so many blocks."""
    found = []
    for tag, extent in (("threadIdx.x", IntImm("int32", threads)), ("blockIdx.x", cast(blocks, "int32"))):
        variable = tirx.Var(tag, "int32")
        found.append((IterVar(Range(IntImm("int32", 0), extent), variable, IterVar.ThreadIndex, tag), extent, variable))
    in_block, of_block = (variable for _, _, variable in found)
    write(body, Place(cast(in_block, "int64"), cast(of_block, "int64")))
    statement = body.statement()
    for axis, extent, _ in found:
        statement = tirx.AttrStmt(axis, "thread_extent", extent, statement)
    return statement


def _device_function(parameters: Sequence[tirx.Var], statement: Stmt, name: str) -> PrimFunc:
    """A function that the CPU starts and the GPU runs."""
    function = PrimFunc(parameters, statement)
    return function.with_attrs({"global_symbol": name, "calling_conv": 2, "tirx.is_global_func": True})
