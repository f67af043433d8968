"""Write element-wise equations into the equations that read them, where that computes nothing twice.

What is left are tensors that have to exist: results of reductions, tensors with several
readers, and values that a reduction would otherwise compute again at each of its points.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace

from ...dsl.equations import (
    Apply,
    Equation,
    Expression,
    Literal,
    Number,
    Operation,
    Read,
    Recurrence,
    equation_reads,
    operands,
    reads,
    substitute_indices,
    transform,
    walk,
)
from ...dsl.integers import Element, FloorDiv, is_nonnegative
from ..contraction import products
from ..graph import Graph, Note
from ..rewriting import cost, is_identity, map_expressions, points

REPEATED = 8
"""Price up to which an expression may be written more than once into one body."""
LARGEST_BODY = 200
"""Nodes of an expression above which nothing more is written into it."""


def fuse_elementwise(graph: Graph, precomputed: Set[str] = frozenset()) -> Graph:
    """The graph with element-wise producers substituted into their readers.

    Tensors in `precomputed` are evaluated once before any call; they stay, unless they
    only copy something.  Producers that nobody reads any more are left out.
    """
    state = _Fusion(dict(graph.operations()), set(graph.roots), {n: graph.consumers(n) for n in graph}, precomputed)
    notes: list[Note] = []
    for name in list(graph):
        operation = state.operations[name]
        if isinstance(operation, Equation):
            notes += state.fuse_into(name)
        elif isinstance(operation, Recurrence):
            state.operations[name] = _fuse_steps(operation)
    return graph.replace(state.operations, tuple(notes)) if notes or state.operations != graph.operations() else graph


@dataclass
class _Fusion:
    """The operations so far; `readers` are kept up to date as producers go."""

    operations: dict[str, Operation]
    roots: set[str]
    readers: dict[str, list[str]]
    precomputed: Set[str]

    def fuse_into(self, reader: str) -> list[Note]:
        """Write into `reader` whatever it reads and may compute itself, and then what that reads."""
        notes: list[Note] = []
        waiting = self._operands(reader)
        while waiting:
            name = waiting.pop()
            if name in self._operands(reader) and self._allowed(name, reader):
                waiting += self._operands(name)
                notes.append(self._write(name, reader))
        return notes

    def _operands(self, name: str) -> list[str]:
        return list(operands(self.operations[name]))

    def _write(self, name: str, reader: str) -> Note:
        producer, consumer = self.operations[name], self.operations[reader]
        assert isinstance(producer, Equation)
        assert isinstance(consumer, Equation)
        self.operations[reader] = inline(name, producer, consumer)
        self.readers[name].remove(reader)
        for operand in self._operands(name):
            if reader not in self.readers[operand]:
                self.readers[operand].append(reader)
        if self.readers[name] or name in self.roots:
            return Note("fuse_elementwise", reader, f"computes {name} itself, which costs less than reading it")
        for operand in self._operands(name):
            self.readers[operand].remove(name)
        del self.operations[name]
        return Note("fuse_elementwise", reader, f"computes {name} on the way; {name} is never stored")

    def _allowed(self, name: str, reader: str) -> bool:
        producer, consumer = self.operations[name], self.operations[reader]
        if not isinstance(producer, Equation) or not isinstance(consumer, Equation):
            return False
        if producer.combiner is not None or not can_inline(name, producer, consumer):
            return False
        if isinstance(producer.body, (Literal, Number)):
            return True
        if name in self.precomputed and reader not in self.precomputed:
            return isinstance(producer.body, Read) and (is_direct(producer.body) or not is_product(consumer))
        if name in self.roots:
            return False
        if self.readers[name] == [reader] and self._computes_once(name, producer, consumer):
            return True
        return self._vanishes(name, producer)

    def _vanishes(self, name: str, producer: Equation) -> bool:
        """Whether the producer is so cheap that all its readers may compute it, so that none reads it."""
        if isinstance(producer.body, Apply) and self._follows_reduction(producer):
            return False
        for reader in self.readers[name]:
            consumer = self.operations[reader]
            if not isinstance(consumer, Equation) or not can_inline(name, producer, consumer):
                return False
            if is_product(consumer) and not is_direct(producer.body):
                return False
            if not is_cheap(producer.body, again=consumer.combiner is not None):
                return False
        return True

    def _computes_once(self, name: str, producer: Equation, consumer: Equation) -> bool:
        """Whether the reader needs each element once, and is not a worse place than the producer's own."""
        found = {read for read in equation_reads(consumer) if read.tensor == name}
        same_point = all(is_identity(read.subscripts, consumer.domain) for read in found)
        if len(found) > 1 or not is_nonnegative(points(producer) - points(consumer)):
            return False
        if cost(producer.body) > REPEATED and sum(read.tensor == name for read in equation_reads(consumer)) > 1:
            return False
        if consumer.combiner is None and same_point and producer.shape == consumer.shape:
            return True
        return not self._follows_reduction(producer) and not (is_product(consumer) and not is_direct(producer.body))

    def _follows_reduction(self, producer: Equation) -> bool:
        """Whether the producer can be the epilogue of a reduction, and so costs no memory traffic where it is."""
        for read in equation_reads(producer):
            source = self.operations[read.tensor]
            if not isinstance(source, Equation) or source.combiner is None:
                continue
            if source.shape == producer.shape and is_identity(read.subscripts, producer.domain):
                return True
        return False


