"""The compiled module as its users hold it: call it, look at it, give it weights, save it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, cast

import numpy

from . import artifact as files
from . import samples
from .arrays import Array, as_array, numpy_dtype, shape_of
from .artifact import Artifact
from .errors import ArgumentError, ClosedModule
from .executor import Executor, get_executor
from .footprint import Footprint, footprint
from .host import require_host
from .manifest import check_metadata
from .profiling import Parts, Profile, measure
from .program import Plan, Program
from .signature import Lengths, Signature, TensorInfo, describe_tensor, nearest
from .weights import WeightsSource, fit_weights, read_weights

_MOST_PLANS = 256  # combinations of input shapes remembered; a plan is small and quickly made again


class Outputs(tuple[Array, ...]):
    """Several outputs: unpacks in the program's order, and `outputs["name"]` gives one by name."""

    _names: tuple[str, ...]

    def __new__(cls, names: Sequence[str], arrays: Sequence[Array]) -> Outputs:
        outputs = super().__new__(cls, arrays)
        outputs._names = tuple(names)
        return outputs

    def __getnewargs__(self) -> tuple[Any, ...]:
        return self._names, tuple(self)

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, str):
            return super().__getitem__(key)
        if key not in self._names:
            raise KeyError(f"there is no output {key}{nearest(key, self._names)}")
        return super().__getitem__(self._names.index(key))

    def __getattr__(self, name: str) -> Array:
        if name in self.__dict__.get("_names", ()):
            return cast(Array, self[name])
        raise AttributeError(f"there is no output {name}")

    def keys(self) -> tuple[str, ...]:
        """The names of the outputs, so that `dict(outputs)` works."""
        return self._names

    def items(self) -> Iterator[tuple[str, Array]]:
        """Names and arrays."""
        return zip(self._names, self, strict=True)

    def __repr__(self) -> str:
        return f"Outputs({', '.join(f'{name}={array!r}' for name, array in self.items())})"


