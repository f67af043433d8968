"""Fold scales and shifts that depend only on weights into the weights of the sum before them.

At inference, a normalisation by running statistics is `scale[j] * y[…, j] + shift[j]` of a
sum of products `y`.  Found by how the equations are built, whatever the layer is called:
an element-wise equation with a part that is affine in one read of data, its coefficients
free of data.  If the read tensor is a sum of products with a factor of weights over the
indices of the scale, the scale is multiplied into those weights; else the part becomes
one multiplication and one addition.  The new weights and shifts are equations on
parameters, evaluated once when weights are loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ...dsl.equations import (
    FLOATS,
    Apply,
    Axis,
    Equation,
    Expression,
    Literal,
    Number,
    Operation,
    Read,
    Recurrence,
    Shape,
    equation_reads,
    reads,
    substitute_indices,
    walk,
)
from ...dsl.integers import ONE, ZERO, Symbol
from ..contraction import products
from ..dependence import data_free
from ..graph import Graph, Note
from ..rewriting import cost, exchange, indices_of, new_name, plain
from ..scalar_identities import is_literal


@dataclass(frozen=True, slots=True)
class Affine:
    """`scale * read + shift`; a shift of None is 0."""

    scale: Expression
    shift: Expression | None


def fold_normalization(graph: Graph) -> Graph:
    """The graph with affine maps of sums folded into the sums' weights (inference only)."""
    state = _Folding(graph, dict(graph.operations()), data_free(graph))
    notes: list[Note] = []
    for name, operation in graph.operations().items():
        if isinstance(operation, Equation) and operation.combiner is None and name not in state.free:
            notes += state.fold(name, operation)
    return graph.replace(state.operations, tuple(notes)) if notes else graph


