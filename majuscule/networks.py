"""The networks that come along: the programs of `examples/`, in the repository and in an installed package.

Files without inputs hold the layers of a family; the programs are calls of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).with_name("examples")
"""A link in the repository, a folder with the same programs in a package."""

_INPUTS = re.compile(r"^Given (.*?)(?: *#.*)?$", re.MULTILINE)
_COMMENT = re.compile(r"(?:#.*\n)+")
_CLAUSE = re.compile(r"(?:\([^)]*\)|[^(:;.]|\.(?!\s))+")
_PARAMETERS = re.compile(r"([\d,]*\d) parameters")


@dataclass(frozen=True, slots=True)
class KnownNetwork:
    """A program that comes along: what it takes, and what its first lines say of it."""

    name: str
    path: Path
    inputs: str
    about: str
    parameters: int | None


def known_networks() -> dict[str, KnownNetwork]:
    """All networks that come along, by name."""
    paths = sorted((*FOLDER.glob("*.maj"), *FOLDER.glob("*/*.maj")), key=lambda path: path.stem)
    found = (_described(path) for path in paths)
    return {network.name: network for network in found if network is not None}


def _described(path: Path) -> KnownNetwork | None:
    """What a file says of itself; None if it has no inputs."""
    text = path.read_text(encoding="utf-8")
    inputs = _INPUTS.findall(text)
    if not inputs:
        return None
    head = _COMMENT.match(text)
    words = " ".join(head.group().replace("#", "").split()) if head else ""
    clause, parameters = _CLAUSE.match(words), _PARAMETERS.search(words)
    return KnownNetwork(
        path.stem,
        path,
        ", ".join(inputs),
        clause.group().strip() if clause else "",
        int(parameters.group(1).replace(",", "")) if parameters else None,
    )
