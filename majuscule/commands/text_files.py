"""Text that commands write into files: whole, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from .failures import Failure, file_problem

_NEW = 0o666
"""Permissions of a new file, less those that the process withholds."""


def write_text(file: str | Path, text: str) -> None:
    """Write a file or replace it, through links, keeping its permissions.

    Raises `Failure` if it cannot be written; then it is as it was.
    """
    path = Path(file).resolve()
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as opened:
            opened.write(text)
        if path.exists():
            if path.is_dir():
                raise IsADirectoryError(21, "Is a directory", str(path))
            if not os.access(path, os.W_OK):
                raise PermissionError(13, "Permission denied", str(path))
            shutil.copymode(path, temporary)
        else:
            withheld = os.umask(0)
            os.umask(withheld)
            os.chmod(temporary, _NEW & ~withheld)
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise Failure(file_problem(error, str(file))) from error
    finally:
        if temporary is not None:
            os.unlink(temporary)
