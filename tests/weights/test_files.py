"""Files of weights are read without running anything of them, and what they are not is said."""

from __future__ import annotations

import io
import json
import pickle
import struct
import tarfile
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from majuscule.runtime.errors import WeightsFileError
from majuscule.runtime.tensor_files import safetensors_parts, write_tensors
from majuscule.runtime.weight_files import open_weights

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402


def saved(path: Path, value: Any, **options: Any) -> Path:
    torch.save(value, path, **options)
    return path


def assert_read(path: Path, state: dict[str, Any], inside: str | None = None) -> None:
    found = open_weights(path, inside)
    assert list(found.tensors) == list(state)
    for name, tensor in state.items():
        stored = found.tensors[name]
        assert stored.shape == tuple(tensor.shape)
        assert stored.dtype.name == str(tensor.dtype).removeprefix("torch.")
        assert numpy.array_equal(stored.read().astype("float64"), tensor.detach().double().numpy())


DTYPES = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_state_dicts_of_every_dtype_and_stride(tmp_path: Path, protocol: int) -> None:
    tensors = {name: torch.arange(-3, 9).reshape(3, 4).to(getattr(torch, name)) for name in DTYPES}
    tensors |= {"turned": torch.randn(3, 4).T, "part": torch.randn(5, 6)[1:3, ::2], "number": torch.tensor(3.0)}
    tensors |= {"none": torch.zeros(0, 3), "repeated": torch.ones(1, 3).expand(4, 3)}
    assert_read(saved(tmp_path / "a.pt", tensors, pickle_protocol=protocol), tensors)


def test_modules_parameters_and_checkpoints(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3))
    state = module.state_dict()
    assert_read(saved(tmp_path / "a.pth", state), state)
    assert_read(saved(tmp_path / "b.pt", dict(module.named_parameters())), dict(module.named_parameters()))
    optimiser = torch.optim.Adam(module.parameters())
    module(torch.ones(2, 2, 3, 3)).sum().backward()
    optimiser.step()
    checkpoint = {"epoch": 3, "model": state, "optimiser": optimiser.state_dict(), "best": 0.5, "note": "x"}
    assert_read(saved(tmp_path / "c.pt", checkpoint), state)
    checkpoint["average"] = {name: tensor + 1 for name, tensor in state.items()}
    with pytest.raises(WeightsFileError, match="several dictionaries of tensors: model, average"):
        open_weights(saved(tmp_path / "d.pt", checkpoint))
    assert_read(tmp_path / "d.pt", checkpoint["average"], "average")
    with pytest.raises(WeightsFileError, match="called other; it has model, average"):
        open_weights(tmp_path / "d.pt", "other")


@pytest.mark.parametrize("save", [numpy.savez, numpy.savez_compressed])
def test_arrays_of_numpy(tmp_path: Path, save: Any) -> None:
    arrays = {"b.weight": numpy.arange(12.0).reshape(3, 4), "a": numpy.asfortranarray(numpy.ones((2, 3), "float32"))}
    save(tmp_path / "a.npz", **arrays)
    found = open_weights(tmp_path / "a.npz")
    assert list(found.tensors) == ["b.weight", "a"]
    assert all(numpy.array_equal(found.tensors[name].read(), array) for name, array in arrays.items())


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.write_text, (self.mark, "run"))


class Old:
    """Asks for a name with the syntax of old pickles."""

    def __reduce__(self) -> Any:
        import os

        return (os.system, ("touch run",))


def test_a_pickle_that_would_run_something_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number, value in enumerate([{"a": torch.zeros(2), "b": Evil(tmp_path / "mark")}, [Old()], {Old(): 1}]):
        with pytest.raises(
            WeightsFileError, match=r"it asks for (__builtin__\.getattr|posix\.system|nt\.system), and nothing"
        ):
            open_weights(saved(tmp_path / f"{number}.pt", value))
    assert not {"mark", "run"} & {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    "text",
    [
        b"cos\nsystem\n(S'touch run'\ntR.",
        b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.",
        b"\x80\x04\x8c\x08builtins\x8c\x04exec\x93\x8c\x011\x85R.",
        b"\x80\x02ccollections\nOrderedDict\n(X\x01\x00\x00\x00ah\x00tR.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)\x81.",
        b"\x80\x02ccollections\nOrderedDict\n)R}X\x01\x00\x00\x00aK\x01s}b\x86b.",
        b"\x80\x02(I1\nI2\nd\x82\x01.",
        b"\x80\x02r\xff\xff\xff\xff.",
        b"\x80\x02\x8b\xff\xff\xff\x7f.",
        b"\x80\x02X\xff\xff\xff\xff.",
        b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
        b"\x80\x02}(",
        b"",
    ],
)
def test_pickles_that_no_tensor_needs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/data.pkl", text)
    with pytest.raises(WeightsFileError):
        open_weights(tmp_path / "a.pt")
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_other_formats_of_pytorch_are_named(tmp_path: Path) -> None:
    module = nn.Linear(2, 2)
    state = module.state_dict()
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    torch.jit.script(module).save(str(tmp_path / "script.pt"))
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps({"a": 1}))
    with tarfile.open(tmp_path / "tar.pt", "w") as archive:
        archive.addfile(tarfile.TarInfo("sys_info"), io.BytesIO())
    for name, words in {
        "old": r"before 1\.6",
        "script": "TorchScript archive",
        "pickle": "a bare pickle",
        "tar": "a tar archive",
    }.items():
        with pytest.raises(WeightsFileError, match=words):
            open_weights(tmp_path / f"{name}.pt")
    for value, words in (
        (module, r"asks for torch\.nn\.modules\.linear\.Linear"),
        (torch.zeros(2), "a tensor without a name"),
        ({"a": 1}, "no tensors by name"),
        ({"a": torch.zeros(2, dtype=torch.complex64)}, "ComplexFloatStorage"),
    ):
        with pytest.raises(WeightsFileError, match=words):
            open_weights(saved(tmp_path / "value.pt", value))


