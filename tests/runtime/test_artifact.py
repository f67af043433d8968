"""Files of modules: what is written is read back, and everything else is refused by name."""

from __future__ import annotations

import hashlib
import json
import os
import random
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy
import pytest
from hand_written import MANIFEST, WEIGHTS, expected, samples
from safetensors import safe_open

from majuscule.runtime import artifact as files
from majuscule.runtime import errors
from majuscule.runtime.artifact import Artifact
from majuscule.runtime.module import Module


def test_round_trip(module: Module, saved: Path) -> None:
    x, label = samples(7)
    loaded = Module.load(saved)
    assert numpy.array_equal(loaded(x, label).z, module(x, label).z)
    assert loaded.inputs == module.inputs
    assert loaded.source == module.source
    for name, array in WEIGHTS.items():
        assert numpy.array_equal(loaded.weights[name], array)


def test_saving_keeps_new_weights_and_can_replace_the_file_in_use(saved: Path) -> None:
    x, label = samples(3)
    loaded = Module.load(saved)
    weights = {"W": numpy.zeros(4, numpy.float32), "shift": numpy.arange(4, dtype=numpy.float32)}
    loaded.load_weights(weights)
    loaded.save(saved)
    again = Module.load(saved)
    numpy.testing.assert_allclose(again(x, label).z, expected(x, label, weights)[0], rtol=1e-6)
    numpy.testing.assert_allclose(loaded(x, label).z, expected(x, label, weights)[0], rtol=1e-6)


def test_every_dtype_survives(artifact: Artifact, tmp_path: Path) -> None:
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    dtypes = [numpy.dtype(t) for t in ("f8", "f4", "f2", bfloat16, "i8", "i4", "u1", "?")]
    weights = {dtype.name: (numpy.arange(6).reshape(2, 3) % 5).astype(dtype) for dtype in dtypes}
    weights |= {"scalar": numpy.float32(3).reshape(()), "none": numpy.empty((0, 3), numpy.int32)}
    weights |= {"turned": numpy.arange(6.0).reshape(2, 3).T, "one": numpy.ones(1, numpy.float32)}
    files.write(tmp_path / "x.mod", Artifact(MANIFEST, artifact.library, weights, weights))
    read = files.read(tmp_path / "x.mod")
    for found in (read.weights, read.constants):
        assert set(found) == set(weights)
        for name, array in weights.items():
            assert found[name].dtype == array.dtype
            assert numpy.array_equal(found[name], array)
            assert not found[name].flags.writeable


def test_equal_modules_are_equal_files_that_other_tools_can_read(artifact: Artifact, tmp_path: Path) -> None:
    for name in ("a.mod", "b.mod"):
        files.write(tmp_path / name, artifact)
    assert (tmp_path / "a.mod").read_bytes() == (tmp_path / "b.mod").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["a.mod", "b.mod"]
    with zipfile.ZipFile(tmp_path / "a.mod") as archive:
        assert archive.testzip() is None
        assert archive.read("source/pick.maj") == b"# written by hand\n"
        manifest = json.loads(archive.read("manifest.json"))
        (tmp_path / "w.safetensors").write_bytes(archive.read("weights.safetensors"))
    assert manifest["name"] == "pick"
    assert {"majuscule", "tvm"} <= set(manifest["versions"])
    with safe_open(tmp_path / "w.safetensors", "np") as tensors:
        assert numpy.array_equal(tensors.get_tensor("W"), WEIGHTS["W"])


def test_weights_lie_at_multiples_of_a_cache_line(saved: Path) -> None:
    assert files.read(saved).weights["W"].__array_interface__["data"][0] % 64 == 0


def test_failed_writing_leaves_what_was_there(saved: Path, artifact: Artifact) -> None:
    before = saved.read_bytes()
    with pytest.raises(ValueError, match=r"\.\./x"):
        files.write(saved, Artifact(MANIFEST, b"", {}, {}, {"../x.maj": ""}))
    with pytest.raises(errors.UnreadableModule, match="cannot write"):
        files.write(saved.parent / "missing" / "x.mod", artifact)
    with pytest.raises(errors.UnreadableModule, match="cannot write"):
        files.write(saved.parent, artifact)
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


# -- refusals ------------------------------------------------------------------------------


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file"):
        files.read(tmp_path / "x.mod")
    with pytest.raises(errors.UnreadableModule, match="cannot read"):
        files.read(tmp_path)


