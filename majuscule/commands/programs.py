"""Reading the programs that commands are given, with errors for people."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .failures import Failure, file_problem

if TYPE_CHECKING:
    from ..dsl.equations import Program
    from ..dsl.front_end import CheckResult

STDIN = "-"
MODES = ("inferring", "training")
_MOST_NAMES = 12
"""Of a program with more tensors, a message does not list them."""


def program_path(program: str) -> str:
    """The file of a program: what is given, or, where that is only a name, the network of that name that comes along.

    Raises Failure for a name of neither a file nor a network.
    """
    given = Path(program)
    if program == STDIN or given.suffix or given.name != program or given.is_file():
        return program
    from difflib import get_close_matches

    from ..networks import known_networks

    known = known_networks()
    if program in known:
        return str(known[program].path)
    *others, last = get_close_matches(program, known, n=3) or [""]
    near = f"{', '.join(others)} or {last}" if others else last
    hints = (f"is {near} meant?",) if near else ()
    raise Failure(f"there is no file {program}, and no network of that name", *hints, "`maj list` names the networks")


def find_program(context: typer.Context, program: str) -> str:
    """`program_path` for an argument of a command."""
    return program if context.resilient_parsing else program_path(program)


ProgramFile = Annotated[
    str,
    typer.Argument(
        metavar="PROGRAM", help="A .maj file, a network of `maj list`, or - for standard input.", callback=find_program
    ),
]
ModeOption = Annotated[str, typer.Option("--mode", help="Which statements count: inferring or training.")]


def read_text(path: str) -> str:
    """The text of a file, or of standard input for `-`; raises Failure."""
    try:
        data = sys.stdin.buffer.read() if path == STDIN else Path(path).read_bytes()
    except OSError as error:
        raise Failure(file_problem(error, path)) from error
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        name = "standard input" if path == STDIN else path
        hint = "is it a compiled module? `maj run` takes those" if data[:2] == b"PK" else "save the program as UTF-8"
        raise Failure(f"{name} is not UTF-8 text: byte {error.start} (line {line}) fits no character", hint) from error


def check_program(path: str, mode: str = "inferring", *, text: str | None = None) -> CheckResult:
    """Check a program; raises Failure if it cannot be read.  `text` is its text if that is known already."""
    from ..dsl.front_end import check_text

    if mode not in MODES:
        raise Failure(f"there is no mode {mode}", f"write --mode {' or --mode '.join(MODES)}")
    folder = Path() if path == STDIN else Path(path).parent
    return check_text(read_text(path) if text is None else text, shown_name(path), mode=mode, folder=folder)


def shown_name(path: str) -> str:
    """The name of a program in diagnostics."""
    if path == STDIN:
        return "<standard input>"
    from ..networks import FOLDER

    return Path(path).name if FOLDER in Path(path).parents else path


def load_program(path: str, mode: str = "inferring") -> Program:
    """A program without errors; raises SourceErrors or Failure.  Warnings are printed."""
    return checked_program(path, mode).require()


def checked_program(path: str, mode: str = "inferring", *, text: str | None = None) -> CheckResult:
    """A program without errors and its sources; raises SourceErrors or Failure.  Warnings are printed.

    `text` is its text if that is known already.
    """
    from .console import print_diagnostics

    result = check_program(path, mode, text=text)
    result.require()
    warnings = [d for d in result.diagnostics if d.severity == "warning"]
    if warnings:
        print_diagnostics(warnings, result.sources)
    return result


def no_tensor(name: str, names: Iterable[str]) -> Failure:
    """What to say of a name that no tensor of a program has, where `names` would be right."""
    from ..dsl.diagnostics import nearest

    known = list(names)
    near = nearest(name, known)
    written = [found for found in known if "." not in found and ":" not in found]
    hint = f"is {near} meant?" if near else f"there are {', '.join(written)}" if len(written) <= _MOST_NAMES else ""
    return Failure(f"the program has no tensor {name}", *([hint] if hint else []))
