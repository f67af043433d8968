"""The loop over epochs: steps, means, validation, the best epoch, checkpoints, an early end."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from .runtime.arrays import shape_of
from .runtime.checkpoints import Checkpoints
from .runtime.module import Module
from .runtime.training import StepResult

if TYPE_CHECKING:
    from .trainer import Trainer

Batch = Mapping[str, object]


class Epochs(Protocol):
    """Data whose batches depend on the epoch; see `runtime.data.Batches`.

    Where some batches may be left out there is `numbered_epoch`, too: it gives each batch with its number, so
    that an epoch is taken up again where it was.
    """

    def epoch(self, number: int, start: int = 0) -> Iterable[Batch]:
        """The batches of an epoch, from number `start` on."""
        ...


Data = Epochs | Iterable[Batch]


@dataclass(frozen=True)
class Report:
    """What an epoch gave: its number, counted from 1, the steps taken so far, means over its samples.

    `best` is whether it was the best so far, `seconds` is how long it took.
    """

    epoch: int
    steps: int
    training: Mapping[str, float]
    validation: Mapping[str, float] = field(default_factory=dict)
    rate: float = 0.0
    seconds: float = 0.0
    best: bool = False

    @property
    def values(self) -> dict[str, float]:
        """All numbers by name, those of the validation as `validation …`."""
        return {**self.training, **{f"validation {name}": value for name, value in self.validation.items()}}


class Callback:
    """Is told how a training goes on; make a subclass with the methods that are wanted."""

    def started(self, trainer: Trainer, epochs: int) -> None:
        """Training begins, until so many epochs are done."""

    def stepped(self, trainer: Trainer, result: StepResult) -> None:
        """A step was done."""

    def finished_epoch(self, trainer: Trainer, report: Report) -> bool | None:
        """An epoch was done; True ends the training."""

    def finished(self, trainer: Trainer) -> None:
        """Training ends."""


def fit(
    trainer: Trainer,
    data: Data,
    epochs: int,
    validation: Data | None,
    callbacks: tuple[Callback, ...],
    monitor: str | None,
    patience: int | None,
    folder: str | os.PathLike[str] | Checkpoints | None,
    every: int | None,
) -> list[Report]:
    """See `Trainer.fit`."""
    watched, sign = _watched(trainer, monitor)
    opened = None if folder is None or isinstance(folder, Checkpoints) else Checkpoints(folder)
    checkpoints = folder if isinstance(folder, Checkpoints) else opened
    reports: list[Report] = []
    for callback in callbacks:
        callback.started(trainer, epochs)
    try:
        while trainer.epoch < epochs and not _is_over(trainer, patience):
            report = _epoch(trainer, data, validation, callbacks, checkpoints, every, watched, sign)
            reports.append(report)
            trainer.kept["report"] = {  # without times, so that equal trainings have equal checkpoints
                "epoch": report.epoch, "steps": report.steps, "values": {**report.values, "rate": report.rate},
            }  # fmt: skip
            if checkpoints is not None:
                state = trainer.state_dict()
                checkpoints.save(state["tensors"], state["meta"], best=report.best)
            if any([callback.finished_epoch(trainer, report) for callback in callbacks]):
                break
    finally:
        if opened is not None:
            opened.close()
        for callback in callbacks:
            callback.finished(trainer)
    return reports


def evaluate(module: Module, data: Data) -> dict[str, float]:
    """Means of a module's outputs, single numbers, over all samples of the data."""
    mean = _Mean(module)
    names = [info.name for info in module.inputs]
    for _, batch in _numbered(data, 0, 0):
        given: dict[str, Any] = {name: batch[name] for name in names if name in batch}
        outputs = module(**given)
        found = outputs.items() if len(module.outputs) > 1 else [(module.outputs[0].name, outputs)]
        mean.add(batch, {name: float(value) for name, value in found})
    if not mean.count:
        raise ValueError("there is no batch to evaluate on")
    return mean.values


