"""What the tests of the command line share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from majuscule.commands.application import app

SMALL = """\
Given L0[6, 6, 3]
param W[3, 3, 3, 4] ~ xavier
param B[4] = 0.5
L1[b,x,y,j] = max(0, W[ΔX,ΔY,I,j] * L0[b,x+ΔX,y+ΔY,I] + B[j])
s[b,j] = sum[x in 0..4, y in 0..4](L1[b,x,y,j])
"""


@pytest.fixture
def maj(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    """Runs `maj` in an empty folder and gives click's result."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: str, input: str | bytes | None = None) -> Any:
        return CliRunner().invoke(app, list(arguments), input=input)

    return run


@pytest.fixture
def small(tmp_path: Path) -> str:
    """A program of two equations, in the folder where `maj` runs."""
    (tmp_path / "small.maj").write_text(SMALL, encoding="utf-8")
    return "small.maj"
