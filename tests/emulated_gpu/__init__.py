"""A GPU that is emulated on the CPU: a driver's library of its own, and kernels that a C++ compiler makes.

Everything but the machine code of the kernels is what a GPU would get: their CUDA C, the library that starts
them, the runtime.  So what a kernel means can be tested where there is no GPU.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from majuscule.compiler.codegen.gpu import cuda_c, device_code
from majuscule.compiler.codegen.gpu.description import Gpu
from majuscule.runtime.cuda import devices, driver

HERE = Path(__file__).parent
_SIGNATURE = re.compile(r'extern "C" __global__ void(?: __launch_bounds__\(\d+\))? (\w+)\(([^)]*)\) \{')


def make_driver(folder: Path) -> Path:
    """The driver's library, made in a folder."""
    library = folder / "libcuda.so.1"
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", library, HERE / "driver.c", "-ldl"], check=True)
    return library


@contextmanager
def emulated(library: Path) -> Iterator[ctypes.CDLL]:
    """What runs meanwhile finds an emulated GPU; gives the driver's library, whose variables tests may set."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "LIBRARY", str(library))
        patch.setattr(device_code, "compile_source", compile_for_cpu)
        patch.setattr(device_code, "version", lambda: "emulated")
        driver.driver.cache_clear()
        devices.context.cache_clear()
        try:
            yield ctypes.CDLL(str(library))
        finally:
            driver.driver.cache_clear()
            devices.context.cache_clear()


def compile_for_cpu(text: str, gpu: Gpu) -> device_code.DeviceCode:
    """Kernels in CUDA C as a shared library, in which each has a function that takes the addresses of its arguments."""
    calls = []
    for name, parameters in _SIGNATURE.findall(text):
        types = [parameter.rsplit(" ", 1)[0] for parameter in parameters.split(", ")]
        arguments = ", ".join(f"*({kind}*)given[{k}]" for k, kind in enumerate(types))
        calls.append(f'extern "C" void emulated_{name}(void **given) {{ {name}({arguments}); }}')
        calls.append(f'extern "C" {{ int emulated_count_{name} = {len(types)}; }}')
    assert calls, "there is a kernel"
    text = text.removeprefix(cuda_c.PREAMBLE).replace("__shared__ alignas(64)", "alignas(64) static")
    if "__syncthreads" in text:
        calls.append('extern "C" { int emulated_waits_for_others; }')
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "kernel.cc"), Path(folder, "kernel.so")
        source.write_text("\n".join(['#include "device.h"', text, *calls]))
        options = ["-O1", "-ffp-contract=off", "-shared", "-fPIC", "-w", "-fno-exceptions", f"-I{HERE}"]
        done = subprocess.run(["g++", *options, "-o", library, source], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr + text
        return device_code.DeviceCode(library.read_bytes(), library.read_bytes())
