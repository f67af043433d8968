"""CUDA C becomes code for a GPU, on any machine: through NVRTC, the compiler that CUDA has as a library.

The package nvidia-cuda-nvrtc has it, and so has every CUDA toolkit.  Neither a GPU nor its driver is needed.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.machinery
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import CompilationFailed
from .description import Gpu

_OPTIONS = ("--std=c++17", "--ptxas-options=-v")
_FOLDERS = ("lib", "lib64", "lib/x64", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib")
_SPILLS = re.compile(r"(\d+) bytes spill (?:stores|loads)")
_REGISTERS = re.compile(r"Used (\d+) registers")


@dataclass(frozen=True)
class DeviceCode:
    """Code of one function: `binary` for GPUs of its architecture, `portable` (PTX) for all that came after.

    `report` is what the assembler says of registers and memory.
    """

    binary: bytes
    portable: bytes
    report: str = ""

    @property
    def spilled(self) -> int:
        """Bytes of registers that were put into memory for lack of room."""
        return sum(int(number) for number in _SPILLS.findall(self.report))

    @property
    def registers(self) -> int:
        """Registers of a thread."""
        return max((int(number) for number in _REGISTERS.findall(self.report)), default=0)


def compile_source(text: str, gpu: Gpu) -> DeviceCode:
    """Compile CUDA C; raises `CompilationFailed` if NVRTC is missing or does not know the architecture."""
    library = _nvrtc()
    program = ctypes.c_void_p()
    _checked(library, library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernel.cu", 0, None, None))
    try:
        options = (f"--gpu-architecture={gpu.architecture}", *_OPTIONS)
        arguments = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        failed = library.nvrtcCompileProgram(program, len(options), arguments)
        log = _part(library, program, "ProgramLog").rstrip(b"\0").decode(errors="replace")
        if failed:
            raise CompilationFailed(f"CUDA's compiler failed for {gpu.architecture}: {log.strip()[:2000]}")
        return DeviceCode(_part(library, program, "CUBIN"), _part(library, program, "PTX").rstrip(b"\0"), log)
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def version() -> str:
    """The compiler's version; raises `CompilationFailed` if there is none."""
    library = _nvrtc()
    major, minor = ctypes.c_int(), ctypes.c_int()
    _checked(library, library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    return f"nvrtc {major.value}.{minor.value} {' '.join(_OPTIONS)}"


def _part(library: Any, program: ctypes.c_void_p, name: str) -> bytes:
    size = ctypes.c_size_t()
    _checked(library, getattr(library, f"nvrtcGet{name}Size")(program, ctypes.byref(size)))
    found = ctypes.create_string_buffer(size.value)
    _checked(library, getattr(library, f"nvrtcGet{name}")(program, found))
    return found.raw


def _checked(library: Any, result: int) -> None:
    if result:
        library.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise CompilationFailed(f"CUDA's compiler failed: {library.nvrtcGetErrorString(result).decode()}")


@lru_cache(maxsize=1)
def _nvrtc() -> Any:
    """NVRTC, loaded, with the library of its own functions that it looks for by name."""
    for path in _candidates():
        try:
            for built_in in sorted(path.parent.glob("libnvrtc-builtins.so.*")):
                ctypes.CDLL(str(built_in))
            return ctypes.CDLL(str(path))
        except OSError:
            continue
    name = ctypes.util.find_library("nvrtc")
    if name is not None:
        return ctypes.CDLL(name)
    raise CompilationFailed(
        "CUDA's compiler NVRTC is needed for a GPU, and none was found; install it with: pip install 'majuscule[cuda]'"
    )


def _candidates() -> Iterator[Path]:
    """Where NVRTC may be: Python's packages first, then the toolkit's folder."""
    if sys.platform != "linux":
        return
    found = importlib.machinery.PathFinder.find_spec("nvidia")
    for folder in (found.submodule_search_locations or ()) if found is not None else ():
        yield from sorted(Path(folder).glob("cu*/lib/libnvrtc.so.*"))
        yield from sorted(Path(folder).glob("cuda_nvrtc/lib/libnvrtc.so.*"))
    for root in (os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"):
        for part in _FOLDERS if root else ():
            yield from sorted(Path(str(root), part).glob("libnvrtc.so.*"))
