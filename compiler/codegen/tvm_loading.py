"""Loads TVM without PyTorch; imported before anything else of TVM.

Where PyTorch is installed, TVM's FFI imports it, to take its tensors as arguments.  That
costs two seconds, three quarters of the time until a small program is compiled, for
something that is not used here.  A PyTorch that is loaded already stays loaded and is seen.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _Missing(MetaPathFinder):
    """Says to one thread, and to no other, that there is no such module."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread = threading.get_ident()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == self._name and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"{fullname} is left out here", name=fullname)
        return None


@contextmanager
def without(name: str) -> Iterator[None]:
    """Inside, this thread cannot import module `name` unless it is loaded already."""
    finder = _Missing(name)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


with without("torch"):
    import tvm  # noqa: F401
