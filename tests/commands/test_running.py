"""`maj compile`, `run` and `verify`: from a program to numbers in files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image
from typer.testing import CliRunner

import majuscule
from majuscule.commands.application import app
from majuscule.runtime import host
from majuscule.runtime.errors import ForeignCPU

Maj = Callable[..., Any]

PROGRAM = """\
Given picture[2, 3, 3]
param W[3, 7] = 1
grey[b,x,y] = mean[i](picture[b,x,y,i])
s[b,j] = W[I,j] * picture[b,0,0,I] * (j + 1)
output s, grey
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compiled")
    (folder / "net.maj").write_text(PROGRAM, encoding="utf-8")
    result = CliRunner().invoke(app, ["compile", str(folder / "net.maj"), "-o", str(folder / "net.mod"), "-v"])
    assert result.exit_code == 0, result.stderr
    assert "input picture: float32[batch, 2, 3, 3]" in result.stderr
    return folder / "net.mod"


def expected(picture: Any) -> tuple[Any, Any]:
    scores = picture[:, 0, 0, :].sum(-1)[:, None] * numpy.arange(1, 8)
    return scores, picture.mean(-1)


def test_arrays_in_and_out(compiled: Path, maj: Maj, tmp_path: Path) -> None:
    picture = numpy.random.default_rng(0).random((5, 2, 3, 3)).astype("float32")
    numpy.save(tmp_path / "in.npy", picture)
    result = maj("run", str(compiled), "in.npy", "-o", "out.npz", "-o", "grey=grey.npy")
    assert result.exit_code == 0, result.stderr
    scores, grey = expected(picture)
    with numpy.load(tmp_path / "out.npz") as out:
        numpy.testing.assert_allclose(out["s"], scores, rtol=1e-5)
        numpy.testing.assert_allclose(out["grey"], grey, rtol=1e-5)
    numpy.testing.assert_allclose(numpy.load(tmp_path / "grey.npy"), grey, rtol=1e-5)


def test_a_missing_batch_axis_is_added_and_names_may_be_given(compiled: Path, maj: Maj, tmp_path: Path) -> None:
    picture = numpy.random.default_rng(1).random((2, 3, 3)).astype("float32")
    numpy.savez(tmp_path / "in.npz", picture=picture, other=numpy.zeros(3))
    for arguments in (["in.npz"], ["picture=in.npz"]):
        result = maj("run", str(compiled), *arguments, "--json")
        report = json.loads(result.stdout)["outputs"]
        scores, _ = expected(picture[None])
        numpy.testing.assert_allclose(report["s"]["values"], scores, rtol=1e-5)
        assert [entry["class"] for entry in report["s"]["top"][0]] == [6, 5, 4, 3, 2]


def test_pictures_are_numbers_from_0_to_1_and_several_are_a_batch(compiled: Path, maj: Maj, tmp_path: Path) -> None:
    pixels = numpy.random.default_rng(2).integers(0, 256, (2, 2, 3, 3), "uint8")
    for name, one in zip("ab", pixels, strict=True):
        Image.fromarray(one).save(tmp_path / f"{name}.png")
    result = maj("run", str(compiled), "a.png", "b.png", "--json")
    assert result.exit_code == 0, result.stderr
    _, grey = expected(pixels / 255)
    numpy.testing.assert_allclose(json.loads(result.stdout)["outputs"]["grey"]["values"], grey, rtol=1e-5)


def test_pictures_are_resized_only_on_request(compiled: Path, maj: Maj, tmp_path: Path) -> None:
    Image.new("RGBA", (30, 20), (255, 0, 0, 255)).save(tmp_path / "large.png")
    refused = maj("run", str(compiled), "large.png")
    assert refused.exit_code == 2
    assert "20×30" in refused.stderr
    assert "--resize" in refused.stderr
    result = maj("run", str(compiled), "large.png", "--resize", "-o", "grey=grey.png")
    assert result.exit_code == 0, result.stderr
    assert numpy.asarray(Image.open(tmp_path / "grey.png")).tolist() == [[85] * 3] * 2


