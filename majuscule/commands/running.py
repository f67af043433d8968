"""`maj run`: a module, or a program compiled on the spot, on files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .compiling import DtypeOption, ExactOption, RoadOption, SeedOption, TargetOption, WeightsOption, compile_file
from .console import print_json
from .failures import Failure, file_problem
from .programs import STDIN, find_program

if TYPE_CHECKING:
    from ..runtime.module import Module
    from .tensors import Array

ModuleFile = Annotated[
    str,
    typer.Argument(
        metavar="PROGRAM", help="A compiled module, a .maj file, or a network of `maj list`.", callback=find_program
    ),
]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, help="How many threads compute; one for each core if left out.")
]

_MOST_VALUES = 10_000
_TOP = 5
_MOST_SAMPLES = 4


def run(
    program: ModuleFile,
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=]FILE…", help="Inputs: .npy, .npz or pictures.")
    ] = None,
    output: Annotated[
        list[str] | None,
        typer.Option("--output", "-o", metavar="[NAME=]FILE", help="Write outputs to a .npy, .npz or picture."),
    ] = None,
    weights: WeightsOption = None,
    seed: SeedOption = 0,
    threads: ThreadsOption = None,
    target: TargetOption = "cpu",
    dtype: DtypeOption = "float32",
    exact: ExactOption = False,
    road: RoadOption = None,
    resize: Annotated[bool, typer.Option("--resize", help="Scale pictures to the size of the input.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outputs as JSON.")] = False,
) -> None:
    """Run a module or a program on files.

    Outputs are printed, or written to files with -o.

    Pictures become numbers from 0 to 1, rows × columns × channels.  Several files for one
    input are a batch.
    """
    from .tensors import check_targets, read_inputs, write_outputs

    check_targets(output or [])
    with open_module(
        program, weights=weights, target=target, dtype=dtype, seed=seed, threads=threads, exact=exact, road=road
    ) as module:
        arrays = read_inputs(inputs or [], module.inputs, resize=resize, metadata=module.metadata)
        result = module(*(arrays[tensor.name] for tensor in module.inputs), seed=seed)
        names = [tensor.name for tensor in module.outputs]
        classes = module.metadata.get("classes", [])
    outputs = dict(zip(names, [result] if len(names) == 1 else result, strict=True))
    written = write_outputs(output or [], outputs)
    for file in written:
        typer.echo(f"wrote {file}", err=True)
    if as_json:
        print_json({"outputs": {name: _facts(array, classes, all_values=True) for name, array in outputs.items()}})
    elif not written:
        for name, array in outputs.items():
            _print(name, array, classes)


def open_module(
    path: str,
    *,
    weights: str | None = None,
    target: str = "cpu",
    dtype: str = "float32",
    seed: int = 0,
    threads: int | None = None,
    exact: bool = False,
    road: str | None = None,
) -> Module:
    """The module in a file, or one compiled from a program's file; raises as `compile_file` does."""
    from ..runtime.module import Module

    if path != STDIN and _is_module(path):
        if exact or road is not None or target != "cpu" or dtype != "float32":
            hint = "--target, --dtype, --exact and --road are for `maj compile` and for programs"
            raise Failure(f"{path} is compiled already", hint)
        module = Module.load(path, threads)
        if weights is not None:
            module.load_weights(weights)
        return module
    artifact = compile_file(path, weights=weights, target=target, dtype=dtype, seed=seed, exact=exact, road=road)
    return Module(artifact, threads)


def _is_module(path: str) -> bool:
    try:
        with Path(path).open("rb") as file:
            return file.read(2) == b"PK" or path.endswith(".mod")
    except OSError as error:
        raise Failure(file_problem(error, path)) from error


# -- showing -----------------------------------------------------------------------------------


def _facts(array: Array, classes: Sequence[str], *, all_values: bool = False) -> dict[str, Any]:
    """Shape, statistics, first values and, for scores of classes, the largest of each sample."""
    import numpy

    facts: dict[str, Any] = {"shape": list(array.shape), "dtype": str(array.dtype)}
    if array.size:
        numbers = array.astype(numpy.float64)
        finite = numbers[numpy.isfinite(numbers)]
        if finite.size:
            facts |= {key: float(getattr(finite, key)()) for key in ("min", "mean", "max", "std")}
        if finite.size < numbers.size:
            facts["not_finite"] = int(numbers.size - finite.size)
    if array.ndim == 2 and (array.shape[1] > _TOP or array.shape[1] == len(classes) > 1) and array.dtype.kind == "f":
        named = classes if len(classes) == array.shape[1] else []
        facts["top"] = [_largest(row, named) for row in array[:_MOST_SAMPLES]]
    facts["head"] = [_plain(value) for value in array.reshape(-1)[:8]]
    if all_values and array.size <= _MOST_VALUES:
        facts["values"] = _nested(array)
    return facts


def _largest(row: Array, classes: Sequence[str]) -> list[dict[str, Any]]:
    """The places of the largest scores, with the names of their classes if those are known."""
    import numpy

    order = numpy.argsort(-row.astype(numpy.float64), kind="stable")[:_TOP]
    names = [{"name": classes[place]} if classes else {} for place in order]
    return [
        {"class": int(place), **name, "score": _plain(row[place])} for place, name in zip(order, names, strict=True)
    ]


def _plain(value: Any) -> Any:
    """A number that JSON can hold."""
    import math

    number = value.item()
    return str(number) if isinstance(number, float) and not math.isfinite(number) else number


def _nested(array: Array) -> Any:
    return _plain(array) if array.ndim == 0 else [_nested(part) for part in array]


def _print(name: str, array: Array, classes: Sequence[str]) -> None:
    facts = _facts(array, classes)
    typer.echo(f"{name}: {facts['dtype']}{facts['shape']}")
    if "mean" in facts and array.size > 1:
        statistics = "  ".join(f"{key} {facts[key]:.6g}" for key in ("min", "mean", "max", "std"))
        typer.echo(f"  {statistics}")
    if "not_finite" in facts:
        typer.echo(f"  {facts['not_finite']} values are NaN or infinite")
    head = ", ".join(f"{value:.6g}" if isinstance(value, float) else str(value) for value in facts["head"])
    typer.echo(f"  {head}{', …' if array.size > 8 else ''}")
    for sample, top in enumerate(facts.get("top", [])):
        places = "  ".join(f"{entry.get('name', entry['class'])} ({entry['score']:.6g})" for entry in top)
        typer.echo(f"  largest{f' of sample {sample}' if array.shape[0] > 1 else ''}: {places}")
    if "top" in facts and array.shape[0] > _MOST_SAMPLES:
        typer.echo(f"  … and {array.shape[0] - _MOST_SAMPLES} samples more")
