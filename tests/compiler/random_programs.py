"""Random small programs for tests that a pass keeps the meaning: `programs()` is a Hypothesis strategy.

Every statement takes tensors made before it: element-wise maps with broadcast weights,
paddings, convolutions and pooling along one axis, transpositions, concatenations,
reshapes, constants, copies.  All are float64, so that meanings agree closely.
"""

from __future__ import annotations

import numpy
from building import apply, axes, equation, integer, integers, literal, mul, number, program, within
from hypothesis import strategies as st

from majuscule.compiler.graph import Graph
from majuscule.dsl.equations import (
    Carried,
    Carry,
    Constant,
    Expression,
    Input,
    Operation,
    Parameter,
    Partial,
    Piece,
    Read,
    Recurrence,
    Reshape,
    Step,
)
from majuscule.dsl.integers import Element, Integer

F = "float64"
UNARY = ("neg", "tanh", "abs", "sigmoid", "sin")
BINARY = ("add", "sub", "mul", "max", "min")


def read(tensor: str, subscripts: str = "") -> Read:
    return Read(tensor, integers(subscripts), F)


class Maker:
    """A program under construction; tensors have shapes [B, rows, channels]."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.operations: dict[str, Operation] = {"x": Input(integers("B, 6, 4"), F)}
        self.shapes: dict[str, tuple[int, int]] = {"x": (6, 4)}
        self.count = 0

    def new(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def weights(self, shape: str) -> str:
        name = self.new("W")
        self.operations[name] = Parameter(integers(shape), F, "zero")
        return name

    def pick(self) -> str:
        return self.draw(st.sampled_from(list(self.shapes)[-4:]))

    def add(self, operation: Operation, rows: int, channels: int) -> None:
        name = self.new("t")
        self.operations[name] = operation
        self.shapes[name] = (rows, channels)

    def elementwise(self, body: Expression, rows: int, channels: int) -> None:
        self.add(equation(f"b<B, y<{rows}, j<{channels}", body, dtype=F), rows, channels)

    # -- statements ----------------------------------------------------------------------------

    def unary(self) -> None:
        name = self.pick()
        self.elementwise(apply(self.draw(st.sampled_from(UNARY)), read(name, "b, y, j")), *self.shapes[name])

    def binary(self) -> None:
        name, operation = self.pick(), self.draw(st.sampled_from(BINARY))
        others = [other for other in self.shapes if self.shapes[other] == self.shapes[name]]
        other = self.draw(st.sampled_from(others))
        self.elementwise(apply(operation, read(name, "b, y, j"), read(other, "b, y, j")), *self.shapes[name])

    def with_literal(self) -> None:
        name = self.pick()
        operation = self.draw(st.sampled_from((*BINARY, "div")))
        value = literal(self.draw(st.sampled_from([0.0, 1.0, -1.0, 2.0, 0.5, 3.0])), F)
        if operation == "div" and not value.value:
            return
        self.elementwise(apply(operation, read(name, "b, y, j"), value), *self.shapes[name])

    def normalisation(self) -> None:
        name = self.pick()
        rows, channels = self.shapes[name]
        scale, shift, mean, variance = (read(self.weights(str(channels)), "j") for _ in range(4))
        deviation = apply("sqrt", apply("add", apply("abs", variance), literal(0.1, F)))
        centred = apply("sub", read(name, "b, y, j"), mean)
        self.elementwise(apply("add", mul(apply("div", centred, deviation), scale), shift), rows, channels)

    def convolution(self) -> None:
        name = self.pick()
        rows, channels = self.shapes[name]
        width = self.draw(st.integers(1, min(3, rows)))
        stride = self.draw(st.integers(1, 2))
        filters = self.draw(st.integers(1, 3))
        out = (rows - width) // stride + 1
        weights = self.weights(f"{width}, {channels}, {filters}")
        body = mul(read(weights, "d, i, j"), read(name, f"b, {stride}*y + d, i"))
        self.add(equation(f"b<B, y<{out}, j<{filters}", body, f"d<{width}, i<{channels}", dtype=F), out, filters)

    def padding(self) -> None:
        name = self.pick()
        rows, channels = self.shapes[name]
        body = apply("select", within("y - 1", 0, rows), read(name, "b, y - 1, j"), literal(0.0, F))
        self.elementwise(body, rows + 2, channels)

    def pooling(self) -> None:
        name = self.pick()
        rows, channels = self.shapes[name]
        out = (rows + 1) // 2
        guard = within("2*y + d - 1", 0, rows)
        combiner = self.draw(st.sampled_from(["max", "min", "sum"]))
        body = read(name, "b, 2*y + d - 1, j")
        self.add(equation(f"b<B, y<{out}, j<{channels}", body, "d<3", combiner, guard, dtype=F), out, channels)

    def mean(self) -> None:
        name = self.pick()
        rows, channels = self.shapes[name]
        self.add(equation(f"b<B, y<1, j<{channels}", read(name, "b, d, j"), f"d<{rows}", dtype=F), 1, channels)

    def transposition(self) -> None:
        name = self.pick()
        rows, channels = self.shapes[name]
        self.elementwise(read(name, "b, j, y"), channels, rows)

    def copy(self) -> None:
        name = self.pick()
        self.elementwise(read(name, "b, y, j"), *self.shapes[name])

    def concatenation(self) -> None:
        name = self.pick()
        rows, channels = self.shapes[name]
        others = [other for other in self.shapes if self.shapes[other][0] == rows]
        other = self.draw(st.sampled_from(others))
        more = self.shapes[other][1]
        pieces = (
            Piece(name, axes(f"b<B, y<{rows}, j<{channels}"), integers("b, y, j")),
            Piece(other, axes(f"b<B, y<{rows}, j<{more}"), integers(f"b, y, j + {channels}")),
        )
        self.add(Partial(integers(f"B, {rows}, {channels + more}"), F, pieces), rows, channels + more)

    def reshape(self) -> None:
        name = self.pick()
        rows, channels = self.shapes[name]
        self.add(Reshape(name, integers(f"B, {channels}, {rows}"), F), channels, rows)

    def constant(self) -> None:
        name = self.pick()
        rows, channels = self.shapes[name]
        made = self.new("c")
        values = tuple(float(v) for v in self.draw(st.lists(st.integers(1, 3), min_size=channels, max_size=channels)))
        self.operations[made] = Constant(integers(str(channels)), F, values)
        doubled = self.new("c")
        self.operations[doubled] = equation(f"j<{channels}", mul(read(made, "j"), literal(2.0, F)), dtype=F)
        self.elementwise(apply("add", read(name, "b, y, j"), read(doubled, "j")), rows, channels)

    def position(self) -> None:
        name = self.pick()
        rows, channels = self.shapes[name]
        first = apply("lt", number("y"), number(str(self.draw(st.integers(0, rows)))))
        self.elementwise(apply("select", first, read(name, "b, y, j"), number("j", F)), rows, channels)

    def gather(self) -> None:
        name = self.pick()
        rows, channels = self.shapes[name]
        largest, copied = self.new("n"), self.new("n")
        body = read(name, "b, y, j")
        self.operations[largest] = equation(f"b<B, y<{rows}", body, f"j<{channels}", "argmax", dtype="int64")
        position = Read(largest, integers("b, y"), "int64")
        self.operations[copied] = equation(f"b<B, y<{rows}", position, dtype="int64")
        element = Integer.atom(Element(Read(copied, integers("b, y"), "int64")))
        taken = Read(name, (*integers("b, y"), element), F)
        self.elementwise(apply("add", taken, read(name, "b, y, j")), rows, channels)

    def recurrence(self) -> None:
        name = self.pick()
        rows, channels = self.shapes[name]
        start, made, now = self.new("h"), self.new("r"), self.new("m")
        self.operations[start] = equation(f"b<B, j<{channels}", read(name, "b, 0, j"), dtype=F)
        piece = Piece(start, axes(f"b<B, j<{channels}"), integers("b, 0, j"))
        size = integers(f"B, {rows + 1}, {channels}")
        domain, target = f"b<B, j<{channels}", integers("b, t + 1, j")
        weighted = mul(read(f"{made}.h", "b, t, j"), literal(0.5, F), literal(1.0, F))
        steps = (
            Step(now, equation(domain, weighted, dtype=F), None),
            Step(
                f"{made}.h", equation(domain, apply("add", read(now, "b, j"), read(name, "b, t, j")), dtype=F), target
            ),
        )
        carried = (Carried(f"{made}.h", size, F, 1, (piece,)),)
        self.operations[made] = Recurrence("t", integer(0), integer(rows), False, carried, steps)
        self.add(Carry(made, 0, size, F), rows + 1, channels)


STATEMENTS = [
    Maker.unary, Maker.binary, Maker.with_literal, Maker.normalisation, Maker.convolution, Maker.padding,
    Maker.pooling, Maker.mean, Maker.transposition, Maker.copy, Maker.concatenation, Maker.reshape, Maker.constant,
    Maker.position, Maker.gather, Maker.recurrence,
]  # fmt: skip


@st.composite
def programs(draw: st.DrawFn) -> Graph:
    """A graph of up to ten statements whose last tensor, and perhaps another, is an output."""
    maker = Maker(draw)
    for statement in draw(st.lists(st.sampled_from(STATEMENTS), min_size=1, max_size=10)):
        statement(maker)
    made = [name for name in maker.shapes if name != "x"] or ["x"]
    outputs = dict.fromkeys([made[-1], draw(st.sampled_from(made))])
    return Graph.from_program(program(maker.operations, *outputs))


def values_for(graph: Graph, seed: int = 0) -> tuple[dict[str, numpy.ndarray], dict[str, numpy.ndarray]]:
    """Inputs (three samples) and weights with normal values."""
    rng = numpy.random.default_rng(seed)
    inputs, weights = {}, {}
    for name, operation in graph.program.operations.items():
        if isinstance(operation, Input):
            inputs[name] = rng.standard_normal([size.constant or 3 for size in operation.shape])
        elif isinstance(operation, Parameter):
            weights[name] = rng.standard_normal([size.constant or 3 for size in operation.shape])
    return inputs, weights
