"""From a graph to a shared library: plan, kernels, main function, machine code.

`build` reads from top to bottom as the work goes.  Equal kernels are compiled once; each is
an object file of its own, made by LLVM through TVM or found in the cache, and the system's
C compiler links them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ...dsl.equations import Parameter, Program, Recurrence, State
from ...dsl.integers import Integer, Symbol
from ..graph import Graph, Note
from ..weights import computes_operations
from . import inputs, main_function, roads, steps
from .actions import Action, Draw, Guarded, Launch, Loop, Plan, Several, touched
from .asked import Asked
from .cache import Cache, fingerprint
from .choosing import Tuned
from .errors import LimitTooLow
from .in_place import overwritten
from .kernel import canonical
from .limits import Limit
from .linking import link
from .load_order import order_of_loading
from .machine_code import make_module
from .memory import Lifetime, plan_memory
from .micro_batches import with_micro_batches
from .objects import KernelSource, Object, RandomSource, Source, compile_sources, object_code
from .plan import make_plan, outputs
from .recomputing import Recomputation
from .sizes import encode_largest, encode_shape, encode_size
from .storage import BYTES
from .storing import with_stores
from .target import Target
from .waiting import with_late_actions

ARENA = "arena"
_ATTEMPTS = 6  # to find a plan whose arena keeps to a limit


def build(
    graph: Graph, target: Target, asked: Asked, tuned: Tuned, cache: Cache | None, limit: Limit | None = None
) -> tuple[bytes, dict[str, Any], tuple[Note, ...]]:
    """The library, the manifest and what is to be told of each kernel; raises `LimitTooLow`."""
    plan, kernels, layout = _within(limit, _plan(graph, target, asked, tuned), target)
    objects, files, options = _objects(graph, plan, kernels, layout, target, cache)
    library = link(objects, target, files, options)
    return library, _manifest(graph, plan, kernels, target, layout), (*plan.notes, *kernels.notes)


def object_files(
    graph: Graph, target: Target, asked: Asked, tuned: Tuned, cache: Cache | None, limit: Limit | None = None
) -> list[bytes]:
    """What the library for a CPU is linked of; raises `LimitTooLow`."""
    assert target.gpu is None
    return _objects(graph, *_within(limit, _plan(graph, target, asked, tuned), target), target, cache)[0]


def device_objects(
    graph: Graph, target: Target, asked: Asked, tuned: Tuned, cache: Cache | None, limit: Limit | None = None
) -> list[Object]:
    """The kernels of a GPU; raises `LimitTooLow`."""
    _, kernels, _ = _within(limit, _plan(graph, target, asked, tuned), target)
    return list(compile_sources(kernels.sources, target, cache).values())


def lowered(graph: Graph, target: Target, asked: Asked, tuned: Tuned, limit: Limit | None = None) -> tuple[Any, ...]:
    """The kernels and, last, the main function in TensorIR; raises `LimitTooLow`."""
    plan, kernels, layout = _within(limit, _plan(graph, target, asked, tuned), target)
    functions = {name: source.lower(target.gpu) for name, source in kernels.sources.items()}
    kernels.link({name: checks for name, (_, checks) in functions.items()})
    main = _main_module(graph, plan, kernels, layout, target)
    return *(make_module([function]) for function, _ in functions.values()), main


def planned(graph: Graph, target: Target, asked: Asked, tuned: Tuned) -> dict[str, Any]:
    """What the manifest tells of tensors and memory; no kernel is compiled for it."""
    plan = with_micro_batches(_plan(graph, target, asked, tuned), target)
    return _tensors(graph, plan, target, _layout(plan, _Kernels(plan, target), target))


def _plan(graph: Graph, target: Target, asked: Asked, tuned: Tuned) -> Plan:
    plan = with_late_actions(with_stores(make_plan(graph, target, asked=asked, tuned=tuned), target))
    return replace(plan, prepare=order_of_loading(plan))


def _within(limit: Limit | None, plan: Plan, target: Target) -> tuple[Plan, _Kernels, _Layout]:
    """The plan, or one that keeps to the limit, with its kernels and where everything is; raises `LimitTooLow`.

    Where what is in use at once fits, the arena may still be larger, for what is left free in
    between: then less is to be in use.
    """

    def laid_out(plan: Plan) -> tuple[Plan, _Kernels, _Layout]:
        kernels = _Kernels(plan, target)
        return plan, kernels, _layout(plan, kernels, target)

    found = laid_out(with_micro_batches(plan, target))
    if limit is None or _arena(found[2], limit) <= limit.arena:
        return found
    recomputation, goal = Recomputation(plan, limit.values), limit.arena
    for _ in range(_ATTEMPTS):
        gaps = recomputation.gaps(goal)
        if gaps is None:
            break
        found = laid_out(recomputation.with_gaps(gaps))
        if _arena(found[2], limit) <= limit.arena:
            return found
        goal -= _arena(found[2], limit) - limit.arena
    found = laid_out(recomputation.with_gaps(recomputation.least_gaps()))
    if _arena(found[2], limit) <= limit.arena:
        return found
    raise LimitTooLow(_arena(found[2], limit))


def _objects(
    graph: Graph, plan: Plan, kernels: _Kernels, layout: _Layout, target: Target, cache: Cache | None
) -> tuple[list[bytes], dict[str, bytes], tuple[str, ...]]:
    """The object files of all kernels and, last, of the main function; other files, and options that name them.

    Kernels of a GPU are such files.
    """
    objects = compile_sources(kernels.sources, target, cache)
    kernels.link({name: found.checks for name, found in objects.items()})
    main = object_code(_main_module(graph, plan, kernels, layout, target), target)
    if target.gpu is None:
        return [*(found.code for found in objects.values()), main], {}, ()
    from .gpu.starting import starters_source

    text, files = starters_source(kernels.sources, objects)
    return [main], {**files, "starters.c": text.encode()}, ("-O2", "starters.c")


def _arena(layout: _Layout, limit: Limit) -> int:
    """The bytes of the arena for the sizes of a limit."""
    return max(size.evaluate(limit.values) for size in layout.arena)


def _main_module(graph: Graph, plan: Plan, kernels: _Kernels, layout: _Layout, target: Target) -> Any:
    """The functions that the library exports, in TensorIR."""
    return make_module(
        [
            main_function.lower(
                name,
                plan,
                actions,
                batches,
                _symbols(graph),
                layout.addresses,
                kernels.linked(),
                on_gpu=target.gpu is not None,
            )
            for name, actions, batches in (
                ("majuscule_run", plan.run, plan.batches),
                ("majuscule_prepare", plan.prepare, ()),
            )
        ]
    )


# -- kernels -------------------------------------------------------------------------------


class _Kernels:
    """All kernels of a plan, equal ones once: first what is to be compiled, then what links to it."""

    def __init__(self, plan: Plan, target: Target) -> None:
        self.sources: dict[str, Source] = {}
        self.messages: list[str] = []
        self.notes: list[Note] = []
        self._plan = plan
        self._target = target
        self._known: dict[str, KernelSource] = {}
        # A launch, the source of its kernel, and the names that its tensors have there.
        self._launches: list[tuple[Launch, KernelSource, dict[str, str]]] = []
        self._sources: dict[int, KernelSource] = {}
        self._symbols: dict[int, str] = {}
        self._first_checks: dict[int, int] = {}
        self._random: dict[str, str] = {}
        self._roads: dict[int, str] = {}
        for action in (*plan.prepare, *plan.run):
            self._add(action)

    def link(self, checks: Mapping[str, Sequence[str]]) -> None:
        """Settle what callers of the kernels must know, once the checks that each function makes are known."""
        for launch, source, tensors in self._launches:
            self._link(launch, source, tensors, checks[source.name])

    def linked(self) -> main_function.Linked:
        """What the main function needs of them."""
        return main_function.Linked(self._symbols, self._first_checks, self._random, len(self.messages))

    def source(self, launch: Launch) -> KernelSource:
        """The kernel of a launch, and the road that it takes."""
        return self._sources[id(launch)]

    def steps(self, program: Program, actions: Sequence[Action]) -> list[dict[str, Any]]:
        """What the manifest tells of actions."""
        return [steps.describe(program, self._plan, action, self.linked(), self._roads) for action in actions]

    def _add(self, action: Action) -> None:
        if isinstance(action, Guarded):
            self._add(action.action)
        elif isinstance(action, Loop | Several):
            for inner in action.actions:
                self._add(inner)
        elif isinstance(action, Launch):
            self._launch(action)
        elif isinstance(action, Draw):
            source = RandomSource(self._plan.buffers[action.result].dtype)
            self._random[source.dtype] = source.name
            self.sources[source.name] = source

    def _launch(self, launch: Launch) -> None:
        kernel, tensors = canonical(launch.kernel)
        key = fingerprint(kernel, launch.way)
        source = self._known.get(key)
        if source is None:
            source = self._known[key] = KernelSource(kernel, roads.choose(kernel, self._target, launch.way))
            self.sources[source.name] = source
        self._sources[id(launch)] = source
        self._launches.append((launch, source, tensors))

    def _link(self, launch: Launch, source: KernelSource, tensors: Mapping[str, str], checks: Sequence[str]) -> None:
        self._symbols[id(launch)] = source.name
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
        self._roads[id(launch)] = source.road.describe(names)
        self.notes.append(Note("codegen", launch.origin, f"{self._roads[id(launch)]} ({source.name})"))


# -- sizes, buffers, manifest ----------------------------------------------------------------


def _symbols(graph: Graph) -> tuple[Symbol, ...]:
    """The run-time symbols, in the order of the program, others after them."""
    found = dict.fromkeys(graph.program.symbols if computes_operations(graph) else ())
    for name in graph:
        operation = graph.operation(name)
        for size in getattr(operation, "shape", ()):
            found |= dict.fromkeys(sorted((a for a in size.atoms() if isinstance(a, Symbol)), key=str))
    return tuple(found)


class _Layout(NamedTuple):
    """Addresses of all buffers, the sizes the largest of which the arena has, and the manifest's list of buffers."""

    addresses: main_function.Addresses
    arena: tuple[Integer, ...]
    buffers: list[dict[str, Any]]


