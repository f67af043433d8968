"""A program with its weights: in a module, in a checkpoint, or as text with a file of weights beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .failures import Failure, file_problem
from .programs import STDIN, read_text, shown_name

if TYPE_CHECKING:
    from ..dsl.front_end import CheckResult


@dataclass(frozen=True)
class Trained:
    """A checked program with its weights (None: first values) and what is kept with them."""

    checked: CheckResult
    weights: Mapping[str, Any] | None
    metadata: Mapping[str, Any] = field(default_factory=dict)


def open_trained(path: str, weights: str | None, mode: str) -> Trained:
    """A module, a checkpoint or a program, known by its contents, and checked in a mode.

    Raises `Failure`, SourceErrors or `ModuleError`.
    """
    from ..dsl.front_end import check_text
    from ..runtime.tensor_files import read_tensors

    given = read_tensors(weights) if weights is not None else None
    start = b"" if path == STDIN else _start(path)
    if start == b"PK":
        from ..runtime.artifact import read

        artifact = read(path)
        metadata = artifact.manifest.get("metadata", {})
        return Trained(_checked(artifact.sources, path, mode), artifact.weights if given is None else given, metadata)
    if path.endswith(".safetensors"):
        from ..runtime.checkpoints import load_checkpoint

        tensors, meta = load_checkpoint(path)
        kept = meta.get("kept", {})
        return Trained(
            _checked(kept.get("sources", {}), path, mode), tensors if given is None else given, kept["metadata"]
        )
    folder = Path() if path == STDIN else Path(path).parent
    return Trained(check_text(read_text(path), shown_name(path), mode=mode, folder=folder), given)


def _start(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(2)
    except OSError as error:
        raise Failure(file_problem(error, path)) from error


def _checked(sources: Mapping[str, str], path: str, mode: str) -> CheckResult:
    """The program whose texts are kept in a file, the main one first."""
    from ..dsl.front_end import check_text

    if not sources:
        raise Failure(f"{path} does not have the text of its program", "give the .maj file, and --weights")
    name, text = next(iter(sources.items()))
    return check_text(text, name, mode=mode, files=sources)
