"""A loaded program: machine code, the memory it works in, and the tables it is called with.

The code takes a vector of buffer addresses, a vector of sizes and a vector of failed
checks.  Addresses of weights stay the same between calls; those of inputs and outputs are
written before each call, and working memory (the arena) grows to the largest call seen.
All of this belongs to the executor's thread: only functions that run there touch it.
"""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy

from . import sizes
from .arrays import ALIGNMENT, Array, address, aligned_copy, aligned_empty, as_array, convert, is_plain, numpy_dtype
from .artifact import Artifact
from .buffers import let_go, new_buffer
from .errors import ArgumentError, CheckError, OutOfMemory
from .library import Arguments, Library

RUN, PREPARE = "majuscule_run", "majuscule_prepare"
_AFTER_SYMBOLS = 5  # seed, step, first, last, threads
EVERYTHING = (0, 2**62)
"""The first action to run and the one to stop before, for all of them."""
_BRIEF = 5e-4  # seconds of a run that nobody minds waiting for
_WEIGHT_KINDS = ("parameter", "state")


class Plan:
    """What run-time sizes and the number of threads settle: symbol values, output shapes, arena size."""

    __slots__ = ("arena", "is_brief", "output_shapes", "symbols", "threads")

    def __init__(self, manifest: Mapping[str, Any], symbols: Mapping[str, int], threads: int) -> None:
        self.threads = threads
        self.is_brief = False  # until a run has shown it
        self.symbols = [symbols[entry["name"]] for entry in manifest["symbols"]]
        self.output_shapes = [
            tuple(sizes.evaluate(size, symbols) for size in entry["shape"]) for entry in manifest["outputs"]
        ]
        self.arena = sizes.evaluate(manifest["arena"], {**symbols, sizes.THREADS: threads})


