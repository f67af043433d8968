"""Where numbers first went wrong: what is said of a step whose loss or gradient is not finite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .runtime.training import StepResult

if TYPE_CHECKING:
    from .trainer import Trainer


def explain(trainer: Trainer, batch: Mapping[str, object], result: StepResult) -> str:
    """What happened in a step that was not taken."""
    wrong = [f"the loss {name} is {value}" for name, value in result.losses.items() if value - value != 0]
    what = " and ".join(wrong) or f"the norm of the gradients is {result.norm}"
    return f"{what} in step {trainer.steps + 1}, so the step was not taken"
