"""What this machine is, and whether it can run a module's machine code."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from .errors import ForeignCPU, ForeignPlatform

_CPU = Path("/proc/cpuinfo")
_MACHINES = {"amd64": "x86_64", "x64": "x86_64", "arm64": "aarch64"}

# Where Linux and LLVM call one feature by different names: Linux's name -> LLVM's.
_LLVM_NAMES = {
    "pni": "sse3", "bmi1": "bmi", "abm": "lzcnt", "shani": "sha", "rdrand": "rdrnd", "pclmulqdq": "pclmul",
    "3dnowprefetch": "prfchw", "lahflm": "sahf", "asimd": "neon", "asimddp": "dotprod", "asimdhp": "fullfp16",
    "asimdfhm": "fp16fml", "asimdrdm": "rdm", "fcma": "complxnum", "jscvt": "jsconv", "frint": "fptoint",
    "atomics": "lse", "uscat": "lse2", "lrcpc": "rcpc", "ilrcpc": "rcpcimmo", "flagm2": "altnzcv",
}  # fmt: skip
_APX = frozenset({"egpr", "ndd", "nf", "ccmp", "ppx", "push2pop2", "zu"})  # LLVM's parts of what Linux calls apx


def system() -> str:
    """The operating system: "linux", "darwin", "windows"."""
    return platform.system().lower()


def machine() -> str:
    """The architecture of the processor: "x86_64", "aarch64"."""
    name = platform.machine().lower()
    return _MACHINES.get(name, name)


def processor() -> str:
    """What the processor is called, such as "AMD EPYC 9R14"."""
    try:
        lines = _CPU.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or machine()


@lru_cache(maxsize=1)
def cpu_features() -> frozenset[str] | None:
    """The processor's extensions by LLVM's names without punctuation; None where the system hides them."""
    try:
        lines = _CPU.read_text(errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip().lower() in ("flags", "features"):
            plain = {_plain(name) for name in value.split()}
            renamed = {_LLVM_NAMES[name] for name in plain if name in _LLVM_NAMES}
            return frozenset(plain | renamed | (_APX if "apx" in plain else frozenset()))
    return None


def names_of_feature(feature: str) -> list[str]:
    """What Linux may call an extension that LLVM calls so, without punctuation."""
    plain = _plain(feature)
    return [
        plain,
        *(name for name, known in _LLVM_NAMES.items() if known == plain),
        *(["apx"] if plain in _APX else []),
    ]


def _plain(feature: str) -> str:
    return feature.lower().lstrip("+").translate({ord(c): None for c in "_.-"})


def target_system(target: Mapping[str, Any]) -> str | None:
    """The operating system that a target is for, read off its triple; None if it does not say."""
    triple = str(target.get("triple", ""))
    return next((name for name in ("linux", "darwin", "windows") if name in triple), None)


def target_name(target: Mapping[str, Any]) -> str:
    """What a module was compiled for, as people call it: "x86_64 znver4", "cuda:sm_90"."""
    if target.get("kind") == "cuda":
        return f"cuda:sm_{target['gpu']['capability']}"
    return f"{target.get('architecture', '')} {target.get('cpu', '')}".strip()


def require_host(target: Mapping[str, Any], name: str) -> None:
    """Refuse a module that was compiled for something else than this machine.

    `target` is the manifest's: `kind` ("cpu" if absent; of "cuda", only the CPU's part is looked at),
    LLVM's `triple`, `architecture`, and `features`, the extensions, in LLVM's names, that the code may use.  Raises
    `ForeignPlatform` or `ForeignCPU`.
    """
    kind = target.get("kind", "cpu")
    if kind not in ("cpu", "cuda"):
        raise ForeignPlatform(
            f"{name} was compiled for {kind}; this version of Majuscule runs modules for cpu and cuda"
        )
    for what, needed, here in (
        ("operating system", target_system(target), system()),
        ("processor architecture", target.get("architecture"), machine()),
    ):
        if needed is not None and _MACHINES.get(needed, needed) != here:
            raise ForeignPlatform(
                f"{name} was compiled for the {what} {needed}, but this machine has {here}; "
                "compile the program again on this machine"
            )
    features = cpu_features()
    if features is None:
        return
    missing = [feature for feature in target.get("features", ()) if _plain(feature) not in features]
    if missing:
        raise ForeignCPU(
            f"{name} uses instructions that this processor does not have: {', '.join(missing)}; "
            "compile the program again on this machine, or for a simpler processor"
        )
