"""`maj list`: the networks that come along."""

from __future__ import annotations

from typing import Annotated

import typer

from .console import print_json, print_table


def list_networks(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the list as JSON, with the files of the programs.")
    ] = False,
) -> None:
    """List the networks that come along.

    Commands that take a program take their names, too: `maj summary vgg16`.
    """
    from ..networks import known_networks

    found = known_networks().values()
    if as_json:
        print_json([
            {"name": n.name, "inputs": n.inputs, "parameters": n.parameters, "about": n.about, "file": str(n.path)}
            for n in found
        ])  # fmt: skip
        return
    rows = [[n.name, n.inputs, n.about, "" if n.parameters is None else f"{n.parameters:,}"] for n in found]
    print_table(["network", "input", "what it is", "parameters"], rows, left=3, elastic=2)