def _layout(plan: Plan, kernels: _Kernels, target: Target) -> _Layout:
    """Where everything is.

    What only `majuscule_prepare` uses has an entry `until` in `buffers`: the place of the action from which
    on nothing does.
    """
    turns = {place: found for found in plan.batches for place in found.during}
    uses: dict[str, list[int]] = {}
    for place, action in enumerate(plan.run):
        during = turns[place].during if place in turns else range(place, place + 1)
        for name in touched(action):
            inside = place in turns and name in turns[place].inside  # others are used in every turn
            uses.setdefault(name, []).extend([place] if inside else [during[0], during[-1]])
    sizes = {name: stored.count * BYTES[stored.dtype] for name, stored in plan.buffers.items()}
    for found in plan.batches:
        sizes |= {name: sizes[name].substitute({found.symbol: found.most}) for name in found.inside}
    temporaries = [name for name, kind in plan.places.items() if kind == ARENA and name in uses]
    lifetimes = {name: Lifetime(name, sizes[name], uses[name][0], uses[name][-1]) for name in temporaries}
    memory = plan_memory(list(lifetimes.values()), _overwritten(plan, kernels, lifetimes), target.cores)
    listed = [(name, kind) for name, kind in plan.places.items() if kind != ARENA]
    passing = {
        name: step + 1 for step, action in enumerate(plan.prepare) for name in touched(action) if name not in uses
    }
    buffers: list[dict[str, Any]] = [
        {"kind": kind, "name": name.removeprefix("output ") if kind == "output" else name}
        | ({"until": passing[name]} if name in passing else {})
        for name, kind in listed
    ]
    buffers.append({"kind": ARENA, "name": ARENA})
    positions = {name: position for position, (name, _) in enumerate(listed)}
    return _Layout(main_function.Addresses(positions, memory.offsets, len(listed)), memory.sizes, buffers)


