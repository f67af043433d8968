"""Object files become one shared library, through the system's C compiler."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

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


def link(
    objects: Sequence[bytes],
    target: Target,
    files: Mapping[str, bytes] = MappingProxyType({}),
    options: Sequence[str] = (),
) -> bytes:
    """The library made of object files, in their order.

    `files` are others by name, which `options` of the C compiler may refer to by these names.
    """
    command = linker(target)
    with tempfile.TemporaryDirectory(prefix="majuscule-") as folder:
        contents = {f"{position}.o": content for position, content in enumerate(objects)}
        for name, content in (contents | dict(files)).items():
            Path(folder, name).write_bytes(content)
        # Symbolic: two loaded libraries may both have a kernel of the same name.
        shared = ["-shared", "-fPIC", "-Wl,-Bsymbolic", "-o", "module.so"]
        arguments = [*command, *shared, *options, *contents, "-lm"]
        done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CompilationFailed(f"linking failed ({' '.join(command)}): {done.stderr.strip()}")
        return Path(folder, "module.so").read_bytes()
