"""What a machine can do: its caches, its peak arithmetic, its memory bandwidth.

`of(target)` looks everything up and never measures, so that a program compiles to the same
code for the same target everywhere; `host()` is the machine at hand, whose peak and
bandwidth are measured (see `measuring`) when somebody first asks for them, for the sake of
reports.  Only looked-up values may steer the compiler.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from .cache import fingerprint, user_cache
from .target import Target, cpu_identity

_CACHES = Path("/sys/devices/system/cpu")
_KILO, _MEGA = 1 << 10, 1 << 20


@dataclass(frozen=True, slots=True)
class Speed:
    """FLOP/s of one core in float32 multiply-adds, two for each; bytes/s that all cores together read."""

    peak_flops_per_core: float
    bandwidth: float


@dataclass(frozen=True)
class Machine:
    """A CPU with `cores` cores.

    `l1_bytes` (data) and `l2_bytes` are one core's own; of a cache that several cores share,
    a core's share.  `l3_bytes` is all of the last cache that a core reaches, which it shares
    with others; 0 if there is none.  `fma_ports` is how many float32 multiply-adds of the
    target's vector width a core starts in a cycle; with them `typical` tells the clock.

    `unit_share` is the part of the target's vectors that one of its units works on at once: an
    operation on so much of a vector, or less, takes that part of the time.
    `l1_ways` are the lines of a set of the first cache.  `…_bytes_per_cycle` is what each core
    reads from the second and the third cache and from memory in a cycle while all cores do,
    `launch_seconds` the time until all cores work at something and until they are done,
    `call_seconds` that of a kernel on one core until it computes.
    """

    cores: int
    l1_bytes: int
    l2_bytes: int
    l3_bytes: int
    fma_ports: int
    typical: Speed
    l1_ways: int
    measured_as: Target | None = None
    unit_share: float = 1.0
    l2_bytes_per_cycle: float = 32.0
    l3_bytes_per_cycle: float = 12.0
    memory_bytes_per_cycle: float = 6.0
    launch_seconds: float = 2.5e-6
    call_seconds: float = 0.3e-6

    @property
    def shared_l3_bytes(self) -> int:
        """What a program may take for its own of the last cache, the second if there is no third."""
        return max(self.l3_bytes // 2, self.l2_bytes)

    def seconds(self, cycles: float, lanes: int) -> float:
        """The time of so many cycles, by the typical peak with vectors of so many float32 numbers."""
        return cycles * 2.0 * lanes * self.fma_ports / self.typical.peak_flops_per_core

    def share(self, part: float) -> float:
        """The time of an operation on a part of a vector, against that of one on a whole vector."""
        return max(part, self.unit_share)

    @property
    def speed(self) -> Speed:
        """Peak and bandwidth: measured where the machine is the one at hand, else typical ones."""
        return self.typical if self.measured_as is None else measured(self.measured_as)

    @property
    def peak_flops_per_core(self) -> float:
        """The most FLOP/s in float32 of one core, a multiply-add being two."""
        return self.speed.peak_flops_per_core

    @property
    def bandwidth(self) -> float:
        """Bytes/s that all cores together read from memory."""
        return self.speed.bandwidth


@lru_cache(maxsize=64)
def of(target: Target) -> Machine:
    """The machine that a target stands for, as far as it can be looked up.

    The caches of the machine at hand are what the system says of them, those of another are
    typical of CPUs of its name.
    """
    design = _design(target)
    l1, l2, l3 = (_caches() if target.native else None) or (design.l1, design.l2, design.l3)
    ports = design.ports(target.vector_bits)
    peak = 2.0 * target.lanes(32) * ports * design.gigahertz * 1e9
    # One socket rarely reads less than 8 GB/s a core, and no fewer than two channels' worth in all.
    speed = Speed(peak, max(8e9 * target.cores, 20e9))
    # Where the set is chosen by the place in a page of 4 KB, as on x86-64, ways follow from the size.
    ways = l1 // (4 * _KILO) if target.architecture == "x86_64" else 4
    share = min(design.bits / target.vector_bits, 1.0)
    return Machine(target.cores, l1, l2, l3, ports, speed, ways, unit_share=share)


def host(target: Target | None = None) -> Machine:
    """The machine at hand, with what is measured when it is first asked for.

    `target` says which instructions it may use, all that its CPU is known for if None.
    """
    target = target or Target.host()
    return replace(of(target), measured_as=target)


# -- measured ----------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def measured(target: Target) -> Speed:
    """Peak and bandwidth of the machine at hand: from the user's cache, else measured in a second."""
    cache = user_cache()
    key = fingerprint("speed", target, cpu_identity(), metadata.version("majuscule"))
    stored = None if cache is None else cache.get(key)
    speed = None if stored is None else _read_speed(stored)
    if speed is None:
        from . import tvm_loading  # noqa: F401 (comes first)
        from .measuring import measure

        speed = measure(target, of(target).l3_bytes)
        if cache is not None:
            cache.put(key, json.dumps([speed.peak_flops_per_core, speed.bandwidth]).encode())
    return speed


