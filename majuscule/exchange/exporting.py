"""Weights of a program as a state dict of PyTorch."""

from __future__ import annotations

from ..compiler.weight_layouts import weight_uses
from ..dsl.equations import Program
from ..runtime.arrays import Array
from ..runtime.errors import WeightsError
from ..runtime.weights import WeightsSource, read_weights
from .counterparts import counterparts
from .importing import Choices, Source, pair, wanted_weights
from .report import by_reason


def exported(program: Program, weights: WeightsSource, like: Source | None, choices: Choices) -> dict[str, Array]:
    """The tensors by PyTorch's names, or by those of `like`; see `majuscule.export_weights`.

    Raises `WeightsError` or `WeightsFileError`.
    """
    values = read_weights(weights, wanted_weights(program))
    return _in_own_names(program, values, choices) if like is None else _alike(program, values, like, choices)


def _in_own_names(program: Program, values: dict[str, Array], choices: Choices) -> dict[str, Array]:
    if choices.rename or choices.skip or choices.by or choices.inside:
        raise WeightsError("rules for names are about those of another file: give it as `like`")
    made = counterparts(weight_uses(program, choices.channels))
    if doubts := by_reason({one.name: one.doubt for one in made if one.doubt}):
        reasons = (f"  {', '.join(names)}: {reason}" for reason, names in doubts.items())
        raise WeightsError("how some weights lie in PyTorch is not certain:\n" + "\n".join(reasons))
    return {one.name: one.join(values) for one in made}


def _alike(program: Program, values: dict[str, Array], like: Source, choices: Choices) -> dict[str, Array]:
    """The tensors of another state dict, with the program's numbers in place of those that are its weights."""
    paired = pair(program, like, choices)
    paired.require_whole()
    matches = {one.tensor: one for one in paired.matching.matches}
    found = {}
    for name, stored in paired.file.tensors.items():
        if name not in matches:
            found[name] = stored.read().copy()
            continue
        one = matches[name].counterpart
        tensor = values[one.weights[0]].copy() if matches[name].as_is else one.join(values, stored.shape)
        found[name] = tensor.astype(stored.dtype, copy=False)
    return found
