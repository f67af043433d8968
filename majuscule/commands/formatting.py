"""`maj fmt`: programs in one layout."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from .failures import MISTAKES, USAGE, Failure
from .programs import STDIN, read_text, shown_name
from .text_files import write_text


def fmt(
    files: Annotated[list[str], typer.Argument(metavar="PROGRAM…", help=".maj files; - reads stdin, writes stdout.")],
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; name the files that would change, with exit status 1.")
    ] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Change nothing; print what would change.")] = False,
    ascii: Annotated[
        bool | None,
        typer.Option("--ascii/--unicode", help="Spell names and operators in ASCII (Phi, DX, <=) or as on slides."),
    ] = None,
) -> None:
    """Lay programs out in one way.

    Comments, line breaks and meaning stay.

    A file with mistakes in its syntax is reported and left as it is.
    """
    from ..dsl.diagnostics import SourceErrors
    from ..dsl.formatter import format_text
    from .console import print_diagnostics, print_error

    status = 0
    for path in files:
        try:
            text = read_text(path)
            formatted = format_text(text, ascii=ascii, name=shown_name(path))
        except SourceErrors as errors:
            print_diagnostics(errors.diagnostics, errors.sources)
            status = status or MISTAKES
            continue
        except Failure as failure:
            print_error(failure.message, failure.hints)
            status = USAGE
            continue
        changed = formatted != text
        if diff and changed:
            _print_difference(text, formatted, path)
        if check or diff:
            if changed:
                typer.echo(f"would reformat {shown_name(path)}", err=True)
                status = status or (MISTAKES if check else 0)
        elif path == STDIN:
            sys.stdout.write(formatted)
        elif changed:
            write_text(path, formatted)
            typer.echo(f"reformatted {path}", err=True)
    if status:
        raise typer.Exit(status)


def _print_difference(text: str, formatted: str, path: str) -> None:
    import difflib

    lines = difflib.unified_diff(text.splitlines(True), formatted.splitlines(True), path, f"{path} (formatted)")
    for line in lines:
        sys.stdout.write(line if line.endswith("\n") else line + "\n\\ No newline at end of file\n")
