"""Losses that take turns: a compiled step for each, all of which work on the same tensors.

As in algorithm 1 of Goodfellow et al. 2014 (Generative adversarial networks): every turn takes a batch of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .runtime.arrays import Array
from .runtime.errors import ArgumentError
from .runtime.signature import TensorInfo
from .runtime.training import Tensors, TrainingStep
from .runtime.weights import fit_weights


class Turns:
    """Whose turn it is: losses by name, each with how many turns it has in a round."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        """Raises `ArgumentError` for fewer than two losses, or a loss without a turn."""
        if len(counts) < 2 or min(counts.values()) < 1:
            raise ArgumentError("two losses or more take turns, each one turn or more in a round")
        self.counts = dict(counts)
        self._round = tuple(loss for loss, count in counts.items() for _ in range(count))

    def at(self, steps: int) -> str:
        """The loss whose turn it is after so many steps in all."""
        return self._round[steps % len(self._round)]

    def number(self, steps: int) -> int:
        """The number, from 1, of the turn after so many steps in all, among those of its loss."""
        rounds, place = divmod(steps, len(self._round))
        loss = self._round[place]
        return rounds * self.counts[loss] + self._round[:place].count(loss) + 1


class SharedTensors(Tensors):
    """The tensors of several steps that work in the same memory; after an assignment, all prepare theirs again."""

    def __init__(self, steps: Mapping[str, TrainingStep]) -> None:
        arrays: dict[str, Array] = {}
        for step in steps.values():
            arrays |= step.memory
        self._steps = tuple(steps.values())
        super().__init__(arrays, frozenset(), self._fetch_all)

    def _fetch_all(self) -> None:
        for step in self._steps:
            step.fetch()

    def __setitem__(self, name: str, value: object) -> None:
        super().__setitem__(name, value)
        for step in self._steps:
            step.tensors.stale = True

    def replace(self, values: Mapping[str, object]) -> None:
        """Assign all of them; raises `WeightsError` if one is missing or does not fit, and then changes nothing."""
        infos = [TensorInfo(name, array.shape, array.dtype.name) for name, array in self.items()]
        self.update(fit_weights(values, infos))


def check_apart(steps: Mapping[str, TrainingStep]) -> None:
    """Raise `ArgumentError` if two losses train the same parameter, whose optimisers would then be one."""
    owners: dict[str, str] = {}
    for loss, parameter in _trained(steps):
        if owners.setdefault(parameter, loss) != loss:
            raise ArgumentError(
                f"the losses {owners[parameter]} and {loss} cannot take turns, for both train {parameter}; "
                "say which parameters each loss has, as in `loss judge = … trains Φ_D`"
            )


def _trained(steps: Mapping[str, TrainingStep]) -> Iterator[tuple[str, str]]:
    return ((loss, parameter) for loss, step in steps.items() for parameter in step.slots)


def parse_turns(text: str) -> dict[str, int]:
    """Turns from a text such as `judge:2,forger`; raises `ArgumentError`."""
    found: dict[str, int] = {}
    for part in text.split(","):
        loss, colon, count = (piece.strip() for piece in part.partition(":"))
        if not loss or loss in found or (colon and not count.isdecimal()):
            raise ArgumentError(f"{text!r} does not say who takes turns; write losses as in judge:2,forger")
        found[loss] = int(count) if colon else 1
    return found
