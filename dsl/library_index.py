"""Finding names in library files: which file defines a layer or a function, read when first used.

A file is cut into statements by their first words alone; the statement that defines a name
is parsed when the name is looked up, so a large library costs nothing at start.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from . import syntax
from .names import normal
from .parser import Chunk, chunks, parse_chunk

LIBRARY = Path(__file__).with_name("library")

_HEAD = re.compile(r"(layer|function)\s+([^\s(]+)\s*\(|alias\s+([^=]+)=\s*(\S+)")


class SourceIndex:
    """The layers, functions and aliases of one file, parsed on demand."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self.heads: dict[str, Chunk] = {}
        self._parsed: dict[str, syntax.Statement] = {}
        for chunk in chunks(text, file)[0]:
            match = _HEAD.match(chunk.text)
            if match is None:
                continue
            names = [match.group(2)] if match.group(2) else match.group(3).split(",")
            for name in names:
                self.heads[normal(name.strip())] = chunk

    def find(self, name: str) -> syntax.Statement | None:
        """The definition of a name; raises Mistake if it does not parse."""
        chunk = self.heads.get(name)
        if chunk is None:
            return None
        if name not in self._parsed:
            self._parsed[name] = parse_chunk(chunk, self.file)
        return self._parsed[name]


@lru_cache(maxsize=1)
def standard_library() -> tuple[SourceIndex, ...]:
    """The files of the standard library."""
    found = []
    for path in sorted(LIBRARY.glob("*.maj")):
        found.append(SourceIndex(path.read_text(encoding="utf-8"), f"library/{path.name}"))
    return tuple(found)


@lru_cache(maxsize=1)
def library_names() -> tuple[str, ...]:
    """All names that the standard library defines."""
    return tuple(name for index in standard_library() for name in index.heads)
