"""Reads the documents: every fenced block with its place, its options and what stands before it unseen.

A block's first word is its language, and `name=value` pairs may follow:

    ```maj                    checks without a mistake, for training and for inferring
    ```maj error=E301         has mistakes, and these are their codes (E301,E302 for two)
    ```maj note=N501          checks, and this note is given
    ```maj file=unit.maj      is also a file for the Python and shell blocks below it
    ```maj source=linear.maj  quotes lines of a file of the standard library
    ```python                 runs after those of its `##` section; `>>>` compares the output
    ```python needs=torch     is left out where that package is not installed
    ```sh                     its `maj` commands succeed
    ```console                its `$ maj` commands print what stands under them

A comment `<!-- before … -->` directly above a `maj` block holds lines that belong in front
of it, so that an example may show one equation without its declarations; `<!-- before
unit.maj -->` takes them from the file of that name.  `<!-- not run: reason -->` exempts a block.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

RUNNABLE = ("python", "sh", "console")
LANGUAGES = ("maj", "text", *RUNNABLE)

_FENCE = re.compile(r"^(`{3,})(.*)$")
_BEFORE = re.compile(r"<!-- before[ \n](.*?)\n?-->\s*\Z", re.DOTALL)
_NOT_RUN = re.compile(r"<!-- not run: .+? -->\s*\Z")


@dataclass(frozen=True)
class Block:
    """One fenced block; `line` is where its text starts, `before` what is put in front of it."""

    path: Path
    line: int
    section: int
    language: str
    text: str
    options: dict[str, str] = field(default_factory=dict)
    before: str = ""
    exempt: bool = False

    @property
    def label(self) -> str:
        """File and line, for the name of a test."""
        return f"{self.path.name}:{self.line}"


def blocks_of(path: Path) -> list[Block]:
    """All blocks of a document, in order."""
    found: list[Block] = []
    lines = path.read_text(encoding="utf-8").split("\n")
    section, outside_from, number = 0, 0, 0
    while number < len(lines):
        fence = _FENCE.match(lines[number])
        if fence is None:
            section += lines[number].startswith("## ")
            number += 1
            continue
        prose = "\n".join(lines[outside_from:number])
        end = next((n for n in range(number + 1, len(lines)) if lines[n].strip() == fence.group(1)), None)
        assert end is not None, f"{path.name}:{number + 1}: this block is never closed"
        language, _, rest = fence.group(2).strip().partition(" ")
        options = dict(word.split("=", 1) for word in rest.split())
        before = _BEFORE.search(prose)
        found.append(Block(
            path, number + 2, section, language, "\n".join(lines[number + 1 : end]) + "\n", options,
            before.group(1).strip("\n") if before else "", bool(_NOT_RUN.search(prose)),
        ))  # fmt: skip
        number = outside_from = end + 1
    return found


def program_of(block: Block, blocks: list[Block]) -> str:
    """The whole program of a `maj` block: its text with what stands before it."""
    before = block.before
    if re.fullmatch(r"[\w-]+\.maj", before):
        named = [b for b in blocks if b.options.get("file") == before and b.line < block.line]
        assert named, f"{block.label}: no block above is the file {before}"
        before = program_of(named[-1], blocks).rstrip("\n")
    return f"{before}\n{block.text}" if before else block.text


def commands_of(block: Block) -> list[tuple[str, str | None]]:
    """The commands of a block, and what each should print."""
    if block.language == "sh":
        return [(line, None) for line in block.text.split("\n") if line.strip()]
    parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]
    return [(command, output) for command, _, output in (part.partition("\n") for part in parts)]


def has_something_to_run(block: Block) -> bool:
    """Whether a block is more than shell commands of other programs."""
    return block.language != "sh" or any(command.startswith("maj ") for command, _ in commands_of(block))
