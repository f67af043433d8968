"""Sizes that a program leaves open, as they are given on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from .failures import Failure

SizeOption = Annotated[
    list[str] | None, typer.Option("--size", metavar="NAME=N", help="A size that the program leaves open.")
]


def parse_sizes(items: Sequence[str] | None) -> dict[str, int]:
    """The numbers of `NAME=N` arguments by name; raises Failure."""
    from ..dsl.names import normal

    sizes: dict[str, int] = {}
    for item in items or ():
        name, _, value = item.partition("=")
        if not name or not value.isdecimal():
            raise Failure(f"--size {item}: write NAME=N", "such as --size T=20")
        sizes[normal(name)] = int(value)
    return sizes
