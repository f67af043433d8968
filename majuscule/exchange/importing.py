"""Weights of PyTorch, or of NumPy's files, as those of a program."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..compiler.interpreter import initial_values
from ..compiler.weight_layouts import weight_uses
from ..dsl.equations import Parameter, Program, State
from ..runtime.arrays import Array, as_array
from ..runtime.errors import WeightsError
from ..runtime.signature import TensorInfo
from ..runtime.weight_files import StoredTensor, WeightsFile, open_weights
from ..runtime.weights import fit_weights
from .counterparts import STACKED, Counterpart, counterparts
from .matching import Match, Matching, match
from .names import Rules, leaf
from .report import Pair, Report, by_reason

Source = str | os.PathLike[str] | Mapping[str, object]
"""A `.safetensors`, `.pt`, `.pth` or `.npz` file, or a mapping from names to tensors (a state dict)."""


@dataclass(frozen=True)
class Choices:
    """How a user wants tensors to be matched: see `majuscule.import_weights`."""

    rename: Sequence[str] = ()
    skip: Sequence[str] = ()
    by: str | None = None
    inside: str | None = None
    channels: str | None = None

    def __post_init__(self) -> None:
        for text, known in ((self.by, ("name", "order")), (self.channels, ("first", "last"))):
            if text is not None and text not in known:
                raise WeightsError(f"{text!r} is none of {', '.join(known)}")


@dataclass(frozen=True)
class Paired:
    """A file of weights and a program, matched."""

    file: WeightsFile
    matching: Matching
    shapes: Mapping[str, tuple[int, ...]]
    wanted: Sequence[Counterpart]

    @property
    def report(self) -> Report:
        """What was matched and what was left, by the names of tensors and weights."""
        pairs = [
            Pair(
                found.tensor,
                self.file.tensors[found.tensor].shape,
                found.counterpart.weights,
                tuple(self.shapes[name] for name in found.counterpart.weights),
                found.how,
            )
            for found in self.matching.matches
        ]
        left = {
            weight: self.matching.left_in_program[counterpart.name]
            for counterpart in self.wanted
            if counterpart.name in self.matching.left_in_program and not counterpart.is_extra
            for weight in counterpart.weights
        }
        return Report(tuple(pairs), dict(self.matching.left_in_file), left)

    def require_whole(self) -> None:
        """Raise `WeightsError` if a weight of the program is left without a tensor."""
        if left := by_reason(self.report.left_in_program):
            reasons = (f"  {', '.join(names)}: {reason}" for reason, names in left.items())
            raise WeightsError("the file does not have all weights of the program:\n" + "\n".join(reasons))


def pair(program: Program, source: Source, choices: Choices) -> Paired:
    """Match the tensors of a file with the weights of a program; raises `WeightsError`, `WeightsFileError`."""
    file = _opened(source, choices.inside)
    is_stacked = any(leaf(name) == STACKED for name in file.tensors)
    wanted = counterparts(weight_uses(program, choices.channels), stacked=is_stacked)
    shapes = weight_shapes(program)
    rules = Rules.parse(choices.rename, choices.skip)
    return Paired(file, match(file, wanted, shapes, rules, choices.by), shapes, wanted)


def weight_shapes(program: Program) -> dict[str, tuple[int, ...]]:
    """The shapes of parameters and states."""
    return {
        name: tuple(size.constant or 0 for size in made.shape)
        for name, made in program.operations.items()
        if isinstance(made, Parameter | State)
    }


def imported(program: Program, paired: Paired, *, partial: bool = False, seed: int = 0) -> dict[str, Array]:
    """The program's weights; with `partial`, first values for those that the file does not have.

    Raises `WeightsError` if any is missing.
    """
    found: dict[str, Array] = {}
    for one in sorted(paired.matching.matches, key=lambda one: one.counterpart.is_extra):
        for name, array in _split(one, paired).items():
            if not one.counterpart.is_extra:
                found[name] = array
            elif name in found and array.any():
                found[name] = found[name] + array
    if not partial:
        paired.require_whole()
    left = paired.report.left_in_program
    if left:
        found |= initial_values(program, seed, list(left))
    return fit_weights(found, wanted_weights(program))


def wanted_weights(program: Program) -> list[TensorInfo]:
    """Names, shapes and dtypes of parameters and states."""
    return [TensorInfo(n, shape, program.tensor(n).dtype) for n, shape in weight_shapes(program).items()]


def _split(one: Match, paired: Paired) -> dict[str, Array]:
    tensor = paired.file.tensors[one.tensor].read()
    if one.as_is:
        return {one.counterpart.weights[0]: tensor.copy()}
    return one.counterpart.split(tensor, paired.shapes)


def _opened(source: Source, inside: str | None) -> WeightsFile:
    if isinstance(source, str | os.PathLike):
        return open_weights(source, inside)
    tensors = {}
    for name, value in source.items():
        detach = getattr(value, "detach", None)  # PyTorch's parameters carry gradients, which NumPy refuses
        tensors[name] = StoredTensor.of(as_array(detach() if detach is not None else value, name))
    return WeightsFile(tensors, ordered=True)