def _overwritten(plan: Plan, kernels: _Kernels, lifetimes: Mapping[str, Lifetime]) -> dict[str, str]:
    """The temporaries that are written over one that ends where they begin, with the name of that one."""
    found: dict[str, str] = {}
    for step, done in enumerate(plan.run):
        action = done.action if isinstance(done, Guarded) else done
        if isinstance(action, Launch) and action.result in lifetimes and lifetimes[action.result].first == step:
            ending = [name for name in action.operands if name in lifetimes and lifetimes[name].last == step]
            operand = overwritten(action, kernels.source(action), plan.buffers, ending)
            if operand is not None:
                found[action.result] = operand
    return found


def _manifest(
    graph: Graph,
    plan: Plan,
    kernels: _Kernels,
    target: Target,
    layout: _Layout,
) -> dict[str, Any]:
    """Everything that the runtime needs to know, as JSON values."""
    program = graph.program
    main = computes_operations(graph)
    return {
        **_tensors(graph, plan, target, layout),
        "requirements": [{"value": encode_size(r.value), "reason": r.reason} for r in program.requirements if main],
        "checks": [{"message": message} for message in kernels.messages],
        "steps": kernels.steps(program, plan.run),
        "updates": dict(program.updates) if main else {},
        "stores": [store.target for store in program.stores] if main else [],
    }


def _tensors(graph: Graph, plan: Plan, target: Target, layout: _Layout) -> dict[str, Any]:
    """What it tells of the target, of tensors and of memory."""
    symbols, program = _symbols(graph), graph.program
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
        "outputs": [described(name) for name in outputs(graph)],
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
        "buffers": layout.buffers,
        "arena": encode_largest(layout.arena),
    }
