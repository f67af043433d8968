"""The functions of `import majuscule`: check, compile, differentiate, load, exchange weights and models.

Each imports what it needs when it is called, so that a program which only loads and runs
a module never loads the compiler.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Literal

from .runtime.module import Module

if TYPE_CHECKING:
    from onnx import ModelProto

    from .compiler.codegen.compiled import CompiledProgram
    from .compiler.gradients import Gradients
    from .compiler.road_names import Forced
    from .dsl import CheckResult
    from .dsl.equations import Program
    from .exchange.report import Report
    from .onnx.importing import ImportedModel
    from .precision import Precision
    from .runtime.arrays import Array
    from .runtime.artifact import Artifact
    from .runtime.signature import TensorInfo
    from .runtime.weights import WeightsSource

Mode = Literal["inferring", "training", "evaluating"]


def check(source: str | os.PathLike[str], *, mode: Mode = "inferring") -> CheckResult:
    """Check a program without compiling it.

    `source` is a path, or the text of a program (recognised by its line breaks).  Mistakes
    are in the result's `diagnostics`; OSError if the file cannot be read.
    """
    from .dsl import check_file, check_text

    if isinstance(source, str) and "\n" in source:
        return check_text(source, "program.maj", mode=mode, folder=Path())
    return check_file(Path(source), mode=mode)


def compile(
    source: str | os.PathLike[str],
    *,
    target: str = "cpu",
    weights: WeightsSource | None = None,
    seed: int = 0,
    mode: Mode = "inferring",
    threads: int | None = None,
    exact: bool = False,
    road: Forced | None = None,
    dtype: Precision = "float32",
    cache: bool = True,
) -> Module:
    """Compile a program into a module that runs in this process and can be saved.

    `source` is a path, or the text of a program (recognised by its line breaks).  `target` is
    "cpu", this machine, LLVM's name of another CPU, or a GPU: "cuda" or as "cuda:sm_90".  `weights`
    are a `.safetensors` or `.npz` file or a mapping from names to arrays; without them parameters
    start as the program says, with random numbers chosen by `seed`.  `threads` compute, by default
    one for each core that this process may use.  Without the `cache`, nothing is taken from what was
    compiled or tuned before, nor kept.

    Where it is faster, convolutions take Winograd's algorithm, which rounds differently.  `exact`
    computes every sum as it stands.  `road` asks for one algorithm, such as "direct", which implies
    `exact`, "winograd" or "image-to-column" (`maj compile --help` lists all), wherever it can be
    used, even if it is slower there.

    `dtype` trades exactness for speed: with "float16" or "bfloat16", tensors of float32 between equations are
    kept in these and sums are in float32; with "tf32", GPUs round factors of products to 11 bits.  Inputs,
    outputs and weights stay as they are.

    Raises `SourceErrors` with every mistake in the program, `WeightsError` if the weights do not
    fit, `CompilationFailed` for an unknown target or road, or another `ModuleError`.
    """
    checked = check(source, mode=mode)
    program = checked.require()
    sources = source_names(checked.sources)
    return compile_program(
        program, target=target, weights=weights, seed=seed, threads=threads, sources=sources, exact=exact, road=road,
        dtype=dtype, cache=cache,
    )  # fmt: skip


def compile_program(
    program: Program,
    *,
    target: str = "cpu",
    weights: WeightsSource | None = None,
    seed: int = 0,
    threads: int | None = None,
    sources: Mapping[str, str] | None = None,
    exact: bool = False,
    road: Forced | None = None,
    dtype: Precision = "float32",
    cache: bool = True,
) -> Module:
    """Compile a checked program; arguments and errors as for `compile`.

    `sources` are its texts by file name, to be kept in the module, the main one first.
    """
    artifact = compile_artifact(
        program,
        target=target,
        weights=weights,
        seed=seed,
        sources=sources,
        exact=exact,
        road=road,
        dtype=dtype,
        cache=cache,
    )
    return Module(artifact, threads)


def compile_evaluation(program: Program, weights: Mapping[str, Array] | None, **options: Any) -> Module:
    """Compile a program, checked for evaluating, with its losses and metrics as outputs.

    `weights` may have more than these need; `options`, and errors, are those of `compile_program`.
    Raises ValueError if the program has neither losses nor metrics.
    """
    from .compiler.gradients import restricted
    from .dsl.equations import Parameter, State

    wanted = (*(parts[0] for parts in program.losses.values()), *program.metrics)
    if not wanted:
        raise ValueError("the program has no loss and no metric to be evaluated")
    program = restricted(program, wanted)
    names = [name for name, made in program.operations.items() if isinstance(made, Parameter | State)]
    chosen = None if weights is None else {name: weights[name] for name in names if name in weights}
    return compile_program(program, weights=chosen, **options)


def compile_artifact(
    program: Program,
    *,
    target: str = "cpu",
    weights: WeightsSource | None = None,
    seed: int = 0,
    sources: Mapping[str, str] | None = None,
    exact: bool = False,
    road: Forced | None = None,
    dtype: Precision = "float32",
    cache: bool = True,
) -> Artifact:
    """What a module's file holds, for any target, also one that this machine cannot run; as `compile_program`."""
    return _compiled(program, target, weights, seed, sources, exact, road, dtype, cache)[1]


