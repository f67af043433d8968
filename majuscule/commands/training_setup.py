"""What `maj train` needs before its first step: the program, data, a folder, a trainer that is ready to go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .failures import Failure, warn
from .programs import STDIN, checked_program, read_text

if TYPE_CHECKING:
    from ..dsl.front_end import CheckResult
    from ..runtime.arrays import Array
    from ..runtime.data import Dataset
    from ..schedules import Schedule
    from ..trainer import Trainer
    from .data_options import DataReader

_OPTIMISERS = {"SGD": 0.01, "Momentum": 0.01, "Adam": 0.001, "AdamW": 0.001, "RMSprop": 0.001}
"""The library's optimisers, and the learning rate that suits most networks."""
_OTHER_RATE = 0.01
_OF_EPOCHS = ("data", "samples", "split", "batch", "augment", "normalise", "resize", "seed")
"""Options that an epoch's batches depend on."""
_SCHEDULES = "constant, cosine, linear, step:EPOCHS or step:EPOCHS:FACTOR"


def trainable_program(program: str) -> tuple[str, CheckResult]:
    """What a trainer takes, a file's name or a text, and the program without mistakes.

    Raises SourceErrors, or `Failure` for a program without a loss.
    """
    source = read_text(program) if program == STDIN else program
    checked = checked_program(program, "training", text=source if program == STDIN else None)
    if not checked.require().losses:
        raise Failure(
            f"{checked.require().name} has no loss, so there is nothing to train",
            "say what is to become small, such as `when training:` with `loss cost = cross_entropy(scores, label)`",
        )
    return source, checked


@dataclass(frozen=True)
class Datasets:
    """What is trained with, what every epoch is checked with, and what is held out till the end."""

    training: Dataset
    validation: Dataset | None
    test: Dataset | None

    def describe(self) -> str:
        """What there is of each, for people."""
        found = (("training", self.training), ("validation", self.validation), ("test", self.test))
        return "\n".join(f"{use:10} {dataset.describe()}" for use, dataset in found if dataset is not None)


def read_datasets(
    reader: DataReader, data: Sequence[str], validation: Sequence[str] | None, part: float | None
) -> Datasets:
    """The data that `--data`, `--validation` and `--split` ask for; raises `DataError` or `Failure`."""
    from ..runtime.data import split

    if validation and part is not None:
        raise Failure("--validation and --split both say what to check with; give one of them")
    training, own, test = reader.read(data, "train", "validation", "test")
    if training is None:
        raise Failure(f"{' '.join(data)} has no part to train with")
    if validation:
        return Datasets(training, reader.first(validation, "validation", "test", "train"), test)
    if part is not None:
        return Datasets(*split(training, part), test)
    return Datasets(training, own, test)


def check_places(file: Path, folder: Path, *, resume: bool) -> None:
    """Refuse a file that cannot be written to, and a folder with another training, before anything is computed."""
    from ..runtime.checkpoints import LAST

    if file.is_dir():
        raise Failure(f"{file} is a directory, not a file")
    if file.parent != folder and not file.parent.is_dir():
        raise Failure(f"there is no directory {file.parent} to write {file.name} to")
    if not resume and (folder / LAST).exists():
        raise Failure(
            f"{folder} holds a training already", "--resume goes on with it, --checkpoint FOLDER begins another"
        )


def prepare_trainer(
    source: str,
    options: Mapping[str, Any],
    *,
    steps: int,
    epochs: int,
    weights: str | None,
    threads: int | None,
    target: str,
    dtype: str,
    memory: str | None,
    last: Path | None,
) -> Trainer:
    """A trainer for the options of the command line, at the checkpoint `last` if there is one.

    An epoch has so many `steps`.  Raises SourceErrors, `ModuleError`, or `Failure` for options without sense.
    """
    from ..precision import precision_called
    from ..runtime.errors import ModuleError
    from ..trainer import Trainer
    from ..turns import parse_turns

    optimiser, usual_rate = _optimiser(options["optimiser"])
    try:
        trainer = Trainer(
            source,
            optimiser=optimiser,
            rate=usual_rate if options["rate"] is None else options["rate"],
            schedule=_schedule(options["schedule"], options["warmup"], steps, epochs),
            seed=options["seed"],
            frozen=tuple(options["freeze"] or ()),
            clip_norm=options["clip"],
            accumulate=options["accumulate"],
            turns=None if options["turns"] is None else parse_turns(options["turns"]),
            memory=memory,
            target=target,
            dtype=precision_called(dtype),
            threads=threads,
        )
        if weights is not None:
            trainer.load_weights(_weights(weights, trainer.parameters))
    except ModuleError:
        raise
    except ValueError as error:  # a name that fits nothing, or nothing to train
        raise Failure(str(error)) from error
    if last is not None and last.exists():
        trainer.load(last)
        _compare(trainer.kept.get("options", {}), options, in_epoch=trainer.batch > 0)
        trainer.seed = options["seed"]
    elif last is not None:
        warn(f"there is no checkpoint {last} yet, so training begins")
    return trainer


def _weights(file: str, parameters: Sequence[str]) -> dict[str, Array]:
    """The tensors of a file of weights; those of a checkpoint without what an optimiser kept."""
    from ..runtime.checkpoints import is_checkpoint
    from ..runtime.tensor_files import read_tensors

    tensors = read_tensors(file)
    return {name: tensors[name] for name in parameters if name in tensors} if is_checkpoint(file) else tensors


def _optimiser(text: str) -> tuple[str, float]:
    """The call of an optimiser, with the library's spelling of its name, and its usual rate."""
    name, bracket, rest = text.partition("(")
    known = {other.casefold(): other for other in _OPTIMISERS}.get(name.strip().casefold(), name)
    return known + bracket + rest, _OPTIMISERS.get(known, _OTHER_RATE)


def _schedule(text: str, warmup: int, steps: int, epochs: int) -> Schedule:
    """The schedule of `--schedule` and `--warmup` for a training of so many epochs of so many steps."""
    from .. import schedules

    kind, *numbers = text.split(":")
    total = max(epochs * steps - warmup, 1)
    try:
        values = [float(number) for number in numbers]
        if kind == "step" and 1 <= len(values) <= 2 and values[0] > 0:
            found = schedules.steps(max(round(values[0] * steps), 1), *values[1:])
        elif not values and kind in ("constant", "cosine", "linear"):
            found = schedules.constant() if kind == "constant" else getattr(schedules, kind)(total)
        else:
            raise ValueError
    except ValueError:
        raise Failure(f"--schedule {text} is not known", f"there are {_SCHEDULES}") from None
    return schedules.warm_up(warmup, found) if warmup else found


def _compare(before: Mapping[str, Any], now: Mapping[str, Any], *, in_epoch: bool) -> None:
    """Tell of options that are others than those of the checkpoint; raises `Failure` where it cannot go on."""
    for name in now:
        if name not in before or before[name] == now[name]:
            continue
        if in_epoch and name in _OF_EPOCHS:
            raise Failure(
                f"the checkpoint is from the middle of an epoch with {name} {before[name]}, and now it is {now[name]}",
                "go on with the options that it was begun with",
            )
        warn(f"{name} was {before[name]} so far, and is {now[name]} from here on")
