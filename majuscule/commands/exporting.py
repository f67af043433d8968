"""`maj export`: a program for other tools: a shared library for C, or a model of ONNX."""

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
    output: Annotated[str, typer.Option("--output", "-o", help="The .onnx file to write, or, with --c, the folder.")],
    c: Annotated[bool, typer.Option("--c", help="A shared library with a C header, in a folder.")] = False,
    weights: WeightsOption = None,
    seed: SeedOption = 0,
    embed: Annotated[bool, typer.Option("--embed", help="Put the weights into the library (--c).")] = False,
    target: TargetOption = "cpu",
    exact: ExactOption = False,
    road: RoadOption = None,
    cache: CacheOption = True,
) -> None:
    """Write a program for other tools.

    For C, a module's program is compiled again, with its weights, for the target and with the options given here.
    """
    path = Path(output)
    if not path.parent.is_dir():
        raise Failure(f"there is no directory {path.parent} to write {path.name} to")
    if c:
        _export_c(program, path, weights, seed, embed, target, exact, road, cache)
    elif path.suffix.lower() == ".onnx":
        if embed or exact or road is not None or target != "cpu":
            raise Failure("a model of ONNX is for any machine: --embed, --target, --exact and --road go with --c")
        _export_onnx(program, path, weights, seed)
    else:
        raise Failure("say what to write", "-o NAME.onnx is a model of ONNX", "--c -o FOLDER is a library for C")


def _export_c(
    program: str,
    path: Path,
    weights: str | None,
    seed: int,
    embed: bool,
    target: str,
    exact: bool,
    road: str | None,
    cache: bool,
) -> None:
    if path.exists() and not path.is_dir():
        raise Failure(f"{path} is a file, not a folder to write a library to")
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


def _export_onnx(program: str, path: Path, weights: str | None, seed: int) -> None:
    if path.is_dir():
        raise Failure(f"{path} is a directory, not a file")
    found, values = _opened(program, weights)
    from ..api import export_onnx

    export_onnx(found, path, weights=values, seed=seed)
    typer.echo(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)", err=True)


def _opened(program: str, weights: str | None) -> tuple[Program, dict[str, Any] | None]:
    """A checked program and its weights, if it comes with any."""
    trained = open_trained(program, weights, "inferring")
    checked = trained.checked.require()
    if trained.weights is None:
        return checked, None
    from ..exchange.importing import weight_shapes

    return checked, {name: trained.weights[name] for name in weight_shapes(checked) if name in trained.weights}
