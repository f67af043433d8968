"""Object files of kernels: from the cache or compiled, on several cores where that pays.

What is compiled is a value (`Source`) that tells everything about its code, so that it can
be looked up by its content and sent to another process.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cache import Cache, fingerprint
from .gpu.description import Gpu
from .kernel import Kernel
from .machine_code import machine_code, make_module
from .schedule import Road
from .target import Target


@dataclass(frozen=True)
class KernelSource:
    """A kernel, in canonical form, and the road that it takes."""

    kernel: Kernel
    road: Road

    @property
    def name(self) -> str:
        """The function's name: the same for the same kernel in every program."""
        return f"majuscule_kernel_{fingerprint(self.kernel, self.road)[:12]}"

    def work(self) -> int:
        """A rough measure of how long it takes to compile: the size of the unrolled code."""
        if not self.road.variants:
            return 1 << 10
        return sum(math.prod(schedule.tiles.values()) for _, schedule in self.road.variants)

    def lower(self, gpu: Gpu | None = None) -> tuple[Any, list[str]]:
        """The function in TensorIR, for the CPU or a GPU, and the checks that it makes (see `lower`)."""
        if gpu is not None:
            from .gpu import lowering

            return lowering.lower(self.kernel, self.road, self.name)
        from .lower import lower

        return lower(self.kernel, self.road, self.name)


@dataclass(frozen=True)
class RandomSource:
    """The function that fills a tensor of a dtype with random numbers."""

    dtype: str

    @property
    def name(self) -> str:
        """The function's name."""
        return f"majuscule_random_{self.dtype}"

    def work(self) -> int:
        """As for kernels."""
        return 1

    def lower(self, gpu: Gpu | None = None) -> tuple[Any, list[str]]:
        """As for kernels; there is nothing to check."""
        if gpu is not None:
            from .gpu import lowering

            return lowering.lower_random(self.dtype, self.name), []
        from .roads import random

        return random.lower(self.dtype, self.name), []


Source = KernelSource | RandomSource


@dataclass(frozen=True, slots=True)
class Object:
    """An object file with one function, and the checks that the function makes.

    For a GPU, it is code for its architecture, and `portable` is code for later ones.
    """

    code: bytes
    checks: tuple[str, ...] = ()
    portable: bytes = b""


def compile_source(source: Source, target: Target) -> Object:
    """Compile one function here and now."""
    function, checks = source.lower(target.gpu)
    if target.gpu is not None:
        from .gpu import cuda_c, device_code

        code = device_code.compile_source(cuda_c.PREAMBLE + cuda_c.source(function, target.gpu), target.gpu)
        return Object(code.binary, tuple(checks), code.portable)
    return Object(object_code(make_module([function]), target), tuple(checks))


def object_code(module: Any, target: Target) -> bytes:
    """A module of TensorIR as an object file."""
    with tempfile.TemporaryDirectory(prefix="majuscule-") as folder:
        path = Path(folder, "module.o")
        machine_code(module, target).write_to_file(str(path), "o")
        return path.read_bytes()


def compile_sources(sources: Mapping[str, Source], target: Target, cache: Cache | None) -> dict[str, Object]:
    """The objects of all sources, by name, in the order given."""
    tools = target.compilers()
    if cache is None or tools is None:
        made = _compile_all(list(sources.values()), target)
        return {name: made[name] for name in sources}
    # Neither the number of cores nor what the machine is called changes the code of a source.
    keys = {
        name: fingerprint("object", tools, target.triple, target.cpu, target.absent, target.gpu, source)
        for name, source in sources.items()
    }
    found = {name: _decode(cache.get(key)) for name, key in keys.items()}
    made = _compile_all([sources[name] for name, known in found.items() if known is None], target)
    for name, object_ in made.items():
        cache.put(keys[name], _encode(object_))
    return {name: known or made[name] for name, known in found.items()}


def _compile_all(sources: Sequence[Source], target: Target) -> dict[str, Object]:
    if target.gpu is not None:
        return {source.name: compile_source(source, target) for source in sources}
    from .workers import compile_together

    return compile_together(sorted(sources, key=lambda source: -source.work()), target)


def _encode(found: Object) -> bytes:
    about = {"checks": found.checks, "portable": len(found.portable)}
    return json.dumps(about).encode() + b"\n" + found.portable + found.code


def _decode(stored: bytes | None) -> Object | None:
    if stored is None:
        return None
    text, _, code = stored.partition(b"\n")
    about = json.loads(text)
    return Object(code[about["portable"] :], tuple(about["checks"]), code[: about["portable"]])
