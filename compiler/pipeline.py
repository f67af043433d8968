"""The passes in their order: from a program's graph to the graph that code generation lowers.

`optimize` runs them all; `stages` gives the graph after each, for people who want to look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set

from .checker import check
from .dependence import weight_only
from .graph import Graph
from .passes.choose_layouts import choose_layouts
from .passes.eliminate_common import eliminate_common
from .passes.eliminate_dead import eliminate_dead
from .passes.fold_constants import fold_constants
from .passes.fold_normalization import fold_normalization
from .passes.fuse_elementwise import fuse_elementwise
from .passes.hoist_invariants import hoist_invariants
from .passes.simplify import simplify
from .passes.sink_reshapes import sink_reshapes

Stage = tuple[str, Graph]


def optimize(graph: Graph, *, fold_weights: bool, verify: bool = False) -> Graph:
    """The graph with the same roots, ready for `groups.plan_groups`.

    `fold_weights`: weights do not change between calls (inference), so operations on
    weights alone are computed when they are loaded, and normalisations become part of them.
    `verify` checks the graph after every pass and raises `MalformedGraph`.
    """
    for _, after in stages(graph, fold_weights=fold_weights, verify=verify):
        graph = after
    return graph


def stages(graph: Graph, *, fold_weights: bool, verify: bool = False) -> Iterator[Stage]:
    """(pass name, graph after it), one after the other; the first is the graph as it came, called `program`."""

    def run(name: str, function: Callable[[Graph], Graph]) -> Stage:
        nonlocal graph
        graph = function(graph)
        if verify:
            check(graph)
        return name, graph

    def precomputed(current: Graph) -> Set[str]:
        return weight_only(current) if fold_weights else frozenset()

    def fuse(current: Graph) -> Graph:
        return fuse_elementwise(current, precomputed(current))

    def hoist(current: Graph) -> Graph:
        return hoist_invariants(current, precomputed(current))

    yield run("program", lambda current: current)
    yield run("eliminate_dead", eliminate_dead)
    yield run("simplify", simplify)
    yield run("sink_reshapes", sink_reshapes)
    yield run("fold_constants", fold_constants)
    yield run("eliminate_common", eliminate_common)
    yield run("fuse_elementwise", fuse)
    if fold_weights:
        yield run("fold_normalization", fold_normalization)
        yield run("fuse_elementwise again", fuse)
    yield run("hoist_invariants", hoist)
    yield run("simplify again", simplify)
    yield run("eliminate_common again", eliminate_common)
    yield run("eliminate_dead again", eliminate_dead)
    yield run("choose_layouts", choose_layouts)
