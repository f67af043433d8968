"""What commands print: diagnostics with carets, errors, tables, JSON.

Colours come from rich, which is imported only when the output is a terminal that shows
them; NO_COLOR and redirected output give plain text.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from ..dsl.diagnostics import Diagnostic

_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}
_WIDTH_WITHOUT_TERMINAL = 140
_NARROWEST = 16
_MOST_DIAGNOSTICS = 20
"""How many are drawn; a file that is no program at all would fill many screens."""


def has_colours(stream: TextIO) -> bool:
    """Whether a stream is a terminal that should get colours."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def width() -> int:
    """How many columns a table may take."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdecimal():
        return max(40, shutil.get_terminal_size().columns)
    return _WIDTH_WITHOUT_TERMINAL


def print_json(value: Any) -> None:
    """JSON on stdout, readable by people too."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


def print_error(message: str, hints: Iterable[str] = ()) -> None:
    """`error: message` on stderr, with hints below."""
    lines = [f"error: {message}", *(f"  = {hint}" for hint in hints)]
    _print_lines(lines, "error")


def print_diagnostics(diagnostics: Sequence[Diagnostic], sources: Mapping[str, str]) -> None:
    """The first diagnostics on stderr, each drawn under the lines it is about, and how many there are in all."""
    from ..dsl.diagnostics import render

    for diagnostic in diagnostics[:_MOST_DIAGNOSTICS]:
        _print_lines([*render(diagnostic, sources).split("\n"), ""], diagnostic.severity)
    if (left := len(diagnostics) - _MOST_DIAGNOSTICS) > 0:
        _print_lines([f"… and {left} more, which `maj check --json` lists", ""], "note")
    counts = [(word, sum(d.severity == word for d in diagnostics)) for word in ("error", "warning")]
    if found := [f"{count} {word}{'s' if count != 1 else ''}" for word, count in counts if count]:
        _print_lines([", ".join(found)], "error" if counts[0][1] else "warning")


def _print_lines(lines: Sequence[str], severity: str) -> None:
    if not has_colours(sys.stderr):
        print("\n".join(lines), file=sys.stderr)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, force_terminal=True, soft_wrap=True, highlight=False)
    for line in lines:
        console.print(_styled(line, severity, Text))


def _styled(line: str, severity: str, text: Any) -> Any:
    """A line of a report in colours."""
    styled = text(line)
    colour = _COLOURS.get(severity, "red")
    if heading := re.match(rf"({severity}(?:\[\w+\])?:)(.*)", line):
        styled.stylize(f"bold {colour}", *heading.span(1))
        styled.stylize("bold", *heading.span(2))
    elif marks := re.match(r"\s*\| \s*(\^+)(.*)", line):
        styled.stylize("blue", 0, marks.start(1))
        styled.stylize(f"bold {colour}", marks.start(1), len(line))
    elif marks := re.match(r"\s*\| \s*(-+)(.*)", line):
        styled.stylize("blue", 0, len(line))
    elif frame := re.match(r"(\s*\d+ \||\s*(?:-->|:::)|\s* =(?: \w+:)?)", line):
        styled.stylize("bold blue", 0, frame.end())
    elif re.match(r"\d+ ", line):
        styled.stylize(f"bold {colour}")
    return styled


def print_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    left: int = 1,
    elastic: int | None = None,
    total: Sequence[str] | None = None,
) -> None:
    """A table on stdout; the first `left` columns are text, the others numbers.

    Cells of column `elastic` are cut with `…` where the table would be wider than the terminal.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    everything = [headings, *rows, *([total] if total is not None else [])]
    widths = [max(_cells(line[column]) for line in everything) for column in range(len(headings))]
    if elastic is not None:
        others = sum(widths) - widths[elastic] + 2 * len(widths)
        widths[elastic] = min(widths[elastic], max(_NARROWEST, width() - others))
        rows = [[_cut(cell, widths[elastic]) if i == elastic else cell for i, cell in enumerate(row)] for row in rows]
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, show_footer=total is not None, padding=(0, 1, 0, 0))
    table.pad_edge = False
    for column, heading in enumerate(headings):
        footer = Text(total[column]) if total is not None else ""
        table.add_column(heading, footer, justify="left" if column < left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    colours = has_colours(sys.stdout)
    whole = sum(widths) + 3 * len(widths)
    console = Console(width=whole, force_terminal=colours, no_color=not colours, highlight=False)
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _cells(text: str) -> int:
    from ..dsl.diagnostics import display_width

    return display_width(text)


def _cut(text: str, columns: int) -> str:
    if _cells(text) <= columns:
        return text
    while _cells(text) > columns - 1:
        text = text[: columns - 1 - _cells(text)]
    return text.rstrip() + "…"
