"""`maj import`: what is written, and what is refused with a message and without a file."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402 (needs onnx)
from onnx.reference import ReferenceEvaluator  # noqa: E402
from onnx_models import model, node, small_network  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

import majuscule  # noqa: E402
from majuscule.commands.application import app  # noqa: E402
from majuscule.compiler.graph import Graph  # noqa: E402
from majuscule.compiler.interpreter import evaluate  # noqa: E402
from majuscule.runtime.tensor_files import read_tensors  # noqa: E402

Maj = Callable[..., Any]


@pytest.fixture
def maj(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Maj:
    """Runs `maj` in an empty folder and gives click's result."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def refused(maj: Maj, file: str, words: str) -> None:
    """An import must fail with these words, and write nothing."""
    result = maj("import", file, "-o", "out.maj")
    assert result.exit_code == 2, result.output
    assert words in result.output, result.output
    assert "internal error" not in result.output
    assert not Path("out.maj").exists()
    assert not Path("out.safetensors").exists()


def test_a_model_becomes_layers_of_the_library_and_their_weights(maj: Maj) -> None:
    given = small_network()
    onnx.save(given, "net.onnx")
    result = maj("import", "net.onnx")
    assert result.exit_code == 0, result.output
    assert "wrote net.maj and net.safetensors (8 tensors, 0.0 MB)" in result.output
    text = Path("net.maj").read_text(encoding="utf-8")
    assert "Given image[x 8, y 8, i 3]" in text
    assert "conv = Conv(image, width 3, pad 1, filters 4)" in text
    assert "norm = BatchNorm(conv)" in text
    weights = read_tensors("net.safetensors")
    conv = numpy_helper.to_array(given.graph.initializer[0])
    assert numpy.array_equal(weights["conv.W"], conv.transpose(2, 3, 1, 0))
    images = numpy.random.default_rng(1).normal(size=(3, 8, 8, 3)).astype("float32")
    found = majuscule.compile("net.maj", weights="net.safetensors")(images)
    (wanted,) = ReferenceEvaluator(given).run(None, {"image": images.transpose(0, 3, 1, 2)})
    numpy.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert maj("fmt", "--check", "net.maj").exit_code == 0


def test_in_python_an_import_gives_what_the_command_writes(maj: Maj) -> None:
    given = small_network()
    onnx.save(given, "net.onnx")
    assert maj("import", "net.onnx").exit_code == 0
    found = majuscule.import_onnx("net.onnx")
    assert found.text == Path("net.maj").read_text(encoding="utf-8")
    written = read_tensors("net.safetensors")
    assert found.weights.keys() == written.keys()
    assert all(numpy.array_equal(found.weights[name], array) for name, array in written.items())
    assert found.inputs[0].name == "image"
    assert found.outputs[0].name == "scores"
    assert majuscule.import_onnx(given).weights.keys() == written.keys()
    given.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    assert "without batch" in majuscule.import_onnx(given).text
    assert "without batch" not in majuscule.import_onnx(given, any_batch=True).text


def test_in_python_a_model_that_cannot_be_said_is_refused_with_every_reason() -> None:
    given = model([node("NonZero", ["x"], ["a"], "first"), node("Unique", ["x"], ["b"], "second")], {"x": [3]}, ["a"])
    with pytest.raises(majuscule.ImportFailed, match="2 nodes") as caught:
        majuscule.import_onnx(given)
    assert [reason.split(":")[0] for reason in caught.value.reasons] == ["NonZero first", "Unique second"]
    with pytest.raises(FileNotFoundError):
        majuscule.import_onnx("nowhere.onnx")


def test_everything_that_cannot_be_said_is_named(maj: Maj) -> None:
    nodes = [
        node("NonZero", ["x"], ["a"], "first"),
        node("Relu", ["a"], ["b"], "after it"),
        node("Unique", ["x"], ["c"], "second"),
        node("Nonsense", ["x"], ["d"], "third"),
        node("Conv", ["x", "w"], ["e"], "fourth"),
    ]
    weights = {"w": numpy.ones((1, 7, 1, 1), "float32")}
    onnx.save(model(nodes, {"x": [1, 3, 4, 4]}, ["b", "c", "d", "e"], weights), "net.onnx")
    refused(maj, "net.onnx", "4 nodes of the model cannot be said")
    output = maj("import", "net.onnx").output
    for words in ("NonZero first:", "Unique second:", "Nonsense third:", "Conv fourth: weights of shape [1, 7, 1, 1]"):
        assert words in output
    assert "after it" not in output


