"""What happens beside the steps of a training: history, display, checkpoints between epochs, a clean end on Ctrl-C."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from ..fitting import Callback, Report, means
from ..runtime.arrays import as_array

if TYPE_CHECKING:
    from ..fitting import Batch
    from ..runtime.data import Batches
    from ..runtime.history import History
    from ..runtime.tensorboard import TensorBoard
    from ..runtime.training import StepResult
    from ..trainer import Trainer
    from .training_display import Display

_SECONDS_BETWEEN_CHECKPOINTS = 600.0
"""How often a checkpoint is written in the middle of a long epoch."""


class Interrupted(Exception):
    """The user asked to stop; a checkpoint was written."""


class Interruption:
    """Takes note of the first Ctrl-C (or SIGTERM), so that the present step can end; the second one ends at once."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.asked = False
        self._tell = tell
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self._restore()
        self._tell("stopping after this step and writing a checkpoint; Ctrl-C again ends at once")

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


class Session(Callback):
    """Gives `Trainer.fit` its batches and follows it: what it tells is written down and shown, and it can be stopped.

    The state in the middle of an epoch is written to the file `last`.
    """

    def __init__(
        self,
        trainer: Trainer,
        batches: Batches,
        last: Path,
        *,
        history: History,
        board: TensorBoard | None,
        display: Display,
        interruption: Interruption,
    ) -> None:
        self._trainer = trainer
        self._batches = batches
        self._last = last
        self._history = history
        self._board = board
        self._display = display
        self._interruption = interruption
        self._saved = self._started = self._worked = time.monotonic()
        self._samples = self._largest = 0
        self.memory: dict[str, int] = {}
        """The bytes that a `step` on the largest batch so far holds, and the `limit`, if there is one."""

    # -- data ------------------------------------------------------------------------------------

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from number `start` on."""
        return (batch for _, batch in self.numbered_epoch(number, start))

    def numbered_epoch(self, number: int, start: int = 0) -> Iterator[tuple[int, Batch]]:
        """The same, each batch with its number."""
        self._started = self._worked = time.monotonic()
        self._samples = 0
        for place, batch in self._batches.numbered_epoch(number, start):
            self._samples += len(next(iter(batch.values())))
            yield place, batch
            self._note_memory(batch)

    def checks(self, batches: Batches) -> Checks:
        """Data to evaluate on, during which the user may ask to stop, too."""
        return Checks(self, batches)

    # -- following -------------------------------------------------------------------------------

    def stepped(self, trainer: Trainer, result: StepResult) -> None:
        """Write a step down and show it; a checkpoint if it is time for one."""
        self._worked = time.monotonic()
        rate = trainer.rate * trainer.schedule(trainer.steps - 1)
        shown = {**result.values, "gradient norm": result.norm, "rate": rate, "samples/s": self._rate()}
        self._history.add("step", trainer.steps, trainer.epoch + 1, shown)
        if self._board is not None:
            self._board.add(trainer.steps, shown)
        self._display.step(trainer.epoch + 1, trainer.steps, means(trainer.kept["epoch"]), self._rate())
        self.stop_if_asked()
        if time.monotonic() - self._saved > _SECONDS_BETWEEN_CHECKPOINTS:
            self._save()

    def finished_epoch(self, trainer: Trainer, report: Report) -> None:
        """Write an epoch down and show it."""
        self._saved = time.monotonic()
        values = {**report.values, "rate": report.rate, "seconds": report.seconds, "samples/s": self._rate()}
        self._history.add("epoch", report.steps, report.epoch, values)
        if self._board is not None and report.validation:
            self._board.add(report.steps, {f"validation {name}": v for name, v in report.validation.items()})
        note = "(best so far)" if report.best and report.validation else ""
        self._display.epoch(report.epoch, report.values, self._rate(), note)
        if self._interruption.asked:
            raise Interrupted

    def stop_if_asked(self) -> None:
        """Write a checkpoint and raise `Interrupted` if the user asked to stop."""
        if self._interruption.asked:
            self._save()
            raise Interrupted

    def _note_memory(self, batch: Batch) -> None:
        """Tell what a step on a batch holds, where there is a limit and no batch was as large before."""
        size = sum(as_array(values, name).nbytes for name, values in batch.items())
        if self._trainer.memory is not None and size > self._largest:
            self._largest = size
            self.memory = {"step": self._trainer.memory_of(batch).total, "limit": self._trainer.memory}
            self._display.memory(**self.memory)

    def _save(self) -> None:
        self._trainer.save(self._last)
        self._saved = time.monotonic()

    def _rate(self) -> float:
        """Samples a second, in steps of this epoch."""
        return self._samples / max(self._worked - self._started, 1e-9)


@dataclass(frozen=True)
class Checks:
    """Data to evaluate on for a session that the user may stop."""

    session: Session
    batches: Batches

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """All batches, in their order."""
        for batch in self.batches:
            self.session.stop_if_asked()
            yield batch
