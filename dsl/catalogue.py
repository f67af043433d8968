"""The catalogue of errors: for each code a title, an explanation, a wrong and a right program.

Kept as text in `errors.md`, beside this file, where it is written and read like a page of
documentation.  A code has one meaning and keeps it.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_SOURCE = Path(__file__).with_name("errors.md")
_ENTRY = re.compile(
    r"## (?P<code>[EN]\d{3}) (?P<title>[^\n]+)\n\n(?P<explanation>.*?)\n\n"
    r"```wrong(?P<how>[^\n]*)\n(?P<wrong>.*?)\n```\n\n```right(?P<files>[^\n]*)\n(?P<right>.*?)\n```",
    re.DOTALL,
)
_SECTION = re.compile(r"^# ([^\n]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Entry:
    """One kind of error."""

    code: str
    title: str
    explanation: str
    wrong: str
    """A program with the mistake; an outline of one where `abridged`."""
    right: str
    """The same without it."""
    section: str
    abridged: bool
    """Whether `wrong` only hints at a program that is too long to show."""


@lru_cache(maxsize=1)
def catalogue() -> dict[str, Entry]:
    """All entries by code, in their order."""
    text = _SOURCE.read_text(encoding="utf-8")
    sections = [(match.start(), match.group(1)) for match in _SECTION.finditer(text)]
    found: dict[str, Entry] = {}
    for match in _ENTRY.finditer(text):
        section = next(name for start, name in reversed(sections) if start < match.start())
        entry = Entry(
            code=match.group("code"),
            title=match.group("title"),
            explanation=" ".join(match.group("explanation").split()),
            wrong=match.group("wrong") + "\n",
            right=match.group("right") + "\n",
            section=section,
            abridged="generated" in match.group("how"),
        )
        found[entry.code] = entry
    return found


def explain(code: str) -> str | None:
    """What a code means, as plain text with both examples; None for a code that there is not."""
    entry = catalogue().get(code.upper())
    if entry is None:
        return None
    indented = {"wrong": entry.wrong, "right": entry.right}
    examples = [f"{word}:\n\n" + "".join(f"    {line}\n" for line in t.splitlines()) for word, t in indented.items()]
    return f"{entry.code}: {entry.title}\n\n{entry.explanation}\n\n" + "\n".join(examples)


def page() -> str:
    """The catalogue as a page of documentation, with what the checker says to each wrong example."""
    lines = ["# Errors", "", _INTRODUCTION]
    section = ""
    for entry in catalogue().values():
        if entry.section != section:
            section = entry.section
            lines += [f"## {section}", ""]
        lines += [
            f"### {entry.code}: {entry.title}",
            "",
            _wrapped(entry.explanation),
            "",
            "```",
            entry.wrong.rstrip(),
            "```",
            "",
        ]
        report = "" if entry.abridged else _report(entry)
        lines += ["```text", report, "```", ""] if report else []
        lines += ["Instead:", "", "```", entry.right.rstrip(), "```", ""]
    return "\n".join(lines)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


def _report(entry: Entry) -> str:
    from .diagnostics import render_all
    from .front_end import check_text

    result = check_text(entry.wrong, "net.maj", folder=_SOURCE.parent)
    return render_all((d for d in result.diagnostics if d.code == entry.code), result.sources)


_INTRODUCTION = """\
Every error has a code, which keeps its meaning. A report shows the place of the mistake (`^`), the
other places that take part in it (`-`), what was deduced, and what to write instead where that is
known. This page is made from `dsl/errors.md`.
"""
