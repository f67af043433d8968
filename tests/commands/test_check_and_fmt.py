"""`maj check` and `maj fmt` on files and standard input."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Maj = Callable[..., Any]


def test_check_reports_every_mistake_and_goes_on_with_other_files(maj: Maj, small: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.maj").write_text("Given x[4]\ny[b,i] = q[b,i]\nz[b,i] = w[b,i]\n", encoding="utf-8")
    result = maj("check", "wrong.maj", "nowhere.maj", small)
    assert result.exit_code == 2
    assert "there is no file nowhere.maj" in result.stderr
    assert "2 errors" in result.stderr
    assert "small.maj: no mistakes (2 statements)" in result.stdout


def test_check_of_what_is_no_program_draws_the_first_mistakes_and_counts_all(maj: Maj) -> None:
    text = "Given x[4]\n" + "".join(f"y{k}[b,i] = q{k}[b,i]\n" for k in range(33))
    result = maj("check", "-", input=text)
    assert result.exit_code == 1
    assert result.stderr.count("error[") == 20
    assert "… and 13 more, which `maj check --json` lists" in result.stderr
    assert result.stderr.endswith("33 errors\n")
    assert len(json.loads(maj("check", "-", "--json", input=text).stdout)["diagnostics"]) == 33


def test_check_reads_standard_input(maj: Maj) -> None:
    result = maj("check", "-", input="Given x[3]\ny[b,i] = 2*x[b,i]\n")
    assert result.exit_code == 0, result.stderr
    assert "<standard input>" in maj("check", "-", input="y = )").stderr


def test_check_as_json(maj: Maj, tmp_path: Path) -> None:
    (tmp_path / "wrong.maj").write_text("Given x[4]\ny[b,i] = x[b,k]\n", encoding="utf-8")
    result = maj("check", "--json", "wrong.maj")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["ok"] is False
    (error,) = [d for d in report["diagnostics"] if d["severity"] == "error"]
    assert (error["file"], error["line"], error["column"]) == ("wrong.maj", 2, 14)


def test_check_finds_mistakes_that_only_training_has(maj: Maj, tmp_path: Path) -> None:
    (tmp_path / "t.maj").write_text("Given x[4]\nwhen training:\n    y[b,i] = x[b,k]\n", encoding="utf-8")
    assert maj("check", "t.maj").exit_code == 1
    assert maj("check", "--mode", "inferring", "t.maj").exit_code in (0, 1)
    assert maj("check", "--mode", "sleeping", "t.maj").exit_code == 2


@pytest.mark.parametrize(
    "command", ["check", "fmt", "summary", "explain", "grad", "dump", "compile", "verify", "graph", "run"]
)
def test_files_that_cannot_be_read_are_named(command: str, maj: Maj, tmp_path: Path) -> None:
    (tmp_path / "folder.maj").mkdir()
    (tmp_path / "latin.maj").write_bytes("# caf\xe9\n".encode("latin-1"))
    for path, words in (("missing.maj", "no file"), ("folder.maj", "is a directory"), ("latin.maj", "not UTF-8")):
        result = maj(command, path)
        assert result.exit_code == 2, (path, result.output)
        assert words in result.stderr
        assert "Traceback" not in result.output


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_permission_denied(maj: Maj, small: str, tmp_path: Path) -> None:
    (tmp_path / small).chmod(0)
    result = maj("check", small)
    assert (result.exit_code, "permission denied" in result.stderr) == (2, True)


def test_fmt_rewrites_only_what_changes(maj: Maj, tmp_path: Path) -> None:
    (tmp_path / "a.maj").write_text("a=1  #x\n", encoding="utf-8")
    (tmp_path / "b.maj").write_text("b = 2\n", encoding="utf-8")
    (tmp_path / "a.maj").chmod(0o640)
    before = (tmp_path / "b.maj").stat().st_mtime_ns
    result = maj("fmt", "a.maj", "b.maj")
    assert result.exit_code == 0
    assert (tmp_path / "a.maj").read_text(encoding="utf-8") == "a = 1  # x\n"
    assert (tmp_path / "a.maj").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "b.maj").stat().st_mtime_ns == before
    assert sorted(os.listdir(tmp_path)) == ["a.maj", "b.maj"]
    assert result.stderr.split() == ["reformatted", "a.maj"]


def test_fmt_through_a_link_keeps_the_link(maj: Maj, tmp_path: Path) -> None:
    (tmp_path / "real.maj").write_text("a=1", encoding="utf-8")
    (tmp_path / "link.maj").symlink_to("real.maj")
    assert maj("fmt", "link.maj").exit_code == 0
    assert (tmp_path / "link.maj").is_symlink()
    assert (tmp_path / "real.maj").read_text(encoding="utf-8") == "a = 1\n"


def test_fmt_check_and_diff_change_nothing(maj: Maj, tmp_path: Path) -> None:
    (tmp_path / "a.maj").write_text("a=1\n", encoding="utf-8")
    check = maj("fmt", "--check", "a.maj")
    assert (check.exit_code, "a.maj" in check.stderr) == (1, True)
    diff = maj("fmt", "--diff", "a.maj")
    assert diff.exit_code == 0
    assert "-a=1\n+a = 1\n" in diff.stdout
    assert (tmp_path / "a.maj").read_text(encoding="utf-8") == "a=1\n"
    (tmp_path / "a.maj").write_text("a = 1\n", encoding="utf-8")
    assert maj("fmt", "--check", "a.maj").exit_code == 0


def test_fmt_leaves_a_wrong_file_alone(maj: Maj, tmp_path: Path) -> None:
    (tmp_path / "a.maj").write_text("a=(1\n", encoding="utf-8")
    result = maj("fmt", "a.maj")
    assert result.exit_code == 1
    assert "error[E104]" in result.stderr
    assert (tmp_path / "a.maj").read_text(encoding="utf-8") == "a=(1\n"


def test_fmt_of_standard_input_in_both_spellings(maj: Maj) -> None:
    assert maj("fmt", "-", input="y=Phi").stdout == "y = Phi\n"
    assert maj("fmt", "--unicode", "-", input="y=Phi").stdout == "y = Φ\n"
    assert maj("fmt", "--ascii", "-", input="y=Φ").stdout == "y = Phi\n"
