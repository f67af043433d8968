"""Windows: which operand of a reduction is read through one, told by how indices are used.

An output index and a reduction index that stand in one subscript are a window: `x + Δx`,
`2*x + 3*Δx`, or `x*X1 // X0 + Δx`.  What an index is called, how many there are, and which
layer an equation comes from does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..dsl.equations import Apply, Equation, Expression, Read, equation_reads, reads
from ..dsl.integers import ONE
from .rewriting import indices_of

_TRANSPARENT = ("mul", "add", "sub", "max", "min")
"""Operations below which an operand that is read through a window may stand by itself."""


@dataclass(frozen=True)
class Windowed:
    """A part of a reduction's body that is read through windows, such as a padded image.

    `domain` are the output indices on which it depends, `reduction` the summed ones.
    """

    data: Expression
    domain: frozenset[str]
    reduction: frozenset[str]


def window_pairs(equation: Equation) -> set[tuple[str, str]]:
    """Pairs (output index, reduction index) of one subscript, of axes that are longer than 1."""
    return {pair for read in equation_reads(equation) for pair in _pairs(equation, read)}


def windowed(equation: Equation) -> Windowed | None:
    """The one part of a body that is read through windows; None if there is none, or if there are several."""
    if equation.combiner is None or not window_pairs(equation):
        return None
    data = equation.body
    while isinstance(data, Apply) and data.operation in _TRANSPARENT:
        inside = [argument for argument in data.arguments if any(_pairs(equation, read) for read in reads(argument))]
        if len(inside) != 1:
            break
        data = inside[0]
    if data == equation.body or (equation.guard is not None and not _inside(equation, data)):
        return None
    used = indices_of(data)
    return Windowed(
        data,
        frozenset(axis.name for axis in equation.domain if axis.name in used),
        frozenset(axis.name for axis in equation.reduction if axis.name in used),
    )


def kind(equation: Equation) -> str:
    """What a reduction over products is by the roles of its indices: `direct`, `depthwise` or `matrix`.

    With a window it is `direct`, or `depthwise` if nothing but the window is summed and every
    operand has a channel, or another index that is no place of the window, in common with the output.
    """
    pairs = window_pairs(equation)
    if not pairs:
        return "matrix"
    sliding, windows = {x for x, _ in pairs}, {p for _, p in pairs}
    summed = {axis.name for axis in equation.reduction if axis.size != ONE}
    shared = {axis.name for axis in equation.domain if axis.size != ONE} - sliding
    for read in reads(equation.body):
        shared &= indices_of(read)
    return "depthwise" if summed == windows and shared else "direct"


def _pairs(equation: Equation, read: Read) -> set[tuple[str, str]]:
    outputs = {axis.name for axis in equation.domain if axis.size != ONE}
    summed = {axis.name for axis in equation.reduction if axis.size != ONE}
    used = [subscript.indices() for subscript in read.subscripts]
    return {(x, p) for names in used for x in names & outputs for p in names & summed}


def _inside(equation: Equation, data: Expression) -> bool:
    """Whether the guard depends on no index that the data does not have."""
    own = {axis.name for axis in (*equation.domain, *equation.reduction)}
    return equation.guard is None or not (indices_of(equation.guard) & own) - indices_of(data)
