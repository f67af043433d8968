"""`maj train`: from a program and data to a module that has learnt them."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from .compiling import DtypeOption, SeedOption, TargetOption
from .console import print_json
from .data_options import DataOption, DataReader, ResizeOption, StrictOption, metadata_of
from .failures import MISTAKES, Failure
from .programs import ProgramFile
from .running import ThreadsOption

if TYPE_CHECKING:
    from ..runtime.checkpoints import Checkpoints
    from ..runtime.data import Batches, Dataset
    from ..runtime.history import History
    from ..runtime.tensorboard import TensorBoard
    from ..trainer import Trainer
    from .training_results import Results

INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it."""


def train(
    program: ProgramFile,
    data: DataOption,
    validation: Annotated[
        list[str] | None,
        typer.Option("--validation", metavar="[NAME=]PATH", help="Data to check every epoch with, not trained with."),
    ] = None,
    split: Annotated[
        float | None, typer.Option("--split", metavar="PART", help="Hold out this part of --data instead, as 0.1.")
    ] = None,
    epochs: Annotated[int, typer.Option("--epochs", "-e", min=1, help="How often to go through the data.")] = 10,
    batch: Annotated[int, typer.Option("--batch", "-b", min=1, help="How many samples make a step.")] = 32,
    optimiser: Annotated[
        str,
        typer.Option(
            "--optimiser", "--optimizer", help="SGD, Momentum, Adam, AdamW, RMSprop, also as 'Momentum(momentum 0.8)'."
        ),
    ] = "Adam",
    rate: Annotated[
        float | None, typer.Option("--rate", "--lr", min=0.0, help="The learning rate; fits the optimiser if left out.")
    ] = None,
    schedule: Annotated[
        str, typer.Option("--schedule", help="How the rate falls: constant, cosine, linear, step:EPOCHS[:FACTOR].")
    ] = "constant",
    warmup: Annotated[
        int, typer.Option("--warmup", min=0, metavar="STEPS", help="Let the rate rise for so many steps first.")
    ] = 0,
    seed: SeedOption = 0,
    weights: Annotated[
        str | None, typer.Option("--weights", "-w", help="Begin with the weights of a .safetensors or .npz file.")
    ] = None,
    freeze: Annotated[
        list[str] | None, typer.Option("--freeze", metavar="NAME", help="Do not train this, as Φ1 or 'Φ1*'.")
    ] = None,
    turns: Annotated[
        str | None,
        typer.Option("--turns", metavar="LOSSES", help="Let losses take turns, a batch each, as judge:2,forger."),
    ] = None,
    clip: Annotated[float | None, typer.Option("--clip", metavar="NORM", help="Cut gradients to this norm.")] = None,
    accumulate: Annotated[
        int, typer.Option("--accumulate", min=1, metavar="PARTS", help="Compute a batch in parts, to save memory.")
    ] = 1,
    memory: Annotated[
        str | None,
        typer.Option("--memory", metavar="SIZE", help="Recompute results so that a step takes no more, as 500MB."),
    ] = None,
    augment: Annotated[
        str, typer.Option("--augment", help="Vary pictures: flip, crop:PIXELS, rotate:DEGREES, separated by commas.")
    ] = "",
    normalise: Annotated[
        bool, typer.Option("--normalise", "--normalize", help="Subtract the data's mean, divide by their deviation.")
    ] = False,
    resize: ResizeOption = False,
    strict: StrictOption = False,
    checkpoint: Annotated[
        str | None, typer.Option("--checkpoint", "-c", metavar="FOLDER", help="Where all goes, else NAME.training.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in that folder.")] = False,
    early_stopping: Annotated[
        int | None,
        typer.Option("--early-stopping", min=1, metavar="EPOCHS", help="End after so many epochs without progress."),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="The module's file; NAME.mod in the folder if left out.")
    ] = None,
    tensorboard: Annotated[
        str | None, typer.Option("--tensorboard", metavar="FOLDER", help="Write numbers for TensorBoard, too.")
    ] = None,
    threads: ThreadsOption = None,
    target: TargetOption = "cpu",
    dtype: DtypeOption = "float32",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train a program on data and write the module.

    The program needs a loss, under `when training:`.  Arrays of the data belong to inputs by
    name, or by kind and shape; bytes become numbers from 0 to 1.

    One folder gets everything: the last checkpoint and the best one, the history (JSON lines,
    CSV, a picture of the curves) and the module.  Ctrl-C writes a checkpoint and ends;
    --resume then goes on as if nothing had happened.
    """
    from ..api import source_names
    from ..runtime.checkpoints import Checkpoints
    from ..runtime.data import Batches, Normalisation, parse_augmentations
    from .training_setup import check_places, prepare_trainer, read_datasets, trainable_program

    people = sys.stderr if as_json else sys.stdout
    source, checked = trainable_program(program)
    found = checked.require()
    folder = Path(checkpoint or f"{found.name}.training")
    module_file = Path(output) if output else folder / f"{found.name}.mod"
    check_places(module_file, folder, resume=resume)
    datasets = read_datasets(DataReader(found, resize=resize, strict=strict), data, validation, split)
    if early_stopping is not None and datasets.validation is None:
        raise Failure("--early-stopping needs data that tell when it gets no better", "give --validation or --split")
    print(datasets.describe(), file=people)
    options: dict[str, Any] = {
        "data": data, "validation": validation, "split": split, "samples": len(datasets.training), "batch": batch,
        "augment": augment, "normalise": normalise, "resize": resize, "seed": seed, "optimiser": optimiser,
        "rate": rate, "schedule": schedule, "warmup": warmup, "freeze": freeze, "clip": clip, "accumulate": accumulate,
        "turns": turns,
    }  # fmt: skip
    with Checkpoints(folder) as checkpoints:
        normalisation = Normalisation.of(datasets.training) if normalise else None
        batches = Batches(
            datasets.training, batch, seed=seed, augmentations=parse_augmentations(augment), normalisation=normalisation
        )
        print("compiling the training step", file=people, flush=True)
        trainer = prepare_trainer(
            source, options, steps=len(batches), epochs=epochs, weights=weights, threads=threads, target=target,
            dtype=dtype, memory=memory, last=checkpoints.last if resume else None,
        )  # fmt: skip
        metadata = metadata_of(datasets.training, normalisation)
        trainer.kept |= {"options": options, "sources": source_names(checked.sources), "metadata": metadata}
        results = _fit(
            trainer,
            batches,
            None if datasets.validation is None else _checking(datasets.validation, batches),
            None if datasets.test is None else _checking(datasets.test, batches),
            epochs=epochs,
            patience=early_stopping,
            checkpoints=checkpoints,
            module_file=module_file,
            tensorboard=tensorboard,
            people=people,
        )
    if as_json:
        print_json(results.as_json())
    else:
        print("\n".join(results.lines(datasets.test.name if datasets.test else "")))


def _checking(dataset: Dataset, training: Batches) -> Batches:
    """Data to evaluate on, in batches like those of training, but in order and as they are."""
    from ..runtime.data import Batches

    return Batches(dataset, training.batch, shuffle=False, normalisation=training.normalisation)


def _fit(
    trainer: Trainer,
    training: Batches,
    validation: Batches | None,
    test: Batches | None,
    *,
    epochs: int,
    patience: int | None,
    checkpoints: Checkpoints,
    module_file: Path,
    tensorboard: str | None,
    people: TextIO,
) -> Results:
    """Train to the end, showing and writing down what happens; raises typer.Exit after Ctrl-C, `Failure`."""
    from ..runtime.errors import NotFiniteError
    from ..runtime.history import History
    from .training_display import Display
    from .training_results import finish
    from .training_session import Interrupted, Interruption, Session

    started = time.monotonic()
    after = trainer.steps or None
    display = Display(people, steps=epochs * len(training), done=trainer.steps, epochs=epochs)
    with contextlib.ExitStack() as stack:
        history = stack.enter_context(History(checkpoints.folder / "history.jsonl", after=after))
        _repair(history, trainer)
        board = stack.enter_context(_board(tensorboard, after)) if tensorboard else None
        try:
            with display, Interruption(display.say) as interruption:
                session = Session(
                    trainer, training, checkpoints.last, history=history, board=board, display=display,
                    interruption=interruption,
                )  # fmt: skip
                trainer.fit(
                    session,
                    epochs,
                    validation=None if validation is None else session.checks(validation),
                    callbacks=[session],
                    patience=patience,
                    checkpoints=checkpoints,
                )
        except Interrupted:
            print(f"stopped in epoch {trainer.epoch + 1} after {trainer.steps:,} steps", file=people)
            print(f"checkpoint  {checkpoints.last}", file=people)
            print("to go on: the same command with --resume", file=people)
            raise typer.Exit(INTERRUPTED) from None
        except NotFiniteError as error:
            raise Failure(
                error.message, "a smaller --rate helps most often, or --warmup, or --clip", status=MISTAKES
            ) from error
        return finish(
            trainer, checkpoints, history, module_file=module_file, test=test, validated=validation is not None,
            seconds=time.monotonic() - started, stopped_early=trainer.epoch < epochs, memory=session.memory,
        )  # fmt: skip


def _repair(history: History, trainer: Trainer) -> None:
    """Write the line of the checkpoint's last epoch if a process was killed before it did."""
    report = trainer.kept.get("report")
    if report is not None and all(entry["epoch"] != report["epoch"] for entry in history.of("epoch")):
        history.add("epoch", report["steps"], report["epoch"], report["values"])


def _board(folder: str, after: int | None) -> TensorBoard:
    from ..runtime.tensorboard import TensorBoard

    try:
        return TensorBoard(folder, after=after)
    except ImportError as error:
        raise Failure(
            "writing for TensorBoard needs the package tensorboardX", "pip install 'majuscule[tensorboard]'"
        ) from error
