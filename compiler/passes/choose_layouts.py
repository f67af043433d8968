"""Choose for the whole graph in which order the axes of each tensor are stored.

Kernels are fast where the index of their vectors is the innermost of what they read and store:
in a convolution the channels.  A program may declare its axes in any order, so the orders of all
intermediate tensors are chosen together (see `layout_choice`) and what is not stored as declared
is rewritten, with all that read it.  Inputs and outputs keep the order that the caller knows;
where another pays, they are copied.  Weights are then put into the order in which
their readers walk.

The tensors of a group (see `groups`), which share a kernel, have one order, so that they still do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ...dsl.equations import Equation, Operation, Partial, Recurrence, Reshape, operands
from ..graph import Graph, Note
from ..layout_choice import Choice, ranks, weight_orders
from ..layouts import Order, Version, as_declared, conversion, in_order, relaid
from ..rewriting import new_name
from ..weights import rearrangeable


def choose_layouts(graph: Graph) -> Graph:
    """The graph with tensors stored in the orders that cost least together."""
    return _Rewriting(Choice(graph, rearrangeable(graph))).graph()


class _Rewriting:
    """The operations in their new orders; `made` are the orders in which tensors are made."""

    def __init__(self, choice: Choice) -> None:
        self.choice = choice
        self.source = choice.graph
        self.weights = weight_orders(choice)
        self.made = self._orders()
        self.operations: dict[str, Operation] = {}
        self.versions: dict[tuple[str, Order], str] = {}
        self.notes: list[Note] = []

    def graph(self) -> Graph:
        """The graph that was chosen; the one before if all is as declared."""
        for name in self.source:
            operation = self.source.operation(name)
            if isinstance(operation, Recurrence):
                self.operations[name] = relaid(operation, (), self._sources(name))
                continue
            declared, order = as_declared(operation.shape), self.made[name]
            renamed = name in self.choice.roots and order != declared
            version = self.versions[name, order] = self._new_name(name) if renamed else name
            self.operations[version] = relaid(self._in_order_of_data(name), order, self._sources(name))
            if order != declared:
                self._tell(name, order)
            for other in self._orders_read(name):
                self._copy(name, other)
        if self.operations == self.source.operations():
            return self.source
        return self.source.replace(self.operations, tuple(self.notes))

    # -- orders --------------------------------------------------------------------------------------

    def _orders(self) -> dict[str, Order]:
        tensors = [name for name in self.source if not isinstance(self.source.operation(name), Recurrence)]
        made = {name: as_declared(self.source.tensor(name).shape) for name in tensors}
        made |= {name: storage[0] for name, storage in self.choice.storage.items()}
        for name in self.choice.fixed - self.choice.inside:
            wanted = {order for (_, weight), order in self.weights.items() if weight == name}
            if len(wanted) == 1 and name not in self.choice.roots and self._may_be_made_otherwise(name):
                made[name] = wanted.pop()
        return made | {name: made[self.choice.results[name]] for name in self.choice.inside}

    def _may_be_made_otherwise(self, name: str) -> bool:
        """Whether all kernels that read a computed weight want another order, and nothing else minds."""
        kinds = Equation, Partial
        return isinstance(self.source.operation(name), Equation) and all(
            isinstance(self.source.operation(reader), kinds)
            and (reader in self.choice.fixed or (self._kernel_of(reader), name) in self.weights)
            for reader in self.source.consumers(name)
        )

    def _kernel_of(self, name: str) -> str:
        return self.choice.results.get(name, name)

    def _order_read(self, reader: str, name: str) -> Order:
        """The order in which an operation reads a tensor."""
        if name in self.choice.inside:
            return self.made[name]
        if not isinstance(self.source.operation(reader), (Equation, Partial, Reshape)):
            return as_declared(self.source.tensor(name).shape)
        if name not in self.choice.fixed:
            return self.choice.order_read(self._kernel_of(reader), name)
        if reader in self.choice.fixed:
            return self.made[name]
        return self.weights.get((self._kernel_of(reader), name), as_declared(self.source.tensor(name).shape))

    def _orders_read(self, name: str) -> list[Order]:
        """The orders other than the one that it is made in, in which a tensor is needed."""
        orders = [self._order_read(reader, name) for reader in self.source.consumers(name)]
        if name in self.choice.roots:
            orders.append(as_declared(self.source.tensor(name).shape))
        return [order for order in dict.fromkeys(orders) if order != self.made[name]]

    # -- operations ------------------------------------------------------------------------------------

    def _sources(self, reader: str) -> dict[str, Version]:
        found = {}
        for name in operands(self.source.operation(reader)):
            if not isinstance(self.source.operation(name), Recurrence):
                order = self._order_read(reader, name)
                found[name] = Version(self.versions[name, order], order)
        return found

    def _in_order_of_data(self, name: str) -> Operation:
        """A sum with weights in the order in which its data are stored, so that panels of weights are, too."""
        operation = self.source.operation(name)
        kernel = self.choice.kernels.get(self._kernel_of(name))
        if not isinstance(operation, Equation) or operation.combiner != "sum" or kernel is None:
            return operation
        if not any(access.of_sum for access in kernel.weights):
            return operation
        places = ranks(self.choice, kernel.result)
        return replace(
            operation, reduction=tuple(sorted(operation.reduction, key=lambda axis: places.get(axis.name, -1)))
        )

    def _copy(self, name: str, order: Order) -> None:
        """A copy of a tensor in another order."""
        tensor = self.source.tensor(name)
        as_output = name in self.choice.roots and order == as_declared(tensor.shape)
        version = self.versions[name, order] = name if as_output else self._new_name(name)
        made = Version(self.versions[name, self.made[name]], self.made[name])
        names = self._axis_names(name) or [f"i{axis}" for axis in range(len(order))]
        self.operations[version] = conversion(tensor, made, order, names)
        if as_output:
            self.notes.append(Note("choose_layouts", name, f"is copied from {made.name} into the order of the output"))
            return
        readers = _listed(self._kernel_of(r) for r in self.source.consumers(name) if self._order_read(r, name) == order)
        once = " once, when weights are loaded," if name in self.choice.fixed else ""
        text = f"is copied{once} into the order {self._axes(name, order)}, as {version}, which suits {readers}"
        self.notes.append(Note("choose_layouts", name, text))

    def _new_name(self, name: str) -> str:
        return new_name(f"{name}.permuted", {*self.source, *self.operations})

    # -- words -----------------------------------------------------------------------------------------

    def _tell(self, name: str, order: Order) -> None:
        """Say that a tensor is stored otherwise than written, and which kernels gain by it."""
        if name in self.choice.inside:
            return
        declared = as_declared(self.source.tensor(name).shape)
        text = f"is stored in the order {self._axes(name, order)}, not {self._axes(name, declared)} as written"
        kernels = [name] if name in self.choice.walks else []
        kernels += [self._kernel_of(r) for r in self.source.consumers(name) if self._order_read(r, name) == order]
        names = self._axis_names(name)
        along = "" if names is None else f" along {names[order[-1]]}"
        if kernels:
            text += f": {_listed(kernels)} can work in vectors{along}"
        self.notes.append(Note("choose_layouts", name, text))

    def _axes(self, name: str, order: Order) -> str:
        names = self._axis_names(name) or [str(size) for size in self.source.tensor(name).shape]
        return f"[{', '.join(in_order(names, order))}]"

    def _axis_names(self, name: str) -> list[str] | None:
        operation = self.source.tensor(name)
        known = self.source.program.axis_names.get(name, ())
        if isinstance(operation, Equation):
            return [axis.name for axis in operation.domain]
        return list(known) if all(known) and len(set(known)) == len(operation.shape) else None


def _listed(names: Iterable[str]) -> str:
    """Names as in "a, b and c", each once."""
    *first, last = dict.fromkeys(names)
    return f"{', '.join(first)} and {last}" if first else last
