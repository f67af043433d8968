"""A recurrence as statements of the language: a loop of equations over time, its starts, what it leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..dsl.equations import (
    Apply,
    Axis,
    Carry,
    Equation,
    Expression,
    Piece,
    Read,
    Recurrence,
    Step,
    substitute_indices,
    transform,
)
from ..dsl.integers import ONE, Atom, Index, Integer
from ..dsl.names import capital_form, free_form, normal
from .rewriting import map_expressions, new_name, plain
from .text_names import RESERVED
from .text_parts import dtype_text

if TYPE_CHECKING:
    from .program_text import Writer


@dataclass
class RecurrenceText:
    """Writes one recurrence."""

    writer: Writer
    name: str
    loop: Recurrence

    def __post_init__(self) -> None:
        self.shifts = {carried.name: self._written(carried.name) for carried in self.loop.carried}
        shifts = set(self.shifts.values())
        self.move = shifts.pop() if len(shifts) == 1 and not self.loop.reverse else 0
        """What is added to the time of the loop, so that tensors are written at it."""
        self.carries = {
            operation.position: name
            for name, operation in self.writer.operations.items()
            if isinstance(operation, Carry) and operation.recurrence == self.name
        }

    def _written(self, carried: str) -> int:
        """How far from the time of the loop a tensor is written."""
        axis = next(c.axis for c in self.loop.carried if c.name == carried)
        for step in self.loop.steps:
            if step.name == carried and step.target is not None:
                return step.target[axis].offset
        return 0

    def _direct(self, position: int) -> bool:
        """Whether the tensor of the language's loop is all of the carried tensor."""
        carried = self.loop.carried[position]
        upper = self.loop.upper + self.move
        return self.shifts[carried.name] == self.move and carried.shape[carried.axis] == upper

    def _named(self, position: int) -> str:
        """What the carried tensor is called in the loop."""
        if self._direct(position) and position in self.carries:
            return self.writer.names[self.carries[position]]
        return self.writer.names[f"{self.name}/{self.loop.carried[position].name}"]

    def _offset(self, carried: str) -> int:
        """Position in the operation minus position in the text."""
        return self.shifts[carried] - self.move

    def lines(self) -> list[str]:
        """Equations of the loop and their starts."""
        starts = [
            self.writer.piece(self._named(k), self._moved(carried.name, carried.axis, piece), carried.dtype)
            for k, carried in enumerate(self.loop.carried)
            for piece in carried.starts
        ]
        steps = [self._step(step) for step in self.loop.steps if step.target is not None]
        return [*steps, *starts] if self.loop.reverse else [*starts, *steps]

    def _moved(self, name: str, axis: int, piece: Piece) -> Piece:
        offset = self._offset(name)
        target = tuple(t - offset if k == axis else t for k, t in enumerate(piece.target))
        return replace(piece, target=target)

    def carry(self, name: str, position: int) -> list[str]:
        """The whole carried tensor, its starts included."""
        if self._direct(position):
            return []
        carried = self.loop.carried[position]
        axes = [Axis(f"i{k}", size) for k, size in enumerate(carried.shape)]
        length = self.loop.upper - self.loop.lower
        axes[carried.axis] = Axis("t", length)
        offset, first = self._offset(carried.name), self.loop.lower + self.move
        time = plain("t") + first
        places = [plain(axis.name) for axis in axes]
        read = ", ".join(self.writer.integer(time if k == carried.axis else p) for k, p in enumerate(places))
        target = ", ".join(self.writer.integer(time + offset if k == carried.axis else p) for k, p in enumerate(places))
        ranges = ", ".join(map(self.writer.ranged, axes))
        dtype = dtype_text(carried.dtype)
        whole = self.writer.names[name]
        lines = [f"for {ranges}: {whole}[{target}]{dtype} = {self._named(position)}[{read}]"]
        return [*lines, *(self.writer.piece(whole, piece, carried.dtype) for piece in carried.starts)]

    def _step(self, step: Step) -> str:
        """One equation, temporaries written out."""
        assert step.target is not None
        index = self.loop.index
        axis = next(c.axis for c in self.loop.carried if c.name == step.name)
        position = next(k for k, c in enumerate(self.loop.carried) if c.name == step.name)
        names = self.writer.index_names((Axis(index, ONE), *step.equation.domain), self._whole_body(step), set())
        values = {old: plain(new) for old, new in names.items()}
        values[index] = values[index] - self.move
        there: dict[Atom, Integer] = {Index(k): v for k, v in values.items()}
        offset = self._offset(step.name)
        target = [t.substitute(there) - (offset if k == axis else 0) for k, t in enumerate(step.target)]
        taken = set(names.values())
        right = self._right(step.equation, values, taken)
        time = Axis(names[index], self.loop.upper + self.move)
        ranges = [self.writer.ranged(time, self.loop.lower + self.move)]
        ranges = [*ranges, *(self.writer.ranged(Axis(names[a.name], a.size)) for a in step.equation.domain)]
        left = f"{self._named(position)}[{', '.join(map(self.writer.integer, target))}]"
        return f"for {', '.join(ranges)}: {left}{dtype_text(step.equation.dtype)} = {right}"

    def _whole_body(self, step: Step) -> Equation:
        """An equation that holds whatever is written into one step, to find names that are free."""
        temporaries = [s.equation for s in self.loop.steps if s.target is None]
        body = step.equation.body
        for equation in temporaries:
            for expression in (equation.body, *([] if equation.guard is None else [equation.guard])):
                body = Apply("and", (body, expression), "bool")
        return replace(step.equation, body=body)

    def _right(self, equation: Equation, values: Mapping[str, Integer], taken: set[str]) -> str:
        """The right side with indices replaced; sums of temporaries stand in their places."""
        inner = {}
        for axis in equation.reduction:
            inner[axis.name] = new_name(free_form(normal(axis.name)), {*taken, *RESERVED, *self.writer.sizes.values()})
            taken |= {inner[axis.name], capital_form(inner[axis.name])}
        values = {**values, **{old: plain(new) for old, new in inner.items()}}
        texts: dict[str, str] = {}
        found = map_expressions(equation, lambda e: self._inlined(substitute_indices(e, values), values, taken, texts))
        found = replace(found, reduction=tuple(Axis(inner[a.name], a.size) for a in equation.reduction))
        text = self.writer.right(found)
        for placeholder, written in reversed(texts.items()):
            text = text.replace(placeholder, written)
        return text

    def _inlined(
        self, expression: Expression, values: Mapping[str, Integer], taken: set[str], texts: dict[str, str]
    ) -> Expression:
        """Reads of temporaries as placeholders of their text, of carried tensors at the places of the text."""
        temporaries = {step.name: step.equation for step in self.loop.steps if step.target is None}
        carried = {c.name: (k, c.axis) for k, c in enumerate(self.loop.carried)}

        def node(found: Expression) -> Expression | None:
            if not isinstance(found, Read):
                return None
            if found.tensor in temporaries:
                equation = temporaries[found.tensor]
                time = {self.loop.index: values[self.loop.index]}
                places = {a.name: s for a, s in zip(equation.domain, found.subscripts, strict=True)}
                placeholder = f"⟦{len(texts)}⟧"
                texts[placeholder] = ""
                written = self._right(equation, {**time, **places}, taken)
                texts[placeholder] = f"({written})" if equation.combiner is None else written
                return Read(placeholder, (), found.dtype)
            if found.tensor in carried:
                position, axis = carried[found.tensor]
                offset = self._offset(found.tensor)
                subscripts = tuple(s - offset if k == axis else s for k, s in enumerate(found.subscripts))
                return Read(self._named(position), subscripts, found.dtype)
            return None

        return transform(expression, node)
