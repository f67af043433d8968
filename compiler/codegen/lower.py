"""A kernel and its road become a function: its parameters, and the loops that its road asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tvm import tirx
from tvm.ir import PrimType
from tvm.tirx import PrimFunc

from ...dsl.integers import Integer, is_nonnegative
from .correlation import Correlation
from .correlation_nest import CorrelationNest
from .expressions import Lowering
from .kernel import Kernel
from .nest import Nest
from .roads.scatter import scattered
from .scatter_nest import ScatterNest
from .schedule import Road, Schedule
from .statements import Block, array_at, integer, pointer
from .storage import memory_dtype
from .streaming import Stream
from .winograd import WeightTransform, Winograd
from .winograd_nest import WeightNest, WinogradNest


class Signature(NamedTuple):
    """What a kernel's function works on: the parameters in their order, and what the loops see of them."""

    parameters: list[tirx.Var]
    output: tirx.Var
    scratch: tirx.Var | None
    lowering: Lowering


def signature(kernel: Kernel, block: Block) -> Signature:
    """Addresses (operands, output, scratch memory), sizes, indices of loops around the kernel, and the status."""
    parameters = []
    arrays = {}
    for tensor, stored in kernel.tensors.items():
        address = pointer(f"{tensor}_address", memory_dtype(stored.dtype))
        parameters.append(address)
        arrays[tensor] = array_at(block, address, memory_dtype(stored.dtype), tensor)
    result = pointer("output_address", memory_dtype(kernel.output.dtype))
    output = array_at(block, result, memory_dtype(kernel.output.dtype), "output")
    memory = pointer("scratch_address", "float32")
    scratch = array_at(block, memory, "float32", "scratch") if kernel.scratch.terms else None
    symbols, free = kernel.free()
    sizes = {symbol: tirx.Var(symbol.name, "int64") for symbol in symbols}
    outer = {index: tirx.Var(index, "int64") for index in free}
    flags = pointer("status_address", "int32")
    lowering = Lowering(kernel, arrays, sizes, array_at(block, flags, "int32", "status"))
    lowering.indices.update(outer)
    parameters = [*parameters, result, *([] if scratch is None else [memory]), *sizes.values(), *outer.values(), flags]
    return Signature(parameters, output, scratch, lowering)


def lower(kernel: Kernel, road: Road, name: str) -> tuple[PrimFunc, list[str]]:
    """A function of what `signature` says, and its checks."""
    body = Block()
    parameters, output, scratch, lowering = signature(kernel, body)
    if isinstance(kernel.algorithm, Winograd):
        assert scratch is not None
        WinogradNest(kernel, kernel.algorithm, lowering, output, scratch).emit(body)
    elif isinstance(kernel.algorithm, Correlation):
        assert scratch is not None
        CorrelationNest(kernel, kernel.algorithm, lowering, output, scratch).emit(body)
    elif isinstance(kernel.algorithm, WeightTransform):
        WeightNest(kernel, kernel.algorithm, lowering, output).emit(body)
    elif road.name == "scatter":
        found = scattered(kernel)
        assert found is not None
        ScatterNest(kernel, found, road.variants[0][1], lowering, output).emit(body)
    else:
        _variants(kernel, road.variants, lowering, output, body)
    function = PrimFunc(parameters, body.statement(), ret_type=PrimType("int32"))
    return function.with_attr("global_symbol", name), lowering.checks


def _variants(
    kernel: Kernel,
    variants: Sequence[tuple[Integer | None, Schedule]],
    lowering: Lowering,
    output: tirx.Var,
    block: Block,
) -> None:
    """The loops of the first variant whose condition holds."""
    (condition, schedule), *others = variants
    if condition is not None and is_nonnegative(condition):
        condition = None  # every size that a call may have is large enough
    then = block if condition is None else block.child()
    emitter = Stream if schedule.stretch else Nest
    emitter(kernel, schedule, lowering, output).emit(then)
    if condition is not None:
        otherwise = block.child()
        _variants(kernel, others, lowering, output, otherwise)
        block.branch(tirx.GE(lowering.size(condition), integer(0)), then, otherwise)
