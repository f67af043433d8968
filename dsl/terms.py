"""Scalar expressions of one statement after names and sums are settled, before ranges are.

A `Term` is like `equations.Expression`, but reductions may be nested anywhere, reads know
their places, and indices have no sizes yet.  `lowering.py` turns terms into equations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Union

from .equations import Place
from .integers import Element, FloorDiv, Index, Integer
from .tensors import TensorValue


@dataclass(frozen=True, slots=True)
class LiteralTerm:
    """A number or truth value; `weak` literals take the dtype of what they meet."""

    value: float | int | bool


@dataclass(frozen=True, slots=True)
class NumberTerm:
    """An index or a size used as a value."""

    value: Integer


@dataclass(frozen=True, slots=True)
class ReadTerm:
    """One element of a tensor."""

    tensor: TensorValue
    subscripts: tuple[Integer, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class ApplyTerm:
    """A scalar operation from `equations.OPERATIONS`."""

    operation: str
    arguments: tuple[Term, ...]
    dtype: str = ""


@dataclass(frozen=True, slots=True)
class ReduceTerm:
    """A reduction over `indices`; `reducer` is one of R8's; softmax keeps its indices."""

    reducer: str
    indices: tuple[str, ...]
    body: Term
    place: Place
    guards: tuple[Integer, ...] = ()
    """Conditions `>= 0` of the arm that the reduction stands in."""


@dataclass(frozen=True, slots=True)
class RandomTerm:
    """A uniform number in [0, 1) for each point; `key` tells random terms apart."""

    key: str


Term = Union[LiteralTerm, NumberTerm, ReadTerm, ApplyTerm, ReduceTerm, RandomTerm]


def parts(term: Term) -> tuple[Term, ...]:
    """The direct sub-terms."""
    if isinstance(term, ApplyTerm):
        return term.arguments
    if isinstance(term, ReduceTerm):
        return (term.body,)
    return ()


def walk(term: Term) -> Iterator[Term]:
    """The term and everything in it."""
    stack = [term]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(parts(node)))


def free_indices(term: Term) -> set[str]:
    """Indices that the term uses and does not bind itself."""
    if isinstance(term, NumberTerm):
        return term.value.indices()
    if isinstance(term, ReadTerm):
        return set().union(*(s.indices() for s in term.subscripts)) if term.subscripts else set()
    if isinstance(term, ReduceTerm):
        inner = free_indices(term.body)
        for guard in term.guards:
            inner |= guard.indices()
        return inner if term.reducer == "softmax" else inner - set(term.indices)
    if isinstance(term, ApplyTerm):
        return set().union(*(free_indices(argument) for argument in term.arguments))
    return set()


def has_random(term: Term) -> bool:
    """Whether the term draws random numbers."""
    return any(isinstance(node, RandomTerm) for node in walk(term))


def substitute(term: Term, values: dict[str, Integer]) -> Term:
    """Replace free indices by integer expressions."""
    mapping = {Index(name): value for name, value in values.items()}
    if isinstance(term, NumberTerm):
        return NumberTerm(term.value.substitute(mapping))
    if isinstance(term, ReadTerm):
        return replace(term, subscripts=tuple(s.substitute(mapping) for s in term.subscripts))
    if isinstance(term, ApplyTerm):
        return replace(term, arguments=tuple(substitute(a, values) for a in term.arguments))
    if isinstance(term, ReduceTerm):
        inner = {name: value for name, value in values.items() if name not in term.indices}
        guards = tuple(g.substitute(mapping) for g in term.guards)
        return replace(term, body=substitute(term.body, inner), guards=guards)
    return term


__all__ = [
    "ApplyTerm", "Element", "FloorDiv", "LiteralTerm", "NumberTerm", "RandomTerm", "ReadTerm", "ReduceTerm",
    "Term", "free_indices", "has_random", "parts", "substitute", "walk",
]  # fmt: skip
