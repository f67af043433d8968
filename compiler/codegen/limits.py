"""A limit of memory that a program is compiled to keep to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limit:
    """The bytes that the arena may take, for these values of the run-time sizes (threads included), by name."""

    arena: int
    sizes: tuple[tuple[str, int], ...]

    @property
    def values(self) -> dict[str, int]:
        """The sizes by name."""
        return dict(self.sizes)
