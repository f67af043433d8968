"""Diagnostics: errors and notes as values with a place, and their rendering for people.

A `Diagnostic` has a stable code (listed with its meaning in `catalogue.py`), a message, the
place of the mistake, further labelled places (a declaration, the other use), notes that say
what was deduced and from where, and a fix-it: text to put at a place.  `Mistake` carries one
through the checker; `render` draws it under the lines of the source.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .equations import Place


@dataclass(frozen=True, slots=True)
class Label:
    """A further place that takes part, with what it has to say."""

    place: Place
    text: str


@dataclass(frozen=True, slots=True)
class Fix:
    """Put `replacement` at `place`; `text` says so in words."""

    place: Place
    replacement: str
    text: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One thing to tell the writer; `severity` is `error`, `warning` or `note`."""

    code: str
    message: str
    place: Place
    labels: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    fix: Fix | None = None
    severity: str = "error"
    here: str = ""

    def as_json(self) -> dict[str, Any]:
        """The diagnostic as JSON-ready values, for editors and scripts."""

        def spot(place: Place) -> dict[str, Any]:
            return {
                "file": place.file,
                "line": place.line,
                "column": place.column,
                "end_line": place.end_line,
                "end_column": place.end_column,
            }

        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            **spot(self.place),
            "labels": [{"text": label.text, **spot(label.place)} for label in self.labels],
            "notes": list(self.notes),
            "fix": None
            if self.fix is None
            else {"text": self.fix.text, "replacement": self.fix.replacement, **spot(self.fix.place)},
        }


class Mistake(Exception):
    """Carries one diagnostic out of the statement that it stops."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(f"{diagnostic.code}: {diagnostic.message}")
        self.diagnostic = diagnostic


class SourceErrors(Exception):
    """A program with errors; `str()` is the rendered report."""

    def __init__(self, diagnostics: Iterable[Diagnostic], sources: Mapping[str, str]) -> None:
        self.diagnostics = tuple(diagnostics)
        self.sources = dict(sources)
        super().__init__(render_all(self.diagnostics, self.sources))


def error(
    code: str,
    place: Place,
    message: str,
    *,
    here: str = "",
    labels: Iterable[tuple[Place, str]] = (),
    notes: Iterable[str] = (),
    fix: Fix | None = None,
) -> Mistake:
    """A Mistake to raise; labels without a place of their own are the caller's to leave out."""
    return Mistake(
        Diagnostic(code, message, place, tuple(Label(p, t) for p, t in labels), tuple(notes), fix, "error", here)
    )


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate most like `name`, if one is like it at all."""
    names = list(dict.fromkeys(candidates))
    folded = {candidate.casefold(): candidate for candidate in reversed(names)}
    if name.casefold() in folded:
        return folded[name.casefold()]
    found = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return found[0] if found else None


# -- drawing ---------------------------------------------------------------------------------

_WIDEST = 160


def render_all(diagnostics: Iterable[Diagnostic], sources: Mapping[str, str]) -> str:
    """All diagnostics as plain text, separated by blank lines."""
    return "\n\n".join(render(diagnostic, sources) for diagnostic in diagnostics)


def render(diagnostic: Diagnostic, sources: Mapping[str, str]) -> str:
    """One diagnostic as plain text: headline, source lines with carets, notes, fix-it."""
    place = diagnostic.place
    lines = [
        f"{diagnostic.severity}[{diagnostic.code}]: {diagnostic.message}",
        f"  --> {place.file}:{place.line}:{place.column}",
    ]
    marks = [(place, "^", diagnostic.here), *((label.place, "-", label.text) for label in diagnostic.labels)]
    width = max(len(str(mark[0].line)) for mark in marks)
    lines += _draw_marks(marks, sources, width, place.file)
    lines += [f"{' ' * width} = note: {note}" for note in diagnostic.notes]
    if diagnostic.fix is not None:
        lines.append(f"{' ' * width} = fix: {diagnostic.fix.text}")
    return "\n".join(lines)


def _draw_marks(
    marks: list[tuple[Place, str, str]], sources: Mapping[str, str], width: int, main_file: str
) -> list[str]:
    lines: list[str] = []
    by_file: dict[str, dict[int, list[tuple[Place, str, str]]]] = {}
    for mark in marks:
        by_file.setdefault(mark[0].file, {}).setdefault(mark[0].line, []).append(mark)
    for file, by_line in by_file.items():
        if file != main_file:
            lines.append(f"{' ' * width} ::: {file}")
        texts = sources.get(file, "").split("\n")
        for number in sorted(by_line):
            text = texts[number - 1] if 0 < number <= len(texts) else ""
            first = min(mark[0].column for mark in by_line[number])
            shift = max(0, first - 1 - _WIDEST // 2) if len(text) > _WIDEST else 0
            shown = _printable(text[shift : shift + _WIDEST])
            lines.append(f"{str(number).rjust(width)} | {'…' if shift else ''}{shown}")
            for mark_place, sign, note in by_line[number]:
                end = mark_place.end_column if mark_place.end_line == number else len(text) + 1
                start = mark_place.column - 1 - shift
                stop = min(max(end - 1 - shift, start + 1), max(len(shown), start + 1))
                indent = display_width(shown[:start]) + (1 if shift else 0)
                carets = sign * max(1, display_width(shown[start:stop]))
                lines.append(f"{' ' * width} | {' ' * indent}{carets} {note}".rstrip())
    return lines


def _printable(text: str) -> str:
    """Text with a sign of the same width for what a terminal would obey or cannot show."""
    return "".join(" " if c == "\t" else "\ufffd" if unicodedata.category(c) in ("Cc", "Cs") else c for c in text)


def shortened(text: str, limit: int = 40) -> str:
    """`text`, cut in the middle if it is long, for use inside a message."""
    return text if len(text) <= limit else f"{text[: limit // 2]}…{text[-limit // 4 :]}"


def display_width(text: str) -> int:
    """The width of a text in a terminal: combining marks take no column, wide characters two."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