@dataclass
class _Folding:
    """The operations so far, and the names of those that are free of data."""

    graph: Graph
    operations: dict[str, Operation]
    free: set[str]

    def fold(self, name: str, equation: Equation) -> list[Note]:
        """Fold each affine part of the body of an equation."""
        notes: list[Note] = []
        for part, read, affine in self._parts(equation.body):
            if is_literal(affine.scale, 1):
                continue
            scaled = self._scaled_weights(name, equation, part, read, affine.scale)
            if scaled is not None:
                value: Expression = read
                text = f"the scale of {name} is multiplied into {scaled}, once, when weights are loaded"
                notes.append(Note("fold_normalization", read.tensor, text))
            elif cost(part) > 2 and reads(affine.scale):
                scale = self._evaluated(f"{name}.scale", equation, affine.scale)
                value = Apply("mul", (read, scale), part.dtype)
                notes.append(Note("fold_normalization", name, "is one multiplication and one addition per element"))
            else:
                continue
            if affine.shift is not None:
                value = Apply("add", (value, self._evaluated(f"{name}.shift", equation, affine.shift)), part.dtype)
            equation = replace(equation, body=exchange(equation.body, part, value))
            self.operations[name] = equation
        return notes

    # -- finding affine parts -----------------------------------------------------------------

    def _parts(self, body: Expression) -> list[tuple[Expression, Read, Affine]]:
        """The largest parts that are affine in one read of data."""
        found: list[tuple[Expression, Read, Affine]] = []
        stack = [body]
        while stack:
            part = stack.pop()
            if not isinstance(part, Apply):
                continue
            data = [read for read in reads(part) if read.tensor not in self.free]
            affine = self._affine(part, data[0]) if len(data) == 1 else None
            if affine is not None:
                found.append((part, data[0], affine))
            else:
                stack.extend(part.arguments)
        return found

    def _is_free(self, expression: Expression) -> bool:
        """Whether the expression reads weights only and knows no run-time size."""
        for node in walk(expression):
            if isinstance(node, Read) and node.tensor not in self.free:
                return False
            integers = node.subscripts if isinstance(node, Read) else (node.value,) if isinstance(node, Number) else ()
            if any(isinstance(atom, Symbol) for integer in integers for atom in integer.atoms()):
                return False
        return True

    def _affine(self, part: Expression, read: Read) -> Affine | None:
        """`part` as `scale * read + shift`, if it is of that form."""
        if part == read:
            return Affine(Literal(1.0, part.dtype), None)
        if not isinstance(part, Apply) or part.dtype not in FLOATS:
            return None
        if part.operation == "neg":
            inner = self._affine(part.arguments[0], read)
            return None if inner is None else Affine(_negative(inner.scale), _maybe(_negative, inner.shift))
        if part.operation not in ("add", "sub", "mul", "div"):
            return None
        left, right = part.arguments
        if self._is_free(right):
            inner, other, swapped = self._affine(left, read), right, False
        elif self._is_free(left) and part.operation != "div":
            inner, other, swapped = self._affine(right, read), left, True
        else:
            return None
        if inner is None:
            return None
        if part.operation in ("add", "sub"):
            return _sum(part.operation, inner, other, swapped)
        scale = _apply(part.operation, inner.scale, other)
        if part.operation == "mul" and is_literal(inner.scale, 1):
            scale = other
        return Affine(scale, _maybe(lambda shift: _apply(part.operation, shift, other), inner.shift))

    # -- rewriting ----------------------------------------------------------------------------

    def _scaled_weights(
        self, name: str, equation: Equation, part: Expression, read: Read, scale: Expression
    ) -> str | None:
        """Multiply the scale into the weights of the sum that `read` reads; their new name, or None."""
        source = self.operations[read.tensor]
        if (
            not isinstance(source, Equation)
            or source.combiner != "sum"
            or source.guard is not None
            or read.tensor in self.graph.roots
            or self.graph.consumers(read.tensor) != [name]
            or sum(found.tensor == read.tensor for found in equation_reads(equation)) != 1
        ):
            return None
        names = {s.plain_index: axis.name for s, axis in zip(read.subscripts, source.domain, strict=True)}
        used = indices_of(scale)
        terms = products(source.body)
        if len(terms) != 1 or not used <= set(names):
            return None
        there = substitute_indices(scale, {index: plain(str(names[index])) for index in used})
        for factor in terms[0]:
            if isinstance(factor, Read) and factor.tensor in self.free and reads(source.body).count(factor) == 1:
                domain = self._domain_of_weights(factor, source)
                if domain is not None and indices_of(there) <= {axis.name for axis in domain}:
                    return self._scale(read.tensor, source, factor, domain, there)
        return None

    def _domain_of_weights(self, factor: Read, source: Equation) -> tuple[Axis, ...] | None:
        """Axes for a copy of the weights, if the sum reads each of their elements by plain indices."""
        sizes = {axis.name: axis.size for axis in (*source.domain, *source.reduction)}
        axes = []
        for position, (subscript, size) in enumerate(zip(factor.subscripts, self._shape(factor.tensor), strict=True)):
            index = subscript.plain_index
            if index is None and subscript == ZERO and size == ONE:
                axes.append(Axis(f"one{position}", ONE))
            elif index is not None and sizes.get(index) == size and index not in {axis.name for axis in axes}:
                axes.append(Axis(index, size))
            else:
                return None
        return tuple(axes)

    def _shape(self, name: str) -> Shape:
        operation = self.operations[name]
        assert not isinstance(operation, Recurrence)
        return operation.shape

    def _scale(self, name: str, source: Equation, factor: Read, domain: tuple[Axis, ...], scale: Expression) -> str:
        if scale.dtype != factor.dtype:
            scale = Apply("cast", (scale,), factor.dtype)
        scaled = new_name(f"{factor.tensor}.scaled", self.operations)
        body = Apply("mul", (factor.with_subscripts(tuple(plain(axis.name) for axis in domain)), scale), factor.dtype)
        self._add(scaled, Equation(domain, body, factor.dtype))
        there = replace(factor, tensor=scaled)
        self.operations[name] = replace(source, body=exchange(source.body, factor, there))
        return scaled

    def _evaluated(self, name: str, equation: Equation, expression: Expression) -> Expression:
        """A read of a new tensor that holds a data-free expression, or the expression if it is simple already."""
        domain = tuple(axis for axis in equation.domain if axis.name in indices_of(expression))
        if cost(expression) == 0 or any(axis.size.constant is None for axis in domain):
            return expression
        name = new_name(name, self.operations)
        self._add(name, Equation(domain, expression, expression.dtype))
        return Read(name, tuple(plain(axis.name) for axis in domain), expression.dtype)

    def _add(self, name: str, equation: Equation) -> None:
        self.operations[name] = equation
        self.free.add(name)


def _apply(operation: str, *arguments: Expression) -> Expression:
    return Apply(operation, arguments, arguments[0].dtype)


def _negative(expression: Expression) -> Expression:
    if isinstance(expression, Literal):
        return Literal(-expression.value, expression.dtype)
    return _apply("neg", expression)


def _maybe(function: Callable[[Expression], Expression], value: Expression | None) -> Expression | None:
    return None if value is None else function(value)


def _sum(operation: str, inner: Affine, other: Expression, swapped: bool) -> Affine:
    """`inner ± other`, or `other ± inner` where swapped."""
    if operation == "add":
        return Affine(inner.scale, other if inner.shift is None else _apply("add", inner.shift, other))
    if not swapped:
        return Affine(inner.scale, _negative(other) if inner.shift is None else _apply("sub", inner.shift, other))
    return Affine(_negative(inner.scale), other if inner.shift is None else _apply("sub", other, inner.shift))
