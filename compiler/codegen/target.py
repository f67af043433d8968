"""The machine that code is generated for, as a value: instruction set, vector width, cores.

`Target.host()` describes the machine at hand, `Target.named("x86-64-v3")` another one.
LLVM's names of CPUs and of their features are used throughout, so everything it can compile
for has a target; vector width and registers follow from the features of the CPU.
"""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Callable, Set
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from .cache import fingerprint, toolchain, user_cache
from .errors import CompilationFailed
from .gpu.description import Gpu, names_gpu

_X86 = "x86_64-unknown-linux-gnu"
_ARM = "aarch64-unknown-linux-gnu"

# The features of a CPU whose instructions LLVM may choose for loops, arithmetic and stores.  The
# others say how fast something is, or add instructions that only intrinsics reach (encryption,
# tiles, system calls), so code runs without them.
_INSTRUCTIONS = {
    "x86_64": re.compile(
        r"s?sse.*|avx.*|fma4?|f16c|bmi2?|lzcnt|popcnt|movbe|gfni|cmov|cx16|sahf|prfchw|tbm|xop"
        r"|egpr|ndd|nf|ccmp|ppx|push2pop2|zu"
    ),
    "aarch64": re.compile(
        r"neon|fullfp16|fp16fml|bf16|i8mm|dotprod|rdm|complxnum|jsconv|fptoint|sve.*|sme.*"
        r"|lse2?|rcpc.*|flagm|altnzcv"
    ),
}
_CPU = Path("/proc/cpuinfo")
_CHANGING = re.compile(r"cpu MHz|bogomips|processor|apicid|initial apicid|core id|physical id", re.IGNORECASE)
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True, slots=True)
class Target:
    """A CPU, and a `gpu` if kernels run on one.

    `vector_bits` is the widest vector that pays, `registers` how many there are.  `features` are the extensions
    that the code may use; `absent` those that a CPU of this name has, but not the machine at hand (virtual
    machines hide some).  `native` says that it is the machine at hand, not another of its name.
    """

    triple: str
    cpu: str
    features: tuple[str, ...]
    absent: tuple[str, ...]
    vector_bits: int
    registers: int
    cores: int
    native: bool = False
    gpu: Gpu | None = None

    @staticmethod
    def host(present: Set[str] | None = None) -> Target:
        """The machine that this runs on.

        `present` are the extensions that it has, by LLVM's names without punctuation; None
        means all that its processor is known for.
        """

        def ask() -> Target:
            llvm = _llvm()
            triple, cpu = str(llvm.llvm_get_system_triple()), str(llvm.llvm_get_system_cpu())
            return replace(_target(triple, cpu, 1, present), native=True)

        known = None if present is None else sorted(present)
        return replace(_remembered(("host", cpu_identity(), known), ask), cores=available_cores())

    @staticmethod
    def named(name: str, cores: int | None = None, present: Set[str] | None = None) -> Target:
        """The target called "cpu" (the host), by LLVM's name of a CPU, or "cuda:sm_90"; `CompilationFailed` if unknown.

        `present` is for the host, see there.  With a GPU, any CPU of the host's architecture will do.
        """
        if names_gpu(name):
            plain = "generic" if platform.machine() in ("arm64", "aarch64") else "x86-64"
            return replace(Target.named(plain, cores), gpu=Gpu.named(name))
        if name in ("cpu", "host", "native"):
            return Target.host(present)

        def ask() -> Target:
            for triple in (_X86, _ARM):
                if name in _cpu_names(triple):
                    return _target(triple, name, 1)
            raise CompilationFailed(
                f"there is no target called {name!r}: targets are cpu for this machine, another CPU by LLVM's name "
                "for it, as x86-64-v3, x86-64-v4, znver4 or neoverse-n1, and GPUs, cuda or as cuda:sm_90"
            )

        return replace(_remembered(("named", name), ask), cores=available_cores() if cores is None else cores)

    @property
    def architecture(self) -> str:
        """The first part of the triple: x86_64, aarch64."""
        return self.triple.split("-", 1)[0]

    @property
    def multiplies_and_adds(self) -> bool:
        """Whether one instruction multiplies and adds."""
        return self.architecture != "x86_64" or "fma" in self.features

    @property
    def masks_lanes(self) -> bool:
        """Whether loads and stores of some lanes of a vector cost no more than those of all."""
        return "avx512vl" in self.features

    def lanes(self, bits: int) -> int:
        """How many elements of the given width fill a vector."""
        return max(self.vector_bits // bits, 1)

    def tvm_target(self, *, optimised: bool = True) -> Any:
        """The same machine as TVM describes it, and whether LLVM is to optimise code for it."""
        return _tvm_target(self.triple, self.cpu, self.absent, optimised)

    def compilers(self) -> str | None:
        """What makes the code: what the same made before need not be made again.  None if that is not known."""
        tools = toolchain()
        if tools is None or self.gpu is None:
            return tools
        from .gpu import device_code

        return f"{tools} {device_code.version()}"

    def describe(self) -> dict[str, Any]:
        """For the manifest: what a machine must have to run the code."""
        gpu = {} if self.gpu is None else {"kind": "cuda", "gpu": {"capability": self.gpu.capability}}
        return {
            **gpu,
            "architecture": self.architecture,
            "triple": self.triple,
            "cpu": self.cpu,
            "features": list(self.features),
            "vector_bits": self.vector_bits,
        }


def available_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_identity() -> str:
    """What tells one model of CPU from another: its names, numbers and features, not its clock at the moment."""
    try:
        first = _CPU.read_text(errors="replace").split("\n\n", 1)[0]
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return "\n".join(line for line in first.splitlines() if not _CHANGING.match(line))


def _remembered(question: object, ask: Callable[[], Target]) -> Target:
    """The answer of LLVM to a question, from the cache if it was asked before: importing TVM takes long."""
    cache, tools = user_cache(), toolchain()
    if cache is None or tools is None:
        return ask()
    key = fingerprint("target", tools, question)
    stored = cache.get(key)
    if stored is not None:
        values: Any = {name: tuple(v) if isinstance(v, list) else v for name, v in json.loads(stored).items()}
        return Target(**values)
    found = ask()
    cache.put(key, json.dumps(asdict(found)).encode())
    return found


def _llvm() -> Any:
    """TVM's view of LLVM."""
    from . import tvm_loading  # noqa: F401 (comes first)

    return import_module("tvm.target.codegen")


def _tvm_target(triple: str, cpu: str | None = None, absent: tuple[str, ...] = (), optimised: bool = True) -> Any:
    import tvm

    description: dict[str, Any] = {"kind": "llvm", "mtriple": triple}
    if not optimised:
        description["opt-level"] = 0
    if cpu:
        description["mcpu"] = cpu
    if absent:
        description["mattr"] = [f"-{feature}" for feature in absent]
    return tvm.target.Target(description)


def _cpu_names(triple: str) -> set[str]:
    return {str(name) for name in _llvm().llvm_get_cpu_archlist(_tvm_target(triple))}


def _target(triple: str, cpu: str, cores: int, present: Set[str] | None = None) -> Target:
    machine = triple.split("-", 1)[0]
    instructions = _INSTRUCTIONS.get(_MACHINES.get(machine, machine))
    if instructions is None:
        raise CompilationFailed(f"no road to {platform.machine()} ({triple}): x86-64 and AArch64 are supported")
    absent: tuple[str, ...] = ()
    if present is not None:
        known = _features(triple, cpu, instructions)
        absent = tuple(sorted(feature for feature in known if _plain(feature) not in present))
    found = _features(triple, cpu, instructions, absent)
    wide = "avx512f" in found
    bits = 512 if wide else 256 if "avx2" in found else 128
    registers = 32 if wide or "neon" in found else 16
    return Target(triple, cpu, tuple(sorted(found)), absent, bits, registers, cores)


def _features(triple: str, cpu: str, instructions: re.Pattern[str], absent: tuple[str, ...] = ()) -> set[str]:
    """The extensions that LLVM may use for a CPU, those that `absent` ones bring along left out."""
    names = map(str, _llvm().llvm_get_cpu_features(_tvm_target(triple, cpu, absent)))
    return {name for name in names if instructions.fullmatch(name)}


def _plain(feature: str) -> str:
    return feature.translate({ord(c): None for c in "_.-"})
