"""What can go wrong between a graph and a library."""

from __future__ import annotations


class CompilationFailed(Exception):
    """The machine cannot turn a graph into a library; the message says why and what helps."""


class LimitTooLow(CompilationFailed):
    """Working memory cannot be kept to a limit; `least` is what can be reached, in bytes."""

    def __init__(self, least: int) -> None:
        super().__init__(f"the step needs {least} bytes of working memory at least")
        self.least = least