def test_other_files_are_not_modules(tmp_path: Path) -> None:
    path = tmp_path / "x.mod"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", "a PyTorch file")
    archives = path.read_bytes()
    for contents in (b"Given Input[227, 227, 3]\n", b"\x7fELF" + bytes(100), archives):
        path.write_bytes(contents)
        with pytest.raises(errors.NotAModule, match=r"x\.mod is not a compiled module"):
            files.read(path)


def test_truncation_anywhere_is_noticed(saved: Path) -> None:
    contents = saved.read_bytes()
    ends = {*range(300), *range(0, len(contents), 97), *range(len(contents) - 900, len(contents))}
    for end in sorted(ends):
        saved.write_bytes(contents[:end])
        with pytest.raises(errors.TruncatedModule, match="is empty" if end == 0 else "is incomplete"):
            files.read(saved)


def test_changed_bytes_anywhere_are_noticed(saved: Path) -> None:
    contents = saved.read_bytes()
    generator = random.Random(0)
    edges = [*range(1200), *range(len(contents) - 900, len(contents))]
    places = generator.sample(edges, 400) + generator.sample(range(len(contents)), 400)
    for place in places:
        changed = bytearray(contents)
        changed[place] ^= 1 << generator.randrange(8)
        saved.write_bytes(changed)
        with pytest.raises((errors.DamagedModule, errors.NotAModule, errors.TruncatedModule)):
            files.read(saved)


def test_inserted_removed_and_appended_bytes_are_noticed(saved: Path) -> None:
    contents = saved.read_bytes()
    generator = random.Random(1)
    for _ in range(100):
        place, length = generator.randrange(50, len(contents)), generator.randrange(1, 100)
        for changed in (
            contents[:place] + generator.randbytes(length) + contents[place:],
            contents[:place] + contents[place + length :],
            contents + generator.randbytes(length),
        ):
            saved.write_bytes(changed)
            with pytest.raises(errors.ModuleError):
                files.read(saved)


def test_the_damaged_part_is_named(saved: Path) -> None:
    contents = bytearray(saved.read_bytes())
    contents[contents.index(b"# written by hand")] ^= 1
    saved.write_bytes(contents)
    with pytest.raises(errors.DamagedModule, match=r"pick\.mod is damaged in its part source/pick\.maj"):
        files.read(saved)


def test_both_directions_of_format_versions_are_explained(artifact: Artifact, tmp_path: Path) -> None:
    path = tmp_path / "x.mod"
    for version, message in ((files.FORMAT_VERSION + 1, "newer version.*pip"), (0, "older.*compile the program")):
        _write_changed(path, artifact, {"format": version})
        with pytest.raises(errors.FormatVersionError, match=message):
            files.read(path)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "1"},
        {"members": []},
        {"members": {}},
        {"name": None},
        {"target": []},
        {"target": {"triple": 5}},
        {"target": {"features": [1]}},
        {"buffers": None},
        {"buffers": [{"kind": "constant", "name": "two"}]},
        {"buffers": [{"kind": "secret", "name": "one"}]},
        {"symbols": [{"name": "batch"}]},
        {"symbols": []},
        {"inputs": [1]},
        {"inputs": [{"name": "x", "shape": ["batch"], "dtype": "float32"}]},
        {"inputs": [{"name": "x", "shape": [1], "dtype": "float31"}]},
        {"constants": [{"name": "one", "shape": [2], "dtype": "float32"}]},
        {"constants": [{"name": "two", "shape": [1], "dtype": "float32"}]},
        {"arena": "1"},
        {"arena": {"terms": [[1, [{"floordiv": [1, 0]}]]]}},
        {"requirements": [{"value": 1}]},
        {"checks": ["x"]},
    ],
    ids=str,
)
def test_manifests_that_make_no_sense_are_refused(artifact: Artifact, tmp_path: Path, change: dict[str, Any]) -> None:
    _write_changed(tmp_path / "x.mod", artifact, change)
    with pytest.raises(errors.DamagedModule, match="manifest"):
        files.read(tmp_path / "x.mod")


def test_modules_for_other_machines_are_refused(artifact: Artifact, tmp_path: Path) -> None:
    for target, refusal, message in [
        ({"features": ["avx9000", "fma9"]}, errors.ForeignCPU, "does not have: avx9000, fma9;"),
        ({"triple": "x86_64-apple-darwin"}, errors.ForeignPlatform, "operating system darwin"),
        ({"architecture": "riscv64"}, errors.ForeignPlatform, "architecture riscv64"),
        ({"kind": "metal"}, errors.ForeignPlatform, "compiled for metal"),
    ]:
        _write_changed(tmp_path / "x.mod", artifact, {"target": target})
        with pytest.raises(refusal, match=message):
            files.read(tmp_path / "x.mod")