def test_a_model_that_was_exported_for_training_is_refused(maj: Maj) -> None:
    given = small_network()
    given.graph.node[1].attribute.append(helper.make_attribute("training_mode", 1))
    onnx.save(given, "net.onnx")
    refused(maj, "net.onnx", "export the model after eval()")


@pytest.mark.parametrize("version", [12, 99])
def test_versions_that_are_not_known_are_refused(maj: Maj, version: int) -> None:
    given = small_network()
    given.opset_import[0].version = version
    Path("net.onnx").write_bytes(given.SerializeToString())
    refused(maj, "net.onnx", f"uses version {version} of ONNX's operators")


def test_files_that_are_no_models_are_refused(maj: Maj) -> None:
    data = small_network().SerializeToString()
    files = {"empty": b"", "text": b"Given x[3]\ny = x\n", "zeros": bytes(1000), "half": data[: len(data) // 2]}
    for name, content in files.items():
        Path(f"{name}.onnx").write_bytes(content)
        refused(maj, f"{name}.onnx", "not a model of ONNX")
    refused(maj, "nowhere.onnx", "there is no file nowhere.onnx")
    refused(maj, ".", "is a directory")


def test_files_cut_or_changed_anywhere_get_a_message(maj: Maj) -> None:
    data = small_network().SerializeToString()
    generator = numpy.random.default_rng(0)
    for number in range(30):
        changed = bytearray(data)
        for place in generator.integers(0, len(data), 3):
            changed[place] = generator.integers(0, 256)
        Path("net.onnx").write_bytes(bytes(changed if number % 2 else changed[: generator.integers(1, len(data))]))
        result = maj("import", "net.onnx", "-o", "out.maj")
        assert result.exit_code in (0, 2), (number, result.output)
        assert "internal error" not in result.output


def with_weights_elsewhere(**entries: str) -> Any:
    """A model whose first weight lies in another file."""
    given = small_network()
    tensor = given.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return given


def test_weights_in_files_beside_the_model_are_read(maj: Maj) -> None:
    onnx.save(small_network(), "net.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert maj("import", "net.onnx").exit_code == 0
    onnx.save(small_network(), "whole.onnx")
    assert maj("import", "whole.onnx").exit_code == 0
    found, wanted = read_tensors("net.safetensors"), read_tensors("whole.safetensors")
    assert found.keys() == wanted.keys()
    assert all(numpy.array_equal(found[name], array) for name, array in wanted.items())


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"location": "../secret.bin"}, "not in the model's folder"),
        ({"location": "/etc/passwd"}, "not in the model's folder"),
        ({"location": "link.bin"}, "not in the model's folder"),
        ({"location": ""}, "not in the model's folder"),
        ({"location": "nowhere.bin"}, "cannot be read"),
        ({"location": "short.bin"}, "are not all there"),
        ({"location": "long.bin", "offset": "-8"}, "are not all there"),
        ({"location": "long.bin", "offset": "99999"}, "are not all there"),
        ({"location": "long.bin", "length": "8"}, "are not all there"),
        ({"location": "long.bin", "offset": "x"}, "no number"),
    ],
)
def test_weights_outside_of_the_folder_or_beyond_their_file_are_refused(
    maj: Maj, tmp_path: Path, entries: dict[str, str], words: str
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(4096))
    (tmp_path / "model" / "short.bin").write_bytes(bytes(64))
    (tmp_path / "model" / "long.bin").write_bytes(bytes(4096))
    (tmp_path / "model" / "link.bin").symlink_to(tmp_path / "secret.bin")
    Path("model/net.onnx").write_bytes(with_weights_elsewhere(**entries).SerializeToString())
    refused(maj, "model/net.onnx", words)


@pytest.mark.parametrize("shape", [[1 << 40], [1 << 31, 1 << 31], [-1]])
def test_constants_that_would_fill_the_memory_are_refused(maj: Maj, shape: list[int]) -> None:
    nodes = [node("ConstantOfShape", ["shape"], ["c"], "large"), node("Add", ["x", "c"], ["y"])]
    onnx.save(model(nodes, {"x": [1]}, ["y"], {"shape": numpy.array(shape)}), "net.onnx")
    refused(maj, "net.onnx", "ConstantOfShape large:")


