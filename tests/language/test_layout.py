"""The library and the examples are written as `maj fmt` writes them, in lines that fit a page."""

from __future__ import annotations

from pathlib import Path

import pytest

from majuscule.dsl.formatter import format_text

ROOT = Path(__file__).resolve().parents[2]
FILES = [*sorted((ROOT / "dsl" / "library").glob("*.maj")), *sorted((ROOT / "examples").rglob("*.maj"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_layout(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert format_text(text) == text
    assert max(map(len, text.split("\n"))) <= 120
    assert text.startswith("# "), "a file says first what it holds"
