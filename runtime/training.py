"""A compiled training step as its users hold it: run it, read and write its tensors, save it.

It needs no compiler, as modules do not.  The step changes its parameters and state where they
are; everything that it knows is in `tensors`, in the layout of the program's text.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy

from . import artifact as files
from .arrays import Array
from .artifact import Artifact
from .buffers import new_buffer
from .errors import ArgumentError
from .module import Module
from .signature import TensorInfo, nearest
from .weights import WeightsSource, fit_weights, read_weights

TRAINING = "training"
"""The manifest's entry that makes a module a training step; see `compiler.training.Step.about`."""
_NUMBERS = ("rate", "step", "share", "first", "last")
"""The inputs that `run` gives by itself, those of them that the step reads."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step gave.

    `losses` and `metrics` by name; `norm`, that of all gradients together; `taken`, whether it was a
    step at all: where a loss or the norm is not finite, nothing changes.  `outputs` are the further
    tensors that the step was compiled to give.
    """

    losses: Mapping[str, float]
    metrics: Mapping[str, float]
    norm: float
    taken: bool
    outputs: Mapping[str, Array] = field(default_factory=dict)

    @property
    def loss(self) -> float:
        """The sum of all losses."""
        return sum(self.losses.values())

    @property
    def values(self) -> dict[str, float]:
        """Losses and metrics together."""
        return {**self.losses, **self.metrics}


