"""The training step: from a checked program to one program that also computes gradients and updates what it learns.

`step` is the face and puts the parts together; `rules` gives every parameter its optimiser,
which is an equation of the language like any other, `norm` says how large the gradients are
and whether all is finite, and `finite` looks for the first tensor that is not.
"""

from .rules import Rule
from .step import Choices, Step, training_step

__all__ = ["Choices", "Rule", "Step", "training_step"]
