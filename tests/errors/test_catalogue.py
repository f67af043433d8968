"""Every code of the language is explained, has one meaning, and its examples are right and wrong as they say."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from majuscule.dsl import check_text, context
from majuscule.dsl.catalogue import catalogue, explain, page

ROOT = Path(__file__).resolve().parents[2]
_CODE = re.compile(r'"([EN]\d{3})"')

LAYERS = """\
layer Twice(L[b, i]):
    return[b,i] = 2 * L[b,i]
"""


def _many(line: str, count: int, head: str = "Given x[3]\n") -> str:
    return head + "".join(line.format(k=k, next=k + 1) for k in range(count))


GENERATED: dict[str, Callable[[], str]] = {
    "E105": lambda: f"Given x[3]\ny[b,i] = {'(' * 61}x[b,i]{')' * 61}\n",
    "E106": lambda: f"Given x[3]\ny[b,i] = {' + '.join(['x[b,i]'] * 30_000)}\n",
    "E119": lambda: _many("y_{next} = {k} * x\n", 10_001),
    "E120": lambda: f"Given x[3]\n{'a' * 101} = 2 * x\n",
    "E616": lambda: (
        _many(
            "layer F{next}(L[b, i]):\n    return F{k}(L) + F{k}(L)\n",
            30,
            "Given x[3]\nlayer F0(L[b, i]):\n    return 2 * L\n",
        )
        + "y = F30(x)\n"
    ),
    "E617": lambda: (
        _many("function f{next}(x) = f{k}(x + x)\n", 30, "function f0(x) = x\nGiven x[3]\n") + "y = f30(x)\n"
    ),
    "E719": lambda: _many("T[b, {k}] = x[b, {k}]\n", 1_101, "Given x[3000]\n"),
    "N502": lambda: _many("y{k} = {k} * * x\n", 101),
}
"""Wrong programs that are too long for the catalogue."""


def _codes_in_the_sources() -> set[str]:
    files = (ROOT / "dsl").glob("*.py")
    return {code for path in files for code in _CODE.findall(path.read_text(encoding="utf-8"))}


def test_every_code_is_in_the_catalogue_and_every_entry_is_used() -> None:
    assert _codes_in_the_sources() == set(catalogue())


def test_titles_are_distinct_and_entries_in_order() -> None:
    assert [title for title, count in Counter(e.title for e in catalogue().values()).items() if count > 1] == []
    assert list(catalogue()) == sorted(catalogue(), key=lambda code: (code[0] == "N", code))


def test_every_heading_of_the_source_became_an_entry() -> None:
    text = (ROOT / "dsl" / "errors.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\w+)", text, re.MULTILINE) == list(catalogue())


@pytest.mark.parametrize("code", list(catalogue()))
def test_the_wrong_example_gives_its_code_and_nothing_else(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if code == "E616":
        monkeypatch.setattr(context, "MAXIMUM_STEPS", 20_000)
    (tmp_path / "layers.maj").write_text(LAYERS, encoding="utf-8")
    entry = catalogue()[code]
    assert entry.abridged == (code in GENERATED)
    text = GENERATED[code]() if entry.abridged else entry.wrong
    result = check_text(text, "wrong.maj", folder=tmp_path)
    if code == "N502":  # it comes with the errors that it stops at
        assert code in {d.code for d in result.diagnostics}
        return
    assert {d.code for d in result.diagnostics} == {code}
    if not code.startswith("N"):
        assert result.program is None


@pytest.mark.parametrize("code", list(catalogue()))
def test_the_right_example_is_accepted(code: str, tmp_path: Path) -> None:
    (tmp_path / "layers.maj").write_text(LAYERS, encoding="utf-8")
    result = check_text(catalogue()[code].right, "right.maj", folder=tmp_path)
    assert [d for d in result.diagnostics if d.severity == "error" or d.code == code] == []
    assert result.program is not None


def test_an_explanation_is_found_by_its_code() -> None:
    text = explain("e301")
    assert text is not None
    assert text.startswith("E301: A capital index occurs only once")
    assert "wrong:" in text
    assert "right:" in text
    assert explain("E999") is None


def test_the_page_of_the_documentation_is_up_to_date() -> None:
    """`UPDATE_GOLDEN=1 pytest tests/errors` writes it anew."""
    path = ROOT / "docs" / "errors.md"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(page(), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == page()
