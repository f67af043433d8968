"""The stages between a program and machine code that `maj dump` and `maj graph` can show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .failures import Failure

if TYPE_CHECKING:
    from ..compiler.graph import Graph
    from ..dsl.equations import Program


def graph_stages(program: Program) -> Iterator[tuple[str, Graph]]:
    """(name, graph) for the program as it came and after each pass, in their order."""
    from ..compiler.graph import Graph
    from ..compiler.pipeline import stages

    for name, graph in stages(Graph.from_program(program), fold_weights=program.mode != "training"):
        yield "graph" if name == "program" else name.replace(" ", "-"), graph


def graph_at(program: Program, stage: str) -> Graph:
    """The graph after the pass called `stage`; `graph` is before all and `optimized` after the last."""
    names: list[str] = []
    last: Graph | None = None
    for name, graph in graph_stages(program):
        if stage == name:
            return graph
        names.append(name)
        last = graph
    if stage == "optimized" and last is not None:
        return last
    raise unknown_stage(stage, [*names, "optimized"])


def unknown_stage(stage: str, known: list[str]) -> Failure:
    """The failure for a stage that does not exist."""
    from ..dsl.diagnostics import nearest

    near = nearest(stage, known)
    hints = [f"is {near} meant?"] if near else []
    return Failure(f"there is no stage {stage}", *hints, f"stages: {', '.join(known)}")
