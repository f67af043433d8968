"""Compiling a training step: from a checked program to a `TrainingStep` that runs without the compiler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from .optimisers import Optimiser, Rules
from .runtime.arrays import Array
from .runtime.signature import nearest
from .runtime.training import TRAINING, TrainingStep, own_copy

if TYPE_CHECKING:
    from .compiler.codegen.limits import Limit
    from .compiler.road_names import Forced
    from .compiler.training import Step
    from .dsl.equations import Program
    from .precision import Precision


def compile_step(
    program: Program,
    optimiser: Optimiser = "Momentum",
    *,
    folder: Path | None = None,
    sources: Mapping[str, str] | None = None,
    losses: Sequence[str] | None = None,
    frozen: Sequence[str] = (),
    rates: Mapping[str, float] | None = None,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    outputs: Sequence[str] = (),
    accumulate: bool = False,
    target: str = "cpu",
    dtype: Precision = "float32",
    seed: int = 0,
    threads: int | None = None,
    exact: bool = False,
    road: Forced | None = None,
    cache: bool = True,
    memory: Mapping[str, Array] | None = None,
    limit: Limit | None = None,
) -> TrainingStep:
    """Compile the training step of a program that was checked for training.

    `folder` is where the program's imports are looked for, `sources` are its texts, to be kept in
    the step.  Tensors in `memory` are used where they are; all others start as the program says, with
    random numbers chosen by `seed`.  Its working memory keeps to the `limit`.  What else there is to
    choose is as for `Trainer`.

    Raises `SourceErrors` if the optimiser cannot be called, `NoGradient` if there is nothing to
    train, ValueError for a pattern that fits no parameter, `LimitTooLow`, and what `compile` raises.
    """
    from .compiler.codegen.asked import asked_for
    from .compiler.codegen.compiled import compile_graph
    from .compiler.graph import Graph
    from .compiler.interpreter import initial_values
    from .compiler.pipeline import optimize
    from .precision import lowered_to
    from .runtime.artifact import Artifact

    step = write_step(
        program, optimiser, folder=folder, losses=losses, frozen=frozen, rates=rates, clip_norm=clip_norm,
        clip_value=clip_value, outputs=outputs, accumulate=accumulate,
    )  # fmt: skip
    graph = optimize(Graph.from_program(step.program), fold_weights=True)
    graph, found = lowered_to(graph, target, dtype, fold_weights=False)
    compiled = compile_graph(graph, target=found, asked=asked_for(exact, road), cache=cache, limit=limit)
    manifest = {**compiled.manifest, TRAINING: step.about}
    names = [entry["name"] for key in ("parameters", "states") for entry in manifest[key]]
    known = memory or {}
    values = initial_values(step.program, seed, [name for name in names if name not in known])
    # One after the other, so that there are never two copies of all.
    own = {name: known[name] if name in known else own_copy(values.pop(name)) for name in names}
    artifact = Artifact(manifest, compiled.library, own, compiled.constants, dict(sources or {}))
    return TrainingStep(artifact, threads, own)


def write_step(
    program: Program,
    optimiser: Optimiser,
    *,
    folder: Path | None = None,
    losses: Sequence[str] | None = None,
    frozen: Sequence[str] = (),
    rates: Mapping[str, float] | None = None,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    outputs: Sequence[str] = (),
    accumulate: bool = False,
) -> Step:
    """The training step as a program, before it is compiled; arguments and errors as for `compile_step`."""
    from .compiler.training import Choices, training_step
    from .compiler.training.step import trained_parameters

    rules = Rules(optimiser, source=program.source, folder=folder, clip_norm=clip_norm, clip_value=clip_value)
    trained = trained_parameters(program)
    factors = {name: factor for pattern, factor in (rates or {}).items() for name in matching(pattern, trained)}
    still = frozenset(name for pattern in frozen for name in matching(pattern, trained))
    choices = Choices(None if losses is None else tuple(losses), still, factors, tuple(outputs), accumulate)
    return training_step(program, rules, choices)


def matching(pattern: str, names: Sequence[str]) -> list[str]:
    """The parameters that a pattern means: a name, a bundle (`Φ1`), or either with `*` and `?`.

    Raises ValueError if there are none.
    """
    found = [name for name in names if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")]
    if not found:
        bundles = {name.rpartition(".")[0] for name in names} - {""}
        listed = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
        hint = nearest(pattern, [*names, *bundles]) or f"; there are {listed}"
        raise ValueError(f"no trained parameter is called {pattern}{hint}")
    return found
