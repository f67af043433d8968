"""Roads on a GPU: for each kernel, how its work is spread over threads, and which of them work together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ....dsl.equations import Apply, Expression, Literal, Read, reads
from ..expressions import depends
from ..gpu.description import Gpu
from ..kernel import Kernel
from ..schedule import BlockReduction, Road, Schedule, SharedTiles
from . import analysis

THREADS, BLOCKS, SHARED = "threads", "block reduction", "shared tiles"
BLOCK = 256
"""Threads of a block, if nothing speaks for another number."""

_WARP = 32  # threads that run in step, and read lines of memory together
_FEW = 1 << 15  # results that leave much of a GPU idle if each has but one thread
_LONG = 64  # steps of a reduction that are worth sharing
_LARGEST = 1024  # threads of a block
_ALONE = 1 << 7  # results below which a block for each is as large as it may be
_NARROW = 8  # rows or columns of a sum of products from which on sharing factors pays
_SHORT = 8  # steps
_DEPTH = 16
_SMALL = 128  # rows and columns together of which a thread can bring in twice as many steps
_DEEP = 512
_HALVES = ("float16", "bfloat16")
_WITHOUT_SPLIT = 32  # results of a thread that leave room in registers for working out where each element is
_TENSOR_CORES = 80  # the first architecture that has all of their instructions
_SHARED = ("sum", "prod", "max", "min", "any", "all")


class _Tile(NamedTuple):
    """Results of a thread, down and across, and of a block."""

    height: int
    width: int
    rows: int
    columns: int


TILES = (
    _Tile(8, 8, 128, 128), _Tile(8, 4, 128, 64), _Tile(4, 8, 64, 128), _Tile(4, 4, 64, 64), _Tile(4, 2, 64, 32),
    _Tile(2, 4, 32, 64), _Tile(2, 2, 32, 32),
)  # fmt: skip
"""All with as many threads as `BLOCK`, those of the largest tiles first."""


def road(kernel: Kernel, gpu: Gpu) -> Road:
    """The road that a kernel takes on a GPU."""
    tiles = _shared_tiles(kernel, gpu)
    if tiles is not None:
        return Road(SHARED, details=tiles.describe(), shared=tiles)
    shape = _block_reduction(kernel)
    if shape is not None:
        return Road(BLOCKS, details=shape.describe(), shared=shape)
    order = tuple(analysis.by_output(kernel))
    schedule = Schedule(order, analysis.by_reads(kernel), parallel=len(order), each=True)
    return Road(THREADS, ((None, schedule),))


def _shared_tiles(kernel: Kernel, gpu: Gpu) -> SharedTiles | None:
    """How blocks of threads share the factors of products, if both are used for many of them."""
    body = kernel.body
    if kernel.combiner != "sum" or kernel.guard is not None or not isinstance(body, Apply) or body.operation != "mul":
        return None
    if not kernel.accumulator.startswith("float"):
        return None
    order = analysis.by_output(kernel)
    first, second = ({name for name in order if depends(factor, name)} for factor in body.arguments)
    flipped = bool(order) and order[-1] in first - second  # neighbouring threads store neighbouring columns
    if flipped:
        first, second = second, first
    rows, columns, batch = (
        tuple(name for name in order if name in chosen) for chosen in (first - second, second - first, first & second)
    )
    if not rows or not columns or set(order) != first | second:
        return None
    reduction = analysis.by_reads(kernel)
    down, across, steps, several = (
        math.prod(analysis.estimate(kernel.size(name)) for name in names) for names in (rows, columns, reduction, batch)
    )
    if min(down, across) < _NARROW or steps < _SHORT:
        return None

    numbers = _on_tensor_cores(kernel, body.arguments, gpu)
    inner = kernel.size(reduction[-1]).constant or 1

    def count(tile: _Tile) -> int:
        return -(-down // tile.rows) * -(-across // tile.columns) * several

    def has_room(tile: _Tile) -> bool:
        return inner % _DEPTH == 0 or tile.height * tile.width <= _WITHOUT_SPLIT

    fitting = [t for t in TILES if has_room(t) and t.rows < 2 * down and t.columns < 2 * across] or [TILES[-1]]
    tile = next((tile for tile in fitting if count(tile) >= gpu.multiprocessors), fitting[-1])
    if not numbers and count(tile) < gpu.multiprocessors // 2 and steps >= _DEEP:
        return None  # blocks of which each sums with many threads keep more of the GPU busy
    twice = numbers in _HALVES and inner % (2 * _DEPTH) == 0 and tile.rows + tile.columns <= _SMALL
    depth = 2 * _DEPTH if twice else _DEPTH
    split = inner % depth == 0
    return SharedTiles(
        rows,
        columns,
        batch,
        reduction,
        tile.rows,
        tile.columns,
        depth,
        tile.height,
        tile.width,
        split,
        flipped,
        numbers,
    )


def _on_tensor_cores(kernel: Kernel, factors: Sequence[Expression], gpu: Gpu) -> str:
    """The numbers in which tensor cores may multiply the factors of a sum, "" if they may not.

    Numbers of 16 bits are what they are in memory, so nothing is lost; float32 is rounded if that is allowed.
    """
    if gpu.capability < _TENSOR_CORES or kernel.accumulator != "float32":
        return ""
    dtypes = {_stored_in(kernel, factor) for factor in factors}
    (dtype,) = dtypes if len(dtypes) == 1 else ("",)
    if dtype in _HALVES:
        return dtype
    exact = {kernel.tensors[read.tensor].dtype for factor in factors for read in reads(factor)} <= {"float32", *_HALVES}
    return "tf32" if gpu.tf32 and exact else ""


def _stored_in(kernel: Kernel, factor: Expression) -> str:
    """The dtype of a factor that is read as it is, or is 0; "" for others."""
    while isinstance(factor, Apply):
        if factor.operation == "cast" and factor.dtype == "float32":
            (factor,) = factor.arguments
        elif factor.operation == "select" and factor.arguments[2] == Literal(0.0, factor.dtype):
            factor = factor.arguments[1]
        else:
            return ""
    return kernel.tensors[factor.tensor].dtype if isinstance(factor, Read) else ""


def _block_reduction(kernel: Kernel) -> BlockReduction | None:
    """How threads share a reduction, if that is worth it."""
    if kernel.combiner not in _SHARED:
        return None
    results = math.prod(analysis.estimate(axis.size) for axis in kernel.domain)
    steps = math.prod(analysis.estimate(axis.size) for axis in kernel.reduction)
    if steps < _LONG or (results >= _FEW and not _reads_rows(kernel)):
        return None
    if _reads_columns(kernel):
        across = min(_WARP, _power_of_two(analysis.estimate(kernel.size(analysis.by_output(kernel)[-1]))))
        return BlockReduction(across, min(BLOCK // across, _power_of_two(steps)))
    along = min(_LARGEST if results < _ALONE else BLOCK, _power_of_two(steps))
    return BlockReduction(max(BLOCK // along, 1), along)


def _reads_rows(kernel: Kernel) -> bool:
    """Whether operands are contiguous along the innermost index of the reduction, and none along that of the output."""
    order, inner = analysis.by_output(kernel), analysis.by_reads(kernel)[-1]
    along = [analysis.stride(kernel, read, inner) for read in kernel.reads()]
    across = [analysis.stride(kernel, read, order[-1]) for read in kernel.reads()] if order else []
    return 1 in along and 1 not in across


def _reads_columns(kernel: Kernel) -> bool:
    """Whether an operand is contiguous along the innermost index of the output."""
    order = analysis.by_output(kernel)
    return bool(order) and 1 in [analysis.stride(kernel, read, order[-1]) for read in kernel.reads()]


def _power_of_two(number: int) -> int:
    """The largest power of two that is not above a number."""
    return 1 << (max(number, 1).bit_length() - 1)
