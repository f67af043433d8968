"""What is wrong with single samples: each is named once and left out, or ends the run if that was asked for."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable

from ..errors import DataError


class Problems:
    """Takes note of samples that cannot be used.

    `report` gets one line for each; by default it is a Python warning.  If `strict`, the first
    one raises `DataError` instead.  May be used from several threads.
    """

    def __init__(self, *, strict: bool = False, report: Callable[[str], None] | None = None) -> None:
        self.strict = strict
        self._report = report or _warn
        self._known: set[str] = set()
        self._lock = threading.Lock()

    def add(self, message: str) -> None:
        """Note a sample that is left out; `message` names its file or number and says why."""
        if self.strict:
            raise DataError(message)
        with self._lock:
            if message in self._known:
                return
            self._known.add(message)
            self._report(f"{message}; it is left out")


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=3)
