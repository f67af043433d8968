"""Looking for the first tensor that is not finite: a program that counts such elements in every tensor of a step."""

from __future__ import annotations

from dataclasses import replace

from ...dsl.equations import FLOATS, Carry, Equation, Partial, Program
from ..gradients import restricted
from ..rewriting import new_name
from .norm import not_finite
from .step import Step


def counting(step: Step) -> tuple[Program, dict[str, str]]:
    """The program of a step that only counts, for each tensor that it computes, the elements that are not finite.

    The mapping gives the tensor of each of its outputs: those of the forward pass in the order of
    the text, then gradients.
    """
    before = restricted(step.program, (*step.about["losses"].values(), *step.about["gradients"].values()))
    operations = dict(before.operations)
    counted: dict[str, str] = {}
    for name, operation in before.operations.items():
        if isinstance(operation, Equation | Partial | Carry) and operation.dtype in FLOATS:
            made = new_name(f"{name}.wrong", operations)
            operations[made] = not_finite(name, operation.shape, operation.dtype)
            counted[made] = name
    return restricted(replace(before, operations=operations, stores=()), tuple(counted)), counted
