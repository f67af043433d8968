"""Mistakes that people make, and what they are told: every message, place, caret and fix-it.

The files in `cases` hold programs, each followed by the report that it gets.  Run with
`UPDATE_GOLDEN=1` to write the reports anew, and read the difference before it is kept.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from majuscule.dsl import check_text
from majuscule.dsl.catalogue import catalogue
from majuscule.dsl.diagnostics import Diagnostic, render_all
from majuscule.dsl.parser import parse

FOLDER = Path(__file__).with_name("cases")
LAYERS = "layer Twice(L[b, i]):\n    return[b,i] = 2 * L[b,i]\n"


@dataclass(frozen=True)
class Case:
    """A program under a title, and the report expected."""

    title: str
    program: str
    report: str

    @property
    def code(self) -> str | None:
        """The code that the title names."""
        found = re.match(r"[EN]\d{3}", self.title)
        return found.group() if found else None


def _cases(path: Path) -> list[Case]:
    found = []
    for block in re.split(r"^=== ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        head, _, body = block.partition("\n")
        program, _, report = body.partition("---\n")
        program = re.sub(r"\\x([0-9a-f]{2})", lambda m: chr(int(m.group(1), 16)), program)
        found.append(Case(head.strip(), program, report.strip("\n")))
    return found


CASES = {path: _cases(path) for path in sorted(FOLDER.glob("*.txt"))}
ALL = [case for cases in CASES.values() for case in cases]


def _diagnostics(program: str, folder: Path) -> tuple[tuple[Diagnostic, ...], dict[str, str]]:
    (folder / "layers.maj").write_text(LAYERS, encoding="utf-8")
    result = check_text(program, "net.maj", folder=folder)
    return tuple(_without_library(d) for d in result.diagnostics), result.sources


def _without_library(diagnostic: Diagnostic) -> Diagnostic:
    """Lines of the library are left out here, so that editing it changes no report."""
    labels = tuple(label for label in diagnostic.labels if not label.place.file.startswith("library/"))
    return replace(diagnostic, labels=labels)


@pytest.fixture(scope="module", autouse=True)
def _update(tmp_path_factory: pytest.TempPathFactory) -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        folder = tmp_path_factory.mktemp("update")
        for path in CASES:
            _write_anew(path, folder)


def _write_anew(path: Path, folder: Path) -> None:
    text = ""
    for block in re.split(r"^=== ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        written = block.partition("---\n")[0]
        head, _, body = written.partition("\n")
        program = re.sub(r"\\x([0-9a-f]{2})", lambda m: chr(int(m.group(1), 16)), body)
        text += f"=== {head}\n{body}---\n{render_all(*_diagnostics(program, folder))}\n\n"
    path.write_text(text.rstrip("\n") + "\n", encoding="utf-8")


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.title)
def test_the_report_is_as_written(case: Case, tmp_path: Path) -> None:
    diagnostics, sources = _diagnostics(case.program, tmp_path)
    if case.code is not None:
        assert {d.code for d in diagnostics if d.severity == "error" or case.code[0] == "N"} == {case.code}
    expected = case.report
    if os.environ.get("UPDATE_GOLDEN"):
        expected = render_all(diagnostics, sources)
    assert render_all(diagnostics, sources) == expected


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.title)
def test_the_fix_applied_as_it_stands_mends_that_place(case: Case, tmp_path: Path) -> None:
    diagnostics, _ = _diagnostics(case.program, tmp_path)
    for diagnostic in diagnostics:
        if diagnostic.fix is None:
            continue
        mended = _apply(case.program, diagnostic)
        problems = {(p.code, p.place) for p in parse(mended, "net.maj").problems}
        before = {(p.code, p.place) for p in parse(case.program, "net.maj").problems}
        assert len(problems) <= len(before), mended
        after, _ = _diagnostics(mended, tmp_path)
        assert (diagnostic.message, diagnostic.place) not in {(d.message, d.place) for d in after}, mended


def _apply(program: str, diagnostic: Diagnostic) -> str:
    fix = diagnostic.fix
    assert fix is not None
    lines = program.split("\n")
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)
    start = starts[fix.place.line - 1] + fix.place.column - 1
    end = starts[fix.place.end_line - 1] + fix.place.end_column - 1
    return program[:start] + fix.replacement + program[end:]


def test_an_error_inside_the_library_shows_the_call_and_the_line_of_the_library() -> None:
    result = check_text("Given L[4, 4, 1]\ny = MaxPool(L, width 5)\n", "net.maj")
    report = render_all(result.diagnostics, result.sources)
    assert "--> net.maj:2:5" in report
    assert "in this call of MaxPool" in report
    assert "::: library/pooling.maj" in report
    assert re.search(r"^ *\d+ \|     return\[", report, re.MULTILINE)


def test_titles_are_distinct() -> None:
    assert [t for t, n in Counter(case.title for case in ALL).items() if n > 1] == []


def test_most_codes_have_two_mistakes_and_all_have_an_example() -> None:
    counts = Counter(case.code for case in ALL if case.code)
    for code in catalogue():
        counts[code] += 1  # the wrong example of the catalogue
    assert sum(1 for count in counts.values() if count >= 3) >= 90
