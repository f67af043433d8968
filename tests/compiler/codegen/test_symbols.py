"""What compiled code calls: TVM's runtime, libc and libm, and nothing else."""

from __future__ import annotations

import ctypes
import ctypes.util
import platform
import subprocess
from pathlib import Path

import pytest
from levels import sparse

from majuscule.api import check, compile_artifact
from majuscule.runtime import host

PROGRAM = """
Given x[16, 16, 8], h[8]:float16, t[8]:bfloat16, k[8]:int64
C = Conv(x, Φ1, filters 32, width 3, pad 1)
a[b,x,y,j] = exp(C[b,x,y,j]) + log(abs(C[b,x,y,j])) + tanh(C[b,x,y,j]) + erf(C[b,x,y,j]) + sigmoid(C[b,x,y,j])
c[b,x,y,j] = sin(C[b,x,y,j]) + cos(C[b,x,y,j]) + C[b,x,y,j]^1.7 + sqrt(abs(C[b,x,y,j]))
d[b,x,y,j] = floor(C[b,x,y,j]) + ceil(C[b,x,y,j]) + round(C[b,x,y,j])
e[b,x,y,j] = softmax[j](max[Δx in 0..2](C[b,2x+Δx,y,j]))
f[b,i] = float16(exp(h[b,i]) + 1)
g[b,i] = bfloat16(t[b,i] * 2)
m[b] = argmax[i](h[b,i])
n[b,i] = k[b,i] // 3 + k[b,i] % 5
o[b,i] = standard_normal() + 0*h[b,i]
output a, c, d, e, f, g, m, n, o
"""
"""Every scalar function, several dtypes, and Winograd's algorithm."""

ALLOWED = ("TVM", "_ITM_", "__gmon_start__", "__cxa_finalize")
"""TVM's runtime, and what every shared library of this system refers to."""


@pytest.mark.parametrize("target", sparse(["cpu", "x86-64", "x86-64-v3"], 3) if host.machine() == "x86_64" else ["cpu"])
@pytest.mark.skipif(platform.system() != "Linux", reason="other systems have other tools for this")
def test_compiled_code_calls_the_runtime_and_libc_and_libm_alone(target: str, tmp_path: Path) -> None:
    artifact = compile_artifact(check(PROGRAM).require(), target=target)
    path = tmp_path / "kernels.so"
    path.write_bytes(artifact.library)
    listed = subprocess.run(["nm", "-D", "--undefined-only", path], capture_output=True, text=True, check=True).stdout
    names = {line.split()[-1].partition("@")[0] for line in listed.splitlines()}
    assert "TVMFFIErrorSetRaisedFromCStrParts" in names
    libraries = [ctypes.CDLL(ctypes.util.find_library(name)) for name in ("c", "m")]
    others = {name for name in names if not name.startswith(ALLOWED)}
    assert "powf" in others
    assert [name for name in others if not any(hasattr(library, name) for library in libraries)] == []