def test_printed_outputs_have_shape_statistics_and_top_classes(compiled: Path, maj: Maj, tmp_path: Path) -> None:
    numpy.save(tmp_path / "in.npy", numpy.ones((1, 2, 3, 3), "float32"))
    text = maj("run", str(compiled), "in.npy").stdout
    assert "s: float32[1, 7]" in text
    assert "mean 12" in text
    assert "6 (21)" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "missing: input picture"),
        (["nowhere.npy"], "no file nowhere.npy"),
        (["colour=in.npy"], "no input called colour"),
        (["in.txt"], ".txt are not known"),
        (["broken.npy"], "broken.npy cannot be read"),
        (["broken.png"], "no picture"),
        (["wrong.npy"], "picture"),
        (["pickle.npy"], "pickle.npy"),
        (["in.npy", "-o", "out.xyz"], ".xyz are not known"),
        (["in.npy", "-o", "out.npy"], "2 outputs"),
        (["in.npy", "-o", "t=out.npy"], "no output called t"),
        (["in.npy", "-o", "nowhere/out.npz"], "no folder nowhere"),
    ],
)
def test_what_does_not_fit_is_named(arguments: list[str], words: str, compiled: Path, maj: Maj, tmp_path: Path) -> None:
    numpy.save(tmp_path / "in.npy", numpy.ones((1, 2, 3, 3), "float32"))
    numpy.save(tmp_path / "wrong.npy", numpy.ones((1, 9, 9, 3), "float32"))
    numpy.save(tmp_path / "pickle.npy", numpy.array([{}], object), allow_pickle=True)
    for name in ("broken.npy", "broken.png", "in.txt"):
        (tmp_path / name).write_bytes(b"nothing of use")
    result = maj("run", str(compiled), *arguments)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert "internal error" not in result.stderr