@pytest.mark.parametrize(
    "member",
    ["../escape.so", "lib/../../escape.so", "/etc/passwd", "lib\\..\\x.so", "other.txt", "source/../a.maj", "lib/x/y"],
)
def test_unexpected_members_are_refused(saved: Path, member: str) -> None:
    _rewrite(saved, lambda archive: archive.writestr(zipfile.ZipInfo(member), b"x"))
    with pytest.raises(errors.UnsafeModule, match="not safe"):
        files.read(saved)


def test_members_beyond_the_manifest_are_refused(saved: Path) -> None:
    _rewrite(saved, lambda archive: archive.writestr("lib/second.so", b"x"))
    with pytest.raises(errors.DamagedModule, match="manifest"):
        files.read(saved)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_several_members_of_one_name_are_refused(saved: Path) -> None:
    for name in ("weights.safetensors", "source/PICK.maj"):
        _rewrite(saved, lambda archive, name=name: archive.writestr(name, b"x"))  # type: ignore[misc]
        with pytest.raises(errors.UnsafeModule, match="several members"):
            files.read(saved)


def test_compressed_members_which_may_be_bombs_are_refused(saved: Path) -> None:
    _rewrite(saved, lambda archive: archive.writestr("source/b.maj", bytes(10**7), zipfile.ZIP_DEFLATED))
    with pytest.raises(errors.UnsafeModule, match="compressed"):
        files.read(saved)


def test_tensors_that_lie_about_their_place_are_refused(saved: Path, tmp_path: Path) -> None:
    for entry in (
        {"dtype": "F32", "shape": [4], "data_offsets": [0, 2**50]},
        {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [-4], "data_offsets": [16, 0]},
        {"dtype": "X", "shape": [4], "data_offsets": [0, 16]},
        {"dtype": "F32"},
        [],
    ):
        header = json.dumps({"W": entry}).encode()
        weights = len(header).to_bytes(8, "little") + header + bytes(16)
        _rewrite(saved, None, {"weights.safetensors": weights})
        with pytest.raises(errors.DamagedModule, match="safetensors"):
            files.read(saved)


def test_machine_code_that_is_none_is_refused(artifact: Artifact, tmp_path: Path) -> None:
    for code in (b"", b"not machine code"):
        files.write(tmp_path / "x.mod", Artifact(MANIFEST, code, WEIGHTS, artifact.constants))
        with pytest.raises(errors.NativeLibraryError):
            Module.load(tmp_path / "x.mod")


def test_every_refusal_has_its_own_code() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ModuleError)]
    assert len({kind.code for kind in kinds}) == len(kinds) > 15
    assert str(errors.NotAModule("x.mod is a song")) == "x.mod is a song [R101]"


def _write_changed(path: Path, artifact: Artifact, change: Mapping[str, Any]) -> None:
    """A module with a changed manifest and right checksums, as only a compiler of another kind would write."""
    files.write(path, artifact)
    with zipfile.ZipFile(path) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    _rewrite(path, None, {}, {**manifest, **change})


def _rewrite(
    path: Path,
    add: Callable[[zipfile.ZipFile], object] | None,
    replaced: Mapping[str, bytes] | None = None,
    manifest: Mapping[str, Any] | None = None,
) -> None:
    """Put a module together again, with members added or replaced, and with right checksums."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members |= replaced or {}
    stated = dict(manifest) if manifest is not None else json.loads(members["manifest.json"])
    for name in replaced or {}:
        stated["members"][name] = {"sha256": hashlib.sha256(members[name]).hexdigest(), "size": len(members[name])}
    members["manifest.json"] = json.dumps(stated).encode()
    prefix = b"majuscule sha256 "
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
        if add is not None:
            add(archive)
        archive.comment = prefix + bytes(64)
        infos = archive.infolist()
    contents = path.read_bytes()
    digest, position = hashlib.sha256(), 0
    for info in infos[1:]:
        name_length, extra_length = struct.unpack_from("<HH", contents, info.header_offset + 26)
        start = info.header_offset + 30 + name_length + extra_length
        digest.update(contents[position:start])
        position = start + info.compress_size
    digest.update(contents[position : -len(prefix) - 64])
    path.write_bytes(contents[:-64] + digest.hexdigest().encode())
