"""A loaded program for a GPU: as `runtime.program.Program`, with everything in the GPU's memory.

The main function runs on the CPU as ever.  It works out addresses and calls functions that start kernels, which
find the kernels and the driver in tables of the library: `install` fills them in.  All work of a module goes
through one stream, in order.
"""

from __future__ import annotations

import ctypes
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy

from .. import sizes
from ..arrays import Array, address, numpy_dtype
from ..artifact import Artifact
from ..errors import ArgumentError, CheckError, DtypeError, ForeignGpu, NativeLibraryError
from ..library import Arguments
from ..program import EVERYTHING, PREPARE, Plan, Program, as_int64
from .device_array import DeviceArray, imported, is_on_gpu, new_array
from .devices import Context, Device, Memory, context, require_device, stream_handle
from .driver import Driver
from .streams import InFlight, Recordings, Stream

_RANDOM = "random numbers"
"""The road of steps that draw them, in the manifest."""


class _Table(ctypes.Structure):
    """What a library keeps of the driver; see `compiler/codegen/gpu/starting.c`."""

    _fields_ = (
        ("launch", ctypes.c_void_p),
        ("copy", ctypes.c_void_p),
        ("wait", ctypes.c_void_p),
        ("stream", ctypes.c_void_p),
        ("error", ctypes.c_int64),
    )


