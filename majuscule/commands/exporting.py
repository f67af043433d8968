"""`maj export`: a program for other tools: a shared library for C."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .compiling import CacheOption, ExactOption, RoadOption, SeedOption, TargetOption, WeightsOption
from .failures import Failure
from .programs import find_program
from .trained import open_trained

if TYPE_CHECKING:
    from ..dsl.equations import Program


def export(
    program: Annotated[
        str,
        typer.Argument(
            metavar="PROGRAM", help="A .maj file, a module, or a checkpoint of `maj train`.", callback=find_program
        ),
    ],
    output: Annotated[str, typer.Option("--output", "-o", help="The folder to write to.")],
    c: Annotated[bool, typer.Option("--c", help="A shared library with a C header, in a folder.")] = False,
    weights: WeightsOption = None,
    seed: SeedOption = 0,
    embed: Annotated[bool, typer.Option("--embed", help="Put the weights into the library.")] = False,
    target: TargetOption = "cpu",
    exact: ExactOption = False,
    road: RoadOption = None,
    cache: CacheOption = True,
) -> None:
    """Write a program for other tools.

    A module's program is compiled again, with its weights, for the target and with the options given here.
    """
    if not c:
        raise Failure("say what to write", "--c -o FOLDER writes a shared library for C")
    path = Path(output)
    if path.exists() and not path.is_dir():
        raise Failure(f"{path} is a file, not a folder to write a library to")
    if not path.parent.is_dir():
        raise Failure(f"there is no directory {path.parent} to make {path.name} in")
    found, values = _opened(program, weights)
    from ..api import export_c
    from ..compiler.codegen.asked import asked_for

    asked = asked_for(exact, road)
    files = export_c(
        found,
        path,
        target=target,
        weights=values,
        seed=seed,
        exact=asked.exact,
        road=asked.road,
        cache=cache,
        embed=embed,
    )
    typer.echo("wrote " + ", ".join(map(str, files)), err=True)


def _opened(program: str, weights: str | None) -> tuple[Program, dict[str, Any] | None]:
    """A checked program and its weights, if it comes with any."""
    trained = open_trained(program, weights, "inferring")
    checked = trained.checked.require()
    if trained.weights is None:
        return checked, None
    from ..exchange.importing import weight_shapes

    return checked, {name: trained.weights[name] for name in weight_shapes(checked) if name in trained.weights}
