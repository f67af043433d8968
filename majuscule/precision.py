"""The numbers that a program computes in, where its user prefers speed or memory to exactness."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

from .targets import named_target

if TYPE_CHECKING:
    from .compiler.codegen.target import Target
    from .compiler.graph import Graph

Precision = Literal["float32", "tf32", "float16", "bfloat16"]
"""What float32 tensors become: themselves; factors of products rounded to tf32; tensors in 16 bits."""

OF_FLOAT32 = {"float32": 1e-4, "tf32": 1e-2, "float16": 2e-2, "bfloat16": 1e-1}
"""What rounding may cost, in parts of the largest value of an output of float32."""


def precision_called(name: str) -> Precision:
    """The precision of a name; raises `CompilationFailed` if there is none."""
    from .compiler.codegen.errors import CompilationFailed

    found: Precision | None = next((precision for precision in get_args(Precision) if precision == name), None)
    if found is None:
        raise CompilationFailed(f"there is no precision called {name!r}: there are {', '.join(get_args(Precision))}")
    return found


def lowered_to(graph: Graph, target: str, precision: Precision, *, fold_weights: bool) -> tuple[Graph, Target]:
    """An optimised graph and its target as they are for a precision; raises `CompilationFailed`.

    `fold_weights` says that weights do not change between calls.
    """
    from .compiler.codegen.errors import CompilationFailed
    from .compiler.dependence import weight_only
    from .compiler.passes.narrow_floats import narrow_floats

    found = named_target(target)
    precision = precision_called(precision)
    if precision == "tf32":
        if found.gpu is None:
            raise CompilationFailed("tf32 is for GPUs, which have tensor cores for it; this target is a CPU")
        return graph, replace(found, gpu=replace(found.gpu, tf32=True))
    if precision == "float32":
        return graph, found
    if not fold_weights:
        raise CompilationFailed(f"programs are not trained in {precision}; on a GPU, tf32 is for training, too")
    return narrow_floats(graph, precision, weight_only(graph)), found