class Program:
    """The machine code of a module with its weights in place."""

    def __init__(self, artifact: Artifact) -> None:
        """Load the code; `set_weights` must follow, on the executor's thread."""
        manifest = artifact.manifest
        self._manifest = manifest
        self._library = Library(bytes(artifact.library))
        self._run = self._library.function(RUN)
        self._constants = {name: _aligned(array) for name, array in artifact.constants.items()}
        self._weights: Mapping[str, Array] = {}
        self._prepared: Mapping[str, Array] = {}
        self._arena = numpy.empty(0, numpy.uint8)
        self._buffers = numpy.zeros(len(manifest["buffers"]), numpy.int64)
        self._sizes = numpy.zeros(len(manifest["symbols"]) + _AFTER_SYMBOLS, numpy.int64)
        self._write_sizes = partial(struct.Struct(f"{len(self._sizes)}q").pack_into, self._sizes.data, 0)
        self._status = numpy.zeros(len(manifest["checks"]), numpy.int32)
        self._arguments = _arguments(self._buffers, self._sizes, self._status)
        self._input_positions = self._positions("input", manifest["inputs"])
        self._output_positions = self._positions("output", manifest["outputs"])
        self._arena_positions = [i for i, entry in enumerate(manifest["buffers"]) if entry["kind"] == "arena"]

    def set_weights(self, weights: Mapping[str, Array], threads: int) -> Mapping[str, Array]:
        """Use these parameters and state, and redo the work that depends on nothing else.

        `threads` is the number of threads of the executor.  Gives the arrays in use: the given
        ones, or copies of those that are not aligned.  If it fails, the weights before stay in use.
        """
        placed = {name: _aligned(array) for name, array in weights.items()}
        prepared = _prepared_buffers(self._manifest)
        tables = {"constant": self._constants, "prepared": prepared, **dict.fromkeys(_WEIGHT_KINDS, placed)}
        buffers = numpy.zeros_like(self._buffers)
        for position, entry in enumerate(self._manifest["buffers"]):
            if entry["kind"] in tables:
                buffers[position] = address(tables[entry["kind"]][entry["name"]])
        if prepared:
            self._prepare(buffers, tables, threads)
        buffers[self._arena_positions] = self._buffers[self._arena_positions]
        self._weights, self._prepared = placed, prepared
        self._buffers[:] = buffers
        return placed

    def read_back(self, arrays: Mapping[str, Array]) -> None:
        """Have the arrays, those of the weights, hold what runs have made of them: here runs write to them."""

    def _prepare(self, buffers: Array, tables: Mapping[str, dict[str, Array]], threads: int) -> None:
        """Fill the prepared buffers; what calls do not read leaves memory as soon as it is of no use any more."""
        function, status = self._library.function(PREPARE), numpy.zeros_like(self._status)
        arguments = _arguments(buffers, self._sizes, status)
        minimums = [entry["minimum"] for entry in self._manifest["symbols"]]
        first, end = EVERYTHING
        passing = [(entry["until"], entry) for entry in self._manifest["buffers"] if "until" in entry]
        for until in sorted({end, *(until for until, _ in passing)}):
            self._write_sizes(*minimums, 0, 0, first, until, threads)
            function(arguments)
            first = until
            for entry in (entry for last, entry in passing if last == until):
                let_go(tables[entry["kind"]][entry["name"]])
                if entry["kind"] == "prepared":
                    del tables["prepared"][entry["name"]]

    # -- the arrays of a call ------------------------------------------------------------------

    def taken(self, value: object, name: str, dtype: numpy.dtype[Any]) -> Any:
        """An input as the code takes it; raises `ArgumentError` or `DtypeError`."""
        if type(value) is numpy.ndarray and value.dtype == dtype and is_plain(value):
            return value
        return convert(as_array(value, name), dtype, name)

    def new_outputs(self, plan: Plan, dtypes: Sequence[numpy.dtype[Any]], inputs: Sequence[Any]) -> list[Any]:
        """Arrays for the outputs, where the inputs are; raises `OutOfMemory`."""
        try:
            return [aligned_empty(shape, dtype) for shape, dtype in zip(plan.output_shapes, dtypes, strict=True)]
        except MemoryError as error:
            raise OutOfMemory("there is not enough memory for the outputs; a smaller batch needs less") from error

    def given_output(self, array: Any, name: str, shape: tuple[int, ...], dtype: numpy.dtype[Any]) -> Any:
        """An array of the caller's that is to be filled; raises `ArgumentError` if it does not fit."""
        if not isinstance(array, numpy.ndarray) or array.shape != shape or array.dtype != dtype:
            raise ArgumentError(f"out for {name} must be a NumPy array: {dtype.name}{list(shape)}")
        if not (is_plain(array) and array.flags.writeable):
            raise ArgumentError(f"out for {name} must be writeable and row-major (C-contiguous)")
        return array

    def shares_memory(self, array: Any, other: Any) -> bool:
        """Whether two arrays of a call may have an element in common."""
        return numpy.may_share_memory(array, other)

    # -- running -------------------------------------------------------------------------------

    def run_in(
        self, stream: object, plan: Plan, inputs: Sequence[Any], outputs: Sequence[Any], seed: int, step: int
    ) -> None:
        """As `run`, in order with what else is done in a stream of a GPU; raises `ArgumentError` without one."""
        if stream is not None:
            raise ArgumentError("a stream is for a module on a GPU, and this one runs on the CPU")
        self.run(plan, inputs, outputs, seed, step)

    def run(self, plan: Plan, inputs: Sequence[Array], outputs: Sequence[Array], seed: int, step: int) -> None:
        """Fill the outputs, row-major arrays of the planned shapes, from the inputs.

        Raises `CheckError`, `ExecutionError` or `OutOfMemory`.
        """
        self._place(plan, inputs, outputs)
        self._write_sizes(*plan.symbols, as_int64(seed), as_int64(step), *EVERYTHING, plan.threads)
        if len(self._status):
            self._status.fill(0)
        start = time.perf_counter()
        self._run(self._arguments)
        plan.is_brief = time.perf_counter() - start < _BRIEF
        if len(self._status) and self._status.any():
            failed = numpy.flatnonzero(self._status)
            raise CheckError("; ".join(self._manifest["checks"][i]["message"] for i in failed))

    def time_parts(
        self, plan: Plan, inputs: Sequence[Array], outputs: Sequence[Array], parts: Sequence[tuple[int, int]]
    ) -> list[float]:
        """Run parts of the program, one after the other, and give the seconds that each took.

        A part is a half-open interval of places in the manifest's `steps`.  Seed and step are 0,
        and checks that fail are not reported.  Raises `ExecutionError` or `OutOfMemory`.
        """
        self._place(plan, inputs, outputs)
        self._write_sizes(*plan.symbols, 0, 0, *EVERYTHING, plan.threads)
        interval = slice(len(plan.symbols) + 2, len(plan.symbols) + 4)
        taken: list[float] = []
        for part in parts:
            self._sizes[interval] = part
            start = time.perf_counter()
            self._run(self._arguments)
            taken.append(time.perf_counter() - start)
        return taken

    def _place(self, plan: Plan, inputs: Sequence[Array], outputs: Sequence[Array]) -> None:
        """Write down where the arrays of a call are."""
        self._reserve(plan.arena)
        buffers = self._buffers
        for position, index in self._input_positions:
            buffers[position] = address(inputs[index])
        for position, index in self._output_positions:
            buffers[position] = address(outputs[index])

    def _reserve(self, size: int) -> None:
        if len(self._arena) >= size and len(self._arena):
            return
        self._arena = numpy.empty(0, numpy.uint8)  # give the old one back first
        try:
            self._arena = new_buffer(max(size, ALIGNMENT))
        except (MemoryError, ValueError) as error:
            raise OutOfMemory(
                f"this call needs {size / 2**20:,.0f} MiB of working memory, which the system does not give; "
                "a smaller batch needs less"
            ) from error
        self._buffers[self._arena_positions] = address(self._arena)

    def _positions(self, kind: str, entries: Sequence[Mapping[str, Any]]) -> list[tuple[int, int]]:
        """Pairs of a place among the buffers and one among the entries; an unused input has no buffer."""
        numbers = {entry["name"]: number for number, entry in enumerate(entries)}
        buffers = enumerate(self._manifest["buffers"])
        return [(position, numbers[entry["name"]]) for position, entry in buffers if entry["kind"] == kind]


