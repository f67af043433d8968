"""`maj check`: mistakes in programs, without compiling anything."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from .console import print_diagnostics, print_error, print_json
from .failures import MISTAKES, USAGE, Failure
from .programs import MODES, check_program, program_path, read_text, shown_name

if TYPE_CHECKING:
    from ..dsl.diagnostics import Diagnostic


def check(
    files: Annotated[
        list[str],
        typer.Argument(metavar="PROGRAM…", help=".maj files, networks of `maj list`, or - for standard input."),
    ],
    mode: Annotated[
        str | None, typer.Option("--mode", help="Check for inferring or training only; both if left out.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the diagnostics as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors and warnings, but no notes.")] = False,
) -> None:
    """Look for mistakes in programs; report all."""
    failed = False
    everything: list[Diagnostic] = []
    unreadable = False
    for file in files:
        try:
            path = program_path(file)
            found, sources, statements = _check_file(path, mode)
        except Failure as failure:
            print_error(failure.message, failure.hints)
            unreadable = True
            continue
        if quiet:
            found = [d for d in found if d.severity != "note"]
        wrong = any(d.severity == "error" for d in found)
        failed |= wrong
        everything += found
        if not as_json:
            print_diagnostics(found, sources)
            if not wrong:
                typer.echo(f"{shown_name(path)}: no mistakes ({statements} statement{'' if statements == 1 else 's'})")
    if as_json:
        print_json({"ok": not failed and not unreadable, "diagnostics": [d.as_json() for d in everything]})
    if failed or unreadable:
        raise typer.Exit(USAGE if unreadable else MISTAKES)


def _check_file(path: str, mode: str | None) -> tuple[list[Diagnostic], dict[str, str], int]:
    """Diagnostics of a program in the given mode or in all, each once; its sources; how many statements it has."""
    text = read_text(path)
    results = [check_program(path, mode or MODES[0], text=text)]
    if mode is None and _differs_in_training(text):
        results.append(check_program(path, MODES[1], text=text))
    found = list(dict.fromkeys(d for result in results for d in result.diagnostics))
    found.sort(key=lambda d: (d.place.file, d.place.line, d.place.column))
    sources = {name: source for result in results for name, source in result.sources.items()}
    statements = max((len(r.program.statements) for r in results if r.program is not None), default=0)
    return found, sources, statements


_TRAINING = re.compile(r"\b(when|loss|metric|update|import|from)\b")


def _differs_in_training(text: str) -> bool:
    """Whether training could find other mistakes than inferring, judged by the words of the text."""
    return _TRAINING.search(text) is not None
