"""One node on its way into the program: what an operator's rule is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .errors import CannotSay
from .sizes import Dim, Size
from .values import Array, Constant, Tensor, Value, channels_last
from .writing import Program


@dataclass
class Call:
    """The operator, inputs and attributes of a node, and the program that it is said in.

    `outputs` are those of its outputs that something asks for; `give_name` gives each its name in the
    program.  `bias` are known numbers that the only reader of the result adds to it: a rule that adds
    them itself sets `bias_is_added`.  `fixed_batch` is the number of samples that the model was written
    for, if it is to take any.
    """

    program: Program
    operator: str
    inputs: Sequence[Value | None]
    attributes: Mapping[str, Any]
    outputs: Sequence[str]
    give_name: Callable[[int], str]
    bias: Constant | None = None
    bias_is_added: bool = False
    fixed_batch: int | None = None
    _named: dict[int, str] = field(default_factory=dict)

    def name(self, position: int = 0) -> str:
        """What a result is called in the program."""
        if position not in self._named:
            self._named[position] = self.give_name(position)
        return self._named[position]

    def given(self, position: int) -> bool:
        """Whether there is an input at this position."""
        return position < len(self.inputs) and self.inputs[position] is not None

    def value(self, position: int) -> Value:
        """An input; raises `CannotSay` if it is missing."""
        found = self.inputs[position] if position < len(self.inputs) else None
        if found is None:
            raise CannotSay(f"input {position} is missing")
        return found

    def constant(self, position: int, what: str) -> Array:
        """An input whose numbers must be known; raises `CannotSay` if they depend on data."""
        found = self.value(position)
        if not isinstance(found, Constant):
            raise CannotSay(f"its {what} must be known without data")
        return found.array

    def integers(self, position: int, what: str) -> list[int]:
        """A list of whole numbers that must be known."""
        array = self.constant(position, what)
        if any(isinstance(entry, Size) for entry in array.flat):
            raise CannotSay(f"its {what} must not depend on an open size")
        return [int(entry) for entry in array.reshape(-1)]

    def tensor(self, position: int) -> Tensor:
        """An input as a tensor of the program: constants become weights."""
        return self.as_tensor(self.value(position))

    def as_tensor(self, value: Value) -> Tensor:
        """A value as a tensor of the program."""
        return value if isinstance(value, Tensor) else self.program.parameter(value)

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute."""
        return self.attributes.get(name, default)

    def axis(self, number: int, rank: int) -> int:
        """An axis counted from the front; raises `CannotSay` if there is none."""
        if not -rank <= number < rank:
            raise CannotSay(f"there is no axis {number} among {rank}")
        return number % rank

    def full(self, tensor: Tensor, order: Sequence[int] | None = None) -> Tensor:
        """The tensor with every axis, in this order if one is asked for."""
        wanted = tuple(order) if order is not None else tensor.order
        if order is None:
            wanted = (*tensor.order, *(axis for axis in range(tensor.rank) if axis not in tensor.order))
        if tensor.order == wanted:
            return tensor
        return self.program.whole(tensor, self.program.names.give(f"{tensor.name}_whole"), wanted)

    def image(self, tensor: Tensor) -> Tensor:
        """The tensor as layers take it: batch, places, channels last."""
        return self.full(tensor, channels_last(tensor.rank))

    def named(self, tensor: Tensor) -> Tensor:
        """The tensor with a name for each axis, which `pad` and `skip` go by."""
        if tensor.names is not None and tensor.is_whole():
            return tensor
        order = self.full(tensor).order
        return self.program.whole(tensor, self.program.names.give(f"{tensor.name}_axes"), order)

    def result(self, shape: Sequence[Dim], order: Sequence[int], dtype: str, position: int = 0) -> Tensor:
        """What a result will be."""
        return Tensor(self.name(position), tuple(shape), tuple(order), dtype)


def scalar(value: Value | None) -> Any:
    """The one number of a constant, or None."""
    if isinstance(value, Constant) and value.array.size == 1 and value.array.dtype != object:
        return value.array.reshape(-1)[0]
    return None
