"""Runs every example of the documents, so that none can say what does not hold."""

from __future__ import annotations

import contextlib
import doctest
import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from documents import LANGUAGES, RUNNABLE, Block, blocks_of, commands_of, has_something_to_run, program_of

from majuscule.dsl import check_text
from majuscule.dsl.diagnostics import render_all

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *(path for path in sorted((ROOT / "docs").glob("*.md")) if path.name != "errors.md")]
"""All but the catalogue of errors, which is made from `dsl/errors.md` and has tests of its own."""
BLOCKS = {path: blocks_of(path) for path in DOCUMENTS}
LIBRARY = ROOT / "dsl" / "library"
SAME_OUTPUT = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def _parametrised(*languages: str) -> pytest.MarkDecorator:
    everything = [b for blocks in BLOCKS.values() for b in blocks if b.language in languages]
    chosen = [b for b in everything if not b.exempt and "source" not in b.options and has_something_to_run(b)]
    return pytest.mark.parametrize("block", chosen, ids=[b.label for b in chosen])


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Path]:
    """For each document a folder with the files that its blocks make, and the examples."""
    made = {path: tmp_path_factory.mktemp(path.stem) for path in DOCUMENTS}
    for path, folder in made.items():
        (folder / "examples").symlink_to(ROOT / "examples")
        for block in BLOCKS[path]:
            if name := block.options.get("file"):
                assert not (folder / name).exists(), f"{block.label}: there are two files {name}"
                (folder / name).write_text(program_of(block, BLOCKS[path]), encoding="utf-8")
    return made


@_parametrised("maj")
@pytest.mark.parametrize("mode", ["inferring", "training"])
def test_programs_check_as_they_claim(block: Block, mode: str, folders: dict[Path, Path]) -> None:
    result = check_text(program_of(block, BLOCKS[block.path]), block.label, mode=mode, folder=folders[block.path])
    report = render_all(result.diagnostics, result.sources)
    wanted = set(filter(None, block.options.get("error", "").split(",")))
    assert {d.code for d in result.errors} == wanted, report or f"{block.label} has no mistake"
    notes = set(filter(None, block.options.get("note", "").split(",")))
    assert notes <= {d.code for d in result.diagnostics if d.severity != "error"}, report


@pytest.fixture(scope="session")
def sessions(folders: dict[Path, Path]) -> dict[Path, Session]:
    return {path: Session(path, folders[path]) for path in DOCUMENTS}


@_parametrised(*RUNNABLE)
def test_examples_run(block: Block, sessions: dict[Path, Session]) -> None:
    if _lacks_package(block):
        pytest.skip(f"{block.options['needs']} is not installed")
    sessions[block.path].run(block)


HEAD = re.compile(r"^(?:layer (?:.|\n)*?\):$|(?:function|alias) .*(?:\n +.*)*)", re.MULTILINE)
"""The first line of a definition, with what continues it."""


