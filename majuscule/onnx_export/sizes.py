"""Sizes that a program leaves open, taken from the shapes of the inputs when the model runs."""

from __future__ import annotations

import numpy

from ..dsl.equations import Input, Program
from ..dsl.integers import Integer, Symbol
from .builder import Builder
from .labelled import Value


def symbol_values(program: Program, builder: Builder) -> dict[str, Value]:
    """Each open size as a number, by name: an axis of an input has the length `a*size + b`."""
    found: dict[str, Value] = {}
    for name in program.inputs:
        declared = program.operations[name]
        assert isinstance(declared, Input)
        for axis, size in enumerate(declared.shape):
            solved = _solved(size)
            if solved is None or solved[0] in found:
                continue
            symbol, scale, offset = solved
            with builder.making(name):
                length = builder.node("Shape", name, start=axis, end=axis + 1)
                value = builder.node("Squeeze", length, builder.integers(0))
                if offset:
                    value = builder.node("Sub", value, builder.constant(numpy.array(offset, numpy.int64)))
                if scale != 1:
                    value = builder.node("Div", value, builder.constant(numpy.array(scale, numpy.int64)))
            found[symbol] = Value(value)
    return found


def _solved(size: Integer) -> tuple[str, int, int] | None:
    """Symbol, a and b of `a*symbol + b`; None for another size."""
    rest = size - size.offset
    if len(rest.terms) != 1:
        return None
    monomial, scale = rest.terms[0]
    if len(monomial) != 1 or not isinstance(monomial[0], Symbol):
        return None
    return monomial[0].name, scale, size.offset
