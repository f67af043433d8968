"""What was compiled or measured before: files in a folder, by the content they were made from.

A key is the hash of everything that decides the result (`fingerprint`), the compiler's own
source among it (`toolchain`), so an entry is never out of date, only unused.  Entries are
written aside and renamed, and carry a checksum: processes may share the folder, and one that
is killed leaves nothing that another could mistake for an entry.  A cache that cannot be read
or written is an empty one, never an error.

`MAJUSCULE_CACHE_DIR` moves the folder, `MAJUSCULE_CACHE=0` turns the cache off.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

LIMIT = 1 << 30
"""Bytes that all entries together may take."""

_HEADER = b"majuscule 1\n"
_ASIDE = "aside-"
_ABANDONED = 3600  # seconds after which a file written aside belongs to a process that was killed


class Cache:
    """A folder of entries of at most `limit` bytes; those that were used last stay."""

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self._folder = folder
        self._limit = limit

    def get(self, key: str) -> bytes | None:
        """What was stored under a key; None if nothing was, or if it is damaged."""
        path = self._folder / key
        try:
            stored = path.read_bytes()
            head, content = stored[: len(_HEADER) + 32], stored[len(_HEADER) + 32 :]
            if head != _HEADER + _checksum(key, content):
                path.unlink(missing_ok=True)
                return None
            os.utime(path)
        except OSError:
            return None
        return content

    def put(self, key: str, content: bytes) -> None:
        """Store something under a key, in place of what is there."""
        with suppress(OSError):
            # Machine code is run from here: the folder belongs to its user alone.
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, aside = tempfile.mkstemp(prefix=_ASIDE, dir=self._folder)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(_HEADER + _checksum(key, content) + content)
                os.replace(aside, self._folder / key)
            except BaseException:
                with suppress(OSError):
                    os.unlink(aside)
                raise

    def trim(self) -> None:
        """Remove the entries that were not used for longest, if all together are too large."""
        with suppress(OSError):
            found = list(self._entries())
            total = sum(size for _, size, _ in found)
            if total <= self._limit:
                return
            for _, size, path in sorted(found):
                if total <= self._limit * 9 // 10:
                    break
                with suppress(OSError):
                    os.unlink(path)
                total -= size

    def _entries(self) -> Iterator[tuple[float, int, str]]:
        """(time of last use, bytes, path) of each entry; removes what killed processes left behind."""
        now = time.time()
        with os.scandir(self._folder) as listed:
            for entry in listed:
                with suppress(OSError):
                    status = entry.stat()
                    if not entry.name.startswith(_ASIDE):
                        yield status.st_mtime, status.st_size, entry.path
                    elif now - status.st_mtime > _ABANDONED:
                        os.unlink(entry.path)


def _checksum(key: str, content: bytes) -> bytes:
    return hashlib.sha256(key.encode() + content).digest()


def user_cache() -> Cache | None:
    """The cache of this user; None if it is turned off."""
    if os.environ.get("MAJUSCULE_CACHE") == "0":
        return None
    if os.environ.get("MAJUSCULE_CACHE_DIR"):
        return Cache(Path(os.environ["MAJUSCULE_CACHE_DIR"]))
    import platformdirs

    return Cache(platformdirs.user_cache_path("majuscule"))


# -- keys --------------------------------------------------------------------------------------


def fingerprint(*values: object) -> str:
    """A hash of values, in hexadecimal: equal for equal values, in every process.

    They are made of dataclasses, sequences, mappings (whose order counts) and plain values;
    TypeError for anything else.  The `repr` of a value would not do: that of a polynomial
    says nothing of its symbols' minima, on which code depends.
    """
    parts: list[str] = []
    _describe(values, parts.append)
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _describe(value: Any, write: Callable[[str], None]) -> None:
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        write(f"{type(value).__name__} {value!r}")
    elif is_dataclass(value) and not isinstance(value, type):
        names = _field_names(type(value))
        write(f"{type(value).__qualname__} {len(names)}")
        for name in names:
            _describe(getattr(value, name), write)
    elif isinstance(value, Mapping):
        write(f"mapping {len(value)}")
        for key, item in value.items():
            _describe(key, write)
            _describe(item, write)
    elif isinstance(value, (Sequence, frozenset)):
        write(f"sequence {len(value)}")
        for item in sorted(value) if isinstance(value, frozenset) else value:
            _describe(item, write)
    else:
        raise TypeError(f"a {type(value).__qualname__} has no fingerprint")


@lru_cache(maxsize=256)
def _field_names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def toolchain() -> str | None:
    """A hash of the compiler: its source, that of the values it takes, TVM's version.

    None if the source was changed since this process loaded it: what it compiles is then
    not what the source says.
    """
    sources = _sources()
    if any(path.stat().st_mtime > _LOADED for path in sources):
        return None
    return _hash_of(sources)


_LOADED = time.time()


@lru_cache(maxsize=1)
def _sources() -> tuple[Path, ...]:
    compiler = Path(__file__).parents[1]
    taken = (compiler.parent / "dsl" / name for name in ("equations.py", "integers.py"))
    return (*sorted(compiler.rglob("*.py")), *taken)


@lru_cache(maxsize=1)
def _hash_of(sources: tuple[Path, ...]) -> str:
    digest = hashlib.sha256(metadata.version("apache-tvm").encode())
    for path in sources:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
