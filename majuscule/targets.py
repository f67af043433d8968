"""The target that a name means on this machine: its own processor, another one, or a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .compiler.codegen.target import Target


def named_target(name: str) -> Target:
    """The target called "cpu" (this machine), by LLVM's name of a CPU, "cuda" or as "cuda:sm_90".

    "cuda" is the first GPU of this machine, or where there is none what all GPUs since 2020 run.
    Raises `CompilationFailed` for a name that means nothing.
    """
    from .compiler.codegen.target import Target
    from .runtime.host import cpu_features

    return Target.named(_with_gpu_of_this_machine(name), present=cpu_features())


def _with_gpu_of_this_machine(name: str) -> str:
    from .compiler.codegen.gpu.description import known_below
    from .runtime.cuda.devices import devices
    from .runtime.errors import ModuleError

    if name != "cuda":
        return name
    try:
        here = devices()
    except ModuleError:
        return name
    known = known_below(here[0].capability) if here else None
    return name if known is None else f"cuda:sm_{known}"
