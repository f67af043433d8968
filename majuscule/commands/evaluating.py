"""`maj eval`: losses and metrics of a module, a checkpoint or a program on data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .compiling import SeedOption, WeightsOption
from .console import print_json, print_table
from .data_options import DataOption, DataReader, ResizeOption, StrictOption, normalisation_of
from .failures import Failure, file_problem
from .programs import STDIN, read_text, shown_name
from .running import ThreadsOption

if TYPE_CHECKING:
    from ..dsl.front_end import CheckResult

_PARTS = ("test", "validation", "train")


def evaluate(
    program: Annotated[
        str, typer.Argument(metavar="PROGRAM", help="A module, a checkpoint of `maj train`, or a .maj file.")
    ],
    data: DataOption,
    part: Annotated[
        str | None,
        typer.Option("--part", help="Which part: test, validation or train; the first there is if left out."),
    ] = None,
    weights: WeightsOption = None,
    batch: Annotated[int, typer.Option("--batch", "-b", min=1, help="Samples in a call.")] = 64,
    resize: ResizeOption = False,
    strict: StrictOption = False,
    seed: SeedOption = 0,
    threads: ThreadsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Print losses and metrics on data.

    The program is used as it is outside of training: without dropout, with the statistics
    that training gathered.  Its losses and metrics are those under `when training:`.

    Of data with parts, those for testing are taken.
    """
    from ..api import compile_evaluation
    from ..fitting import evaluate as measure
    from ..runtime.data import Batches

    if part is not None and part not in _PARTS:
        raise Failure(f"there is no part {part}", f"write --part {' or --part '.join(_PARTS)}")
    trained = _open(program, weights)
    found = trained.checked.require()
    if not found.losses and not found.metrics:
        raise Failure(f"{found.name} has no loss and no metric, so there is nothing to print")
    reader = DataReader(found, resize=resize, strict=strict)
    dataset = reader.first(data, *_PARTS) if part is None else reader.first(data, part)
    batches = Batches(dataset, batch, shuffle=False, normalisation=normalisation_of(trained.metadata))
    with compile_evaluation(found, trained.weights, seed=seed, threads=threads) as module:
        values = measure(module, batches)
    if as_json:
        print_json({"program": found.name, "data": dataset.name, "samples": len(dataset), "values": values})
        return
    typer.echo(f"{dataset.describe()}\n")
    kinds = {name: "loss" for name in found.losses}
    print_table(["", "", "mean"], [[kinds.get(name, "metric"), name, f"{values[name]:.4g}"] for name in values], left=2)


@dataclass(frozen=True)
class _Trained:
    """A program, checked as one to be evaluated, with its weights (None: first values) and what is kept with them."""

    checked: CheckResult
    weights: Mapping[str, Any] | None
    metadata: Mapping[str, Any] = field(default_factory=dict)


def _open(path: str, weights: str | None) -> _Trained:
    """A module, a checkpoint or a program, known by its contents; raises `Failure`, SourceErrors, `ModuleError`."""
    from ..dsl.front_end import check_text
    from ..runtime.tensor_files import read_tensors

    given = read_tensors(weights) if weights is not None else None
    start = b"" if path == STDIN else _start(path)
    if start == b"PK":
        from ..runtime.artifact import read

        artifact = read(path)
        metadata = artifact.manifest.get("metadata", {})
        return _Trained(_checked(artifact.sources, path), artifact.weights if given is None else given, metadata)
    if path.endswith(".safetensors"):
        from ..runtime.checkpoints import load_checkpoint

        tensors, meta = load_checkpoint(path)
        kept = meta.get("kept", {})
        return _Trained(_checked(kept.get("sources", {}), path), tensors if given is None else given, kept["metadata"])
    folder = Path() if path == STDIN else Path(path).parent
    return _Trained(check_text(read_text(path), shown_name(path), mode="evaluating", folder=folder), given)


def _start(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(2)
    except OSError as error:
        raise Failure(file_problem(error, path)) from error


def _checked(sources: Mapping[str, str], path: str) -> CheckResult:
    """The program whose texts are kept in a file, the main one first."""
    from ..dsl.front_end import check_text

    if not sources:
        raise Failure(f"{path} does not have the text of its program", "give the .maj file, and --weights")
    name, text = next(iter(sources.items()))
    return check_text(text, name, mode="evaluating", files=sources)
