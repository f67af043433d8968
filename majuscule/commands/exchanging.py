"""`maj import-weights` and `maj export-weights`: PyTorch's tensors as a program's weights, and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .compiling import SeedOption, WeightsOption
from .console import print_json
from .failures import Failure
from .programs import ModeOption, ProgramFile, find_program, load_program
from .trained import open_trained

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..exchange.importing import Choices
    from ..runtime.arrays import Array

RenameOption = Annotated[
    list[str] | None,
    typer.Option("--rename", help="PATTERN=NAME, a rule for names of the file, as in 'layer*.*=block{1}_{2+1}'."),
]
SkipOption = Annotated[
    list[str] | None, typer.Option("--skip", help="Pattern of names of the file that are left out, as in 'aux*'.")
]
ByOption = Annotated[str | None, typer.Option("--by", help="Match by name or by order only; else by both.")]
InsideOption = Annotated[
    str | None, typer.Option("--inside", help="Which dictionary of tensors to take from a file that has several.")
]
ChannelsOption = Annotated[
    str | None,
    typer.Option("--channels", help="first or last: how PyTorch flattened what the program does not tell apart."),
]
_HINTS = (
    "rules for names help: --rename 'PATTERN=NAME', --skip 'PATTERN'",
    "--partial gives first values to what the file does not have",
)


def import_weights(
    program: ProgramFile,
    source: Annotated[str, typer.Argument(metavar="FILE", help="A .safetensors, .pt, .pth or .npz file.")],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="The .safetensors or .npz file to write; without it, only the report."),
    ] = None,
    rename: RenameOption = None,
    skip: SkipOption = None,
    by: ByOption = None,
    inside: InsideOption = None,
    channels: ChannelsOption = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Give first values to weights that the file does not have.")
    ] = False,
    seed: SeedOption = 0,
    mode: ModeOption = "inferring",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="List every tensor and what it became.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Turn PyTorch's tensors into the weights of a program.

    Files are read without running anything.  Tensors are matched by name and in order, never by a
    guess, and turned into the program's layout: the report tells what became of each.
    """
    _check_output(output, source)
    found = load_program(program, mode)
    from ..exchange.importing import imported, pair

    paired = pair(found, source, _choices(rename, skip, by, inside, channels))
    report = paired.report
    if as_json:
        print_json({"program": found.name, "file": Path(source).name, **report.to_json()})
    else:
        typer.echo("\n".join(report.lines(every=verbose)))
    if (left := len(report.left_in_program)) and not partial:
        counted = "a weight has" if left == 1 else f"{left} weights have"
        raise Failure(f"{counted} no tensor, so nothing is written", *_HINTS)
    if output is not None:
        _write(output, imported(found, paired, partial=partial, seed=seed))


def export_weights(
    program: Annotated[
        str,
        typer.Argument(
            metavar="PROGRAM", help="A module, a checkpoint of `maj train`, or a .maj file.", callback=find_program
        ),
    ],
    output: Annotated[str, typer.Option("--output", "-o", help="The .safetensors or .npz file to write.")],
    weights: WeightsOption = None,
    like: Annotated[
        str | None, typer.Option("--like", help="A file of PyTorch whose names, shapes and dtypes to take.")
    ] = None,
    rename: RenameOption = None,
    skip: SkipOption = None,
    by: ByOption = None,
    inside: InsideOption = None,
    channels: ChannelsOption = None,
    seed: SeedOption = 0,
    mode: ModeOption = "inferring",
) -> None:
    """Write the weights of a program as PyTorch has them.

    Names are the program's, ending as PyTorch's do (weight, bias, running_mean, …), or those of the
    file given by --like, which is matched as by import-weights, with the same options.
    """
    _check_output(output, like)
    trained = open_trained(program, weights, mode)
    found = trained.checked.require()
    from ..compiler.interpreter import initial_values
    from ..exchange.exporting import exported
    from ..exchange.importing import weight_shapes

    names = weight_shapes(found)
    if trained.weights is None:
        values = initial_values(found, seed, list(names))
    else:
        values = {name: trained.weights[name] for name in names if name in trained.weights}
    _write(output, exported(found, values, like, _choices(rename, skip, by, inside, channels)), {"format": "pt"})


def _choices(
    rename: list[str] | None, skip: list[str] | None, by: str | None, inside: str | None, channels: str | None
) -> Choices:
    from ..exchange.importing import Choices

    return Choices(rename or (), skip or (), by, inside, channels)


def _check_output(output: str | None, source: str | None) -> None:
    """Refuse places that cannot be written to before anything is read, and the file that is read."""
    if output is None:
        return
    path = Path(output)
    if path.is_dir():
        raise Failure(f"{path} is a directory, not a file")
    if not path.parent.is_dir():
        raise Failure(f"there is no directory {path.parent} to write {path.name} to")
    if source is not None and path.exists() and Path(source).exists() and path.samefile(source):
        raise Failure(f"{path} is the file that is read; write to another one")


def _write(output: str, tensors: Mapping[str, Array], metadata: Mapping[str, str] | None = None) -> None:
    from ..runtime.tensor_files import write_tensors

    write_tensors(output, tensors, metadata)
    size = sum(array.nbytes for array in tensors.values())
    typer.echo(f"wrote {output} ({len(tensors)} tensors, {size / 1e6:.1f} MB)", err=True)