class Tensors(Mapping[str, Array]):
    """Parameters, state and what the optimiser keeps, by name; what is read is the memory that the step works in.

    Arrays are read-only and change with every step: copy what is to be kept.  (Where a GPU computes, they change
    when tensors are read for the first time after a step.)  Assignment (`tensors["Φ1.W"] = array`) copies values in.
    """

    def __init__(
        self, arrays: Mapping[str, Array], stored: frozenset[str], fetch: Callable[[], None] | None = None
    ) -> None:
        self._arrays = arrays
        self._stored = stored
        self._fetch = fetch
        self._views = {name: _read_only(array) for name, array in arrays.items()}
        self.stale = False
        """Whether something was assigned of which the step has prepared something."""

    def __getitem__(self, name: str) -> Array:
        if name not in self._views:
            raise KeyError(f"there is no tensor {name}{nearest(name, self._views)}")
        if self._fetch is not None:
            self._fetch()
        return self._views[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __setitem__(self, name: str, value: object) -> None:
        """Copy values into a tensor; raises `WeightsError` if they do not fit."""
        array = self[name]
        info = TensorInfo(name, array.shape, array.dtype.name)
        self._arrays[name][...] = fit_weights({name: value}, [info])[name]
        self.stale = self.stale or name not in self._stored

    def update(self, values: Mapping[str, object]) -> None:
        """Copy values into several tensors, or into none if some do not fit (`WeightsError`)."""
        wanted = [TensorInfo(n, self._arrays[n].shape, self._arrays[n].dtype.name) for n in values if n in self._arrays]
        for name, array in fit_weights(values, wanted).items():
            self[name] = array


class TrainingStep:
    """A compiled training step with its parameters, state and optimiser."""

    def __init__(
        self, artifact: Artifact, threads: int | None = None, memory: Mapping[str, Array] | None = None
    ) -> None:
        """Make a step of what `artifact.read` or the compiler gave; raises `ModuleError`.

        `threads` is how many threads compute, by default one for each core.  Tensors that are in
        `memory`, where another step may work, stay there; all others are copied.
        """
        manifest = artifact.manifest
        if TRAINING not in manifest:
            raise ArgumentError(f"{manifest['name']} is no training step; `majuscule.load` loads modules")
        self._about: Mapping[str, Any] = manifest[TRAINING]
        memory = memory or {}
        own = {name: memory[name] if name in memory else own_copy(array) for name, array in artifact.weights.items()}
        self._memory: Mapping[str, Array] = own
        self._module = Module(replace(artifact, weights=own), threads)
        on_gpu = manifest["target"].get("kind") == "cuda"
        self._is_ahead: bool | None = False if on_gpu else None  # whether a GPU has newer tensors; None without one
        # What is assigned must get to the GPU; elsewhere the step sees it, but where something was prepared of it.
        kept = frozenset(() if on_gpu else manifest["stores"])
        self.tensors = Tensors(own, kept, self.fetch if on_gpu else None)
        names = {info.name for info in self._module.inputs}
        self._numbers = tuple(key for key in _NUMBERS if self._about.get(key) in names)
        numbers = {self._about[key] for key in self._numbers}
        self.inputs = tuple(info for info in self._module.inputs if info.name not in numbers)
        self._order = tuple(info.name for info in self._module.inputs)
        self._input_names = frozenset(info.name for info in self.inputs)

    @staticmethod
    def load(path: str | os.PathLike[str], threads: int | None = None) -> TrainingStep:
        """Load a step from a file; raises `ModuleError` with the reason if it cannot run here."""
        return TrainingStep(files.read(path), threads)

    @property
    def memory(self) -> Mapping[str, Array]:
        """The tensors' own arrays, in which another step may work, too."""
        self.fetch()
        return self._memory

    def fetch(self) -> None:
        """Have the tensors' arrays hold what the steps on a GPU have made of them."""
        if self._is_ahead:
            self._module.fetch_weights(self._memory)
            self._is_ahead = False

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the step with its present tensors to a file, which appears whole or not at all."""
        self.fetch()
        self._module.save(path)

    # -- running -------------------------------------------------------------------------------

    def run(
        self,
        batch: Mapping[str, object],
        *,
        rate: float,
        step: int,
        seed: int = 0,
        draw: int | None = None,
        share: float = 1.0,
        first: bool = True,
        last: bool = True,
    ) -> StepResult:
        """Take one step on a batch, a mapping from the inputs' names to arrays.

        `step` is its number, 1 for the first: optimisers look at it.  Random numbers follow from
        `seed` and `draw` (the step's number if None).  A step that adds up the gradients of several
        parts of a batch is told the part's `share` of it, and whether it is the `first` or the `last`.
        What is in the batch and no input is left alone.  Raises what a module's call does.
        """
        if self.tensors.stale:
            self._module.refresh_weights()
            self.tensors.stale = False
        about = self._about
        given: dict[str, Any] = {name: batch[name] for name in self._input_names if name in batch}
        numbers = {
            "rate": numpy.float64(rate), "step": numpy.int64(step), "share": numpy.float64(share),
            "first": numpy.bool_(first), "last": numpy.bool_(last),
        }  # fmt: skip
        for key in self._numbers:
            given[about[key]] = numbers[key]
        draw = step if draw is None else draw
        if self._is_ahead is not None:
            self._is_ahead = True
        try:
            outputs = self._module(*[given[name] for name in self._order], seed=seed, step=draw)
        except KeyError:
            missing = ", ".join(name for name in self._order if name not in given)
            raise ArgumentError(f"the batch has no {missing}; it has {', '.join(batch) or 'nothing'}") from None
        return StepResult(
            {name: float(outputs[tensor]) for name, tensor in about["losses"].items()},
            {name: float(outputs[tensor]) for name, tensor in about["metrics"].items()},
            float(outputs[about["norm"]]),
            bool(outputs[about["taken"]]),
            {name: outputs[name] for name in about["outputs"]},
        )

    def sizes_of(self, batch: Mapping[str, object]) -> dict[str, int]:
        """The sizes that a batch settles, by name; raises what a module's call does."""
        numbers = dict.fromkeys(self._order, 0)  # rate, number of the step and the like are single numbers
        return self._module.sizes_of(numbers | {name: batch[name] for name in self._input_names if name in batch})

    # -- what it is ----------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The program's name."""
        return self._module.name

    @property
    def slots(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the state that the optimiser keeps for each parameter that is trained."""
        return {name: tuple(slots) for name, slots in self._about["slots"].items()}

    @property
    def losses(self) -> tuple[str, ...]:
        """Names of the losses."""
        return tuple(self._about["losses"])

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics."""
        return tuple(self._about["metrics"])

    @property
    def module(self) -> Module:
        """The step as a module, to be measured (`profile`, `memory`); calling it changes the tensors."""
        return self._module

    def load_weights(self, source: WeightsSource) -> None:
        """Replace all tensors by those of a `.safetensors` or `.npz` file or of a mapping; raises `WeightsError`."""
        self.tensors.update(read_weights(source, self._module.parameters))

    def close(self) -> None:
        """Give memory and threads back."""
        self._module.close()

    def __repr__(self) -> str:
        inputs = ", ".join(map(str, self.inputs))
        return f"<TrainingStep {self.name} ({inputs}) -> {', '.join((*self.losses, *self.metrics))}>"


def own_copy(array: Array) -> Array:
    """A copy in memory that a step may write to."""
    memory = new_buffer(max(array.nbytes, 1))[: array.nbytes]
    made = memory.view(array.dtype).reshape(array.shape)
    made[...] = array
    return made


def _read_only(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view
