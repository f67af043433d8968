"""The front end's face: from a file or a text to a checked program and diagnostics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .diagnostics import Diagnostic, SourceErrors
from .equations import Program

MODES = ("inferring", "training", "evaluating")
"""`evaluating` is inferring with the losses and metrics that the main program declares for training."""


@dataclass(frozen=True)
class CheckResult:
    """What checking gave: the program if there is no error, all diagnostics, and the texts read.

    `sources` maps each file's name (as diagnostics use it) to its text.
    """

    program: Program | None
    diagnostics: tuple[Diagnostic, ...]
    sources: dict[str, str]

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        return tuple(d for d in self.diagnostics if d.severity == "error")

    def require(self) -> Program:
        """The program; raises SourceErrors if there is none."""
        if self.program is None:
            raise SourceErrors(self.errors, self.sources)
        return self.program


def check_file(path: str | Path, *, mode: str = "inferring") -> CheckResult:
    """Check a file.  Raises OSError if it cannot be read and UnicodeDecodeError if it is not text."""
    path = Path(path)
    return check_text(path.read_text(encoding="utf-8"), str(path), mode=mode, folder=path.parent)


def check_text(
    text: str,
    name: str = "<text>",
    *,
    mode: str = "inferring",
    folder: Path | None = None,
    files: Mapping[str, str] | None = None,
) -> CheckResult:
    """Check a text; `folder` is where its imports are looked for (nowhere if None), before that in `files`.

    `files` maps paths as imports name them to texts, whose own imports start from `folder`.
    """
    from .elaborate import elaborate

    return elaborate(text, name, mode=mode, folder=folder, files=files)