def _compiled(
    program: Program,
    target: str,
    weights: WeightsSource | None,
    seed: int,
    sources: Mapping[str, str] | None,
    exact: bool,
    road: Forced | None,
    dtype: Precision,
    cache: bool,
) -> tuple[CompiledProgram, Artifact]:
    from .compiler.codegen.asked import asked_for
    from .compiler.codegen.compiled import compile_graph
    from .compiler.graph import Graph
    from .compiler.pipeline import optimize
    from .precision import lowered_to
    from .runtime.artifact import Artifact
    from .runtime.signature import describe_tensor

    asked = asked_for(exact, road)
    graph = optimize(Graph.from_program(program), fold_weights=program.mode != "training")
    graph, found = lowered_to(graph, target, dtype, fold_weights=program.mode != "training")
    compiled = compile_graph(graph, target=found, asked=asked, cache=cache)
    manifest = compiled.manifest
    wanted = [describe_tensor(entry) for entry in (*manifest["parameters"], *manifest["states"])]
    values = _first_or_given(program, weights, wanted, seed)
    return compiled, Artifact(manifest, compiled.library, values, compiled.constants, dict(sources or {}))


def export_c(
    program: str | os.PathLike[str] | Program,
    folder: str | os.PathLike[str],
    *,
    target: str = "cpu",
    weights: WeightsSource | None = None,
    seed: int = 0,
    exact: bool = False,
    road: Forced | None = None,
    cache: bool = True,
    embed: bool = False,
) -> list[Path]:
    """Write a program as a shared library with a C interface, which needs neither Python nor TVM; gives the files.

    `program` is a path, the text of a program, or a checked one; `target`, `weights`, `seed`, `exact`, `road` and
    `cache` are as for `compile`.  The folder is made if there is none.  It gets the library, its header, the weights
    as safetensors (with `embed`, the library has them instead), an example and a Makefile that builds it.

    Raises what `compile` does, `ExportError` for a program that trains, and OSError.
    """
    from .c_export.writing import write_library

    checked = _checked_program(program, "inferring")
    compiled = _compiled(checked, target, weights, seed, None, exact, road, "float32", cache)
    return write_library(Path(folder), *compiled, embed)


def gradient(
    source: str | os.PathLike[str],
    *,
    of: str | Sequence[str] | None = None,
    with_respect_to: str | Sequence[str] | None = None,
    mode: Mode = "training",
) -> Gradients:
    """Differentiate a program: the gradient is a program, too, which `compile_program` compiles.

    `source` is a path, or the text of a program (recognised by its line breaks).  `of` are losses
    or tensors, by default all losses of the program or else its outputs; `with_respect_to` are
    tensors, by default all trained parameters or else all inputs.  The result says, in `tensors`,
    which outputs of its `program` are the gradients.  For a tensor L that is no single number
    the program has another input d_L (see `cotangents`), with which L is multiplied and summed.

    Raises `SourceErrors` with every mistake in the program, `NoGradient` (a ValueError) for
    tensors that do not exist or are no floats.
    """
    from .compiler.gradients import gradients

    program = check(source, mode=mode).require()
    return gradients(
        program,
        [of] if isinstance(of, str) else of,
        [with_respect_to] if isinstance(with_respect_to, str) else with_respect_to,
    )


def import_onnx(source: str | os.PathLike[str] | ModelProto, *, any_batch: bool = False) -> ImportedModel:
    """A model of ONNX as a program of equations, and its weights.

    `source` is a file, or a model in memory.  The result has the program in `text`, its weights by name in `weights`
    (`compile(found.text, weights=found.weights)`), and in `inputs` and `outputs` the program's tensors with their
    shapes in the model: images have their channels last.  With `any_batch` the program takes any number of samples
    where the model was written for one number.

    Raises `ImportFailed` for a file that is no model, is damaged or has parts that the language cannot say, all of
    which are listed, or where the package onnx is missing; OSError if the file cannot be read.
    """
    from .onnx.importing import import_model

    return import_model(source, open_batch=any_batch)