def hostile_safetensors(header: object, size: int = 16) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(size)


def tensor(shape: list[Any], *offsets: Any, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<Q", 1 << 62),
        struct.pack("<Q", 100) + b"{}",
        hostile_safetensors([]),
        hostile_safetensors({"a": 3}),
        hostile_safetensors({"a": tensor([4], 0, 12)}),
        hostile_safetensors({"a": tensor([5], 0, 20)}),
        hostile_safetensors({"a": tensor([2], 0, 8)}),
        hostile_safetensors({"a": tensor([4], 0, 16), "b": tensor([2], 8, 16)}),
        hostile_safetensors({"a": tensor([1], 0, 4), "b": tensor([2], 8, 16)}),
        hostile_safetensors({"a": tensor([1 << 62, 1 << 62], 0, 16)}),
        hostile_safetensors({"a": tensor([-2, -2], 0, 16)}),
        hostile_safetensors({"a": tensor([4], -16, 0)}),
        hostile_safetensors({"a": tensor([4], "0", "16")}),
        hostile_safetensors({"a": tensor([4], 0, 16, dtype="F3")}),
        b"[" * 4096,
        b"",
    ],
)
def test_safetensors_that_lie_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.safetensors").write_bytes(data)
    with pytest.raises(WeightsFileError):
        open_weights(tmp_path / "a.safetensors")


def test_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    header = io.BytesIO()
    numpy.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 26,)})
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.npy", "w", force_zip64=True) as member,
    ):
        member.write(header.getvalue())
        for _ in range(1 << 4):
            member.write(bytes(1 << 22))
    with zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b/data.pkl", bytes(1 << 24))
    tracemalloc.start()
    try:
        for name in ("a.npz", "b.pt"):
            with pytest.raises(WeightsFileError):  # less numbers than it says; compressed members
                open_weights(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 1 << 21
    finally:
        tracemalloc.stop()


def test_storages_that_are_not_there_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", {"a": torch.zeros(100)})
    for change in ("shorter", "missing", "twice"):
        with zipfile.ZipFile(path) as whole, zipfile.ZipFile(tmp_path / "b.pt", "w") as archive:
            for member in whole.namelist():
                contents = whole.read(member)
                if member.endswith("data/0"):
                    if change == "missing":
                        continue
                    contents = contents[:-4] if change == "shorter" else contents
                archive.writestr(member, contents)
            if change == "twice":
                with pytest.warns(UserWarning, match="Duplicate"):
                    archive.writestr("a/data/0", bytes(400))
        with pytest.raises(WeightsFileError, match="damaged: it"):
            open_weights(tmp_path / "b.pt")


def small_files(folder: Path) -> dict[str, bytes]:
    state = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    saved(folder / "a.pt", {"model": state, "epoch": 1})
    numpy.savez_compressed(folder / "a.npz", **arrays)
    write_tensors(folder / "a.safetensors", arrays)
    return {path.suffix: path.read_bytes() for path in folder.iterdir()}


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    if not _FILES:
        _FILES.update(small_files(tmp_path_factory.mktemp("files")))
    kind = data.draw(st.sampled_from(sorted(_FILES)))
    contents = bytearray(_FILES[kind])
    for _ in range(data.draw(st.integers(1, 3))):
        contents[data.draw(st.integers(0, len(contents) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / f"damaged{kind}"
    path.write_bytes(contents[: data.draw(st.integers(len(contents) // 2, len(contents) * 2))])
    try:
        for stored in open_weights(path).tensors.values():
            assert stored.read().shape == stored.shape
    except WeightsFileError:
        pass


_FILES: dict[str, bytes] = {}


def test_safetensors_of_ours_are_read_by_the_library(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.numpy")
    arrays = {"a": numpy.arange(3.0), "b.c": numpy.ones((2, 0, 3), "int8"), "d": numpy.float16(2) * numpy.ones((2, 2))}
    write_tensors(tmp_path / "a.safetensors", arrays, {"format": "pt"})
    found = library.load_file(tmp_path / "a.safetensors")
    assert all(numpy.array_equal(found[name], array) for name, array in arrays.items())
    assert b"".join(safetensors_parts(arrays, {"format": "pt"})) == (tmp_path / "a.safetensors").read_bytes()
    library.save_file(arrays, tmp_path / "b.safetensors")
    again = open_weights(tmp_path / "b.safetensors")
    assert all(numpy.array_equal(again.tensors[name].read(), array) for name, array in arrays.items())
