"""Modules for a GPU, which is emulated: calls, memory, arrays on the GPU, refusals."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest

import majuscule
from majuscule.api import compile_artifact
from majuscule.runtime import artifact as files
from majuscule.runtime import errors
from majuscule.runtime.cuda.device_array import DeviceArray, new_array
from majuscule.runtime.cuda.devices import context, require_device

PROGRAM = """\
Given x[6], pick[]: int64
param table[4, 5]
h = tanh(FC(x, units 5))
y[b,i] = h[b,i] + table[pick[b], i]
output h, y
"""

Driver = ctypes.CDLL


def number(driver: Driver, name: str) -> int:
    """A variable of the emulated driver."""
    return int(ctypes.c_int64.in_dll(driver, name).value)


def set_number(driver: Driver, name: str, value: int, kind: Any = ctypes.c_int) -> None:
    kind.in_dll(driver, name).value = value


@pytest.fixture
def module(emulated_gpu: Driver) -> majuscule.Module:
    return majuscule.compile(PROGRAM, target="cuda")


def samples(batch: int) -> dict[str, Any]:
    numbers = numpy.random.default_rng(batch)
    return {"x": numbers.normal(size=(batch, 6)).astype("float32"), "pick": numbers.integers(0, 4, batch)}


def wanted(module: majuscule.Module, batch: int) -> list[Any]:
    """What a module for the CPU gives with the same weights."""
    with majuscule.compile(PROGRAM, weights=module.weights) as other:
        return [numpy.array(array) for array in other(**samples(batch))]


class Foreign:
    """An array on the GPU as another library has it: it speaks DLPack and no more."""

    def __init__(self, array: DeviceArray) -> None:
        self._array = array
        self.asked_for: list[Any] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()

    def __dlpack__(self, *, stream: int | None = None) -> object:
        self.asked_for.append(stream)
        return self._array.__dlpack__(stream=stream)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._array.shape


def on_gpu(array: numpy.ndarray[Any, Any]) -> DeviceArray:
    """A copy of an array on the GPU."""
    place = context(require_device())
    found = new_array(place, array.shape, array.dtype.name)
    place.write(found.address, array, 0)
    return found


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_calls_with_arrays_of_numpy(module: majuscule.Module, batch: int) -> None:
    for found, expected in zip(module(**samples(batch)), wanted(module, batch), strict=True):
        assert isinstance(found, numpy.ndarray)
        numpy.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_out_takes_arrays_here_and_there(module: majuscule.Module) -> None:
    given = samples(3)
    h, y = wanted(module, 3)
    out = [numpy.empty_like(h), on_gpu(numpy.empty_like(y))]
    assert module(**given, out=out)[0] is out[0]
    numpy.testing.assert_allclose(out[0], h, rtol=1e-6, atol=1e-7)
    numpy.testing.assert_allclose(out[1].numpy(), y, rtol=1e-6, atol=1e-7)
    with pytest.raises(errors.ArgumentError, match=r"out for y must be an array on the GPU: float32\[3, 5\]"):
        module(**given, out=[out[0], on_gpu(y.astype("float64"))])
    with pytest.raises(errors.ArgumentError, match="share memory"):
        module(**given, out=[out[1], out[1]])


def test_arrays_on_the_gpu_are_not_copied(emulated_gpu: Driver, module: majuscule.Module) -> None:
    given = samples(5)
    x, pick = Foreign(on_gpu(given["x"])), on_gpu(given["pick"])
    module(x, pick)
    before = number(emulated_gpu, "emulated_used")
    found = module(x, pick)
    assert all(isinstance(array, DeviceArray) for array in found)
    assert number(emulated_gpu, "emulated_used") - before == sum(array.nbytes for array in found)
    for array, expected in zip(found, wanted(module, 5), strict=True):
        numpy.testing.assert_allclose(array, expected, rtol=1e-6, atol=1e-7)
        assert (array.shape, array.dtype, array.ndim, len(array)) == (expected.shape, expected.dtype, 2, 5)
    assert x.asked_for[0] not in (None, 0), "the other library is told for which stream"


def test_calls_on_the_gpu_do_not_wait(emulated_gpu: Driver) -> None:
    module = majuscule.compile("Given x[6]\ny = exp(x)\n", target="cuda")
    data = samples(3)["x"]
    array = on_gpu(data)
    module(array)
    before = number(emulated_gpu, "emulated_waits")
    found = module(array)
    assert number(emulated_gpu, "emulated_waits") == before
    numpy.testing.assert_allclose(found.numpy(), numpy.exp(data), rtol=1e-6)
    assert number(emulated_gpu, "emulated_waits") == before + 1


def test_a_tensor_lives_as_long_as_somebody_has_it(emulated_gpu: Driver, module: majuscule.Module) -> None:
    given = samples(4)
    h, y = module(on_gpu(given["x"]), on_gpu(given["pick"]))
    gc.collect()
    before, expected = number(emulated_gpu, "emulated_used"), h.numpy()
    taken = Foreign(h)
    capsule = taken.__dlpack__()
    unused = y.__dlpack__()
    del taken, h
    gc.collect()
    assert number(emulated_gpu, "emulated_used") == before, "who has the capsule has the tensor"
    del capsule, unused, y
    gc.collect()
    assert number(emulated_gpu, "emulated_used") == before - 2 * expected.nbytes, "nobody took it"


def test_arrays_that_cannot_be_taken_are_named(module: majuscule.Module) -> None:
    given = samples(2)
    with pytest.raises(errors.DtypeError, match="input x must be float32, but it is float64"):
        module(on_gpu(given["x"].astype("float64")), given["pick"])
    with pytest.raises(errors.ShapeError):
        module(on_gpu(numpy.zeros((2, 7), "float32")), given["pick"])
    with pytest.raises(errors.ArgumentError, match="no CUDA stream"):
        module(**given, stream="first")
    with pytest.raises(errors.ArgumentError, match="runs on the CPU"):
        majuscule.compile(PROGRAM)(**given, stream=0)
    with pytest.raises(errors.ArgumentError, match=r"give x\.cpu\(\)"):
        majuscule.compile(PROGRAM)(Foreign(on_gpu(given["x"])), given["pick"])


def test_a_stream_of_the_callers_is_waited_for(module: majuscule.Module) -> None:
    class Stream:
        def __cuda_stream__(self) -> tuple[int, int]:
            return 0, 7

    for stream in (0, Stream(), SimpleNamespace(cuda_stream=7), SimpleNamespace(ptr=7)):
        numpy.testing.assert_allclose(module(**samples(2), stream=stream)[0], wanted(module, 2)[0], rtol=1e-5)


def test_values_that_are_checked(module: majuscule.Module) -> None:
    given = samples(3)
    given["pick"][1] = 4
    for array in (given["pick"], on_gpu(given["pick"])):
        with pytest.raises(errors.CheckError, match=r"axis 1 of table, computed for y, is not in 0\.\.3"):
            module(given["x"], array)
    module(**samples(3))


def test_random_numbers_are_those_of_the_cpu(emulated_gpu: Driver) -> None:
    text = "Given x[3, 7]\ny = Dropout(x)\n"
    data = numpy.ones((5, 3, 7), "float32")
    there, here = (majuscule.compile(text, target=t, mode="training") for t in ("cuda", "cpu"))
    for seed, step in ((0, 0), (3, 1), (2**40, -6)):
        numpy.testing.assert_array_equal(there(data, seed=seed, step=step), here(data, seed=seed, step=step))


def test_weights_change_and_modules_are_saved(module: majuscule.Module, tmp_path: Path) -> None:
    weights = {name: array + 1 for name, array in module.weights.items()}
    module.load_weights(weights)
    for found, expected in zip(module(**samples(3)), wanted(module, 3), strict=True):
        numpy.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
    module.save(tmp_path / "x.mod")
    again = majuscule.load(tmp_path / "x.mod")
    numpy.testing.assert_array_equal(again(**samples(3))[1], module(**samples(3))[1])
    assert again.target["gpu"] == {"capability": 90}, "the GPU that is there is what is compiled for"


def test_memory_is_given_back(emulated_gpu: Driver, module: majuscule.Module) -> None:
    module(**samples(3))
    module.close()
    del module
    gc.collect()
    assert number(emulated_gpu, "emulated_used") == 0


def test_a_module_is_profiled(module: majuscule.Module) -> None:
    found = module.profile(**samples(3), rounds=3)
    assert [step.seconds for step in found.steps] == [pytest.approx(0.25e-3)] * len(found.steps)


# -- refusals --------------------------------------------------------------------------------


def test_a_machine_without_a_driver() -> None:
    with pytest.raises(errors.NoGpu, match=r"no NVIDIA driver was found .* --target cpu"):
        majuscule.compile(PROGRAM, target="cuda")


def test_a_machine_without_a_gpu(emulated_gpu: Driver) -> None:
    set_number(emulated_gpu, "emulated_devices", 0)
    try:
        with pytest.raises(errors.NoGpu, match="no GPU on this machine"):
            majuscule.compile(PROGRAM, target="cuda")
    finally:
        set_number(emulated_gpu, "emulated_devices", 1)


def test_a_gpu_of_an_earlier_architecture(emulated_gpu: Driver, tmp_path: Path) -> None:
    artifact = compile_artifact(majuscule.check(PROGRAM).require(), target="cuda:sm_100")
    files.write(tmp_path / "x.mod", artifact)
    with pytest.raises(errors.ForeignGpu, match=r"from sm_100 on, .* is an sm_90; .* --target cuda:sm_90"):
        majuscule.load(tmp_path / "x.mod")


def test_a_gpu_of_a_later_architecture_takes_the_portable_code(emulated_gpu: Driver) -> None:
    module = majuscule.compile(PROGRAM, target="cuda:sm_80")
    numpy.testing.assert_allclose(module(**samples(3))[0], wanted(module, 3)[0], rtol=1e-6)


def test_too_little_memory(emulated_gpu: Driver, module: majuscule.Module) -> None:
    module(**samples(3))
    before = number(emulated_gpu, "emulated_memory")
    set_number(emulated_gpu, "emulated_memory", number(emulated_gpu, "emulated_used") + 1000, ctypes.c_int64)
    try:
        with pytest.raises(errors.OutOfMemory, match="a smaller batch needs less"):
            module(**samples(1000))
        numpy.testing.assert_allclose(module(**samples(3))[0], wanted(module, 3)[0], rtol=1e-6)
    finally:
        set_number(emulated_gpu, "emulated_memory", before, ctypes.c_int64)
    numpy.testing.assert_allclose(module(**samples(1000))[0], wanted(module, 1000)[0], rtol=1e-5, atol=1e-6)


def test_code_that_is_not_for_a_gpu(emulated_gpu: Driver) -> None:
    program = majuscule.check(PROGRAM).require()
    here, there = (compile_artifact(program, target=target) for target in ("cpu", "cuda"))
    with pytest.raises(errors.NativeLibraryError, match="not for a GPU"):
        majuscule.Module(files.Artifact(there.manifest, here.library, here.weights, here.constants))


# -- recordings ------------------------------------------------------------------------------


def test_the_second_of_equal_calls_is_recorded(emulated_gpu: Driver, module: majuscule.Module) -> None:
    before, given = number(emulated_gpu, "emulated_recordings"), samples(5)
    for _ in range(4):
        numpy.testing.assert_allclose(module(**given)[1], wanted(module, 5)[1], rtol=1e-5, atol=1e-6)
    assert number(emulated_gpu, "emulated_recordings") == before + 1
    launches = number(emulated_gpu, "emulated_launches")
    module(**given)
    assert number(emulated_gpu, "emulated_launches") == launches + 1, "all kernels at once"
    given["x"] += 1  # other numbers in the same place are no other call
    different = module(**given)[0]
    assert number(emulated_gpu, "emulated_recordings") == before + 1
    assert not numpy.allclose(different, wanted(module, 5)[0])


def test_recordings_are_of_their_sizes_arrays_and_weights(module: majuscule.Module) -> None:
    for _ in range(3):
        for batch in (2, 7, 1):
            numpy.testing.assert_allclose(module(**samples(batch))[0], wanted(module, batch)[0], rtol=1e-5, atol=1e-6)
        arrays = {name: on_gpu(array) for name, array in samples(4).items()}
        numpy.testing.assert_allclose(module(**arrays)[1], wanted(module, 4)[1], rtol=1e-5, atol=1e-6)
        module.load_weights({name: array + 0.25 for name, array in module.weights.items()})


def test_more_calls_than_recordings_are_kept(module: majuscule.Module) -> None:
    for _ in range(2):
        for batch in range(1, 40):
            module(**samples(batch))
    numpy.testing.assert_allclose(module(**samples(3))[0], wanted(module, 3)[0], rtol=1e-5, atol=1e-6)


def test_a_driver_that_makes_no_recordings(emulated_gpu: Driver, module: majuscule.Module) -> None:
    set_number(emulated_gpu, "emulated_refuses_recordings", 1, ctypes.c_int64)
    try:
        for _ in range(4):
            numpy.testing.assert_allclose(module(**samples(3))[0], wanted(module, 3)[0], rtol=1e-5, atol=1e-6)
    finally:
        set_number(emulated_gpu, "emulated_refuses_recordings", 0, ctypes.c_int64)


def test_random_numbers_are_recorded_for_their_seeds(emulated_gpu: Driver) -> None:
    there, here = (
        majuscule.compile("Given x[9]\ny = Dropout(x)\n", target=t, mode="training") for t in ("cuda", "cpu")
    )
    data = numpy.ones((4, 9), "float32")
    for seed in (1, 2, 1, 2, 1, 2):
        numpy.testing.assert_array_equal(there(data, seed=seed), here(data, seed=seed))


def test_recurrences_are_recorded(emulated_gpu: Driver) -> None:
    text = "Given x[T, 3]\nh = RNN(x, units 4)\n"
    here = majuscule.compile(text)
    there = majuscule.compile(text, target="cuda", weights=here.weights)
    for length in (5, 2, 5, 2, 5):
        data = numpy.random.default_rng(length).normal(size=(2, length, 3)).astype("float32")
        numpy.testing.assert_allclose(there(data), here(data), rtol=1e-4, atol=1e-6)
