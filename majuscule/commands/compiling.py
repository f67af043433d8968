"""`maj compile`: from a program to a module in a file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..compiler.road_names import ROADS
from .failures import Failure
from .programs import STDIN, ModeOption, ProgramFile, checked_program

if TYPE_CHECKING:
    from ..runtime.artifact import Artifact

DtypeOption = Annotated[
    str, typer.Option("--dtype", help="Numbers between equations: float32, float16, bfloat16; tf32 on a GPU.")
]
TargetOption = Annotated[
    str, typer.Option("--target", help="cpu (this machine), LLVM's name of a CPU, or a GPU: cuda, or as cuda:sm_90.")
]
WeightsOption = Annotated[
    str | None, typer.Option("--weights", "-w", help="A .safetensors or .npz file; else the program's first values.")
]
CacheOption = Annotated[bool, typer.Option("--cache/--no-cache", help="Take what was compiled before from the cache.")]
ExactOption = Annotated[
    bool, typer.Option("--exact", help="Compute every sum as it stands, even where another algorithm is faster.")
]
RoadOption = Annotated[
    str | None, typer.Option("--road", help=f"One algorithm for all equations that can take it: {', '.join(ROADS)}.")
]
SeedOption = Annotated[int, typer.Option("--seed", help="Chooses the random numbers of first values.")]


def compile(
    program: ProgramFile,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="The module's file; the program's name with .mod if left out.")
    ] = None,
    weights: WeightsOption = None,
    target: TargetOption = "cpu",
    dtype: DtypeOption = "float32",
    seed: SeedOption = 0,
    mode: ModeOption = "inferring",
    exact: ExactOption = False,
    road: RoadOption = None,
    cache: CacheOption = True,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell what was made and how long it took.")] = False,
) -> None:
    """Compile a program into a module in a file."""
    path = Path(output or f"{'program' if program == STDIN else Path(program).stem}.mod")
    if path.is_dir():
        raise Failure(f"{path} is a directory, not a file")
    if not path.parent.is_dir():
        raise Failure(f"there is no directory {path.parent} to write {path.name} to")
    artifact = compile_file(
        program, weights=weights, target=target, dtype=dtype, seed=seed, mode=mode, exact=exact, road=road,
        verbose=verbose, cache=cache,
    )  # fmt: skip
    from ..runtime.artifact import write

    write(path, artifact)
    if verbose:
        _describe(artifact)
    typer.echo(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)", err=True)


def compile_file(
    path: str,
    *,
    weights: str | None = None,
    target: str = "cpu",
    dtype: str = "float32",
    seed: int = 0,
    mode: str = "inferring",
    exact: bool = False,
    road: str | None = None,
    verbose: bool = False,
    cache: bool = True,
) -> Artifact:
    """A program's file compiled; raises SourceErrors, ModuleError, CompilationFailed or Failure."""
    started = time.perf_counter()
    checked = checked_program(path, mode)
    parsed = time.perf_counter()
    from ..api import compile_artifact, source_names
    from ..compiler.codegen.asked import asked_for
    from ..precision import precision_called

    asked = asked_for(exact, road)
    artifact = compile_artifact(
        checked.require(),
        target=target,
        weights=weights,
        seed=seed,
        sources=source_names(checked.sources),
        exact=asked.exact,
        road=asked.road,
        dtype=precision_called(dtype),
        cache=cache,
    )
    if verbose:
        typer.echo(f"checked in {parsed - started:.2f} s, compiled in {time.perf_counter() - parsed:.2f} s", err=True)
    return artifact


def _describe(artifact: Artifact) -> None:
    from ..runtime.host import target_name
    from ..runtime.signature import describe_tensor

    manifest = artifact.manifest
    for kind in ("input", "output"):
        for entry in manifest[f"{kind}s"]:
            typer.echo(f"{kind} {describe_tensor(entry)}", err=True)
    size = sum(array.nbytes for array in artifact.weights.values())
    typer.echo(f"{len(artifact.weights)} weights, {size / 1e6:.1f} MB", err=True)
    typer.echo(f"target {target_name(manifest['target'])}", err=True)
