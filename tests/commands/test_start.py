"""Starting `maj`: what it imports, help, version, exit statuses, pipes and signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

HEAVY = ("tvm", "tvm_ffi", "numpy", "networkx", "PIL", "rich", "torch", "scipy", "matplotlib")


def modules_after(*arguments: str, cwd: Path) -> set[str]:
    """Names of the modules that a run of `maj` imports."""
    code = (
        "import sys, atexit\n"
        "def show():\n"
        "    sys.stderr.write('MODULES ' + ' '.join(sys.modules))\n"
        "atexit.register(show)\n"
        "from majuscule.__main__ import main\n"
        f"sys.argv = ['maj', *{list(arguments)!r}]\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False)
    return set(done.stderr.partition("MODULES ")[2].split())


def maj(*arguments: str, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "majuscule", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, **options)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["check", "--help"],
        ["bench", "--help"],
        ["profile", "--help"],
        ["train", "--help"],
        ["eval", "--help"],
        ["check", "small.maj"],
        ["--version"],
    ],
)
def test_help_and_check_import_nothing_heavy(arguments: list[str], small: str, tmp_path: Path) -> None:
    assert not modules_after(*arguments, cwd=tmp_path) & set(HEAVY)


@pytest.mark.parametrize(
    "arguments",
    [
        ["summary", "small.maj"],
        ["explain", "small.maj"],
        ["dump", "small.maj"],
        ["fmt", "small.maj"],
        ["grad", "small.maj"],
    ],
)
def test_only_commands_that_compile_or_run_import_tvm(arguments: list[str], small: str, tmp_path: Path) -> None:
    loaded = modules_after(*arguments, cwd=tmp_path)
    assert "majuscule" in loaded
    assert "tvm" not in loaded


def test_version(tmp_path: Path) -> None:
    import majuscule

    assert maj("--version", cwd=tmp_path).stdout.strip() == f"maj {majuscule.__version__}"


def test_no_command_shows_help_and_a_wrong_one_is_a_usage_error(tmp_path: Path) -> None:
    assert "summary" in maj(cwd=tmp_path).stdout + maj(cwd=tmp_path).stderr
    wrong = maj("chekc", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "chekc" in wrong.stderr
    assert maj("check", cwd=tmp_path).returncode == 2


def test_mistakes_have_status_1_and_carets_without_colours_off_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "wrong.maj").write_text("Given x[4]\ny[b,i] = x[b,i] + z[i]\n", encoding="utf-8")
    done = maj("check", "wrong.maj", cwd=tmp_path)
    assert done.returncode == 1
    assert "wrong.maj:2:" in done.stderr
    assert "^" in done.stderr
    assert "\x1b" not in done.stderr
    assert "Traceback" not in done.stderr


def test_colours_where_they_are_wanted(tmp_path: Path) -> None:
    (tmp_path / "wrong.maj").write_text("y = (\n", encoding="utf-8")
    environment = {**os.environ, "FORCE_COLOR": "1"}
    environment.pop("NO_COLOR", None)
    assert "\x1b[" in maj("check", "wrong.maj", cwd=tmp_path, env=environment).stderr
    assert "\x1b" not in maj("check", "wrong.maj", cwd=tmp_path, env={**environment, "NO_COLOR": "1"}).stderr


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
def test_a_reader_that_stops_reading_is_no_error(small: str, tmp_path: Path) -> None:
    command = f"{sys.executable} -m majuscule dump -s tokens small.maj | head -n 1"
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("1:1\tGIVEN")
    assert done.stderr == ""
    many = "\n".join(f"a{i} = {i}" for i in range(5000))
    (tmp_path / "many.maj").write_text(many, encoding="utf-8")
    command = f"{sys.executable} -m majuscule dump -s tokens many.maj | head -n 1"
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_completion_lists_the_commands(tmp_path: Path) -> None:
    environment = {**os.environ, "_MAJ_COMPLETE": "complete_bash", "COMP_WORDS": "maj ", "COMP_CWORD": "1"}
    found = maj(cwd=tmp_path, env=environment).stdout.split()
    assert {"check", "fmt", "summary", "compile", "run", "verify", "bench", "profile"} <= set(found)


def test_output_is_utf8_whatever_the_locale(small: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-m", "majuscule", "explain", small],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0
    assert "ΔX" in done.stdout.decode("utf-8")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\n",
        b"# only a comment",
        b"\x00\x01\x02",
        b"a" * 300_000,
        b"(" * 5000,
        b"y = " + b"-" * 5000 + b"1\n",
    ],
    ids=["empty", "blank", "comment", "control", "long", "nested", "signs"],
)
@pytest.mark.parametrize("command", ["check", "fmt"])
def test_strange_files_give_a_message_and_a_status(command: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.maj").write_bytes(data)
    done = maj(command, "x.maj", cwd=tmp_path)
    assert done.returncode in (0, 1, 2)
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_an_interrupt_is_no_traceback(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "majuscule", "check", "-"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # where tests run in the background it is ignored
    )
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert b"Traceback" not in errors


def test_an_internal_error_asks_for_a_report_and_shows_its_place_only_on_request(
    small: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    import majuscule.dsl.front_end
    from majuscule.commands.application import app

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(majuscule.dsl.front_end, "check_text", broken)
    result = CliRunner().invoke(app, ["check", str(tmp_path / small)])
    assert result.exit_code == 3
    assert "internal error: ZeroDivisionError: on purpose" in result.stderr
    assert "report" in result.stderr
    assert "Traceback" not in result.stderr
    assert "Traceback" in CliRunner().invoke(app, ["--debug", "check", str(tmp_path / small)]).stderr
