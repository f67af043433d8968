"""Training a program from Python: compiled steps, epochs, evaluation, everything that a training is at a moment.

trainer = majuscule.Trainer("lenet.maj", optimiser="Adam", rate=0.001)
trainer.fit(batches, epochs=5, validation=others)
trainer.module().save("lenet.mod")
"""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy

from .api import check, compile_evaluation, compile_program, source_names
from .optimisers import Optimiser
from .runtime.arrays import Array, as_array, shape_of
from .runtime.checkpoints import load_checkpoint, save_checkpoint
from .runtime.errors import ArgumentError, CheckpointError, NotFiniteError, OutOfMemory
from .runtime.module import Module
from .runtime.training import StepResult, Tensors, TrainingStep
from .runtime.weights import WeightsSource
from .schedules import Schedule, constant
from .steps import compile_step, write_step
from .turns import SharedTensors, Turns, check_apart

if TYPE_CHECKING:
    from .compiler.codegen.limits import Limit
    from .compiler.road_names import Forced
    from .compiler.training import Step
    from .fitting import Callback, Data, Report
    from .precision import Precision
    from .runtime.checkpoints import Checkpoints
    from .runtime.footprint import Footprint

_FORMAT = 1


class Trainer:
    """A program, its parameters, and an optimiser that changes them.

    Its state is in `tensors` (parameters, state, and what the optimiser keeps), `steps` and
    `epoch` (how many were done), and `batch` (how many of the epoch's batches were).
    """

    def __init__(
        self,
        source: str | os.PathLike[str],
        *,
        optimiser: Optimiser = "Momentum",
        rate: float = 0.01,
        schedule: Schedule | None = None,
        seed: int = 0,
        weights: WeightsSource | None = None,
        losses: Sequence[str] | None = None,
        turns: Mapping[str, int] | None = None,
        frozen: Sequence[str] = (),
        rates: Mapping[str, float] | None = None,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        accumulate: int = 1,
        outputs: Sequence[str] = (),
        skip_not_finite: bool = False,
        memory: int | str | None = None,
        target: str = "cpu",
        dtype: Precision = "float32",
        threads: int | None = None,
        exact: bool = False,
        road: Forced | None = None,
        cache: bool = True,
    ) -> None:
        """Compile the training step of a program.

        `source` is a path, or the text of a program (recognised by its line breaks).  `optimiser` is
        a call in the language without its tensors, as in `"Momentum(momentum 0.8, decay 0.0001)"`, of
        a layer of the library or of the program's own; or one for each pattern of parameters' names,
        of which the first that fits counts.

        `rate` is the learning rate, of which `schedule` gives a factor for the number of steps
        taken so far.  `rates` are further factors by pattern; what `frozen` names stays as it is.  A
        pattern is a parameter's name or a bundle's, in which `*` stands for anything.  `losses` are
        those that are followed, by default all.  With `turns`, such as `{"judge": 2, "forger": 1}`, losses
        that train different parameters take turns instead: each step is one turn, on a batch of its own, and an
        optimiser counts the turns of its loss only.

        Gradients are cut to `clip_value`, or all together to the norm `clip_norm`.  A batch is taken
        in `accumulate` parts, one after the other, whose gradients are added up.  `outputs` are
        further tensors of the program that each step gives (of the last part).

        `weights` are a file or a mapping of parameters and state; without them they start as the program says,
        with random numbers chosen by `seed`, as are those of dropout.  Where a loss or the gradient
        is not finite nothing changes, and an error says so, unless `skip_not_finite`.

        `memory` limits what a step holds, in bytes or as a text such as "500 MB": parameters, state, what
        the optimiser keeps, the batch and working memory (see `memory_of`).  If a batch would need more, the
        step is compiled again for such batches: it then computes results again that it would have kept, and
        gives the same bits.  `OutOfMemory` says what is needed at least if that is not enough.
        The rest is as for `compile`.

        Raises `SourceErrors`, `NoGradient`, ValueError for a pattern that fits nothing, or a `ModuleError`.
        """
        if accumulate < 1:
            raise ArgumentError(f"a batch is taken in 1 part or more, not in {accumulate}")
        checked = check(source, mode="training")
        self.program = checked.require()
        self.source = source
        self.rate = rate
        self.schedule = schedule or constant()
        self.seed = seed
        self.accumulate = accumulate
        self.skip_not_finite = skip_not_finite
        self.memory = None if memory is None else bytes_of(memory)
        self.steps = self.epoch = self.batch = 0
        self.kept: dict[str, Any] = {}
        """Plain values that `fit` goes on with: sums over the epoch, the best epoch so far."""
        self.compile_options: dict[str, Any] = {
            "target": target, "dtype": dtype, "threads": threads, "exact": exact, "road": road, "cache": cache,
        }  # fmt: skip
        """What modules of this training are compiled with."""
        self._sources = source_names(checked.sources)
        self._options: dict[str, Any] = {
            "optimiser": optimiser,
            "folder": Path() if isinstance(source, str) and "\n" in source else Path(source).parent,
            "losses": losses,
            "frozen": tuple(frozen),
            "rates": rates,
            "clip_norm": clip_norm,
            "clip_value": clip_value,
            "outputs": tuple(outputs),
            "accumulate": accumulate > 1,
        }
        self._turns = None if turns is None else Turns(turns)
        self._compile_all(self._options, {})
        self._evaluation: Module | None = None
        if weights is not None:
            self.load_weights(weights)

    def _compile_all(self, options: Mapping[str, Any], memory: Mapping[str, Array]) -> None:
        """Compile the step, or that of each loss that takes turns; all of them work in the same memory."""
        if self._turns is None:
            self._steps = {"": self._compiled(options, memory)}
            self._shared = None
            return
        steps: dict[str, TrainingStep] = {}
        for loss in self._turns.counts:
            steps[loss] = self._compiled({**options, "losses": [loss]}, memory)
            memory = {**memory, **steps[loss].memory}
        check_apart(steps)
        self._steps, self._shared = steps, SharedTensors(steps)

    @property
    def _turn(self) -> str:
        """The loss whose turn it is."""
        return "" if self._turns is None else self._turns.at(self.steps)

    @property
    def _step(self) -> TrainingStep:
        """The step of the loss whose turn it is."""
        return self._steps[self._turn]

    @property
    def _number(self) -> int:
        """The number of the next step as its optimiser counts."""
        return self.steps + 1 if self._turns is None else self._turns.number(self.steps)

    @property
    def losses(self) -> tuple[str, ...]:
        """Names of the losses that are followed."""
        return tuple(name for step in self._steps.values() for name in step.losses)

    # -- training ------------------------------------------------------------------------------

    def step(self, batch: Mapping[str, object]) -> StepResult:
        """Take one step on a batch, a mapping from the inputs' names to arrays with the batch as first axis.

        Raises `NotFiniteError`, which names the tensor that went wrong first, where a loss or the
        gradient is not finite: then nothing has changed.  Raises what calls of modules raise.
        """
        rate = self.rate_now
        self._keep_to_limit(batch)
        if self.accumulate == 1:
            result = self._step.run(batch, rate=rate, step=self._number, seed=self.seed, draw=self.steps + 1)
        else:
            result = self._in_parts(batch, rate)
        if self._shared is not None:
            self._step.fetch()  # for the others, which take it from the shared memory
        if result.taken:
            for loss, other in self._steps.items():
                other.tensors.stale = other.tensors.stale or loss != self._turn
            self.steps += 1
        elif not self.skip_not_finite:
            raise NotFiniteError(self._why_not_finite(batch, result))
        return result

    def fit(
        self,
        data: Data,
        epochs: int,
        *,
        validation: Data | None = None,
        callbacks: Iterable[Callback] = (),
        monitor: str | None = None,
        patience: int | None = None,
        checkpoints: str | os.PathLike[str] | Checkpoints | None = None,
        every: int | None = None,
    ) -> list[Report]:
        """Train until so many epochs are done in all, and give a report of each that was done now.

        `data` gives batches: `data.epoch(number, start)` those of an epoch, or else `iter(data)`.  After
        each epoch the program is evaluated on `validation`.  `monitor` names the loss or metric that
        tells the best epoch, by default the first loss, of `validation` if there is one: losses are to be
        small, metrics large.  Training ends early if it was not better for `patience` epochs.

        In the folder `checkpoints` the last and the best state are kept, and after `every` so many steps the last.
        No other training can use the folder meanwhile (`CheckpointError`).  `callbacks` are told of each step
        and each epoch.  Raises what `step` does.
        """
        from .fitting import fit

        return fit(self, data, epochs, validation, tuple(callbacks), monitor, patience, checkpoints, every)

    def evaluate(self, data: Data) -> dict[str, float]:
        """Losses and metrics of the program as it is in use, means over all samples of `data`.

        Raises ValueError if the program has neither, or `data` has no batch.
        """
        from .fitting import evaluate

        return evaluate(self.evaluation(), data)

    @property
    def rate_now(self) -> float:
        """The learning rate of the next step."""
        return self.rate * self.schedule(self.steps)

    def _in_parts(self, batch: Mapping[str, object], rate: float) -> StepResult:
        """A step on a batch that is taken in parts."""
        parts = self.parts(batch)
        losses: dict[str, float] = {}
        metrics: dict[str, float] = {}
        for number, (part, share) in enumerate(parts):
            finite = all(numpy.isfinite(value) for value in losses.values())
            result = self._step.run(
                part,
                rate=rate,
                step=self._number,
                seed=self.seed,
                draw=self._draw(number),
                share=share,
                first=number == 0,
                last=number == len(parts) - 1 and finite,
            )
            for total, values in ((losses, result.losses), (metrics, result.metrics)):
                for name, value in values.items():
                    total[name] = total.get(name, 0.0) + share * value
        return StepResult(losses, metrics, result.norm, result.taken, result.outputs)

    def memory_of(self, batch: Mapping[str, object]) -> Footprint:
        """The bytes that a step on a batch holds, beside Python, TVM's runtime and machine code."""
        part = max((part for part, _ in self.parts(batch)), key=lambda part: sum(self._step.sizes_of(part).values()))
        return self._step.module.memory(sizes=self._step.sizes_of(part))

    def _keep_to_limit(self, batch: Mapping[str, object]) -> None:
        """Compile the step again if a batch would need more memory than there may be; raises `OutOfMemory`."""
        if self.memory is None:
            return
        needed = self.memory_of(batch)
        if needed.total <= self.memory:
            return
        from .compiler.codegen.errors import LimitTooLow
        from .compiler.codegen.limits import Limit
        from .runtime.sizes import THREADS

        part = max((part for part, _ in self.parts(batch)), key=lambda part: sum(self._step.sizes_of(part).values()))
        sizes = {**self._step.sizes_of(part), THREADS: self._step.module.threads}
        others = needed.total - needed.arena
        limit = Limit(self.memory - others, tuple(sorted(sizes.items())))
        try:
            options = self._options if self._turns is None else {**self._options, "losses": [self._turn]}
            self._steps[self._turn] = self._compiled(options, self._step.memory, limit)
            self._shared = None if self._turns is None else SharedTensors(self._steps)
        except LimitTooLow as error:
            raise OutOfMemory(
                f"a step on this batch needs {amount_of(others + error.least)} at least, with all recomputed that "
                f"can be, and the limit is {amount_of(self.memory)}; smaller batches need less, also in parts"
            ) from error

    def _draw(self, part: int) -> int:
        """What random numbers of a part of the next step's batch follow from, beside the seed."""
        return self.steps * self.accumulate + part + 1

    def parts(self, batch: Mapping[str, object]) -> list[tuple[Mapping[str, object], float]]:
        """A batch in at most `accumulate` parts, with the share of the samples that each has."""
        if self.accumulate == 1:
            return [(batch, 1.0)]
        batched = {info.name for info in self._step.inputs if info.batched}
        arrays = {name: as_array(value, f"input {name}") for name, value in batch.items() if name in batched}
        count = min((len(array) for array in arrays.values() if array.ndim), default=0)
        if not count:
            raise ArgumentError("a batch without samples cannot be taken in parts")
        edges = [count * k // self.accumulate for k in range(self.accumulate + 1)]
        cuts = [(a, b) for a, b in itertools.pairwise(edges) if b > a]
        return [({**batch, **{n: array[a:b] for n, array in arrays.items()}}, (b - a) / count) for a, b in cuts]

    def parts_and_draws(self, batch: Mapping[str, object]) -> list[tuple[Mapping[str, object], int]]:
        """The parts of a batch, each with the step that its random numbers are drawn for."""
        return [(part, self._draw(number)) for number, (part, _) in enumerate(self.parts(batch))]

    def written_step(self) -> Step:
        """The step as a program that adds nothing up."""
        losses = self._options["losses"] if self._turns is None else [self._turn]
        return write_step(self.program, **{**self._options, "accumulate": False, "losses": losses})

    def _why_not_finite(self, batch: Mapping[str, object], result: StepResult) -> str:
        from .not_finite import explain

        return explain(self, batch, result)

    # -- tensors -------------------------------------------------------------------------------

    @property
    def tensors(self) -> Tensors:
        """Parameters, state and what the optimiser keeps, by name, as they are now; assign to change one."""
        return self._step.tensors if self._shared is None else self._shared

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of parameters and state of the program."""
        from .dsl.equations import Parameter, State

        return tuple(n for n, o in self.program.operations.items() if isinstance(o, Parameter | State))

    @property
    def compiled(self) -> TrainingStep:
        """The compiled step (of the loss whose turn it is), which can be saved and runs without the compiler."""
        return self._step

    def load_weights(self, source: WeightsSource, *, partial: bool = False) -> tuple[str, ...]:
        """Replace parameters and state by those of a file or a mapping, and give the names of what was replaced.

        With `partial` only those that are there and of the right shape.  Raises `WeightsError`, and
        then changes nothing.
        """
        from .runtime.tensor_files import read_tensors
        from .runtime.weights import fit_weights

        given = dict(read_tensors(source) if isinstance(source, (str, os.PathLike)) else source)
        known = {info.name: info for step in self._steps.values() for info in step.module.parameters}
        infos = [info for name, info in known.items() if name in set(self.parameters)]
        if partial:
            infos = [info for info in infos if info.name in given and shape_of(given[info.name]) == info.shape]
            given = {info.name: given[info.name] for info in infos}
        found = fit_weights(given, infos)
        self.tensors.update(found)
        return tuple(found)

    def freeze(self, *patterns: str) -> None:
        """Leave the parameters that patterns name as they are from now on, beside those already frozen."""
        self._set_frozen((*self._options["frozen"], *patterns))

    def unfreeze(self, *patterns: str) -> None:
        """Train again what these patterns froze; all if none is given.  What optimisers keep for it starts anew."""
        kept = tuple(pattern for pattern in self._options["frozen"] if patterns and pattern not in patterns)
        self._set_frozen(kept)

    def _set_frozen(self, frozen: tuple[str, ...]) -> None:
        options = {**self._options, "frozen": frozen}
        self._compile_all(
            options, {name: array for step in self._steps.values() for name, array in step.memory.items()}
        )
        self._options = options

    def _compiled(
        self, options: Mapping[str, Any], memory: Mapping[str, Array] | None = None, limit: Limit | None = None
    ) -> TrainingStep:
        return compile_step(
            self.program, seed=self.seed, sources=self._sources, memory=memory, limit=limit, **options,
            **self.compile_options,
        )  # fmt: skip

    # -- modules -------------------------------------------------------------------------------

    def module(self) -> Module:
        """The program compiled for use, with the weights as they are now."""
        program = check(self.source).require()
        weights = self.weights_of(program)
        return compile_program(program, weights=weights, sources=self._sources, **self.compile_options)

    def evaluation(self) -> Module:
        """The program as it is in use, with its losses and metrics as outputs, on the weights as they are now."""
        if self._evaluation is None:
            program = check(self.source, mode="evaluating").require()
            self._evaluation = compile_evaluation(program, self.weights_of(program), **self.compile_options)
        else:
            self._evaluation.load_weights({name: self.tensors[name] for name in self._evaluation.weights})
        return self._evaluation

    def weights_of(self, program: Any) -> dict[str, Array]:
        """The present values of a program's parameters and state; what the training does not know starts anew."""
        from .compiler.interpreter import initial_values
        from .dsl.equations import Parameter, State

        names = [n for n, o in program.operations.items() if isinstance(o, Parameter | State)]
        unknown = [name for name in names if name not in self.tensors]
        return {n: self.tensors[n] for n in names if n in self.tensors} | initial_values(program, self.seed, unknown)

    # -- the state of a training ---------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """All that the training needs to go on, bit for bit: copies of the `tensors`, and plain values as `meta`."""
        tensors = {name: numpy.array(array) for name, array in self.tensors.items()}
        return {"tensors": tensors, "meta": self._meta()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave; raises `WeightsError` if it is of another program or optimiser."""
        self._restore(state["tensors"], state["meta"])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state to a checkpoint, whole or not at all; raises `CheckpointError`."""
        save_checkpoint(path, self.tensors, self._meta())

    def load(self, path: str | os.PathLike[str]) -> None:
        """Go on from a checkpoint; raises `CheckpointError`, or `WeightsError` if it does not fit."""
        self._restore(*load_checkpoint(path))

    def _meta(self) -> dict[str, Any]:
        return {
            "format": _FORMAT, "program": self.program.name, "step": self.steps, "epoch": self.epoch,
            "batch": self.batch, "seed": self.seed, "kept": self.kept,
        }  # fmt: skip

    def _restore(self, tensors: Mapping[str, object], meta: Mapping[str, Any]) -> None:
        if meta.get("format") != _FORMAT:
            raise CheckpointError("this checkpoint was written by another version of Majuscule")
        if self._shared is None:
            self._step.load_weights(tensors)
        else:
            self._shared.replace(tensors)
        self.steps, self.epoch, self.batch = meta["step"], meta["epoch"], meta["batch"]
        self.seed, self.kept = meta["seed"], dict(meta["kept"])

    def __repr__(self) -> str:
        return f"<Trainer of {self.program.name}, {self.steps} steps, {self.epoch} epochs>"


def bytes_of(memory: int | str) -> int:
    """A number of bytes, also from a text such as "500 MB" or "1.5 GiB"; raises `ArgumentError`."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", str(memory), re.IGNORECASE)
    if found is None or (isinstance(memory, str) and found[3] and not found[2]):
        raise ArgumentError(f"{memory!r} is no amount of memory, such as 500MB or 1.5GiB")
    unit = 1024 if found[3] else 1000
    count = int(float(found[1]) * unit ** "_kmgt".index(found[2].lower() or "_"))
    if count < 1:
        raise ArgumentError(f"{memory!r} is no amount of memory that anything could keep to")
    return count


def amount_of(count: int) -> str:
    """Bytes as `bytes_of` reads them, rounded up."""
    unit, name = (1e6, "MB") if count >= 1e6 else (1e3, "kB")
    return f"{math.ceil(10 * count / unit) / 10:.1f} {name}"
