"""Reverse accumulation over the graph: adjoints of tensors as ordinary operations.

Operations are taken from the last to the first.  When one is reached, everything that reads
it has said what it adds to its adjoint; these parts are summed (`contributions`), and the
operation says in turn what it adds to the adjoints of its operands (`equations`, `gathering`,
`recurrences`).  Only tensors on a way from a wanted tensor to the result take part.  The
forward operations are shared, never copied.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ...dsl.equations import (
    FLOATS,
    Axis,
    Equation,
    Expression,
    Literal,
    Operation,
    Partial,
    Piece,
    Read,
    Recurrence,
    Reshape,
    operands,
    reads,
    substitute_indices,
)
from ...dsl.integers import Element, Integer
from ..passes.simplify import simplify_operation
from ..rewriting import is_identity, new_name, plain
from .contributions import Part, total, whole
from .equations import is_wanted_in, peeled, spreads
from .gathering import gather
from .inversion import Spread
from .scalar import real
from .taken_off import is_taken_off


def differentiate(
    operations: Mapping[str, Operation], seeds: Mapping[str, Expression], wanted: Iterable[str]
) -> tuple[dict[str, Operation], dict[str, str]]:
    """Operations that compute adjoints, and the name of the adjoint of each wanted tensor.

    `operations` are in an order in which operands come first.  `seeds` give the adjoints of
    results: 1.0 for a loss, or a read of a tensor over the indices `i0, i1, …`.  The new
    operations read the given ones; where nothing depends on a wanted tensor, its adjoint is zero.
    """
    reverse = Reverse(operations, tuple(dict.fromkeys(wanted)))
    return reverse.run(seeds)


@dataclass
class Reverse:
    """The state of one differentiation."""

    operations: Mapping[str, Operation]
    wanted: tuple[str, ...]
    made: dict[str, Operation] = field(default_factory=dict)
    parts: dict[str, list[Part]] = field(default_factory=dict)
    adjoints: dict[str, Expression] = field(default_factory=dict)
    """Tensor -> its adjoint: a literal, or a read of the tensor that holds it at indices `i0, i1, …`."""
    active: set[str] = field(default_factory=set)
    memory: dict[Operation, str] = field(default_factory=dict)

    def run(self, seeds: Mapping[str, Expression]) -> tuple[dict[str, Operation], dict[str, str]]:
        """All adjoints that are needed for the wanted ones."""
        self._find_active(seeds)
        for name, seed in seeds.items():
            self.add_part(name, whole(Equation(self.axes(name), seed, seed.dtype)))
        for name in reversed(list(self.operations)):
            self._visit(name)
        return self.made, {name: self._stored(name) for name in self.wanted}

    def _find_active(self, results: Iterable[str]) -> None:
        """Tensors that depend on a wanted one by way of floats, and are not taken off again."""
        readers: dict[str, list[str]] = {name: [name] for name in results}
        for name, operation in self.operations.items():
            for operand in operands(operation):
                readers.setdefault(operand, []).append(name)
        for name, operation in self.operations.items():
            if name not in self.wanted and is_taken_off(name, self.operations, readers):
                continue
            depends = any(operand in self.active for operand in operands(operation))
            is_float = isinstance(operation, Recurrence) or operation.dtype in FLOATS
            if name in self.wanted or (depends and is_float):
                self.active.add(name)

    def _visit(self, name: str) -> None:
        operation = self.operations[name]
        if isinstance(operation, Recurrence):
            from .recurrences import pull_back

            if name in self.active:
                pull_back(self, name, operation)
        elif name in self.active and self.parts.get(name):
            self._settle(name)
            self._pull_back(name, operation)

    # -- names and operations ----------------------------------------------------------------------

    def make(self, hint: str, operation: Operation) -> str:
        """Add an operation under the name, or that with a number; an equal one is taken instead."""
        operation = simplify_operation(operation)
        if operation not in self.memory:
            self.memory[operation] = self._add(hint, operation)
        return self.memory[operation]

    def _add(self, hint: str, operation: Operation) -> str:
        name = new_name(hint, self.operations.keys() | self.made.keys())
        self.made[name] = operation
        return name

    def axes(self, name: str) -> tuple[Axis, ...]:
        """Axes `i0, i1, …` of a tensor's shape."""
        operation = self.operations[name]
        assert not isinstance(operation, Recurrence)
        return tuple(Axis(f"i{k}", size) for k, size in enumerate(operation.shape))

    def stored_axes(self, name: str) -> tuple[Axis, ...]:
        """Axes of a tensor with the names that its own equation gives them."""
        operation = self.operations[name]
        if isinstance(operation, Equation):
            return operation.domain
        return self.axes(name)

    # -- adjoints ----------------------------------------------------------------------------------

    def add_part(self, tensor: str, part: Part) -> None:
        """Add to the adjoint of a tensor."""
        self.parts.setdefault(tensor, []).append(part)

    def adjoint(self, name: str, subscripts: tuple[Integer, ...]) -> Expression:
        """The element of an adjoint at a place."""
        found = self.adjoints[name]
        return found.with_subscripts(subscripts) if isinstance(found, Read) else found

    def has_adjoint(self, name: str) -> bool:
        """Whether anything was added to the adjoint of a tensor."""
        return name in self.adjoints

    def _settle(self, name: str) -> None:
        """Sum what was added to an adjoint."""
        operation = self.operations[name]
        assert not isinstance(operation, Recurrence)
        parts = self.parts.pop(name)
        dtype = operation.dtype
        made = simplify_operation(total(parts, operation.shape, dtype, f"d_{name}", self.make))
        subscripts = tuple(plain(axis.name) for axis in self.axes(name))
        if isinstance(made, Equation) and isinstance(made.body, Literal) and made.combiner is None:
            self.adjoints[name] = made.body
        elif isinstance(made, Equation) and isinstance(made.body, Read) and self._is_copy(made, made.body):
            self.adjoints[name] = made.body.with_subscripts(subscripts)
        else:
            self.adjoints[name] = Read(self._add(f"d_{name}", made), subscripts, dtype)

    def _is_copy(self, equation: Equation, read: Read) -> bool:
        """Whether an equation only gives another name to the whole of a tensor."""
        source = self.made.get(read.tensor) or self.operations[read.tensor]
        assert not isinstance(source, Recurrence)
        same = source.shape == equation.shape and source.dtype == equation.dtype
        return same and is_identity(read.subscripts, equation.domain)

    def _stored(self, name: str) -> str:
        """The tensor that holds the adjoint of a wanted one, which is called after it."""
        operation = self.operations[name]
        assert not isinstance(operation, Recurrence)
        found = self.adjoints.get(name, real(0, operation.dtype))
        axes = self.stored_axes(name)
        if isinstance(found, Read) and found.tensor in self.made and found.tensor.startswith(f"d_{name}"):
            return found.tensor
        body = self.adjoint(name, tuple(plain(axis.name) for axis in axes)) if name in self.adjoints else found
        return self._add(f"d_{name}", Equation(axes, body, operation.dtype))

    # -- operations --------------------------------------------------------------------------------

    def _pull_back(self, name: str, operation: Operation) -> None:
        """Say what an operation adds to the adjoints of its operands."""
        if isinstance(operation, Equation):
            here = tuple(plain(axis.name) for axis in operation.domain)
            known = Read(name, here, operation.dtype)
            self.spread(name, operation, self.adjoint(name, here), known)
        elif isinstance(operation, Partial):
            for piece in operation.pieces:
                self._piece(name, piece, operation.dtype)
        elif isinstance(operation, Reshape) and operation.source in self.active:
            self._reshape(name, operation)

    def spread(self, name: str, equation: Equation, upstream: Expression, known: Expression | None) -> None:
        """Add to the adjoints of what an equation reads."""
        wanted = is_wanted_in(self.active.__contains__)
        for tensor, found in spreads(name, equation, upstream, wanted, self.make, known):
            self.add_spread(name, tensor, found)

    def add_spread(self, name: str, tensor: str, spread: Spread) -> None:
        """Add to the adjoint of a tensor what the operation `name` spreads over it."""
        source = self._through(tensor, spread)
        while source is not None:
            tensor, spread = source
            source = self._through(tensor, spread)
        operation = self.operations[tensor]
        assert not isinstance(operation, Recurrence)
        axes = [axis.name for axis in self.stored_axes(tensor)]
        for part in gather(spread, operation.shape, operation.dtype, f"d_{name}", self.make, axes):
            self.add_part(tensor, part)

    def _through(self, tensor: str, spread: Spread) -> tuple[str, Spread] | None:
        """The same spread over what a padding, a slice or a copy reads, so that only what exists gets an adjoint."""
        operation = self.operations[tensor]
        if tensor in self.wanted or not isinstance(operation, Equation) or operation.combiner is not None:
            return None
        conditions, value = peeled(operation.body)
        if not isinstance(value, Read) or value.tensor not in self.active or value.dtype != operation.dtype:
            return None
        if any(map(reads, conditions)) or any(isinstance(a, Element) for s in value.subscripts for a in s.atoms()):
            return None
        places = {axis.name: place for axis, place in zip(operation.domain, spread.subscripts, strict=True)}
        found = substitute_indices(value, places)
        assert isinstance(found, Read)
        more = tuple(substitute_indices(condition, places) for condition in conditions)
        return value.tensor, replace(spread, subscripts=found.subscripts, conditions=(*spread.conditions, *more))

    def _piece(self, name: str, piece: Piece, dtype: str) -> None:
        if piece.source in self.active:
            self.add_part(piece.source, whole(Equation(piece.domain, self.adjoint(name, piece.target), dtype)))

    def _reshape(self, name: str, operation: Reshape) -> None:
        source = self.operations[operation.source]
        assert not isinstance(source, Recurrence)
        found, axes = self.adjoints[name], self.stored_axes(operation.source)
        if isinstance(found, Read):
            turned = self.make(f"d_{name}.unfused", Reshape(found.tensor, source.shape, operation.dtype))
            found = Read(turned, tuple(plain(axis.name) for axis in axes), operation.dtype)
        self.add_part(operation.source, whole(Equation(axes, found, operation.dtype)))
