"""Where numbers first went wrong: what is said of a step whose loss or gradient is not finite.

The batch is run once more by a program that counts, in every tensor, the elements that are not
finite.  Compiling it takes as long as compiling the step did; it happens only then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy

from .api import compile_program
from .runtime.arrays import Array, as_array
from .runtime.training import StepResult

if TYPE_CHECKING:
    from .dsl.equations import Program
    from .trainer import Trainer


def explain(trainer: Trainer, batch: Mapping[str, object], result: StepResult) -> str:
    """What happened in a step that was not taken, and where it began."""
    wrong = [f"the loss {name} is {value}" for name, value in result.losses.items() if not numpy.isfinite(value)]
    what = " and ".join(wrong) or f"the norm of the gradients is {result.norm}"
    origin = _in_batch(trainer, batch) or _in_weights(trainer) or _in_program(trainer, batch)
    return f"{what} in step {trainer.steps + 1}, which was not taken: nothing has changed{origin or ''}"


def _in_batch(trainer: Trainer, batch: Mapping[str, object]) -> str | None:
    for info in trainer.compiled.inputs:
        if info.name in batch:
            count = _count(as_array(batch[info.name], info.name))
            if count:
                return f"; {count:,} of the values given for {info.name} {_are(count)} not finite"
    return None


def _in_weights(trainer: Trainer) -> str | None:
    for name in trainer.parameters:
        count = _count(trainer.tensors[name])
        if count:
            return f"; {count:,} of the values of {name} {_are(count)} not finite, before the step"
    return None


def _in_program(trainer: Trainer, batch: Mapping[str, object]) -> str | None:
    """The first tensor that the program computes wrongly, in the part of the batch where that happens."""
    from .compiler.training.finite import counting

    program, counted = counting(trainer.written_step())
    with compile_program(program, weights=trainer.weights_of(program), **trainer.compile_options) as module:
        names = [info.name for info in module.inputs]
        for part, draw in trainer.parts_and_draws(batch):
            given: dict[str, Any] = {name: part[name] for name in names}
            counts = module(**given, seed=trainer.seed, step=draw)
            found = counts.items() if len(module.outputs) > 1 else [(module.outputs[0].name, counts)]
            for output, count in found:
                if count:
                    return _told(trainer.program, counted[output], int(count))
    return None


def _told(program: Program, name: str, count: int) -> str:
    """Words for a tensor that has elements that are not finite."""
    subject = name
    what = ""
    if name not in program.operations:
        subject = name.removeprefix("d_").partition(".")[0]
        what = "the gradient with respect to "
    statement = next((s for s in program.statements if s.depth == 0 and name in s.operations), None)
    line = f" (line {statement.place.line}: `{statement.text.strip()}`)" if statement and statement.place else ""
    return f"; the first tensor that goes wrong is {what}{subject}{line}, where {count:,} {_are(count)} not finite"


def _count(array: Array) -> int:
    if array.dtype.kind not in "fV":
        return 0
    return int((~numpy.isfinite(array.astype(numpy.float64))).sum())


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
