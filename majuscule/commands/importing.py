"""`maj import`: a model of ONNX as a program of equations, and its weights beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .failures import Failure
from .text_files import write_text


def import_model(
    source: Annotated[str, typer.Argument(metavar="MODEL", help="A .onnx file.")],
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="The .maj file to write; the model's name if left out.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option("--weights", "-w", help="The .safetensors or .npz file to write; the program's name if left out."),
    ] = None,
    any_batch: Annotated[
        bool, typer.Option("--any-batch", help="Take any number of samples where the model is written for one number.")
    ] = False,
) -> None:
    """Turn a model of ONNX into equations that can be read, and its weights.

    Layers are those of the library, names are the model's.  Images have their channels last.  If the
    language cannot say some of the model's nodes, all of them are listed and nothing is written.
    """
    program = Path(output or f"{Path(source).stem}.maj")
    numbers = Path(weights) if weights is not None else program.with_suffix(".safetensors")
    for path in (program, numbers):
        _check_place(path, source)
    if program.resolve() == numbers.resolve():
        raise Failure(f"{program} cannot hold both the program and its weights")
    from ..onnx.errors import ImportFailed
    from ..onnx.importing import import_model as imported
    from ..runtime.tensor_files import write_tensors

    try:
        found = imported(source, open_batch=any_batch)
    except ImportFailed as error:
        raise Failure(str(error)) from error
    if found.weights:
        write_tensors(numbers, found.weights)
    write_text(program, found.text)
    size = sum(array.nbytes for array in found.weights.values())
    beside = f" and {numbers} ({len(found.weights)} tensors, {size / 1e6:.1f} MB)" if found.weights else ""
    typer.echo(f"wrote {program}{beside}", err=True)


def _check_place(path: Path, source: str) -> None:
    """Refuse places that cannot be written to before anything is read, and the file that is read."""
    if path.is_dir():
        raise Failure(f"{path} is a directory, not a file")
    if not path.parent.is_dir():
        raise Failure(f"there is no directory {path.parent} to write {path.name} to")
    if path.exists() and Path(source).exists() and path.samefile(source):
        raise Failure(f"{path} is the file that is read; write to another one")
