"""Sizes and subscripts as values of an ONNX graph.

What is known when the model is written becomes a constant; a size that the program leaves open is
taken from the shape of an input when the model runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy

from ..compiler.expression_values import Expressions
from ..dsl.equations import Read
from ..dsl.integers import Atom, Element, FloorDiv, Index, Integer, Symbol
from .builder import TYPES
from .labelled import Labelled, Value


class Integers:
    """Integer expressions as labelled values of int64; `read` gives an element of an integer tensor."""

    def __init__(self, graph: Labelled, symbols: dict[str, Value], read: Callable[[Read], Value]) -> None:
        self._graph = graph
        self._symbols = symbols
        self._read = read
        self.times: dict[str, Value] = {}
        """The present values of the indices of loops."""

    def value(self, expression: Integer) -> Value:
        """An expression over the indices in sight."""
        known = self._known(expression)
        if known is not None:
            return known
        total: Value | None = None
        for monomial, coefficient in expression.terms:
            product = None if monomial and coefficient == 1 else self._number(coefficient)
            for atom in monomial:
                factor = self._atom(atom)
                product = factor if product is None else self._graph.apply("Mul", product, factor)
            assert product is not None
            total = product if total is None else self._graph.apply("Add", total, product)
        assert total is not None
        return total

    def _number(self, number: int) -> Value:
        return self._graph.constant(numpy.array(number, numpy.int64))

    def _known(self, expression: Integer) -> Value | None:
        """The numbers of an expression whose indices have known lengths, as a constant."""
        atoms = expression.atoms()
        names = sorted(expression.indices())
        extents = [None if n in self.times else self._graph.extents[n].constant for n in names]
        if None in extents or any(isinstance(atom, Symbol | Element) for atom in atoms):
            return None
        box = {name: (0, extent or 0) for name, extent in zip(names, extents, strict=True)}
        return self._graph.constant(Expressions({}).integer(expression, box, None), names)

    def _atom(self, atom: Atom) -> Value:
        if isinstance(atom, Symbol):
            return self._symbols[atom.name]
        if isinstance(atom, Index):
            if atom.name in self.times:
                return self.times[atom.name]
            builder = self._graph.builder
            ends = [self._number(0).name, self.value(self._graph.extents[atom.name]).name, self._number(1).name]
            return Value(builder.node("Range", *ends), (atom.name,))
        if isinstance(atom, Element):
            found = self._read(atom.read)
            return found if atom.read.dtype == "int64" else self._graph.cast(found, TYPES["int64"])
        assert isinstance(atom, FloorDiv)
        return self.floor_divide(self.value(atom.numerator), self.value(atom.denominator))

    def floor_divide(self, numerator: Value, denominator: Value) -> Value:
        """Division of whole numbers, rounded down: ONNX's rounds towards zero."""
        rest = self._graph.apply("Mod", numerator, denominator)  # which has the denominator's sign
        return self._graph.apply("Div", self._graph.apply("Sub", numerator, rest), denominator)

    # -- shapes ------------------------------------------------------------------------------

    def vector(self, sizes: Sequence[Integer]) -> str:
        """Sizes as one vector."""
        constants = [size.constant for size in sizes]
        builder = self._graph.builder
        if None not in constants:
            return builder.integers(*(constant or 0 for constant in constants))
        parts = [
            builder.integers(size.constant)
            if size.constant is not None
            else builder.node("Unsqueeze", self.value(size).name, builder.integers(0))
            for size in sizes
        ]
        return builder.node("Concat", *parts, axis=0) if len(parts) > 1 else parts[0]

    def shape_of_one_open(self, sizes: Sequence[Integer]) -> str:
        """A shape for Reshape, where one size that is not known may be left for it to find."""
        constants = [size.constant for size in sizes]
        if constants.count(None) == 1 and 0 not in constants:
            return self._graph.builder.integers(*(-1 if constant is None else constant for constant in constants))
        return self.vector(sizes)
