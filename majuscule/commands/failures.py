"""Failures of commands as messages for people, with their exit statuses."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

from .console import print_diagnostics, print_error

MISTAKES, USAGE, INTERNAL = 1, 2, 3


class Failure(Exception):
    """A command cannot do what it was asked; the message says why, `hints` what helps."""

    def __init__(self, message: str, *hints: str, status: int = USAGE) -> None:
        super().__init__(message)
        self.message = message
        self.hints = hints
        self.status = status


def report_failure(error: Exception, *, debug: bool) -> int:
    """Print an exception of a command for its user and give the exit status."""
    from ..dsl.diagnostics import SourceErrors

    if debug:
        traceback.print_exception(error)
    if isinstance(error, Failure):
        print_error(error.message, error.hints)
        return error.status
    if isinstance(error, SourceErrors):
        print_diagnostics(error.diagnostics, error.sources)
        return MISTAKES
    if is_from(error, "runtime.errors", "ModuleError") or is_from(error, "codegen.errors", "CompilationFailed"):
        print_error(str(error))
        return USAGE
    if isinstance(error, OSError) and error.filename is not None:
        print_error(file_problem(error, str(error.filename)))
        return USAGE
    if isinstance(error, MemoryError):
        print_error("there is not enough memory for this")
        return USAGE
    print_error(
        f"internal error: {type(error).__name__}: {error}",
        (
            "this is a mistake in Majuscule, not in your program: please report it with the program that shows it",
            "`maj --debug …`, or MAJ_DEBUG=1, shows where it happened",
        ),
    )
    return INTERNAL


def is_from(error: BaseException, module: str, name: str) -> bool:
    """Whether an exception is of a class, or below one, whose module need not be imported to ask."""
    return any(kind.__name__ == name and kind.__module__.endswith(module) for kind in type(error).__mro__)


def file_problem(error: OSError, path: str) -> str:
    """What is wrong with a file, in words."""
    if isinstance(error, FileNotFoundError):
        folder = Path(path).parent
        return f"there is no file {path}" if folder.is_dir() else f"there is no folder {folder} (of {path})"
    if isinstance(error, IsADirectoryError):
        return f"{path} is a directory, not a file"
    if isinstance(error, PermissionError):
        return f"{path}: permission denied"
    return f"{path}: {error.strerror or error}"


def warn(message: str) -> None:
    """A warning on stderr."""
    print(f"warning: {message}", file=sys.stderr)
