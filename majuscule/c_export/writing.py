"""A compiled program as files for C: library, header, weights, an example and a Makefile."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from ..compiler.codegen.compiled import CompiledProgram
from ..runtime.artifact import Artifact
from ..runtime.errors import ExportError
from ..runtime.tensor_files import safetensors_parts
from ..runtime.whole_files import whole_file
from .interface import Interface
from .tables import constants_data, tables

_OPTIONS = ("-std=gnu11", "-O2", "-fvisibility=hidden", "-pthread", "-Wl,--version-script=exported.map", "interface.c")
_INCLUDES = (
    "errno.h", "fcntl.h", "pthread.h", "sched.h", "stdarg.h", "stdatomic.h", "stddef.h", "stdint.h", "stdio.h",
    "stdlib.h", "string.h", "sys/mman.h", "sys/stat.h", "unistd.h",
)  # fmt: skip


def write_library(folder: Path, compiled: CompiledProgram, artifact: Artifact, embed: bool) -> list[Path]:
    """Write the files into a folder, which is made if there is none, and give their paths.

    With `embed` the weights are in the library.  Raises `ExportError`, `CompilationFailed` or OSError.
    """
    manifest = artifact.manifest
    if manifest.get("stores"):
        raise ExportError(f"{manifest['name']} changes its weights as it runs, which a library for C cannot do")
    if manifest["target"].get("kind") == "cuda":
        raise ExportError("a library for C is for a CPU; leave out --target, or name one")
    interface = Interface(manifest, embed)
    weights = safetensors_parts(artifact.weights)
    size = sum(map(len, weights))
    source = interface_source(artifact, interface, bytes(weights[0]), size, embed)
    files = {
        "interface.c": source.encode(),
        "constants.bin": constants_data(artifact.constants),
        "exported.map": f"{{ global: {interface.name}_*; local: *; }};\n".encode(),
    }
    if embed:
        files["weights.bin"] = b"".join(weights)
    options = ("-D_GNU_SOURCE", *_OPTIONS)
    written: dict[str, list[memoryview] | list[bytes]] = {
        f"lib{interface.name}.so": [compiled.linked_with(files, options)],
        f"{interface.name}.h": [interface.header().encode()],
        "example.c": [interface.example().encode()],
        "Makefile": [interface.makefile().encode()],
    }
    if not embed:
        written[f"{interface.name}.safetensors"] = weights
    folder.mkdir(exist_ok=True)
    for name, parts in written.items():
        with whole_file(folder / name) as file:
            for part in parts:
                file.write(part)
    return [folder / name for name in written]


def interface_source(artifact: Artifact, interface: Interface, header: bytes, size: int, embed: bool) -> str:
    """The C code that is linked with the kernels; `header` and `size` are those of the weights' file."""
    includes = "".join(f"#include <{name}>\n" for name in _INCLUDES)
    here = resources.files(__package__)
    fixed = (here.joinpath(name).read_text(encoding="utf-8") for name in ("runtime.c", "model.c"))
    return "\n".join([includes, tables(artifact, header, size, embed), *fixed, interface.functions()])
