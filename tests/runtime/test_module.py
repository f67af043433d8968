"""Calling a module: arguments, conversions, outputs, weights."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy
import pytest
from hand_written import WEIGHTS, expected, samples

from majuscule.runtime import errors
from majuscule.runtime.artifact import Artifact
from majuscule.runtime.module import Module


@pytest.mark.parametrize("batch", [1, 3, 8, 17, 64])
def test_outputs_match_the_equations_at_any_batch(module: Module, batch: int) -> None:
    x, label = samples(batch)
    z, picked, numbers = module(x, label, seed=5, step=-6)
    wanted_z, wanted_picked = expected(x, label)
    numpy.testing.assert_allclose(z, wanted_z, rtol=1e-6)
    numpy.testing.assert_allclose(picked, wanted_picked, rtol=1e-6)
    assert numbers.tolist() == [5, -6]
    assert (z.dtype, picked.dtype) == (numpy.float32, numpy.float64)


def test_inputs_by_name_and_by_position_are_the_same(module: Module) -> None:
    x, label = samples(3)
    by_position, by_name, mixed = module(x, label), module(label=label, x=x), module(x, label=label)
    assert numpy.array_equal(by_position.z, by_name.z)
    assert numpy.array_equal(by_position.z, mixed.z)


def test_outputs_unpack_and_answer_to_names(module: Module) -> None:
    outputs = module(*samples(2))
    z, _, _ = outputs
    assert outputs["z"] is z
    assert outputs.z is outputs[0]
    assert list(dict(outputs)) == ["z", "picked", "numbers"]
    with pytest.raises(KeyError, match="did you mean picked"):
        outputs["piked"]
    assert list(pickle.loads(pickle.dumps(outputs)).keys()) == ["z", "picked", "numbers"]


def test_every_call_gives_new_outputs(module: Module) -> None:
    x, label = samples(4)
    first = module(x, label).z
    kept = first.copy()
    module(x + 1, label)
    assert numpy.array_equal(first, kept)


def test_out_is_filled(module: Module) -> None:
    x, label = samples(4)
    out = [numpy.empty((4, 4), numpy.float32), numpy.empty(4), numpy.empty(2, numpy.int64)]
    given = module(x, label, out=out)
    assert given[0] is out[0]
    by_name = {name: array.copy() for name, array in given.items()}
    module(2 * x, label, out=by_name)
    numpy.testing.assert_allclose(out[0], expected(x, label)[0], rtol=1e-6)
    numpy.testing.assert_allclose(by_name["z"], expected(2 * x, label)[0], rtol=1e-6)


def test_out_that_does_not_fit_is_refused(module: Module) -> None:
    x, label = samples(4)
    fitting = [numpy.empty((4, 4), numpy.float32), numpy.empty(4), numpy.empty(2, numpy.int64)]
    for position, bad in [
        (0, numpy.empty((4, 5), numpy.float32)),
        (0, numpy.empty((4, 4))),
        (0, numpy.empty((4, 8), numpy.float32)[:, ::2]),
        (0, x),
        (1, fitting[0].view(numpy.float64).reshape(-1)[:4]),
    ]:
        out = list(fitting)
        out[position] = bad
        with pytest.raises(errors.ArgumentError, match=module.outputs[position].name):
            module(x, label, out=out)
    with pytest.raises(errors.ArgumentError, match="each of the outputs"):
        module(x, label, out=fitting[:2])


@pytest.mark.parametrize(
    "convert",
    [
        lambda x, label: (x.astype(float), label.astype(numpy.int64)),
        lambda x, label: (x.astype(float).tolist(), label.tolist()),
        lambda x, label: (numpy.asfortranarray(x), label[::-1][::-1]),
        lambda x, label: (numpy.repeat(x, 2, axis=1)[:, ::2], label.astype(numpy.uint8)),
        lambda x, label: (x.astype(">f4"), label.astype(">i4")),
        lambda x, label: (numpy.frombuffer(b"\0" + x.tobytes(), numpy.float32, offset=1).reshape(x.shape), label),
    ],
    ids=["wider", "lists", "fortran", "strided", "big endian", "unaligned"],
)
def test_safe_conversions_are_made(module: Module, convert) -> None:  # type: ignore[no-untyped-def]
    x, label = samples(5)
    numpy.testing.assert_allclose(module(*convert(x, label)).z, expected(x, label)[0], rtol=1e-6)


def test_integers_and_truth_values_become_floats(module: Module) -> None:
    x, label = numpy.arange(8).reshape(2, 4), [1, 2]
    numpy.testing.assert_allclose(module(x, label).z, expected(x, label)[0])
    numpy.testing.assert_allclose(module(x > 3, label).z, expected(x > 3, label)[0])


def test_lossy_conversions_are_refused(module: Module) -> None:
    x, label = samples(2)
    with pytest.raises(errors.DtypeError, match=r"input label must be int32, but it is float64.*astype\('int32'\)"):
        module(x, label.astype(float))
    with pytest.raises(errors.DtypeError, match="int32, which cannot hold 4294967296"):
        module(x, numpy.array([0, 2**32]))
    with pytest.raises(errors.DtypeError, match="complex"):
        module(x.astype(complex), label)
    with pytest.raises(errors.ArgumentError, match="not an array of numbers"):
        module(None, label)
    with pytest.raises(errors.ArgumentError, match="input x is not an array"):
        module([[1, 2], [3]], label)


def test_wrong_arguments_are_named(module: Module) -> None:
    x, label = samples(2)
    for arguments, names, message in [
        ((x,), {}, "missing: input label; the program takes inputs x, label"),
        ((), {}, "missing: inputs x, label"),
        ((x, label, x), {}, "3 were given"),
        ((x,), {"labels": label}, "no input called labels .did you mean label"),
        ((x, label), {"x": x}, "input x was given twice"),
    ]:
        with pytest.raises(errors.ArgumentError, match=message):
            module(*arguments, **names)


def test_wrong_shapes_tell_expected_and_given(module: Module) -> None:
    x, label = samples(2)
    for inputs, message in [
        ((x[0], label), r"input x has shape \[4\], but the program takes \[batch, 4\]: the batch axis.*x\[None\]"),
        ((x[:, :3], label), r"axis 1 is 3 and must be 4"),
        ((x[None], label), r"it has 3 axes and must have 2"),
        ((x, label[:1]), r"input label has shape \[1\].*must be 2 \(batch is 2 by axis 0 of x\)"),
        ((x[:0], label[:0]), r"axis 0 of x \(batch\) is empty"),
    ]:
        with pytest.raises(errors.ShapeError, match=message):
            module(*inputs)


def test_broken_requirements_are_explained(module: Module) -> None:
    with pytest.raises(errors.RequirementError, match=r"at most 1000 samples \(here batch = 1001\)"):
        module(*samples(1001))


def test_failed_checks_and_failures_in_the_code_are_reported(module: Module) -> None:
    x, label = samples(3)
    with pytest.raises(errors.CheckError, match="label must lie in"):
        module(x, label + 4)
    with pytest.raises(errors.ExecutionError, match="seeds of -77 fail"):
        module(x, label, seed=-77)
    numpy.testing.assert_allclose(module(x, label).z, expected(x, label)[0], rtol=1e-6)


def test_seeds_are_taken_modulo_two_to_the_64(module: Module) -> None:
    assert module(*samples(1), seed=2**64 + 3, step=2**63).numbers.tolist() == [3, -(2**63)]


def test_not_a_number_passes_through(module: Module) -> None:
    x, label = samples(2)
    x[0, 1] = numpy.nan
    assert numpy.isnan(module(x, label).z).sum() == 1


def test_working_memory_that_the_system_does_not_give(artifact: Artifact) -> None:
    manifest = {**artifact.manifest, "arena": {"terms": [[2**60, ["batch"]]]}}
    module = Module(Artifact(manifest, artifact.library, artifact.weights, artifact.constants))
    with pytest.raises(MemoryError, match="working memory"):
        module(*samples(2))


def test_new_weights_are_prepared(module: Module) -> None:
    weights = {"W": numpy.ones(4), "shift": numpy.zeros(4, numpy.float16)}
    module.load_weights(weights)
    weights["W"][:] = 7
    x, label = samples(3)
    numpy.testing.assert_allclose(module(x, label).z, 2 * x + 1, rtol=1e-6)
    assert module.weights["W"].tolist() == [1, 1, 1, 1]
    with pytest.raises(ValueError, match="read-only"):
        module.weights["W"][0] = 5
    with pytest.raises(TypeError):
        module.weights["W"] = 5  # type: ignore[index]


@pytest.mark.parametrize("kind", ["safetensors", "npz"])
def test_weights_from_files(module: Module, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"weights.{kind}"
    weights = {"W": numpy.arange(4, dtype=numpy.float32), "shift": numpy.ones(4, numpy.float32)}
    if kind == "npz":
        numpy.savez(path, **weights)
    else:
        from safetensors.numpy import save_file

        save_file(weights, path)
    module.load_weights(path)
    x, label = samples(3)
    numpy.testing.assert_allclose(module(x, label).z, expected(x, label, weights)[0], rtol=1e-6)


def test_weights_that_do_not_fit_are_all_named_and_change_nothing(module: Module) -> None:
    with pytest.raises(errors.WeightsError) as caught:
        module.load_weights({"w": WEIGHTS["W"], "shift": numpy.zeros(5), "other": numpy.zeros(1)})
    for part in ("W: float32[4] is missing", "shift has shape [5] and must have [4]", "other is not a weight"):
        assert part in caught.value.message
    with pytest.raises(errors.WeightsError, match=r"Wt is not a weight of this program \(did you mean W\?\)"):
        module.load_weights({"Wt": WEIGHTS["W"], "shift": WEIGHTS["shift"], "W": WEIGHTS["W"]})
    with pytest.raises(errors.WeightsError, match="W has dtype int64 and must have float32"):
        module.load_weights({"W": numpy.ones(4, int), "shift": WEIGHTS["shift"]})
    x, label = samples(2)
    numpy.testing.assert_allclose(module(x, label).z, expected(x, label)[0], rtol=1e-6)


def test_weights_files_that_cannot_be_read_are_refused(module: Module, tmp_path: Path) -> None:
    for contents in (b"", b"PK\x03\x04 nonsense", b"nonsense" * 9, b"\x10\0\0\0\0\0\0\0{}"):
        path = tmp_path / "weights.safetensors"
        path.write_bytes(contents)
        with pytest.raises(errors.WeightsFileError, match=r"weights\.safetensors is not a file of weights"):
            module.load_weights(path)
    with pytest.raises(errors.WeightsFileError, match="No such file"):
        module.load_weights(tmp_path / "missing.npz")


def test_module_describes_itself(module: Module) -> None:
    assert module.name == "pick"
    assert str(module.inputs[0]) == "x: float32[batch, 4]"
    assert [info.name for info in module.outputs] == ["z", "picked", "numbers"]
    assert [info.name for info in module.parameters] == ["W", "shift"]
    assert module.source == "# written by hand\n"
    assert repr(module).startswith("<Module pick (x: float32[batch, 4], label: int32[batch]) -> (z: float32[batch, 4]")


def test_copies_and_pickles_are_independent(module: Module) -> None:
    x, label = samples(3)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        other.load_weights({"W": numpy.zeros(4), "shift": numpy.zeros(4)})
        assert numpy.array_equal(other(x, label).z, numpy.ones((3, 4)))
        numpy.testing.assert_allclose(module(x, label).z, expected(x, label)[0], rtol=1e-6)


def test_closed_modules_refuse_calls(artifact: Artifact) -> None:
    with Module(artifact) as module:
        module(*samples(1))
    module.close()
    for use in (lambda: module(*samples(1)), lambda: module.save("x.mod"), lambda: module.load_weights(WEIGHTS)):
        with pytest.raises(errors.ClosedModule, match="pick was closed"):
            use()
    assert "closed" in repr(module)


def test_torch_tensors_are_taken_without_copies(module: Module) -> None:
    torch = pytest.importorskip("torch")
    x, label = samples(6)
    outputs = module(torch.from_numpy(x), torch.from_numpy(label).long())
    numpy.testing.assert_allclose(outputs.z, expected(x, label)[0], rtol=1e-6)
    from majuscule.runtime.arrays import address, as_array, convert

    tensor = torch.ones(3, 4)
    assert address(convert(as_array(tensor, "x"), numpy.dtype("float32"), "x")) == tensor.data_ptr()
    transposed = torch.from_numpy(numpy.asfortranarray(x))
    numpy.testing.assert_allclose(module(transposed, label).z, expected(x, label)[0], rtol=1e-6)
    rounded = torch.from_numpy(x).bfloat16()
    numpy.testing.assert_allclose(module(rounded, label).z, expected(rounded.float(), label)[0], rtol=1e-6)
    with pytest.raises(errors.ArgumentError, match="detach"):
        module(torch.from_numpy(x).requires_grad_(), label)
    state = {"W": torch.nn.Parameter(torch.ones(4)), "shift": torch.zeros(4)}
    module.load_weights(state)
    numpy.testing.assert_allclose(module(x, label).z, 2 * x + 1, rtol=1e-6)
