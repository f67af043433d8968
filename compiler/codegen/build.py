"""From a graph to a shared library: plan, kernels, main function, machine code.

`compile_graph` reads from top to bottom as the work goes.  Equal kernels are compiled
once; each is an object file of its own, made by LLVM through TVM, and the system's C
compiler links them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy

from ...dsl.equations import Constant, Parameter, Program, Recurrence, State
from ...dsl.integers import Integer, Symbol
from ..graph import Graph, Note
from . import inputs, main_function, roads, steps
from .errors import CompilationFailed
from .kernel import canonical
from .lower import lower
from .machine_code import machine_code, make_module
from .memory import Lifetime, plan_memory
from .plan import Action, Draw, Launch, Loop, Plan, computes_operations, make_plan, touched
from .roads import random
from .schedule import Road
from .sizes import encode_shape, encode_size
from .storage import BYTES
from .target import Target

ARENA = "arena"


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
    _modules: tuple[Any, ...] = field(repr=False)
    _target: Target = field(repr=False)

    @cached_property
    def tensor_ir(self) -> str:
        """The kernels and the main function in TVM's script."""
        return "\n".join(str(module) for module in self._modules)

    @cached_property
    def assembly(self) -> str:
        """The machine code as text (compiled again for it)."""
        return "\n".join(machine_code(module, self._target).inspect_source("asm") for module in self._modules)


def compile_graph(graph: Graph, *, target: Target | None = None) -> CompiledProgram:
    """Compile a graph; raises `CompilationFailed` if this machine cannot."""
    target = target or Target.host()
    plan = make_plan(graph, target)
    kernels = _Kernels(plan, target)
    for action in (*plan.prepare, *plan.run):
        kernels.add(action)
    symbols = _symbols(graph)
    addresses, arena, buffers = _layout(plan)
    linked = kernels.linked()
    mains = [
        main_function.lower(name, plan, actions, symbols, addresses, linked)
        for name, actions in (("majuscule_run", plan.run), ("majuscule_prepare", plan.prepare))
    ]
    modules = (*kernels.modules, make_module(mains))
    library = _link(modules, target)
    manifest = _manifest(graph, plan, symbols, arena, buffers, kernels, target)
    return CompiledProgram(library, manifest, _constants(graph, plan), tuple(kernels.notes), modules, target)


# -- kernels -------------------------------------------------------------------------------


class _Kernels:
    """All kernels of a plan, equal ones once."""

    def __init__(self, plan: Plan, target: Target) -> None:
        self._plan = plan
        self.modules: list[Any] = []
        self.messages: list[str] = []
        self.notes: list[Note] = []
        self._target = target
        self._symbols: dict[int, str] = {}
        self._first_checks: dict[int, int] = {}
        self._random: dict[str, str] = {}
        self._roads: dict[int, str] = {}
        self._known: dict[str, tuple[str, list[str], Road]] = {}
        self._launches: list[Launch] = []

    def add(self, action: Action) -> None:
        """Compile what an action calls, unless it is there already."""
        if isinstance(action, Loop):
            for inner in action.actions:
                self.add(inner)
        elif isinstance(action, Launch):
            self._launch(action)
        elif isinstance(action, Draw):
            self._draw(action)

    def linked(self) -> main_function.Linked:
        """What the main function needs of them."""
        return main_function.Linked(self._symbols, self._first_checks, self._random)

    def steps(self, program: Program, actions: Sequence[Action]) -> list[dict[str, Any]]:
        """What the manifest tells of actions."""
        return [steps.describe(program, self._plan, action, self.linked(), self._roads) for action in actions]

    def _launch(self, launch: Launch) -> None:
        kernel, tensors = canonical(launch.kernel)
        key = repr(kernel)
        if key not in self._known:
            name = f"majuscule_kernel_{len(self._known)}"
            road = roads.choose(kernel, self._target)
            function, checks = lower(kernel, road, name)
            self.modules.append(make_module([function]))
            self._known[key] = name, checks, road
        name, checks, taken = self._known[key]
        self._launches.append(launch)  # keeps the identity alive that the tables are keyed by
        self._symbols[id(launch)] = name
        self._first_checks[id(launch)] = len(self.messages) if checks else 0
        original = {new: old for old, new in tensors.items()}
        for check in checks:
            tensor, axis = check.split(":")
            size = launch.kernel.tensors[original[tensor]].shape[int(axis)]
            self.messages.append(
                f"an index into axis {int(axis) + 1} of {original[tensor]}, computed for {launch.origin}, "
                f"is not in 0..{size - 1}"
            )
        axes = (*launch.kernel.domain, *launch.kernel.reduction)
        names = {f"i{position}": axis.name for position, axis in enumerate(axes)}
        self._roads[id(launch)] = taken.describe(names)
        self.notes.append(Note("codegen", launch.origin, f"{self._roads[id(launch)]} ({name})"))

    def _draw(self, draw: Draw) -> None:
        dtype = self._plan.buffers[draw.result].dtype
        if dtype not in self._random:
            self._random[dtype] = f"majuscule_random_{dtype}"
            self.modules.append(make_module([random.lower(dtype, self._random[dtype])]))


# -- sizes, buffers, manifest ----------------------------------------------------------------


def _symbols(graph: Graph) -> tuple[Symbol, ...]:
    """The run-time symbols, in the order of the program, others after them."""
    found = dict.fromkeys(graph.program.symbols if computes_operations(graph) else ())
    for name in graph:
        operation = graph.operation(name)
        for size in getattr(operation, "shape", ()):
            found |= dict.fromkeys(sorted((a for a in size.atoms() if isinstance(a, Symbol)), key=str))
    return tuple(found)