def means(kept: Mapping[str, Any]) -> dict[str, float]:
    """The means so far, each over the samples that gave the number: where losses take turns, not every step does."""
    return {name: value / max(kept["counts"][name], 1) for name, value in kept["sums"].items()}


class _Mean:
    """Means of numbers over the samples of batches; the sums are plain values that a checkpoint can hold."""

    def __init__(self, module: Module, kept: dict[str, Any] | None = None) -> None:
        self._batched = [info.name for info in module.inputs if info.batched]
        self._kept: dict[str, Any] = {"count": 0, "sums": {}, "counts": {}} if kept is None else kept

    def add(self, batch: Batch, values: Mapping[str, float]) -> None:
        """Count a batch's numbers as often as it has samples."""
        shapes = (shape_of(batch[name]) for name in self._batched if name in batch)
        samples = next((shape[0] for shape in shapes if shape), 1)
        self._kept["count"] += samples
        for name, value in values.items():
            self._kept["sums"][name] = self._kept["sums"].get(name, 0.0) + samples * value
            self._kept["counts"][name] = self._kept["counts"].get(name, 0) + samples

    @property
    def count(self) -> int:
        """How many samples there were."""
        return int(self._kept["count"])

    @property
    def values(self) -> dict[str, float]:
        """The means."""
        return means(self._kept)


def _epoch(
    trainer: Trainer,
    data: Data,
    validation: Data | None,
    callbacks: tuple[Callback, ...],
    checkpoints: Checkpoints | None,
    every: int | None,
    watched: str,
    sign: int,
) -> Report:
    """One epoch, or what is left of it."""
    start = time.perf_counter()
    mean = _Mean(trainer.compiled.module, trainer.kept.setdefault("epoch", {"count": 0, "sums": {}, "counts": {}}))
    rate = trainer.rate_now
    for number, batch in _numbered(data, trainer.epoch, trainer.batch):
        rate = trainer.rate_now
        result = trainer.step(batch)
        trainer.batch = number + 1
        if result.taken:
            mean.add(batch, result.values)
        if checkpoints is not None and every and result.taken and trainer.steps % every == 0:
            state = trainer.state_dict()
            checkpoints.save(state["tensors"], state["meta"])
        for callback in callbacks:
            callback.stepped(trainer, result)
    values = mean.values
    measured = {} if validation is None else trainer.evaluate(validation)
    trainer.epoch, trainer.batch = trainer.epoch + 1, 0
    del trainer.kept["epoch"]
    best = _note_best(trainer, (measured or values).get(watched), sign)
    return Report(trainer.epoch, trainer.steps, values, measured, rate, time.perf_counter() - start, best)


def _numbered(data: Data, epoch: int, start: int) -> Iterator[tuple[int, Batch]]:
    """The batches of an epoch from number `start` on, each with its number."""
    if hasattr(data, "numbered_epoch"):
        return iter(data.numbered_epoch(epoch, start))
    if hasattr(data, "epoch"):
        return enumerate(data.epoch(epoch, start), start)
    return islice(enumerate(data), start, None)


def _watched(trainer: Trainer, monitor: str | None) -> tuple[str, int]:
    """The name of the number that tells the best epoch, and 1 if it is to be small, -1 if large."""
    step = trainer.compiled
    losses = trainer.losses
    name = losses[0] if monitor is None else monitor
    if name not in (*losses, *step.metrics):
        listed = ", ".join((*losses, *step.metrics))
        raise ValueError(f"{name} is no loss and no metric of the program; it has {listed}")
    return name, 1 if name in losses else -1


def _note_best(trainer: Trainer, value: float | None, sign: int) -> bool:
    """Keep the best value so far and how many epochs ago it was; whether it is the newest."""
    best = trainer.kept.get("best")
    better = value is not None and (best is None or sign * value < sign * best)
    trainer.kept |= {"best": value, "waited": 0} if better else {"waited": trainer.kept.get("waited", 0) + 1}
    return better


def _is_over(trainer: Trainer, patience: int | None) -> bool:
    return patience is not None and trainer.kept.get("waited", 0) >= patience