def import_weights(
    program: str | os.PathLike[str] | Program,
    source: str | os.PathLike[str] | Mapping[str, object],
    *,
    rename: Sequence[str] = (),
    skip: Sequence[str] = (),
    by: Literal["name", "order"] | None = None,
    inside: str | None = None,
    channels: Literal["first", "last"] | None = None,
    partial: bool = False,
    seed: int = 0,
    mode: Mode = "inferring",
) -> tuple[dict[str, Array], Report]:
    """The weights of a program from PyTorch's tensors, turned into its layout; and what was matched with what.

    `program` is a path, the text of a program, or a checked one.  `source` is a `.safetensors`,
    `.pt`, `.pth` or `.npz` file, of which nothing is run, or a mapping such as a state dict.

    Tensors are matched by name, the others in order (`by` allows one of the two).  `rename` are rules
    PATTERN=NAME for names in the file, one applied after the other; `skip` are patterns of names to
    be left out.  `inside` chooses one of several dictionaries of tensors in a file; `channels`, "first"
    or "last", says how PyTorch flattened a tensor of which the program does not tell channels from
    places.  With `partial`, weights that the file does not have get first values, by `seed`.

    Raises `SourceErrors`, `WeightsError` if a weight is left without a tensor or a rule matches
    nothing, `WeightsFileError` for a file that cannot be read or would have to be run.
    """
    from .exchange.importing import Choices, imported, pair

    found = _checked_program(program, mode)
    paired = pair(found, source, Choices(rename, skip, by, inside, channels))
    return imported(found, paired, partial=partial, seed=seed), paired.report


def export_weights(
    program: str | os.PathLike[str] | Program,
    weights: WeightsSource,
    *,
    like: str | os.PathLike[str] | Mapping[str, object] | None = None,
    rename: Sequence[str] = (),
    skip: Sequence[str] = (),
    by: Literal["name", "order"] | None = None,
    inside: str | None = None,
    channels: Literal["first", "last"] | None = None,
    mode: Mode = "inferring",
) -> dict[str, Array]:
    """The weights of a program as a state dict of PyTorch: by its names, in its layouts.

    `weights` are a module's (`module.weights`), a `.safetensors` or `.npz` file, a checkpoint or a
    mapping.  Names are the program's, with PyTorch's `weight`, `bias`, … at the end; or those of
    `like`, a file or a state dict that is matched as in `import_weights` with the same arguments,
    and whose other tensors (counters, what was skipped) are passed on as they are.

    Raises `SourceErrors`, `WeightsError` or `WeightsFileError`.
    """
    from .exchange.exporting import exported
    from .exchange.importing import Choices

    choices = Choices(rename, skip, by, inside, channels)
    return exported(_checked_program(program, mode), weights, like, choices)


def export_onnx(
    program: str | os.PathLike[str] | Program,
    path: str | os.PathLike[str],
    *,
    weights: WeightsSource | None = None,
    seed: int = 0,
) -> None:
    """Write a program as an ONNX model, with its weights; the file appears whole or not at all.

    `program` is a path, the text of a program, or a checked one; `weights` and `seed` are as for `compile`.
    Inputs, outputs and weights keep names, order of axes, shapes and dtypes; open sizes stay open.

    Raises `SourceErrors`, `WeightsError`, `ExportError` for what ONNX cannot say or where the package onnx is
    missing, and OSError.
    """
    from .exchange.importing import wanted_weights
    from .onnx_export.writing import write_model

    checked = _checked_program(program, "inferring")
    write_model(Path(path), checked, _first_or_given(checked, weights, wanted_weights(checked), seed))


def _first_or_given(
    program: Program, weights: WeightsSource | None, wanted: Sequence[TensorInfo], seed: int
) -> Mapping[str, Array]:
    """The weights that are wanted, given or, by `seed`, as the program starts them; raises `WeightsError`."""
    from .compiler.interpreter import initial_values
    from .runtime.weights import read_weights

    if weights is None:
        return initial_values(program, seed, [info.name for info in wanted])
    return read_weights(weights, wanted)


def _checked_program(program: str | os.PathLike[str] | Program, mode: Mode) -> Program:
    return check(program, mode=mode).require() if isinstance(program, str | os.PathLike) else program


def load(path: str | os.PathLike[str], *, threads: int | None = None) -> Module:
    """Load a compiled module from its file; the compiler is not needed.

    `threads` compute, by default one for each core that this process may use.  Raises a
    `ModuleError` that says why the file cannot be loaded or cannot run on this machine.
    A module is machine code: load modules from people you trust.
    """
    return Module.load(path, threads)


def source_names(sources: Mapping[str, str]) -> dict[str, str]:
    """Texts by names that say nothing of the folders of this machine, each name once."""
    named: dict[str, str] = {}
    for path, text in sources.items():
        stem = PurePath(path).stem
        name, count = f"{stem}.maj", 2
        while name.lower() in {taken.lower() for taken in named}:
            name, count = f"{stem}-{count}.maj", count + 1
        named[name] = text
    return named
