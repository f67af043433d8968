"""Checkpoints: all that a training needs to go on, in one file that is always whole.

A checkpoint is a safetensors file, so other tools read its tensors; beside them, in the
header's metadata under `majuscule`, it has plain values as JSON (the step, seeds, options)
and the SHA-256 of the tensors.  It is written beside the old one and takes its place by one
renaming: a process may be killed, and a disk run full, at any moment.  A folder of checkpoints
belongs to one training at a time.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import Any

from .arrays import Array
from .errors import CheckpointError
from .tensor_files import map_file, parse_safetensors, safetensors_metadata, safetensors_parts
from .whole_files import remove_left_overs, whole_file

if sys.platform != "win32":
    import fcntl

LAST, BEST = "last.safetensors", "best.safetensors"
"""What the checkpoints in a folder are called."""

_KEY = "majuscule"
_LOCK = ".lock"


def save_checkpoint(path: str | os.PathLike[str], tensors: Mapping[str, Array], meta: Mapping[str, Any]) -> None:
    """Write tensors and plain values (what JSON can hold) to a file, whole or not at all.

    Raises `CheckpointError` if they cannot be written; what was there before is then untouched.
    """
    parts = safetensors_parts(tensors)
    text = json.dumps({"meta": dict(meta), "sha256": _digest(parts[1:])}, ensure_ascii=False)
    try:
        with whole_file(path) as file:
            for part in safetensors_parts(tensors, {_KEY: text}):
                file.write(part)
    except OSError as error:
        raise _unwritable(path, error) from error


def load_checkpoint(path: str | os.PathLike[str]) -> tuple[dict[str, Array], dict[str, Any]]:
    """The tensors (read-only, where the file lies in memory) and the plain values of a checkpoint.

    Raises `CheckpointError` if the file cannot be read, is damaged, or is something else.
    """
    try:
        data = map_file(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no checkpoint {os.fspath(path)}") from error
    except OSError as error:
        raise CheckpointError(f"cannot read {os.fspath(path)}: {error.strerror or error}") from error
    try:
        tensors = parse_safetensors(data)
        kept = json.loads(safetensors_metadata(data)[_KEY])
        meta, digest = dict(kept["meta"]), kept["sha256"]
    except KeyError as error:
        raise CheckpointError(f"{os.fspath(path)} is no checkpoint of a training, but a file of tensors") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{os.fspath(path)} is no checkpoint, or it is damaged: {error}") from error
    if _digest(safetensors_parts(tensors)[1:]) != digest:
        raise CheckpointError(f"{os.fspath(path)} is damaged: its tensors are not those that were written")
    return tensors, meta


def is_checkpoint(path: str | os.PathLike[str]) -> bool:
    """Whether a file that can be read is a checkpoint, rather than a file of weights."""
    try:
        return _KEY in safetensors_metadata(map_file(path))
    except ValueError:
        return False


class Checkpoints:
    """The checkpoints of one training, in a folder: the last one, and the best one so far.

    Nobody else can have the folder until it is closed, or the process ends, however it does.  To be used as a
    context manager.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Use a folder, which is made if need be; raises `CheckpointError` if it cannot be or another training does."""
        self.folder = Path(folder)
        self.last = self.folder / LAST
        self.best = self.folder / BEST
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(f"cannot make the folder {folder}: {error.strerror or error}") from error
        self._lock = _lock(self.folder)
        for path in (self.last, self.best):
            remove_left_overs(path)

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others have the folder."""
        self._lock.close()

    def save(self, tensors: Mapping[str, Array], meta: Mapping[str, Any], *, best: bool = False) -> None:
        """Replace the last checkpoint, and the best one too if this is better."""
        save_checkpoint(self.last, tensors, meta)
        if best:
            try:
                with whole_file(self.best) as file, open(self.last, "rb") as saved:
                    shutil.copyfileobj(saved, file)
            except OSError as error:
                raise _unwritable(self.best, error) from error


def _lock(folder: Path) -> FileIO:
    """A file whose lock says that the folder is in use, with the number of the process that has it.

    The system lets go of the lock when that process ends, so a number left behind does no harm.  Raises
    `CheckpointError` if the folder is in use already.
    """
    try:
        file = open(folder / _LOCK, "a+b", buffering=0)  # noqa: SIM115
    except OSError as error:
        raise CheckpointError(f"cannot write to the folder {folder}: {error.strerror or error}") from error
    if sys.platform != "win32":
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            owner = file.read(20).decode("ascii", "replace")
            file.close()
            who = f", as process {owner}" if owner.isdecimal() else ""
            raise CheckpointError(
                f"another training is at work in the folder {folder}{who}; wait for its end, or choose another folder"
            ) from error
        except OSError:  # some file systems know no locks
            pass
    with contextlib.suppress(OSError):  # a full disk is told of when a checkpoint is written
        file.truncate(0)
        file.write(str(os.getpid()).encode())
    return file


def _digest(parts: Sequence[memoryview]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _unwritable(path: str | os.PathLike[str], error: OSError) -> CheckpointError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    reason = "the disk is full" if full else error.strerror or str(error)
    before = ", and the one before is kept" if Path(path).exists() else ""
    return CheckpointError(f"cannot write the checkpoint {os.fspath(path)}: {reason}{before}")
