"""The end of `maj train`: the module, the curves, a last look at data that were held out, and where everything is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .failures import Failure, file_problem
from .training_display import duration, numbers

if TYPE_CHECKING:
    from ..runtime.checkpoints import Checkpoints
    from ..runtime.data import Batches
    from ..runtime.history import History
    from ..trainer import Trainer

_INSTALL = "pip install 'majuscule[plot]' draws the curves, too"


@dataclass(frozen=True)
class Results:
    """What a training came to; numbers are means over samples."""

    program: str
    epochs: int
    steps: int
    seconds: float
    training: Mapping[str, float]
    validation: Mapping[str, float]
    test: Mapping[str, float]
    weights_of_epoch: int
    stopped_early: bool
    memory: Mapping[str, int]
    """Bytes: what a `step` held, and the `limit`; empty if there was none."""
    files: Mapping[str, Path]
    """By what they are: module, checkpoint, best, history, table, curves."""

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {
            **{key: value for key, value in vars(self).items() if key != "files"},
            "files": {key: str(path) for key, path in self.files.items()},
        }

    def lines(self, test_name: str) -> list[str]:
        """The same for people."""
        early = ", stopped early" if self.stopped_early else ""
        found = [f"trained {self.epochs} epochs, {self.steps:,} steps, in {duration(self.seconds)}{early}"]
        if self.test:
            found.append(f"{'test':11} {numbers(self.test)}  ({test_name}, looked at once)")
        which = f"  (weights of epoch {self.weights_of_epoch}{', the best' if self.validation else ''})"
        found += [f"{key:11} {path}{which if key == 'module' else ''}" for key, path in self.files.items()]
        return found if "curves" in self.files else [*found, f"({_INSTALL})"]


def finish(
    trainer: Trainer,
    checkpoints: Checkpoints,
    history: History,
    *,
    module_file: Path,
    test: Batches | None,
    validated: bool,
    seconds: float,
    stopped_early: bool,
    memory: Mapping[str, int],
) -> Results:
    """Write the module and the curves; if every epoch was checked, of the best epoch, else of the last.

    Raises `Failure` or `ModuleError` if something cannot be written.
    """
    epochs, steps, metadata = trainer.epoch, trainer.steps, trainer.kept["metadata"]
    if validated and checkpoints.best.exists():
        trainer.load(checkpoints.best)
    tested = trainer.evaluate(test) if test is not None else {}
    entries = history.of("epoch")
    entry = next((entry for entry in reversed(entries) if entry["epoch"] == trainer.epoch), {})
    with trainer.module() as module:
        module.set_metadata(metadata)
        module.save(module_file)
    names = [name for name in entry if name not in _NO_RESULTS]
    return Results(
        program=trainer.program.name,
        epochs=epochs,
        steps=steps,
        seconds=seconds,
        training={name: entry[name] for name in names if not name.startswith(_VALIDATION)},
        validation={name.removeprefix(_VALIDATION): entry[name] for name in names if name.startswith(_VALIDATION)},
        test=tested,
        weights_of_epoch=trainer.epoch,
        stopped_early=stopped_early,
        memory=memory,
        files={
            "module": module_file,
            "checkpoint": checkpoints.last,
            **({"best": checkpoints.best} if validated else {}),
            **_history_files(history, names),
        },
    )


_NO_RESULTS = ("kind", "step", "epoch", "rate", "seconds", "samples/s")
_VALIDATION = "validation "


def _history_files(history: History, names: list[str]) -> dict[str, Path]:
    from ..runtime.history import draw_curves, write_csv

    entries = history.of("epoch")
    files = {"history": history.path, "table": history.path.with_suffix(".csv")}
    curves = history.path.with_name("curves.png")
    try:
        write_csv(entries, files["table"])
        draw_curves(entries, names, curves)
    except ImportError:
        return files
    except OSError as error:
        raise Failure(file_problem(error, str(error.filename or history.path.parent))) from error
    return {**files, "curves": curves}