def as_int64(number: int) -> int:
    """The number with the same lowest 64 bits, of which random numbers are a function."""
    return (number + 2**63) % 2**64 - 2**63


def _arguments(*vectors: Array) -> Arguments:
    """The vectors as arguments; whoever calls with them keeps the vectors alive."""
    return Arguments([(address(vector), len(vector), vector.itemsize * 8) for vector in vectors])


def _prepared_buffers(manifest: Mapping[str, Any]) -> dict[str, Array]:
    """Buffers for what is prepared: those that calls read side by side, the others each with memory of its own."""
    passing = {entry["name"] for entry in manifest["buffers"] if entry["kind"] == "prepared" and "until" in entry}
    shapes = {e["name"]: [sizes.evaluate(size, {}) for size in e["shape"]] for e in manifest["prepared"]}
    dtypes = {entry["name"]: numpy_dtype(entry["dtype"]) for entry in manifest["prepared"]}
    lengths = {name: math.prod(shape) * dtypes[name].itemsize for name, shape in shapes.items()}
    places, end = {}, 0
    for name, length in lengths.items():
        if name not in passing:
            places[name], end = end, end + -(-length // ALIGNMENT) * ALIGNMENT
    together = new_buffer(end)
    found = {}
    for name, length in lengths.items():
        memory = new_buffer(length) if name in passing else together[places[name] : places[name] + length]
        found[name] = memory.view(dtypes[name]).reshape(shapes[name])
    return found


def _aligned(array: Array) -> Array:
    """The array itself if vector loads from it cross no cache line, else a copy for which that holds."""
    return array if address(array) % ALIGNMENT == 0 and array.flags.c_contiguous else aligned_copy(array)