def inline(name: str, producer: Equation, consumer: Equation) -> Equation:
    """The consumer with the producer's body in place of reads of the tensor `name`."""
    body = producer.body
    if body.dtype != producer.dtype:
        body = Apply("cast", (body,), producer.dtype)

    def value(node: Expression) -> Expression | None:
        if isinstance(node, Read) and node.tensor == name:
            subscripts = zip(producer.domain, node.subscripts, strict=True)
            return substitute_indices(body, {axis.name: subscript for axis, subscript in subscripts})
        return None

    return map_expressions(consumer, lambda expression: transform(expression, value))


def can_inline(name: str, producer: Equation, consumer: Equation) -> bool:
    """Whether inlining is possible at all: no read inside a subscript, no body beyond bounds."""
    expressions = [consumer.body, *([consumer.guard] if consumer.guard is not None else [])]
    nodes = [node for expression in expressions for node in walk(expression)]
    in_text = sum(_reads_outside_subscripts(expression, name) for expression in expressions)
    in_total = sum(isinstance(node, Read) and node.tensor == name for node in nodes)
    size = len(list(walk(producer.body)))
    return in_text == in_total and len(nodes) + (size - 1) * in_total <= LARGEST_BODY


def is_cheap(expression: Expression, again: bool) -> bool:
    """A read, its cast or negative; one addition more unless it is done `again` and again in a reduction.

    A `select` may hide padding and is not cheap.
    """
    selects = any(isinstance(node, Apply) and node.operation == "select" for node in walk(expression))
    return len(reads(expression)) <= 1 and cost(expression) <= (0 if again else 1) and not selects


def is_direct(expression: Expression) -> bool:
    """Whether a sum of products can read through the expression at full speed.

    Not through a padding, which would be a test in its inner loop, nor through a floor or
    a gather, which would make its reads jump, nor backwards, which hides a window.
    """
    for node in walk(expression):
        if isinstance(node, Apply) and node.operation == "select" and any(map(reads, node.arguments[1:])):
            return False
        if isinstance(node, Read):
            atoms = {atom for subscript in node.subscripts for atom in subscript.atoms()}
            if any(isinstance(atom, (FloorDiv, Element)) for atom in atoms):
                return False
            if any(factor < 0 for subscript in node.subscripts for monomial, factor in subscript.terms if monomial):
                return False
    return True


def is_product(equation: Equation) -> bool:
    """Whether the equation sums products of reads."""
    return equation.combiner == "sum" and any(
        sum(bool(reads(factor)) for factor in factors) > 1 for factors in products(equation.body)
    )


def _reads_outside_subscripts(expression: Expression, name: str) -> int:
    if isinstance(expression, Read):
        return expression.tensor == name
    if isinstance(expression, Apply):
        return sum(_reads_outside_subscripts(argument, name) for argument in expression.arguments)
    return 0


def _fuse_steps(loop: Recurrence) -> Recurrence:
    """Write temporaries of an iteration into the one later step that reads each of them."""
    steps = list(loop.steps)
    position = 0
    while position < len(steps):
        step = steps[position]
        producer = step.equation
        readers = [
            k for k, later in enumerate(steps) if any(r.tensor == step.name for r in equation_reads(later.equation))
        ]
        if step.target is None and producer.combiner is None and len(readers) == 1 and readers[0] > position:
            consumer = steps[readers[0]].equation
            found = {read for read in equation_reads(consumer) if read.tensor == step.name}
            once = len(found) == 1 and is_nonnegative(points(producer) - points(consumer))
            worth = once or is_cheap(producer.body, again=consumer.combiner is not None)
            if worth and can_inline(step.name, producer, consumer):
                steps[readers[0]] = replace(steps[readers[0]], equation=inline(step.name, producer, consumer))
                del steps[position]
                continue
        position += 1
    return replace(loop, steps=tuple(steps))