def _read_speed(stored: bytes) -> Speed | None:
    """Two positive numbers in JSON; None if there is something else."""
    try:
        peak, bandwidth = json.loads(stored)
        speed = Speed(float(peak), float(bandwidth))
    except (ValueError, TypeError):
        return None
    return speed if all(math.isfinite(x) and x > 0 for x in (speed.peak_flops_per_core, speed.bandwidth)) else None


# -- caches of the machine at hand ----------------------------------------------------------------


@lru_cache(maxsize=1)
def _caches() -> tuple[int, int, int] | None:
    """Bytes of the first, second and third cache as Linux tells them; None where it does not.

    Hardware threads of one core count as one core.
    """
    try:
        # The number of the core does not matter where all are alike; otherwise the first is one of the fast.
        folders = sorted((_CACHES / "cpu0" / "cache").glob("index*"))
        threads = _count((_CACHES / "cpu0" / "topology" / "thread_siblings_list").read_text())
        found = {1: 0, 2: 0, 3: 0}
        for folder in folders:
            level = int((folder / "level").read_text())
            if (folder / "type").read_text().strip() == "Instruction" or level not in found:
                continue
            sharers = max(_count((folder / "shared_cpu_list").read_text()) // threads, 1) if level < 3 else 1
            found[level] = _bytes((folder / "size").read_text()) // sharers
    except (OSError, ValueError):
        return None
    return (found[1], found[2], found[3]) if found[1] and found[2] else None


def _count(ranges: str) -> int:
    """How many numbers a list such as `0-3,8` has."""
    total = 0
    for part in ranges.strip().split(","):
        low, _, high = part.partition("-")
        total += int(high or low) - int(low) + 1
    return total


def _bytes(size: str) -> int:
    """A size such as `48K`."""
    number = size.strip()
    unit = {"K": _KILO, "M": _MEGA, "G": _MEGA * _KILO}.get(number[-1:].upper())
    return int(number) if unit is None else int(number[:-1]) * unit


# -- typical values --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Design:
    """Caches in bytes as in `Machine`; `pipes` that start a multiply-add of up to `bits` bits per cycle."""

    l1: int
    l2: int
    l3: int
    pipes: int
    bits: int
    gigahertz: float

    def ports(self, vector_bits: int) -> int:
        return max(self.pipes * min(self.bits, vector_bits) // vector_bits, 1)


def _sizes(l1: int, l2: int, l3: int) -> tuple[int, int, int]:
    """From kilobytes."""
    return l1 * _KILO, l2 * _KILO, l3 * _KILO


# From the makers' optimisation manuals and product briefs: Intel 64 and IA-32 Architectures
# Optimization Reference Manual (248966), AMD Software Optimization Guides for families 17h,
# 19h and 1Ah (56305, 56665, 57647, 58455), Arm's Software Optimization Guide of each core.
# Clocks are those of a common model with all cores busy.  Third caches are those of a common
# model; where each core brings a slice, of a part with sixteen.
_HASWELL = _Design(*_sizes(32, 256, 8192), pipes=2, bits=256, gigahertz=3.4)
_SKYLAKE_SERVER = _Design(*_sizes(32, 1024, 22528), pipes=2, bits=512, gigahertz=2.4)
_ICE_LAKE = _Design(*_sizes(48, 1280, 24576), pipes=2, bits=512, gigahertz=2.6)
_SAPPHIRE_RAPIDS = _Design(*_sizes(48, 2048, 30720), pipes=2, bits=512, gigahertz=2.6)
_ALDER_LAKE = _Design(*_sizes(48, 1280, 30720), pipes=2, bits=256, gigahertz=4.5)
_BEFORE_FMA = _Design(*_sizes(32, 256, 8192), pipes=1, bits=256, gigahertz=3.0)
_NEOVERSE_N1 = _Design(*_sizes(64, 1024, 32768), pipes=2, bits=128, gigahertz=2.6)
_NEOVERSE_V1 = _Design(*_sizes(64, 1024, 32768), pipes=4, bits=128, gigahertz=2.6)
_SMALL_ARM = _Design(*_sizes(32, 256, 0), pipes=1, bits=128, gigahertz=1.5)
_DESIGNS = {
    "x86-64-v4": _SKYLAKE_SERVER,
    "skylake-avx512": _SKYLAKE_SERVER,
    "cascadelake": _SKYLAKE_SERVER,
    "cooperlake": _SKYLAKE_SERVER,
    "icelake-server": _ICE_LAKE,
    "sapphirerapids": _SAPPHIRE_RAPIDS,
    "emeraldrapids": _SAPPHIRE_RAPIDS,
    "graniterapids": _SAPPHIRE_RAPIDS,
    "alderlake": _ALDER_LAKE,
    "raptorlake": _ALDER_LAKE,
    "x86-64-v3": _HASWELL,
    "haswell": _HASWELL,
    "broadwell": _HASWELL,
    "skylake": _HASWELL,
    "znver1": _Design(*_sizes(32, 512, 8192), pipes=2, bits=128, gigahertz=3.2),
    "znver2": _Design(*_sizes(32, 512, 16384), pipes=2, bits=256, gigahertz=3.3),
    "znver3": _Design(*_sizes(32, 512, 32768), pipes=2, bits=256, gigahertz=3.4),
    "znver4": _Design(*_sizes(32, 1024, 32768), pipes=2, bits=256, gigahertz=3.7),
    "znver5": _Design(*_sizes(48, 1024, 32768), pipes=2, bits=512, gigahertz=3.8),
    "neoverse-n1": _NEOVERSE_N1,
    "neoverse-n2": _NEOVERSE_N1,
    "neoverse-v1": _NEOVERSE_V1,
    "neoverse-v2": _Design(*_sizes(64, 2048, 36864), pipes=4, bits=128, gigahertz=2.8),
    "grace": _Design(*_sizes(64, 1024, 116736), pipes=4, bits=128, gigahertz=3.1),
    "cortex-a53": _SMALL_ARM,
    "cortex-a55": _SMALL_ARM,
    "cortex-a76": _Design(*_sizes(64, 512, 2048), pipes=2, bits=128, gigahertz=2.4),
}


def _design(target: Target) -> _Design:
    """A CPU's own entry, else that of one with the same vectors."""
    if target.architecture != "x86_64":
        return _DESIGNS.get(target.cpu, _NEOVERSE_N1)
    alike = {512: _SKYLAKE_SERVER, 256: _HASWELL}.get(target.vector_bits, _BEFORE_FMA)
    return _DESIGNS.get(target.cpu, alike)