def test_the_package_onnx_is_asked_for_where_it_is_missing(maj: Maj, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx.save(small_network(), "net.onnx")
    real = builtins.__import__

    def without_onnx(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "onnx":
            raise ImportError("No module named 'onnx'")
        return real(name, *arguments, **options)

    for name in [name for name in sys.modules if name.split(".")[0] == "onnx"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without_onnx)
    refused(maj, "net.onnx", "pip install 'majuscule[onnx]'")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "nowhere/net.maj"], "no directory nowhere"),
        (["-o", "net.onnx"], "is the file that is read"),
        (["-o", "net.maj", "-w", "net.maj"], "cannot hold both"),
        (["-w", "net.bin"], "must end in .safetensors or .npz"),
        (["--any-batch", "-o", "nowhere/x.maj"], "no directory nowhere"),
    ],
)
def test_places_that_cannot_be_written_to_are_refused(maj: Maj, arguments: list[str], words: str) -> None:
    onnx.save(small_network(), "net.onnx")
    before = Path("net.onnx").read_bytes()
    result = maj("import", "net.onnx", *arguments)
    assert result.exit_code == 2
    assert words in result.output
    assert Path("net.onnx").read_bytes() == before
    assert not Path("net.maj").exists()


def test_names_that_mean_something_else_are_changed(maj: Maj) -> None:
    nodes = [
        node("Relu", ["B"], ["relu"]), node("Relu", ["relu"], ["sum"]), node("Add", ["sum", "B"], ["Φ1"]),
        node("Mul", ["Φ1", "relu"], ["1/2 out"]), node("Neg", ["1/2 out"], ["for"]),
    ]  # fmt: skip
    given = model(nodes, {"B": [2, 3]}, ["for"])
    onnx.save(given, "net.onnx")
    assert maj("import", "net.onnx").exit_code == 0, maj("import", "net.onnx").output
    x = numpy.array([[1, -2, 3], [0, 5, -6]], "float32")
    (wanted,) = ReferenceEvaluator(given).run(None, {"B": x})
    assert numpy.array_equal(majuscule.compile("net.maj")(x), wanted)


def test_images_of_any_size_stay_so(maj: Maj) -> None:
    generator = numpy.random.default_rng(0)
    shapes = {"w": (2, 3, 3, 3), "u": (2, 3, 2, 2), "v": (2, 2, 2, 2)}
    weights = {name: generator.normal(size=shape).astype("float32") for name, shape in shapes.items()}
    nodes = [
        node("Conv", ["image", "w"], ["c"]),
        node("Conv", ["image", "u"], ["d"]),
        node("Conv", ["d", "v"], ["e"]),
        node("Shape", ["e"], ["s"]),
        node("Reshape", ["c", "s"], ["f"]),
        node("Add", ["e", "f"], ["y"]),
    ]
    given = model(nodes, {"image": ["batch", 3, "rows", "columns"]}, ["y"], weights)
    onnx.save(given, "net.onnx")
    result = maj("import", "net.onnx")
    assert result.exit_code == 0, result.output
    assert "Given image[x ROWS, y COLUMNS, i 3]" in Path("net.maj").read_text(encoding="utf-8")
    program = majuscule.check(Path("net.maj")).require()
    for shape in ((2, 7, 5, 3), (1, 4, 9, 3)):
        images = numpy.random.default_rng(1).normal(size=shape).astype("float32")
        found = evaluate(Graph.from_program(program), {"image": images}, read_tensors("net.safetensors"))["y"]
        (wanted,) = ReferenceEvaluator(given).run(None, {"image": images.transpose(0, 3, 1, 2)})
        numpy.testing.assert_allclose(found.transpose(0, 3, 1, 2), wanted, rtol=1e-4, atol=1e-5)


def test_weights_that_are_only_looked_at_otherwise_are_learnt(maj: Maj) -> None:
    nodes = [node("Unsqueeze", ["shift", "axes"], ["u"]), node("Add", ["x", "u"], ["y"])]
    weights = {"shift": numpy.ones(3, "float32"), "axes": numpy.array([1])}
    onnx.save(model(nodes, {"x": ["batch", 3, 4]}, ["y"], weights), "net.onnx")
    assert maj("import", "net.onnx").exit_code == 0
    assert "param shift[3, 1]\n" in Path("net.maj").read_text(encoding="utf-8")


def test_an_open_size_that_cannot_be_taken_apart_is_named(maj: Maj) -> None:
    nodes = [node("Reshape", ["x", "shape"], ["y"], "halves")]
    onnx.save(model(nodes, {"x": ["length"]}, ["y"], {"shape": numpy.array([-1, 2])}), "net.onnx")
    refused(maj, "net.onnx", "Reshape halves: length cannot become")