@pytest.mark.parametrize("path", sorted(LIBRARY.glob("*.maj")), ids=lambda path: path.name)
def test_the_library_is_quoted_as_it_is_and_whole(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    quotations = [b for b in BLOCKS[ROOT / "docs" / "library.md"] if b.options.get("source") == path.name]
    for block in quotations:
        position = 0
        for line in block.text.split("\n"):
            position = _squeezed(text).find(_squeezed(line), position)
            assert position >= 0, f"{block.label}: {path.name} has no such line here: {line}"
    quoted = [_squeezed(block.text) for block in quotations]
    missing = [head for head in HEAD.findall(text) if not any(_squeezed(head) in quotation for quotation in quoted)]
    assert not missing, f"docs/library.md does not tell of {missing}"


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


LIMITS = {
    "bytes of a file": "FILE",
    "statements in a file": "STATEMENTS",
    "characters of a statement": "STATEMENT",
    "characters of a name": "NAME",
    "digits of a number": "DIGITS",
    "brackets within brackets": "NESTING",
    "calls within calls": "DEPTH",
    "turns of a compile-time loop, repetitions in a pattern": "ITERATIONS",
    "entries of a compile-time list": "LENGTH",
    "expressions, each counted as often as loops and calls repeat it": "STEPS",
    "equations for one tensor": "PARTS",
    "steps that a recurrence reaches back": "REACH",
    "elements of a tensor, without axes that are open": "ELEMENTS",
}


@pytest.mark.parametrize("limit", LIMITS)
def test_the_limits_are_those_of_the_front_end(limit: str) -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "dsl").glob("*.py"))
    found = re.findall(rf"^MAXIMUM_{LIMITS[limit]} = ([0-9_]+)$", sources, re.MULTILINE)
    assert len(found) == 1
    assert f"| {limit} | {int(found[0]):,} |" in (ROOT / "docs" / "language.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_block_is_of_a_language_that_is_tested(path: Path) -> None:
    unknown = [b.label for b in BLOCKS[path] if b.language not in LANGUAGES and not b.exempt]
    assert not unknown


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    prose = re.sub(r"^```.*?^```|`[^`]+`", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", prose):
        linked = (path.parent / target).resolve() if target else path
        assert linked.exists(), f"{path.name} links to {target}, which does not exist"
        if anchor and linked.suffix == ".md":
            assert anchor in _anchors(linked), f"{path.name} links to {target}#{anchor}, and there is no such heading"


def _anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


class Session:
    """A folder and the names of one document, in which its blocks run in order.

    The blocks of one `##` section share their names, and all have those of the
    document's first Python block that is run.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self.blocks = BLOCKS[path]
        self.folder = folder
        self.names: dict[int, dict[str, Any]] = {}
        self.done: dict[int, bool] = {}

    def run(self, block: Block) -> None:
        """Run a block after those it may build on; fails at once if one of them failed."""
        first = next((b for b in self.blocks if b.language == "python" and not b.exempt), block)
        names = self.names.setdefault(block.section, {})
        if not names and first.section != block.section:
            with contextlib.chdir(self.folder):
                exec(compile(first.text, first.label, "exec"), names)
        for earlier in self.blocks:
            if earlier.line >= block.line:
                break
            counts = earlier.language in RUNNABLE and not earlier.exempt and not _lacks_package(earlier)
            if counts and earlier.section == block.section:
                if earlier.line not in self.done:
                    self._attempt(earlier, names)
                assert self.done[earlier.line], f"{earlier.label}, which comes before, fails"
        if block.line not in self.done:
            self._attempt(block, names)
        assert self.done[block.line], f"{block.label} failed before"

    def _attempt(self, block: Block, names: dict[str, Any]) -> None:
        self.done[block.line] = False
        with contextlib.chdir(self.folder):
            if block.language == "python":
                _run_python(block, names)
            else:
                _run_commands(block)
        self.done[block.line] = True


def _lacks_package(block: Block) -> bool:
    return "needs" in block.options and importlib.util.find_spec(block.options["needs"]) is None


def _run_python(block: Block, names: dict[str, Any]) -> None:
    if not block.text.startswith(">>>"):
        exec(compile("\n" * (block.line - 1) + block.text, str(block.path), "exec"), names)
        return
    examples = doctest.DocTestParser().get_doctest(block.text, names, block.label, str(block.path), block.line - 1)
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=SAME_OUTPUT, verbose=False)
    names.update(examples.globs)
    examples.globs = names
    runner.run(examples, out=report.append, clear_globs=False)
    assert not runner.failures, "".join(report)


def _run_commands(block: Block) -> None:
    for command, expected in commands_of(block):
        words = shlex.split(command, comments=True)
        if words[:1] != ["maj"]:
            assert block.language == "sh", f"{block.label}: only `maj` commands are run"
            continue
        status, output = _maj(words[1:])
        assert status == int(block.options.get("status", 0)), f"$ {command}\n{output}"
        if expected is not None:
            same = doctest.OutputChecker().check_output(expected, output, SAME_OUTPUT)
            assert same, f"$ {command}\nexpected:\n{expected}\nfound:\n{output}"


def _maj(arguments: list[str]) -> tuple[int, str]:
    """Exit status and output of the command line, run in this process."""
    from typer.testing import CliRunner

    from majuscule.commands.application import app

    result = CliRunner(env={"NO_COLOR": "1", "COLUMNS": "100"}).invoke(app, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output
