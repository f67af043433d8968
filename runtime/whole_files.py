"""Files that appear whole or not at all, whatever happens to the process or the machine meanwhile."""

from __future__ import annotations

import contextlib
import glob
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_ENDING = ".part"


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A file to write to, and to read back, that takes the place of `path` once the block ends without an error.

    It is written beside `path`, brought to the disk, then renamed.  Raises OSError; whenever the
    block or the system fails, what was there before stays, and nothing else.
    """
    target = Path(path)
    aside = target.with_name(f"{_start(target)}{uuid.uuid4().hex}{_ENDING}")
    try:
        with open(aside, "xb+") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, target)
        _sync_folder(target.parent)
    finally:
        aside.unlink(missing_ok=True)


def remove_left_overs(path: str | os.PathLike[str]) -> None:
    """Remove what processes that were killed while they wrote `path` left beside it."""
    target = Path(path)
    for file in target.parent.glob(f"{glob.escape(_start(target))}*{_ENDING}"):
        file.unlink(missing_ok=True)


def _start(target: Path) -> str:
    return f".{target.name[:100]}."


def _sync_folder(folder: Path) -> None:
    """Bring a new name to the disk, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # some file systems cannot do it for folders
        pass
    finally:
        os.close(handle)
