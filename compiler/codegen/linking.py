"""Object files become one shared library, through the system's C compiler."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .errors import CompilationFailed
from .target import Target


def linker(target: Target) -> list[str]:
    """The command that links for the target: $CC, or the first C compiler found."""
    if os.environ.get("CC"):
        return os.environ["CC"].split()
    native = target.architecture in (platform.machine(), {"arm64": "aarch64"}.get(platform.machine()))
    prefix = "" if native else f"{target.architecture}-linux-gnu-"
    for name in ("cc", "gcc", "clang") if native else ("gcc",):
        found = shutil.which(prefix + name)
        if found:
            return [found]
    raise CompilationFailed(
        f"a C compiler for {target.architecture} is needed to link the compiled code, and none was found; "
        "install gcc or clang, or set CC to its command"
    )


def link(objects: Sequence[bytes], target: Target) -> bytes:
    """The library made of object files, in their order."""
    command = linker(target)
    with tempfile.TemporaryDirectory(prefix="majuscule-") as folder:
        paths = [Path(folder, f"{position}.o") for position in range(len(objects))]
        for path, content in zip(paths, objects, strict=True):
            path.write_bytes(content)
        result = Path(folder, "module.so")
        # Symbolic: two loaded libraries may both have a kernel of the same name.
        options = ["-shared", "-fPIC", "-Wl,-Bsymbolic", "-o", str(result), *map(str, paths), "-lm"]
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        if done.returncode:
            raise CompilationFailed(f"linking failed ({' '.join(command)}): {done.stderr.strip()}")
        return result.read_bytes()
