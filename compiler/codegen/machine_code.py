"""TensorIR functions become machine code: TVM's passes and LLVM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .target import Target


def make_module(functions: Sequence[Any]) -> Any:
    """Functions as one module of TensorIR."""
    import tvm

    return tvm.IRModule({str(function.attrs["global_symbol"]): function for function in functions})


def machine_code(module: Any, target: Target, *, computes: bool = False) -> Any:
    """A module of TensorIR as a module of machine code.

    Functions that are exported do little but call kernels, unless it is said that one `computes`:
    LLVM's optimisations would take four times as long as everything else that is done to them, and
    save no time of a call.
    """
    import tvm
    from tvm import tirx
    from tvm.tirx.build import codegen_build

    passes = tirx.transform
    exported = any(f.params and tirx.is_buffer_var(f.params[0]) for f in module.functions.values())
    described = target.tvm_target(optimised=computes or not exported)
    steps = [passes.BindTarget(described.with_host(described)), passes.AnnotateEntryFunc()]
    if exported:
        steps += [passes.SplitHostDevice(), passes.MakePackedAPI()]
    steps += [passes.LowerTVMBuiltin(), passes.LowerIntrin()]
    lowered = tvm.ir.transform.Sequential(steps)(module)
    return codegen_build(lowered, described)