class GpuProgram(Program):
    """The code of a module with its weights in place, on a GPU."""

    def __init__(self, artifact: Artifact) -> None:
        """Load the code; `set_weights` must follow.  Raises `NoGpu`, `ForeignGpu` and what a library raises."""
        device = require_device()
        _require_architecture(device, artifact.manifest)
        super().__init__(artifact)
        self.context = context(device)
        self.context.enter()
        self._own_stream = Stream(self.context)
        self.stream = self._own_stream.handle
        self._in_flight = InFlight(self.context)
        steps = artifact.manifest["steps"]
        self._is_random = any(_RANDOM in step["road"] for step in steps)
        # What a training step keeps depends on a number that the processor reads in the middle of it.
        self._recordings = None if artifact.manifest["stores"] else Recordings(self.context, self.stream)
        self._modules: list[int] = []
        self._table = self._installed(device.capability, artifact.manifest["target"]["gpu"]["capability"])
        self._memory: dict[tuple[str, str], Memory] = {}
        self._working = Memory(self.context, 0)
        self._flags = Memory(self.context, self._status.nbytes)
        self._staging: dict[int, Memory] = {}  # of inputs and outputs in the CPU's memory, by buffer
        self._arguments = self._call_of(self._buffers)

    def _call_of(self, buffers: Array) -> Arguments:
        return Arguments(
            [
                (address(buffers), len(buffers), 64),
                (address(self._sizes), len(self._sizes), 64),
                (self._flags.address, len(self._status), 32),
            ]
        )

    def _installed(self, here: int, made_for: int) -> _Table:
        """The library's table, once the kernels are loaded and the driver is in it."""
        library, driver = self._library.symbols(), self.context.driver
        try:
            return self._filled_in(library, driver, exact=here // 10 == made_for // 10)
        except ValueError as error:  # from ctypes
            raise NativeLibraryError(f"the module's code is not for a GPU: {error}") from error

    def _filled_in(self, library: ctypes.CDLL, driver: Driver, *, exact: bool) -> _Table:
        count = ctypes.c_int64.in_dll(library, "majuscule_count").value
        images = (ctypes.c_void_p * count).in_dll(library, f"majuscule_{'binaries' if exact else 'portables'}")
        names = (ctypes.c_char_p * count).in_dll(library, "majuscule_names")
        functions = (ctypes.c_void_p * count).in_dll(library, "majuscule_functions")
        for position in range(count):
            self._modules.append(driver.handle("cuModuleLoadData", images[position]))
            functions[position] = driver.handle("cuModuleGetFunction", self._modules[-1], names[position])
        table = _Table.in_dll(library, "majuscule_driver")
        table.launch, table.copy, table.wait = (
            driver.address(name) for name in ("cuLaunchKernel", "cuMemcpyDtoHAsync_v2", "cuStreamSynchronize")
        )
        table.stream = self.stream
        return table

    # -- weights -------------------------------------------------------------------------------

    def set_weights(self, weights: Mapping[str, Array], threads: int) -> Mapping[str, Array]:
        """As on the CPU: copies of these weights are used on the GPU.  Gives the weights."""
        self.context.enter()
        arrays = {"constant": self._constants, "parameter": weights, "state": weights}
        shapes = {entry["name"]: entry for entry in self._manifest["prepared"]}
        placed: dict[tuple[str, str], Memory] = {}
        buffers = numpy.zeros_like(self._buffers)
        for position, entry in enumerate(self._manifest["buffers"]):
            key = entry["kind"], entry["name"]
            if entry["kind"] in arrays:
                array = arrays[entry["kind"]][entry["name"]]
                placed[key] = self.context.allocate(array.nbytes)
                self.context.write(placed[key].address, numpy.ascontiguousarray(array), self.stream)
            elif entry["kind"] == "prepared":
                placed[key] = self.context.allocate(_bytes_of(shapes[entry["name"]], {}))
            else:
                continue
            buffers[position] = placed[key].address
        self.context.wait(self.stream)
        if shapes:
            minimums = [entry["minimum"] for entry in self._manifest["symbols"]]
            self._write_sizes(*minimums, 0, 0, *EVERYTHING, threads)
            self._call(self._library.function(PREPARE), self._call_of(buffers))
            self.context.wait(self.stream)
        for entry in self._manifest["buffers"]:
            if "until" in entry:  # calls do not read it
                placed.pop((entry["kind"], entry["name"]), None)
        buffers[self._arena_positions] = self._buffers[self._arena_positions]
        self._memory, self._weights = placed, dict(weights)
        self._buffers[:] = buffers
        return self._weights

    def read_back(self, arrays: Mapping[str, Array]) -> None:
        """Copy parameters and state from the GPU into arrays, by name: what a training step has made of them."""
        self.context.enter()
        for (kind, name), memory in self._memory.items():
            if kind in ("parameter", "state") and name in arrays:
                self.context.read(arrays[name], memory.address, self.stream)
        self.context.wait(self.stream)

    # -- the arrays of a call ------------------------------------------------------------------

    def taken(self, value: object, name: str, dtype: numpy.dtype[Any]) -> Any:
        """As on the CPU; an array in the GPU's memory is taken as it is, and must have the program's dtype."""
        if not is_on_gpu(value):
            return super().taken(value, name, dtype)
        self.context.enter()
        found = imported(value, self.context, self.stream, name)
        if found.dtype != dtype:
            raise DtypeError(f"{name} must be {dtype.name}, but it is {found.dtype.name}, in the GPU's memory")
        return found

    def new_outputs(self, plan: Plan, dtypes: Sequence[numpy.dtype[Any]], inputs: Sequence[Any]) -> list[Any]:
        """On the GPU if an input is."""
        if not any(isinstance(array, DeviceArray) for array in inputs):
            return super().new_outputs(plan, dtypes, inputs)
        self.context.enter()
        shapes = zip(plan.output_shapes, dtypes, strict=True)
        return [new_array(self.context, shape, dtype.name, self._own_stream) for shape, dtype in shapes]

    def given_output(self, array: Any, name: str, shape: tuple[int, ...], dtype: numpy.dtype[Any]) -> Any:
        """As on the CPU, or an array in the GPU's memory."""
        if not is_on_gpu(array):
            return super().given_output(array, name, shape, dtype)
        self.context.enter()
        found = imported(array, self.context, self.stream, f"out for {name}")
        if found.shape != shape or found.dtype != dtype:
            raise ArgumentError(f"out for {name} must be an array on the GPU: {dtype.name}{list(shape)}")
        return found

    def shares_memory(self, array: Any, other: Any) -> bool:
        """Two arrays on the GPU do if their addresses overlap; what is in the CPU's memory is copied first and last."""
        if isinstance(array, DeviceArray) and isinstance(other, DeviceArray):
            first, second = sorted((array, other), key=lambda found: found.address)
            return first.address + first.nbytes > second.address and bool(first.nbytes and second.nbytes)
        if isinstance(array, DeviceArray) or isinstance(other, DeviceArray):
            return False
        return super().shares_memory(array, other)

    # -- running -------------------------------------------------------------------------------

    def run_in(
        self, stream: object, plan: Plan, inputs: Sequence[Any], outputs: Sequence[Any], seed: int, step: int
    ) -> None:
        """As `run`, after what a stream was given until now and before what it is given next."""
        if stream is None:
            self.run(plan, inputs, outputs, seed, step)
            return
        handle = stream_handle(stream)
        self.context.enter()
        self.context.order(handle, self.stream)
        self.run(plan, inputs, outputs, seed, step)
        self.context.order(self.stream, handle)

    def run(self, plan: Plan, inputs: Sequence[Any], outputs: Sequence[Any], seed: int, step: int) -> None:
        """Fill the outputs from the inputs, which are arrays of NumPy or `DeviceArray`s.

        Returns when outputs of NumPy are filled; those on the GPU may still be filled later in the stream, unless
        the program has checks.  Raises `CheckError`, `ExecutionError` or `OutOfMemory`.
        """
        self.context.enter()
        self._place(plan, inputs, outputs)
        self._write_sizes(*plan.symbols, as_int64(seed), as_int64(step), *EVERYTHING, plan.threads)
        self.context.clear(self._flags.address, self._status.nbytes, self.stream)
        self._start(seed, step)
        self._collect(outputs)
        if len(self._status):
            self.context.read(self._status, self._flags.address, self.stream)
        if len(self._status) or not all(isinstance(array, DeviceArray) for array in (*inputs, *outputs)):
            self.context.wait(self.stream)
        else:
            self._in_flight.keep((*inputs, *outputs), self.stream)
        if len(self._status) and self._status.any():
            failed = numpy.flatnonzero(self._status)
            raise CheckError("; ".join(self._manifest["checks"][i]["message"] for i in failed))

    def _start(self, seed: int, step: int) -> None:
        """Start all kernels of a call whose arrays and sizes are written down."""
        if self._recordings is None:
            self._call(self._run, self._arguments)
            return
        drawn = (seed, step) if self._is_random else ()
        sizes = self._sizes[: len(self._manifest["symbols"])].tobytes()
        key = self._buffers.tobytes(), sizes, drawn
        self._recordings.run(key, lambda: self._call(self._run, self._arguments))

    def time_parts(
        self, plan: Plan, inputs: Sequence[Any], outputs: Sequence[Any], parts: Sequence[tuple[int, int]]
    ) -> list[float]:
        """As on the CPU, by events in the stream."""
        self.context.enter()
        self._place(plan, inputs, outputs)
        self._write_sizes(*plan.symbols, 0, 0, *EVERYTHING, plan.threads)
        interval = slice(len(plan.symbols) + 2, len(plan.symbols) + 4)
        driver = self.context.driver
        events = [driver.handle("cuEventCreate", 0) for _ in range(len(parts) + 1)]
        try:
            driver.call("cuEventRecord", events[0], self.stream)
            for part, event in zip(parts, events[1:], strict=True):
                self._sizes[interval] = part
                self._call(self._run, self._arguments)
                driver.call("cuEventRecord", event, self.stream)
            self.context.wait(self.stream)
            taken = ctypes.c_float()
            found = []
            for start, end in itertools.pairwise(events):
                driver.call("cuEventElapsedTime", ctypes.byref(taken), start, end)
                found.append(taken.value / 1e3)
            return found
        finally:
            for event in events:
                driver.call("cuEventDestroy_v2", event)

    def _call(self, function: Any, arguments: Arguments) -> None:
        """Call a function of the library, which starts kernels; raises what the driver says."""
        self._table.error = 0
        function(arguments)
        self.context.driver.check(self._table.error)

    def _place(self, plan: Plan, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Write down where the arrays of a call are, with copies of those that are not on the GPU."""
        self._reserve(plan.arena)
        for position, index in self._input_positions:
            array = inputs[index]
            if isinstance(array, DeviceArray):
                self._buffers[position] = array.address
            else:
                self._buffers[position] = self._staged(position, array.nbytes)
                self.context.write(int(self._buffers[position]), array, self.stream)
        for position, index in self._output_positions:
            array = outputs[index]
            on_gpu = isinstance(array, DeviceArray)
            self._buffers[position] = array.address if on_gpu else self._staged(position, array.nbytes)

    def _collect(self, outputs: Sequence[Any]) -> None:
        """Copy outputs that are wanted in the CPU's memory there."""
        for position, index in self._output_positions:
            if not isinstance(outputs[index], DeviceArray):
                self.context.read(outputs[index], int(self._buffers[position]), self.stream)

    def _staged(self, position: int, size: int) -> int:
        """Where a buffer of the caller's has its counterpart on the GPU."""
        memory = self._staging.get(position)
        if memory is None or memory.size < size:
            self._staging.pop(position, None)  # give the old one back first
            memory = self._staging[position] = self.context.allocate(size)
        return memory.address

    def _reserve(self, size: int) -> None:
        if self._working.size >= size and self._working.size:
            return
        self._working = Memory(self.context, 0)  # give the old one back first
        self._working = self.context.allocate(max(size, 1))
        self._buffers[self._arena_positions] = self._working.address

    def __del__(self) -> None:
        found: Context | None = getattr(self, "context", None)
        if found is None:
            return
        library = found.driver.library
        library.cuCtxSetCurrent(found.handle)
        if getattr(self, "stream", 0):
            library.cuStreamSynchronize(self.stream)
        for module in getattr(self, "_modules", ()):
            library.cuModuleUnload(module)


def _require_architecture(device: Device, manifest: Mapping[str, Any]) -> None:
    """Refuse a module that was compiled for later GPUs than this one."""
    needed = manifest["target"]["gpu"]["capability"]
    if device.capability < needed:
        raise ForeignGpu(
            f"{manifest['name']} was compiled for GPUs from sm_{needed} on, but the {device.name} of this machine is "
            f"an {device.architecture}; compile the program again with --target cuda:{device.architecture}"
        )


def _bytes_of(entry: Mapping[str, Any], symbols: Mapping[str, int]) -> int:
    """The bytes of a tensor of the manifest."""
    return math.prod(sizes.evaluate(size, symbols) for size in entry["shape"]) * numpy_dtype(entry["dtype"]).itemsize
