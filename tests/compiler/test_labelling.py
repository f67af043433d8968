"""The cheapest labels of random graphs are those that trying all of them finds."""

from __future__ import annotations

import itertools
import math
import random

import numpy
import pytest

from majuscule.compiler.labelling import Labelling

Edges = dict[tuple[str, str], list[list[float]]]


def cheapest(nodes: dict[str, list[float]], edges: Edges) -> float:
    """The least cost of all assignments, by computing them all at once."""
    names = list(nodes)
    total = numpy.zeros([len(costs) for costs in nodes.values()])
    for position, costs in enumerate(nodes.values()):
        total += numpy.reshape(costs, [-1 if axis == position else 1 for axis in range(len(names))])
    for (first, second), table in edges.items():
        one, two = names.index(first), names.index(second)
        costs = numpy.array(table) if one < two else numpy.array(table).T
        total += costs.reshape([len(nodes[names[a]]) if a in (one, two) else 1 for a in range(len(names))])
    return float(total.min())


def random_graph(
    rng: random.Random, count: int, density: float, most: int, forbidden: float = 0.1
) -> tuple[dict[str, list[float]], Edges]:
    """Nodes and edges with costs, a share of them `forbidden`, that always leave one assignment."""

    def price() -> float:
        return math.inf if rng.random() < forbidden else float(rng.randint(0, 20))

    nodes = {f"n{i}": [float(rng.randint(0, 20)), *(price() for _ in range(rng.randrange(most)))] for i in range(count)}
    edges: Edges = {}
    for first, second in itertools.permutations(nodes, 2):
        if rng.random() < density / 2:
            table = [[price() for _ in nodes[second]] for _ in nodes[first]]
            table[0][0] = float(rng.randint(0, 20))
            edges[first, second] = table
    return nodes, edges


def labelled(nodes: dict[str, list[float]], edges: Edges, **options: int) -> tuple[Labelling, dict[str, int]]:
    problem = Labelling(**options)
    for name, costs in nodes.items():
        problem.node(name, costs)
    for (first, second), table in edges.items():
        problem.edge(first, second, table)
    return problem, problem.solve()


@pytest.mark.parametrize("density", [0.1, 0.3, 1.0])
@pytest.mark.parametrize("count", range(1, 13))
def test_labels_cost_as_little_as_brute_force_finds(count: int, density: float) -> None:
    rng = random.Random(f"{count} {density}")
    for _ in range(5):
        nodes, edges = random_graph(rng, count, density, most=3)
        problem, labels = labelled(nodes, edges)
        assert labels.keys() == nodes.keys()
        assert problem.cost(labels) == cheapest(nodes, edges)


def test_the_first_of_equal_labels_is_taken() -> None:
    _, labels = labelled({"a": [1.0, 1.0], "b": [0.0, 0.0]}, {("a", "b"): [[2.0, 2.0], [2.0, 2.0]]})
    assert labels == {"a": 0, "b": 0}


def test_nodes_without_a_choice_may_have_any_number_of_neighbours() -> None:
    nodes = {"hub": [0.0], **{f"n{i}": [1.0, 2.0] for i in range(100)}}
    edges = {("hub", f"n{i}"): [[5.0, float(i % 7)]] for i in range(100)}
    problem, labels = labelled(nodes, edges)
    assert problem.cost(labels) == sum(min(6, 2 + i % 7) for i in range(100))


def test_a_long_chain_is_solved_exactly() -> None:
    """Against the shortest path through the same labels, step by step."""
    rng = random.Random(1)
    nodes = {f"n{i}": [float(rng.randint(0, 9)) for _ in range(4)] for i in range(600)}
    names = list(nodes)
    steps = {
        (a, b): [[float(rng.randint(0, 9)) for _ in range(4)] for _ in range(4)] for a, b in itertools.pairwise(names)
    }
    best = numpy.array(nodes[names[0]])
    for first, second in itertools.pairwise(names):
        best = (best[:, None] + numpy.array(steps[first, second])).min(axis=0) + numpy.array(nodes[second])
    problem, labels = labelled(nodes, steps)
    assert problem.cost(labels) == best.min()


@pytest.mark.parametrize("seed", range(20))
def test_where_tables_would_grow_too_large_the_labels_are_nearly_the_best(seed: int) -> None:
    nodes, edges = random_graph(random.Random(seed), 10, 0.6, most=3, forbidden=0.0)
    problem, labels = labelled(nodes, edges, largest=9)
    assert problem.cost(labels) <= 1.3 * cheapest(nodes, edges)
