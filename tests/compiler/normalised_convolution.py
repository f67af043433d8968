"""A convolution with bias and normalisation, built by hand, and the check that passes keep its meaning."""

from __future__ import annotations

import numpy
from building import apply, convolution, equation, given, literal, mul, read, statistics, weights

from majuscule.compiler.checker import check
from majuscule.compiler.graph import Graph
from majuscule.compiler.interpreter import evaluate
from majuscule.dsl.equations import Equation, Operation


def normalised(source: str, domain: str = "b<B, x<5, y<5, j<6", at: str = "b, x, y, j") -> Equation:
    deviation = apply("sqrt", apply("add", read("v", "j"), literal(1e-5)))
    centred = apply("div", apply("sub", read(source, at), read("m", "j")), deviation)
    return equation(domain, apply("add", mul(centred, read("g", "j")), read("h", "j")))


def network(**more: Operation) -> dict[str, Operation]:
    return {
        "L": given("B, 7, 7, 4"), "W": weights("3, 3, 4, 6"), "c": weights("6"), "g": weights("6"), "h": weights("6"),
        "m": statistics("6"), "v": statistics("6"),
        "s": convolution(3, 1, "5", "4", "6"),
        "t": equation("b<B, x<5, y<5, j<6", apply("add", read("s", "b, x, y, j"), read("c", "j"))),
        "n": normalised("t"),
        **more,
    }  # fmt: skip


def values(operations: dict[str, Operation]) -> dict[str, numpy.ndarray]:
    rng = numpy.random.default_rng(0)
    shapes = {"W": (3, 3, 4, 6), "c": (6,), "g": (6,), "h": (6,), "m": (6,), "v": (6,)}
    return {name: 0.1 + rng.random(shape) for name, shape in shapes.items() if name in operations}


def same_meaning(before: Graph, after: Graph, operations: dict[str, Operation]) -> None:
    check(after)
    image = {"L": numpy.random.default_rng(1).standard_normal((2, 7, 7, 4))}
    expected = evaluate(before, image, values(operations))
    found = evaluate(after, image, values(operations))
    for root in before.roots:
        numpy.testing.assert_allclose(found[root], expected[root], rtol=1e-10)
