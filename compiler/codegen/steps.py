"""What a module tells of its own actions: the list `steps` of the manifest, for the profiler.

There is one entry for each action of `majuscule_run`, in order, so that an entry's place in
the list is the place that the function's `first` and `last` count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...dsl.equations import Program
from ...dsl.integers import ZERO, Index, Integer
from .actions import Action, Draw, Guarded, Launch, Plan, Several
from .main_function import Linked
from .sizes import encode_size
from .storage import BYTES


def describe(program: Program, plan: Plan, action: Action, linked: Linked, roads: Mapping[int, str]) -> dict[str, Any]:
    """An action's entry: tensor, statement, kernel's symbol, road in words, and work.

    `origin` is the tensor that it makes; `statement` is the statement of the main program that
    asks for most of its work.  `roads` are the roads of the launches, by identity.  `flops` and
    `bytes` are sizes (see `work`).
    """
    kernels, road = _kernels(plan, action, linked, roads)
    flops, moved = _work(plan, action)
    return {
        "origin": action.origin,
        "statement": _statement(program, plan.roots.get(action.origin, action.origin)),
        "kernel": ", ".join(dict.fromkeys(kernels)),
        "road": road,
        "flops": encode_size(flops),
        "bytes": encode_size(moved),
    }


def _statement(program: Program, name: str) -> str:
    """The name of the layer (see `Program.layer_depth`) that made an operation."""
    depth = program.layer_depth
    made = (s.name for s in program.statements if s.depth == depth and name in s.operations)
    parts = name.split(".")  # parts of a layer, and what passes make of them, begin with its name
    return next(made, parts[min(depth, len(parts) - 1)])


def _kernels(plan: Plan, action: Action, linked: Linked, roads: Mapping[int, str]) -> tuple[list[str], str]:
    if isinstance(action, Launch):
        return [linked.symbols[id(action)]], roads[id(action)]
    if isinstance(action, Draw):
        return [linked.random[plan.buffers[action.result].dtype]], "random numbers"
    if isinstance(action, Guarded):
        return _kernels(plan, action.action, linked, roads)
    inside = [_kernels(plan, inner, linked, roads) for inner in action.actions]
    names = [name for names, _ in inside for name in names]
    if isinstance(action, Several):
        return names, "border"
    words = "; then ".join(road for _, road in inside)
    return names, f"recurrence over {action.index}: {words}"


def _work(plan: Plan, action: Action) -> tuple[Integer, Integer]:
    """Arithmetic and bytes; of a loop those of all its turns, each taken for the one in the middle."""
    if isinstance(action, Launch):
        return action.flops(), action.bytes_moved()
    if isinstance(action, Draw):
        drawn = plan.buffers[action.result]
        return drawn.count, drawn.count * BYTES[drawn.dtype]
    if isinstance(action, Guarded):
        return _work(plan, action.action)
    if isinstance(action, Several):
        parts = [_work(plan, inner) for inner in action.actions]
        return sum((flops for flops, _ in parts), start=ZERO), sum((moved for _, moved in parts), start=ZERO)
    middle = {Index(action.index): (action.lower + action.upper) // 2}
    turns = action.upper - action.lower
    inside = [_work(plan, inner) for inner in action.actions]
    flops, moved = (sum(part, start=ZERO) * turns for part in zip(*inside, strict=True))
    return flops.substitute(middle), moved.substitute(middle)
