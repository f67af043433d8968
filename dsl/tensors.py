"""Tensors as elaboration sees them: a name with a shape, names for its axes, and views of it."""

from __future__ import annotations

from dataclasses import dataclass

from .equations import Place, Shape
from .integers import Integer


@dataclass(frozen=True, slots=True)
class View:
    """Position `e` of a view's axis is position `e + offset` of the tensor.

    A guarded view (`skip`) has `size` positions, of which those outside the tensor are left
    out of a reduction; an unguarded one (`cut`) may be read wherever the tensor is.
    """

    axis: int
    offset: Integer
    guarded: bool
    size: Integer


@dataclass(frozen=True, slots=True)
class TensorValue:
    """A tensor of the program; `axes` are the names of its axes where known (free forms)."""

    name: str
    shape: Shape
    dtype: str
    axes: tuple[str | None, ...]
    place: Place
    spelling: str = ""
    parameter: bool = False
    views: tuple[View, ...] = ()
    """Axes that are read through a shift (`skip` and `cut`)."""
    padded: tuple[tuple[int, Integer], ...] = ()
    """Places that `pad` added at the end of axes: nobody minds if a window does not reach them."""

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def shown(self) -> str:
        """The name that messages use."""
        return self.spelling or self.name

    def axis_shown(self, axis: int) -> str:
        """An axis as messages call it."""
        name = self.axes[axis] if axis < len(self.axes) else None
        ordinal = ("first", "second", "third", "fourth", "fifth", "sixth")[axis] if axis < 6 else "last"
        return f"axis {name} of {self.shown}" if name else f"the {ordinal} axis of {self.shown}"
