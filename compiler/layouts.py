"""Layouts: the order in which a tensor's axes are stored, and operations on tensors in other orders.

A tensor is stored row-major in the order of its axes, so to store it otherwise is to permute its
axes, and the subscripts of everything that reads it with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from ..dsl.equations import (
    Axis,
    Equation,
    Expression,
    Operation,
    Partial,
    Read,
    Reshape,
    Shape,
    Tensor,
    element_count,
    transform,
)
from ..dsl.integers import ONE, Atom, Element, Integer
from .rewriting import map_expressions, plain, rename_operands

Order = tuple[int, ...]
"""Positions of axes as declared, from the outermost in memory to the innermost."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Version:
    """A tensor as it is stored: its name in the graph, and the order of its axes."""

    name: str
    order: Order


def as_declared(shape: Shape) -> Order:
    """The order in which axes are declared."""
    return tuple(range(len(shape)))


def with_innermost(shape: Shape, axis: int) -> Order:
    """The declared order but for one axis, which is the innermost."""
    return (*(other for other in range(len(shape)) if other != axis), axis)


def innermost(shape: Shape, order: Order) -> int | None:
    """The axis along which neighbours are next to each other; None if there is one element."""
    return next((axis for axis in reversed(order) if shape[axis] != ONE), None)


def same_memory(shape: Shape, first: Order, second: Order) -> bool:
    """Whether two orders differ in nothing but axes of size 1."""
    return [axis for axis in first if shape[axis] != ONE] == [axis for axis in second if shape[axis] != ONE]


def in_order(items: Sequence[Item], order: Order) -> tuple[Item, ...]:
    """What belongs to the axes, one each, in the order of the axes."""
    return tuple(items[axis] for axis in order)


Blocks = tuple[tuple[Order, Order], ...]
"""Axes of a reshape's source and of its result that have the same elements, in their order."""


def blocks(source: Shape, result: Shape) -> Blocks | None:
    """How a reshape joins axes or takes them apart, axes of size 1 left out; None if that cannot be told."""
    before = [axis for axis, size in enumerate(source) if size != ONE]
    after = [axis for axis, size in enumerate(result) if size != ONE]
    found: list[tuple[Order, Order]] = []
    while before and after:
        one, two = [before.pop(0)], [after.pop(0)]
        while (left := _product(source, one)) != (right := _product(result, two)):
            if left.constant is None or right.constant is None or not (before and after):
                return None
            if left.constant < right.constant:
                one.append(before.pop(0))
            else:
                two.append(after.pop(0))
        found.append((tuple(one), tuple(two)))
    return None if before or after else tuple(found)


def block_order(shape: Shape, order: Order, parts: Sequence[Order]) -> tuple[int, ...] | None:
    """The order in which blocks of axes are stored; None if the order does not keep each of them together."""
    left = tuple(axis for axis in order if shape[axis] != ONE)
    found = []
    while left:
        position = next(position for position, part in enumerate(parts) if left[0] in part)
        if left[: len(parts[position])] != parts[position]:
            return None
        found.append(position)
        left = left[len(parts[position]) :]
    return tuple(found)


def order_of_blocks(shape: Shape, parts: Sequence[Order], positions: Sequence[int]) -> Order:
    """The order of a tensor whose blocks of axes are stored in the order of these positions."""
    single = tuple(axis for axis, size in enumerate(shape) if size == ONE)
    return (*single, *(axis for position in positions for axis in parts[position]))


def _product(shape: Shape, axes: Sequence[int]) -> Integer:
    return element_count(in_order(shape, tuple(axes)))


def relaid(operation: Operation, order: Order, sources: Mapping[str, Version]) -> Operation:
    """The operation with its result in the given order, reading `sources` for the tensors of these names.

    A reshape reads its source in an order that has the same blocks (see there); operations other than
    equations, partial definitions and reshapes read and make tensors as declared.
    """
    if isinstance(operation, Equation):
        moved = map_expressions(operation, lambda expression: _with_sources(expression, sources))
        return replace(moved, domain=in_order(operation.domain, order))
    if isinstance(operation, Partial):
        pieces = []
        for piece in operation.pieces:
            source = sources.get(piece.source, Version(piece.source, tuple(range(len(piece.domain)))))
            target = in_order(piece.target, order)
            pieces.append(
                replace(piece, source=source.name, domain=in_order(piece.domain, source.order), target=target)
            )
        return replace(operation, shape=in_order(operation.shape, order), pieces=tuple(pieces))
    if isinstance(operation, Reshape):
        operation = replace(operation, shape=in_order(operation.shape, order))
    return rename_operands(operation, {name: source.name for name, source in sources.items()})


def conversion(tensor: Tensor, source: Version, order: Order, names: Sequence[str]) -> Equation:
    """The equation that copies a version of a tensor into another order; `names` are those of its axes as declared."""
    axes = [Axis(name, size) for name, size in zip(names, tensor.shape, strict=True)]
    subscripts = in_order([plain(name) for name in names], source.order)
    return Equation(in_order(axes, order), Read(source.name, subscripts, tensor.dtype), tensor.dtype)


def _with_sources(expression: Expression, sources: Mapping[str, Version]) -> Expression:
    """The expression with reads of other versions of tensors, gathers in subscripts included."""

    def node(found: Expression) -> Expression | None:
        return moved(found) if isinstance(found, Read) else None

    def moved(read: Read) -> Read:
        source = sources.get(read.tensor)
        return read if source is None else Read(source.name, in_order(read.subscripts, source.order), read.dtype)

    def integer(value: Integer) -> Integer:
        return value.rewrite(atom)

    def atom(found: Atom) -> Integer | None:
        if isinstance(found, Element):
            inner = tuple(map(integer, found.read.subscripts))
            return Integer.atom(Element(moved(found.read.with_subscripts(inner))))
        return None

    return transform(expression, node, integer)
