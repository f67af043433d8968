"""Damaged programs: each ends in diagnostics or in a program, soon, and never in an exception."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from correct_programs import PROGRAMS, all_programs
from levels import EXHAUSTIVE, sparse
from mutator import mutant

from majuscule.compiler.checker import check
from majuscule.compiler.graph import Graph
from majuscule.dsl import check_text, context
from majuscule.dsl.diagnostics import render_all

SECONDS = 5.0
"""The longest that checking one of these programs may take."""

STATEMENTS = 150
"""The most that a program may have, blocks and loops written out, for thousands of its mutants to be checked."""

STEPS = 150_000
"""Where checking one of the mutants is given up: twice what any of the programs takes."""


@pytest.fixture(autouse=True)
def fewer_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mutant may be thousands of layers deep; the limit that stops it is the same, only nearer."""
    monkeypatch.setattr(context, "MAXIMUM_STEPS", STEPS)


@functools.cache
def small_programs() -> list[str]:
    """The programs that are quick to check: large networks repeat the same few blocks."""
    found = []
    for name, text in all_programs().items():
        program = check_text(text, f"{name}.maj").require()
        if len(program.statements) <= STATEMENTS:
            found.append(text)
    return found


def _check_mutants(texts: list[str], seeds: range) -> Counter[str]:
    """Check one mutant per seed; counts those that were read and those that are still right."""
    counts: Counter[str] = Counter()
    for seed in seeds:
        text = mutant(texts[seed % len(texts)], texts, seed)
        started = time.process_time()
        result = check_text(text, "mutant.maj", mode="training" if seed % 3 == 0 else "inferring")
        report = render_all(result.diagnostics, result.sources)
        assert time.process_time() - started < SECONDS, (seed, text)
        assert result.program is not None or result.errors, (seed, text)
        assert report or not result.diagnostics, seed
        if result.program is not None:  # what is accepted keeps the rules that every later stage relies on
            check(Graph.from_program(result.program))
            check(Graph.initializers(result.program))
        counts["read"] += all(d.code[:2] != "E1" for d in result.errors)
        counts["right"] += result.program is not None
    return counts


@pytest.mark.parametrize("name", list(all_programs()))
def test_the_programs_themselves_are_right(name: str) -> None:
    result = check_text(all_programs()[name], f"{name}.maj")
    assert result.errors == ()


def test_mutants_are_the_same_every_time() -> None:
    texts = list(PROGRAMS.values())
    assert mutant(texts[0], texts, 7) == mutant(texts[0], texts, 7)
    assert len({mutant(texts[0], texts, seed) for seed in range(50)}) > 40


@pytest.mark.parametrize("count", [150, pytest.param(1_000, marks=[pytest.mark.slow])])
def test_mutants_are_right_or_get_an_error(count: int) -> None:
    counts = _check_mutants(list(PROGRAMS.values()), range(count))
    assert counts["read"] >= count // 3, "most mutants should get past the parser"
    assert counts["right"] < count // 2, "most mutants should be wrong"


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("part", range(10))
def test_twenty_thousand_mutants(part: int) -> None:
    seeds = range(part * 2_000, (part + 1) * 2_000)
    assert _check_mutants(small_programs(), seeds)["read"] >= len(seeds) // 3


@pytest.mark.parametrize("seeds", sparse([range(50), range(50, 300)], 2, EXHAUSTIVE), ids=str)
@pytest.mark.slow
def test_mutants_on_the_command_line(seeds: range, tmp_path: Path) -> None:
    """`maj check` says 0 or 1, prints no traceback, and agrees with the library."""
    texts = small_programs()
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "120"}
    for seed in seeds:
        text = mutant(texts[seed % len(texts)], texts, seed)
        path = tmp_path / "mutant.maj"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        command = [sys.executable, "-m", "majuscule", "check", str(path)]
        done = subprocess.run(command, capture_output=True, timeout=60, env=environment, check=False)
        shown = (done.stdout + done.stderr).decode("utf-8", "replace")
        both = (
            check_text(text.replace("\r\n", "\n"), str(path), folder=tmp_path, mode=mode)
            for mode in ("inferring", "training")
        )
        right = all(result.program is not None for result in both)
        assert done.returncode == (0 if right else 1), (seed, text, shown)
        assert "Traceback" not in shown, (seed, text, shown)