def test_a_program_runs_without_a_module_and_takes_weights(maj: Maj, tmp_path: Path) -> None:
    (tmp_path / "net.maj").write_text(PROGRAM, encoding="utf-8")
    numpy.save(tmp_path / "in.npy", numpy.ones((1, 2, 3, 3), "float32"))
    numpy.savez(tmp_path / "w.npz", W=numpy.full((3, 7), 2, "float32"))
    result = maj("run", "net.maj", "in.npy", "--weights", "w.npz", "--threads", "1", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["outputs"]["s"]["values"][0] == [6.0 * n for n in range(1, 8)]


def test_verify_agrees(maj: Maj, small: str) -> None:
    result = maj("verify", small, "--batch", "3", "--json")
    assert result.exit_code == 0, result.stderr
    (output,) = json.loads(result.stdout)["outputs"]
    assert output["shape"] == [3, 4]
    assert output["relative_error"] < 1e-5


def test_verify_fails_where_the_error_is_too_large(maj: Maj, small: str) -> None:
    result = maj("verify", small, "--tolerance", "0")
    assert result.exit_code == 1
    assert "DIFFERS" in result.stdout


@pytest.mark.skipif(host.machine() != "x86_64", reason="compiles for an x86 processor")
def test_a_module_for_another_processor_is_written_here_and_refused_here(
    maj: Maj, small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = host.cpu_features() or frozenset()
    monkeypatch.setattr(host, "cpu_features", lambda: everything - {"avx2"})
    assert maj("compile", small, "--target", "haswell", "-o", "other.mod").exit_code == 0
    with pytest.raises(ForeignCPU, match="does not have: avx2"):
        majuscule.load("other.mod")


def test_compile_refuses_places_it_cannot_write_to(maj: Maj, small: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert "is a directory" in maj("compile", small, "-o", "folder").stderr
    assert "no directory" in maj("compile", small, "-o", "nowhere/x.mod").stderr
    wrong = maj("compile", small, "--target", "pdp-11")
    assert wrong.exit_code == 2
    assert "internal error" not in wrong.stderr


CONVOLUTION = "Given L[9, 8, 32]\nM = Conv(L, width 3, pad 1, filters 32)\n"


def test_convolutions_are_exact_or_take_the_road_that_is_asked_for(maj: Maj, tmp_path: Path) -> None:
    (tmp_path / "net.maj").write_text(CONVOLUTION, encoding="utf-8")
    numpy.save(tmp_path / "in.npy", numpy.random.default_rng(3).standard_normal((2, 9, 8, 32), "float32"))
    found = {}
    for asked in ("--exact", "--road=direct", "--road=winograd"):
        compiled = maj("compile", "net.maj", asked, "-o", f"{asked}.mod")
        assert compiled.exit_code == 0, compiled.stderr
        assert maj("run", f"./{asked}.mod", "in.npy", "-o", "module.npy").exit_code == 0
        assert maj("run", "net.maj", "in.npy", asked, "-o", "program.npy").exit_code == 0
        found[asked] = numpy.load(tmp_path / "program.npy")
        assert numpy.array_equal(numpy.load(tmp_path / "module.npy"), found[asked])
        assert maj("verify", "net.maj", asked).exit_code == 0
        assert maj("bench", "net.maj", asked, "--repeats", "1", "--seconds", "0.01").exit_code == 0
    assert numpy.array_equal(found["--exact"], found["--road=direct"])
    assert not numpy.array_equal(found["--exact"], found["--road=winograd"])
    profile = json.loads(maj("profile", "net.maj", "--road", "winograd", "--seconds", "0.01", "--json").stdout)
    assert any("winograd" in step["road"] for step in profile["steps"])


def test_roads_that_nothing_can_take_are_refused(compiled: Path, maj: Maj, small: str) -> None:
    for command in ("compile", "verify", "bench"):
        assert "no road called 'shortest'" in maj(command, small, "--road", "shortest").stderr
        contradiction = maj(command, small, "--exact", "--road", "winograd")
        assert contradiction.exit_code == 2
        assert "contradict each other" in contradiction.stderr
    again = maj("run", str(compiled), "in.npy", "--exact")
    assert again.exit_code == 2
    assert "is compiled already" in again.stderr


def test_names_of_classes_and_preparation_travel_with_a_module(compiled: Path, maj: Maj, tmp_path: Path) -> None:
    names = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu"]
    with majuscule.load(compiled) as module:
        module.set_metadata({
            "classes": names,
            "pixels": ["picture"],
            "normalisation": {"picture": {"mean": [0.5, 0.0, 1.0], "deviation": [1.0, 2.0, 0.25]}},
        })  # fmt: skip
        module.save(tmp_path / "named.mod")
    pixels = numpy.random.default_rng(3).integers(0, 256, (2, 3, 3), "uint8")
    Image.fromarray(pixels).save(tmp_path / "a.png")
    numpy.save(tmp_path / "a.npy", pixels)
    scores, _ = expected((pixels[None] / 255 - [0.5, 0.0, 1.0]) / [1.0, 2.0, 0.25])
    for file in ("a.png", "a.npy"):
        report = json.loads(maj("run", "named.mod", file, "--json").stdout)["outputs"]["s"]
        numpy.testing.assert_allclose(report["values"], scores, rtol=1e-5, atol=1e-6)
        assert report["top"][0][0]["name"] == names[int(scores.argmax())]
    assert f"largest: {names[int(scores.argmax())]} (" in maj("run", "named.mod", "a.png").stdout


@pytest.mark.parametrize("metadata", [{"classes": [1]}, {"normalisation": {"x": {"mean": [0], "deviation": [0]}}}])
def test_metadata_without_sense_are_refused(compiled: Path, metadata: dict[str, Any]) -> None:
    with majuscule.load(compiled) as module, pytest.raises(majuscule.ModuleError, match="cannot be kept"):
        module.set_metadata(metadata)


def test_outputs_may_have_any_name_in_numpys_archives(maj: Maj, tmp_path: Path) -> None:
    (tmp_path / "named.maj").write_text(
        "Given x[2]\nfile[b,i] = x[b,i] + 1\nargs[b,i] = x[b,i] + 2\noutput file, args\n"
    )
    numpy.save(tmp_path / "x.npy", numpy.ones((1, 2), "float32"))
    result = maj("run", "named.maj", "x.npy", "-o", "all.npz")
    assert result.exit_code == 0, result.output
    with numpy.load(tmp_path / "all.npz") as found:
        assert {name: found[name].tolist() for name in found} == {"file": [[2, 2]], "args": [[3, 3]]}
