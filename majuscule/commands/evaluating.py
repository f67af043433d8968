"""`maj eval`: losses and metrics of a module, a checkpoint or a program on data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .compiling import SeedOption, TargetOption, WeightsOption
from .console import print_json, print_table
from .data_options import DataOption, DataReader, ResizeOption, StrictOption, normalisation_of
from .failures import Failure
from .programs import find_program
from .running import ThreadsOption
from .trained import open_trained

if TYPE_CHECKING:
    pass

_PARTS = ("test", "validation", "train")


def evaluate(
    program: Annotated[
        str,
        typer.Argument(
            metavar="PROGRAM", help="A module, a checkpoint of `maj train`, or a .maj file.", callback=find_program
        ),
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
    target: TargetOption = "cpu",
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
    trained = open_trained(program, weights, "evaluating")
    found = trained.checked.require()
    if not found.losses and not found.metrics:
        raise Failure(f"{found.name} has no loss and no metric, so there is nothing to print")
    reader = DataReader(found, resize=resize, strict=strict)
    dataset = reader.first(data, *_PARTS) if part is None else reader.first(data, part)
    batches = Batches(dataset, batch, shuffle=False, normalisation=normalisation_of(trained.metadata))
    with compile_evaluation(found, trained.weights, target=target, seed=seed, threads=threads) as module:
        values = measure(module, batches)
    if as_json:
        print_json({"program": found.name, "data": dataset.name, "samples": len(dataset), "values": values})
        return
    typer.echo(f"{dataset.describe()}\n")
    kinds = {name: "loss" for name in found.losses}
    print_table(["", "", "mean"], [[kinds.get(name, "metric"), name, f"{values[name]:.4g}"] for name in values], left=2)
