"""What an import fails with."""

from __future__ import annotations

from collections.abc import Sequence


class ImportFailed(Exception):
    """A model cannot be imported; `reasons` name each operator and node that the language cannot say."""

    def __init__(self, message: str, reasons: Sequence[str] = ()) -> None:
        super().__init__("\n".join([message, *(f"  {reason}" for reason in reasons)]))
        self.message = message
        self.reasons = tuple(reasons)


class CannotSay(Exception):
    """One node cannot be said, and why."""