class Module:
    """A compiled program with weights; call it with arrays.

    A module may be called from several threads at once and after a fork.  Its calls run one
    at a time, each on all of the module's threads.
    """

    def __init__(self, artifact: Artifact, threads: int | None = None) -> None:
        """Load a module that `artifact.read` or the compiler made.

        `threads` is how many threads compute, by default as many as there are cores that
        this process may use.  Raises `ModuleError`.
        """
        require_host(artifact.manifest["target"], artifact.manifest["name"])
        manifest = artifact.manifest
        self._manifest = manifest
        self._artifact = replace(artifact, weights={})
        self._signature = Signature(manifest)
        self._input_dtypes = [numpy_dtype(entry["dtype"]) for entry in manifest["inputs"]]
        self._output_dtypes = [numpy_dtype(entry["dtype"]) for entry in manifest["outputs"]]
        self._output_names = tuple(entry["name"] for entry in manifest["outputs"])
        self._plans: dict[tuple[tuple[Lengths, ...], int], Plan] = {}
        self._weights: dict[str, Array] = {}
        self._executor = get_executor(_checked_threads(threads))
        self._program: Program | None = _loaded(artifact)
        self._own_threads = threads
        self._install(fit_weights(artifact.weights, self.parameters))

    @staticmethod
    def load(path: str | os.PathLike[str], threads: int | None = None) -> Module:
        """Load a module from a file; raises `ModuleError` with the reason if it cannot run here."""
        artifact = files.read(path)
        if artifact.manifest.get("stores"):  # it would write into weights that are only there to be read
            name = artifact.manifest["name"]
            raise ArgumentError(
                f"{name} is a training step, which changes its weights; load it with `TrainingStep.load`"
            )
        return Module(artifact, threads)

    # -- calling -----------------------------------------------------------------------------

    def __call__(
        self,
        *inputs: object,
        out: object = None,
        seed: int = 0,
        step: int = 0,
        stream: object = None,
        **named: object,
    ) -> Any:
        """Run the program.

        Inputs are given by position or by name, as NumPy arrays, anything that speaks DLPack
        (PyTorch tensors on the CPU are not copied) or nested lists, with the batch as first
        axis, of any length.  They are converted where that is safe: floats to the float of the
        program, integers to integers that hold them or to floats, truth values to numbers; never
        floats to integers.

        Gives the array of a single output, or `Outputs` for several.  They are new arrays,
        unless `out` names arrays to fill: one, or a sequence or mapping of several, row-major
        and of the right shape and dtype.  `seed` and `step` choose the random numbers of a
        program that draws any; equal ones give equal numbers.

        A module for a GPU takes arrays in its memory, too, without copying them, and then gives
        `DeviceArray`s, which DLPack takes on; `out` may be such arrays as well.  It runs after what
        `stream` was given, one of PyTorch or CuPy or a CUDA stream's address, and before what that is given next.

        Raises `ArgumentError`, `ShapeError`, `DtypeError`, `RequirementError`, `CheckError`, or
        another `ModuleError`.
        """
        program, executor = self._open()
        plan, arrays, outputs = self._arranged(program, executor, inputs, named, out)
        executor.run(lambda: program.run_in(stream, plan, arrays, outputs, seed, step), brief=plan.is_brief)
        return outputs[0] if len(outputs) == 1 else Outputs(self._output_names, outputs)

    def _arranged(
        self, program: Program, executor: Executor, inputs: Sequence[object], named: Mapping[str, object], out: object
    ) -> tuple[Plan, list[Any], list[Any]]:
        """What a call is made of: its plan, the inputs in order as the code takes them, and the outputs to fill."""
        values = self._signature.arrange(inputs, named)
        arrays = [
            program.taken(value, f"input {name}", dtype)
            for value, name, dtype in zip(values, self._signature.names, self._input_dtypes, strict=True)
        ]
        plan = self._plan(tuple([array.shape for array in arrays]), executor.threads)
        if out is not None:
            return plan, arrays, self._given_outputs(program, out, plan, arrays)
        return plan, arrays, program.new_outputs(plan, self._output_dtypes, arrays)

    def _plan(self, shapes: tuple[Lengths, ...], threads: int) -> Plan:
        plan = self._plans.get((shapes, threads))
        if plan is None:
            plan = Plan(self._manifest, self._signature.bind(shapes), threads)
            if len(self._plans) >= _MOST_PLANS:
                self._plans.clear()
            self._plans[shapes, threads] = plan
        return plan

    def _given_outputs(self, program: Program, out: Any, plan: Plan, inputs: Sequence[Any]) -> list[Any]:
        names = self._output_names
        if isinstance(out, Mapping) and set(out) == set(names):
            arrays = [out[name] for name in names]
        elif isinstance(out, numpy.ndarray) or hasattr(out, "__dlpack__"):
            arrays = [out]
        else:
            arrays = list(out) if isinstance(out, Sequence) else []
        if len(arrays) != len(names):
            raise ArgumentError(f"out must give an array for each of the outputs {', '.join(names)}")
        arrays = [
            program.given_output(array, name, shape, dtype)
            for name, array, shape, dtype in zip(names, arrays, plan.output_shapes, self._output_dtypes, strict=True)
        ]
        for position, array in enumerate(arrays):
            if any(program.shares_memory(array, other) for other in (*inputs, *arrays[:position])):
                raise ArgumentError(f"out for {names[position]} must not share memory with an input or another output")
        return arrays

    def _open(self) -> tuple[Program, Executor]:
        program = self._program
        if program is None:
            raise ClosedModule(f"module {self.name} was closed")
        return program, self._executor

    # -- measuring ---------------------------------------------------------------------------

    def random_inputs(
        self, batch: int = 1, *, sizes: Mapping[str, int] | None = None, seed: int = 0
    ) -> dict[str, Array]:
        """Random inputs to try the module with, by name: `module(**module.random_inputs(8))`.

        `sizes` are lengths of axes that the program leaves open, by name; others are 8 long.
        Whole numbers are such that no check of the program fails.  Raises `ArgumentError` for an
        unknown size.
        """
        chosen = samples.choose_sizes(self._manifest, batch, sizes or {})
        return samples.random_inputs(self._manifest, chosen, seed)

    def profile(
        self, *inputs: object, out: object = None, seconds: float = 2.0, rounds: int | None = None, **named: object
    ) -> Profile:
        """Run the program on these inputs and time each of its steps.

        Inputs and `out` are as for a call.  It runs `rounds` times, or, if that is None, as often as
        `seconds` allow, at least three times.  Raises what a call does.
        """
        program, executor = self._open()
        plan, arrays, outputs = self._arranged(program, executor, inputs, named, out)
        executor.run(lambda: program.run(plan, arrays, outputs, 0, 0))

        def time_parts(parts: Parts) -> list[float]:
            taken: list[float] = executor.run(lambda: program.time_parts(plan, arrays, outputs, parts))
            return taken

        sizes = self._signature.bind([array.shape for array in arrays])
        return measure(self._manifest["steps"], sizes, time_parts, executor.threads, seconds=seconds, rounds=rounds)

    def memory(self, batch: int = 1, *, sizes: Mapping[str, int] | None = None) -> Footprint:
        """The bytes that a call with a batch of this length needs: weights, what is made of them, working memory.

        `sizes` are as for `random_inputs`.  Raises `ArgumentError` for an unknown size.
        """
        chosen = samples.choose_sizes(self._manifest, batch, sizes or {})
        return footprint(self._manifest, chosen, self.threads)

    def sizes_of(self, inputs: Mapping[str, object]) -> dict[str, int]:
        """The sizes that the program leaves open, by name, as these inputs settle them; raises what a call does."""
        values = self._signature.arrange((), inputs)
        return self._signature.bind(
            [
                shape_of(v) if hasattr(v, "shape") else as_array(v, f"input {n}").shape
                for v, n in zip(values, self._signature.names, strict=True)
            ]
        )

    # -- what it is --------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The program's name."""
        return str(self._manifest["name"])

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """Names, shapes and dtypes of the inputs, in order."""
        return tuple(map(describe_tensor, self._manifest["inputs"]))

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """Names, shapes and dtypes of the outputs, in order."""
        return tuple(map(describe_tensor, self._manifest["outputs"]))

    @property
    def is_batched(self) -> bool:
        """Whether an input has a batch, of any length."""
        return bool(samples.batch_symbols(self._manifest))

    @property
    def parameters(self) -> tuple[TensorInfo, ...]:
        """Names, shapes and dtypes of the weights: parameters first, then saved state."""
        return tuple(describe_tensor(entry) for entry in (*self._manifest["parameters"], *self._manifest["states"]))

    @property
    def target(self) -> Mapping[str, Any]:
        """The machine that the module was compiled for."""
        return MappingProxyType(dict(self._manifest["target"]))

    @property
    def sources(self) -> Mapping[str, str]:
        """The program's texts by file name, as far as the module has them."""
        return MappingProxyType(dict(self._artifact.sources))

    @property
    def source(self) -> str:
        """The text of the main program, empty if the module does not have it."""
        return next(iter(self._artifact.sources.values()), "")

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What is kept with the module beside its program, as plain values.

        `maj train` keeps `classes`, the names of the classes in the order of their scores;
        `pixels`, the inputs for which bytes are divided by 255; and `normalisation`, by input the
        `mean` and `deviation` of what it was trained with.  Calls do not look at it.
        """
        return MappingProxyType(dict(self._manifest.get("metadata", {})))

    def set_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Keep plain values (what JSON can hold) with the module, instead of those before.

        Raises `ArgumentError` for anything else.
        """
        try:
            plain = json.loads(json.dumps(dict(metadata), allow_nan=False))
            check_metadata(plain)
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            raise ArgumentError(f"the metadata cannot be kept: {error}") from error
        self._manifest = {**self._manifest, "metadata": plain}
        self._artifact = replace(self._artifact, manifest=self._manifest)

    def __repr__(self) -> str:
        inputs, outputs = ", ".join(map(str, self.inputs)), ", ".join(map(str, self.outputs))
        state = ", closed" if self._program is None else ""
        return f"<Module {self.name} ({inputs}) -> ({outputs}){state}>"

    # -- weights -----------------------------------------------------------------------------

    @property
    def weights(self) -> Mapping[str, Array]:
        """Parameters and state by name; read-only, `load_weights` replaces them."""
        return MappingProxyType(self._weights)

    def load_weights(self, source: WeightsSource) -> None:
        """Replace all weights by those of a `.safetensors` or `.npz` file or of a mapping.

        Calls that are running finish with the weights before.  Raises `WeightsError`, which
        names everything that does not fit, and then changes nothing.
        """
        self._open()
        self._install(read_weights(source, self.parameters))

    def refresh_weights(self) -> None:
        """Take note that the memory of the weights was written to: what was prepared of them is prepared again."""
        self._install(self._weights)

    def fetch_weights(self, arrays: Mapping[str, Array]) -> None:
        """Have these arrays, which the weights were given as, hold what a training step has made of them on a GPU."""
        program, executor = self._open()
        executor.run(lambda: program.read_back(arrays))

    def _install(self, weights: Mapping[str, Array]) -> None:
        program, executor = self._open()
        placed: Mapping[str, Array] = executor.run(lambda: program.set_weights(weights, executor.threads))
        self._weights = {name: _read_only(array) for name, array in placed.items()}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the module with its present weights to a file, which appears whole or not at all."""
        files.write(path, self._present())

    def _present(self) -> Artifact:
        self._open()
        return replace(self._artifact, weights=self._weights)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles carry everything with them, machine code included."""
        present = self._present()
        parts = (present.manifest, bytes(present.library), self._weights, present.constants, present.sources)
        return _rebuild, (parts, self._own_threads)

    # -- resources ---------------------------------------------------------------------------

    @property
    def threads(self) -> int:
        """How many threads compute."""
        return self._executor.threads

    def set_threads(self, threads: int | None) -> None:
        """Compute with this many threads from now on; None means one for each available core."""
        self._open()
        self._executor = get_executor(_checked_threads(threads))
        self._own_threads = threads

    def close(self) -> None:
        """Give memory and threads back; the module cannot be called any more."""
        self._program = None
        self._weights = {}

    def __enter__(self) -> Module:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _loaded(artifact: Artifact) -> Program:
    """The program of a module, for the CPU or a GPU."""
    if artifact.manifest["target"].get("kind") == "cuda":
        from .cuda.program import GpuProgram

        return GpuProgram(artifact)
    return Program(artifact)


def _checked_threads(threads: int | None) -> int | None:
    if threads is not None and threads < 1:
        raise ArgumentError(f"threads must be at least 1, not {threads}")
    return threads


def _read_only(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view


def _rebuild(parts: tuple[Any, ...], threads: int | None) -> Module:
    return Module(Artifact(*parts), threads)
