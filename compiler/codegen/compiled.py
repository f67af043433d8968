"""Compiling a graph, or finding what was compiled before: the door to code generation.

A program that was compiled before for the same target, by the same compiler, comes whole
from the cache, and neither TVM nor the rest of code generation is imported for it.
Otherwise `build` makes it, of kernels that may be in the cache in their turn.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy

from ...dsl.equations import Constant
from ..graph import Graph, Note
from . import machine
from .asked import ANYTHING, Asked
from .cache import Cache, fingerprint, user_cache
from .limits import Limit
from .linking import link, linker
from .target import Target
from .tuning import tuned_choices


@dataclass(frozen=True)
class CompiledProgram:
    """A shared library and what is needed to call it.

    `library` are the bytes of the library, `manifest` is JSON-ready, `constants` are the
    arrays for buffers of kind "constant".
    """

    library: bytes
    manifest: dict[str, Any]
    constants: dict[str, numpy.ndarray[Any, Any]]
    notes: tuple[Note, ...]
    _graph: Graph = field(repr=False)
    _target: Target = field(repr=False)
    _asked: Asked = field(repr=False)
    _tuned: Mapping[str, tuple[str, str]] = field(repr=False)
    _limit: Limit | None = field(repr=False, default=None)
    _cache: Cache | None = field(repr=False, default=None)

    @cached_property
    def tensor_ir(self) -> str:
        """The kernels and the main function in TVM's script (made again for it)."""
        return "\n".join(str(module) for module in self._modules)

    @cached_property
    def assembly(self) -> str:
        """The machine code as text (compiled again for it); of kernels for a GPU, their PTX."""
        from . import tvm_loading  # noqa: F401 (comes first)
        from .machine_code import machine_code

        if self._target.gpu is not None:
            from .build import device_objects

            objects = device_objects(self._graph, self._target, self._asked, self._tuned, self._cache, self._limit)
            return "\n".join(found.portable.decode() for found in objects)
        return "\n".join(machine_code(module, self._target).inspect_source("asm") for module in self._modules)

    def linked_with(self, files: Mapping[str, bytes], options: Sequence[str]) -> bytes:
        """A library with other files in it; see `link`.  Object files are compiled again or in the cache."""
        from . import tvm_loading  # noqa: F401 (comes first)
        from .build import object_files

        objects = object_files(self._graph, self._target, self._asked, self._tuned, self._cache, self._limit)
        return link(objects, self._target, files, options)

    @cached_property
    def _modules(self) -> tuple[Any, ...]:
        from . import tvm_loading  # noqa: F401 (comes first)
        from .build import lowered

        return lowered(self._graph, self._target, self._asked, self._tuned, self._limit)


def compile_graph(
    graph: Graph,
    *,
    target: Target | None = None,
    asked: Asked = ANYTHING,
    cache: bool = True,
    tuned: Mapping[str, tuple[str, str]] | None = None,
    limit: Limit | None = None,
) -> CompiledProgram:
    """Compile a graph; raises `CompilationFailed` if this machine cannot, `LimitTooLow` if memory has a `limit`.

    Equations take the cheapest road, or what is `asked` for.  With the `cache`, what `maj tune` found for
    this machine counts, too, unless other `tuned` choices are given (see `tuning`).
    """
    target = target or Target.host()
    graph = _bare(graph)
    store = user_cache() if cache else None
    tuned = (tuned_choices(target) if cache else {}) if tuned is None else tuned
    key = None if store is None else _key(graph, target, asked, tuned, limit)
    known = None if store is None or key is None else _read(store.get(key))
    if known is None:
        from . import tvm_loading  # noqa: F401 (comes first)
        from .build import build

        known = build(graph, target, asked, tuned, store, limit)
        if store is not None and key is not None:
            store.put(key, _write(*known))
            store.trim()
    library, manifest, notes = known
    names = [entry["name"] for entry in manifest["constants"]]
    constants = _constants(graph, names)
    return CompiledProgram(library, manifest, constants, notes, graph, target, asked, tuned, limit, store)


def planned_manifest(graph: Graph, *, target: Target | None = None, asked: Asked = ANYTHING) -> dict[str, Any]:
    """What the manifest of the compiled graph tells of tensors and memory.

    It comes from the cache if the graph was compiled before; else it is planned, but not compiled.
    """
    target = target or Target.host()
    graph = _bare(graph)
    store = user_cache()
    tuned = tuned_choices(target)
    key = None if store is None else _key(graph, target, asked, tuned)
    known = None if store is None or key is None else _read(store.get(key))
    if known is not None:
        return known[1]
    from . import tvm_loading  # noqa: F401 (comes first)
    from .build import planned

    return planned(graph, target, asked, tuned)


def _bare(graph: Graph) -> Graph:
    """The graph without the program's text: what is compiled does not depend on comments and lines."""
    program = graph.program
    statements = tuple(replace(statement, text="", place=None) for statement in program.statements)
    requirements = tuple(replace(requirement, place=None) for requirement in program.requirements)
    bare = replace(program, source="", deductions=(), places={}, statements=statements, requirements=requirements)
    return replace(graph, program=bare)


def _key(
    graph: Graph, target: Target, asked: Asked, tuned: Mapping[str, tuple[str, str]], limit: Limit | None = None
) -> str | None:
    tools = target.compilers()
    if tools is None:
        return None
    operations = {name: graph.operation(name) for name in graph.network}
    edges = tuple(graph.network.edges)
    return fingerprint(
        "program", tools, linker(target), target, machine.of(target), asked, tuned, limit, graph.program, operations,
        edges, graph.roots, graph.aliases,
    )  # fmt: skip


def _write(library: bytes, manifest: dict[str, Any], notes: Sequence[Note]) -> bytes:
    about = {"manifest": manifest, "notes": [asdict(note) for note in notes]}
    return json.dumps(about).encode() + b"\n" + library


def _read(stored: bytes | None) -> tuple[bytes, dict[str, Any], tuple[Note, ...]] | None:
    if stored is None:
        return None
    about, _, library = stored.partition(b"\n")
    found = json.loads(about)
    return library, found["manifest"], tuple(Note(**note) for note in found["notes"])


def _constants(graph: Graph, names: Sequence[str]) -> dict[str, numpy.ndarray[Any, Any]]:
    """The arrays of the constants that kernels read; bfloat16 as its bits."""
    found: dict[str, numpy.ndarray[Any, Any]] = {}
    for name in names:
        operation = graph.operation(name)
        assert isinstance(operation, Constant)
        array = operation.array()
        found[name] = _stored_bits(array) if operation.dtype == "bfloat16" else array
    return found


def _stored_bits(array: numpy.ndarray[Any, Any]) -> numpy.ndarray[Any, Any]:
    """float32 numbers as the bits of the nearest bfloat16 numbers."""
    bits = numpy.ascontiguousarray(array, numpy.float32).view(numpy.uint32)
    even = (bits >> numpy.uint32(16)) & numpy.uint32(1)
    rounded = ((bits + numpy.uint32(0x7FFF) + even) >> numpy.uint32(16)).astype(numpy.uint16)
    return numpy.where(numpy.isnan(array), numpy.uint16(0x7FC0), rounded)
