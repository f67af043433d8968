"""What can go wrong between a graph and a library."""

from __future__ import annotations


class CompilationFailed(Exception):
    """The machine cannot turn a graph into a library; the message says why and what helps."""