def _layout(plan: Plan) -> tuple[main_function.Addresses, Integer, list[dict[str, str]]]:
    """Addresses of all buffers, the size of the arena and the manifest's list of buffers."""
    uses: dict[str, list[int]] = {}
    for step, action in enumerate(plan.run):
        for name in touched(action):
            uses.setdefault(name, []).append(step)
    temporaries = [name for name, kind in plan.places.items() if kind == ARENA and name in uses]
    memory = plan_memory(
        [
            Lifetime(name, plan.buffers[name].count * BYTES[plan.buffers[name].dtype], uses[name][0], uses[name][-1])
            for name in temporaries
        ]
    )
    listed = [(name, kind) for name, kind in plan.places.items() if kind != ARENA]
    buffers = [
        {"kind": kind, "name": name.removeprefix("output ") if kind == "output" else name} for name, kind in listed
    ]
    buffers.append({"kind": ARENA, "name": ARENA})
    positions = {name: position for position, (name, _) in enumerate(listed)}
    return main_function.Addresses(positions, memory.offsets, len(listed)), memory.size, buffers


def _constants(graph: Graph, plan: Plan) -> dict[str, numpy.ndarray[Any, Any]]:
    """The arrays of the constants that kernels read; bfloat16 as its bits."""
    found: dict[str, numpy.ndarray[Any, Any]] = {}
    for name, kind in plan.places.items():
        if kind == "constant":
            operation = graph.operation(name)
            assert isinstance(operation, Constant)
            array = operation.array()
            found[name] = stored_bits(array) if operation.dtype == "bfloat16" else array
    return found


def stored_bits(array: numpy.ndarray[Any, Any]) -> numpy.ndarray[Any, Any]:
    """float32 numbers as the bits of the nearest bfloat16 numbers."""
    bits = numpy.ascontiguousarray(array, numpy.float32).view(numpy.uint32)
    even = (bits >> numpy.uint32(16)) & numpy.uint32(1)
    rounded = ((bits + numpy.uint32(0x7FFF) + even) >> numpy.uint32(16)).astype(numpy.uint16)
    return numpy.where(numpy.isnan(array), numpy.uint16(0x7FC0), rounded)


def _manifest(
    graph: Graph,
    plan: Plan,
    symbols: Sequence[Symbol],
    arena: Integer,
    buffers: list[dict[str, str]],
    kernels: _Kernels,
    target: Target,
) -> dict[str, Any]:
    """Everything that the runtime needs to know, as JSON values."""
    program = graph.program
    main = computes_operations(graph)
    operations = program.operations if main else program.initializers

    def described(name: str) -> dict[str, Any]:
        tensor = operations[name] if name in operations else graph.tensor(graph.resolve(name))
        assert not isinstance(tensor, Recurrence)
        return {"name": name, "shape": encode_shape(tensor.shape), "dtype": tensor.dtype}

    return {
        "name": program.name,
        "mode": program.mode,
        "target": target.describe(),
        "symbols": [{"name": symbol.name, "minimum": symbol.minimum} for symbol in symbols],
        "inputs": [described(n) | inputs.describe(program, n) for n in program.inputs if main],
        "outputs": [described(name) for name in graph.roots],
        "parameters": [
            described(n) | {"trained": operation.trained}
            for n, operation in operations.items()
            if isinstance(operation, Parameter)
        ],
        "states": [described(n) for n, operation in operations.items() if isinstance(operation, State)],
        "constants": [described(n) for n, kind in plan.places.items() if kind == "constant"],
        "prepared": [
            {"name": n, "shape": encode_shape(plan.buffers[n].shape), "dtype": plan.buffers[n].dtype}
            for n, kind in plan.places.items()
            if kind == "prepared"
        ],
        "buffers": buffers,
        "arena": encode_size(arena),
        "requirements": [{"value": encode_size(r.value), "reason": r.reason} for r in program.requirements if main],
        "checks": [{"message": message} for message in kernels.messages],
        "steps": kernels.steps(program, plan.run),
        "updates": dict(program.updates) if main else {},
    }


# -- machine code ------------------------------------------------------------------------------


def _link(modules: Sequence[Any], target: Target) -> bytes:
    """Object files, compiled on as many threads as there are cores, linked into one library."""
    linker = _linker(target)
    with tempfile.TemporaryDirectory(prefix="majuscule-") as folder:
        objects = [str(Path(folder, f"{position}.o")) for position in range(len(modules))]
        with ThreadPoolExecutor(available_workers()) as pool:
            list(
                pool.map(
                    lambda pair: machine_code(pair[0], target).write_to_file(pair[1], "o"),
                    zip(modules, objects, strict=True),
                )
            )
        result = Path(folder, "module.so")
        # Symbolic: two loaded libraries may both have a majuscule_kernel_0.
        command = [*linker, "-shared", "-fPIC", "-Wl,-Bsymbolic", "-o", str(result), *objects, "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CompilationFailed(f"linking failed ({' '.join(linker)}): {done.stderr.strip()}")
        return result.read_bytes()


def available_workers() -> int:
    """How many modules are compiled at once."""
    return max(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 1)


def _linker(target: Target) -> list[str]:
    """The command that links for the target: $CC, or the first C compiler found."""
    import platform

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
