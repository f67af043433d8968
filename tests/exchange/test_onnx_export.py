"""Programs as ONNX models: which operators equations become, names, open sizes, networks, refusals.

Models are run by ONNX's reference evaluator.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy
import onnx
import pytest
from levels import EXHAUSTIVE, sparse
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from typer.testing import CliRunner

import majuscule
from majuscule.commands.application import app
from majuscule.runtime.errors import ExportError

ROOT = Path(__file__).resolve().parents[2]
NETWORKS = ROOT / "examples" / "networks"


def exported(text: str, folder: Path, **options: Any) -> onnx.ModelProto:
    """The model of a program, checked."""
    majuscule.export_onnx(text, folder / "model.onnx", **options)
    model = onnx.load(folder / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    return model


def operators(model: onnx.ModelProto) -> Counter[str]:
    """How often each operator occurs."""
    return Counter(node.op_type for node in model.graph.node)


def attributes(model: onnx.ModelProto, operator: str) -> dict[str, Any]:
    """Those of the one node with this operator."""
    (node,) = [node for node in model.graph.node if node.op_type == operator]
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def agrees(text: str, folder: Path, batch: int = 2, tolerance: float = 1e-5, **sizes: int) -> onnx.ModelProto:
    """The model, after its outputs were compared with the compiled module's, relative to the largest."""
    module = majuscule.compile(text, seed=7)
    model = exported(text, folder, weights=module.weights)
    inputs = module.random_inputs(batch, sizes=sizes, seed=1)
    found = module(**inputs)
    wanted = [found] if len(module.outputs) == 1 else list(found)
    for array, other in zip(ReferenceEvaluator(model).run(None, inputs), wanted, strict=True):
        assert (array.shape, array.dtype) == (other.shape, other.dtype)
        scale = numpy.abs(other.astype("float64")).max()
        assert scale > 0
        numpy.testing.assert_allclose(array, other, rtol=0, atol=tolerance * scale)
    return model


# -- which operators equations become ---------------------------------------------------------


def test_a_strided_dilated_grouped_convolution_of_any_names_is_one(tmp_path: Path) -> None:
    model = agrees(
        "Given picture[9, 4, 7]\nparam filters[2, 3, 2, 2, 3] ~ xavier\n"
        "z[b,r,g,k,q] = filters[K,ΔU,ΔV,g,k] * picture[b, 2*r+3*ΔU, 2*g+K, q+2*ΔV]\n",
        tmp_path,
    )
    assert operators(model)["Conv"] == 1
    assert "Gather" not in operators(model)
    found = attributes(model, "Conv")
    assert (found["strides"], found["dilations"], found["group"]) == ([2, 1], [3, 2], 2)


def test_zeros_around_an_image_become_those_of_the_convolution(tmp_path: Path) -> None:
    model = agrees("Given image[9, 11, 3]\ny = Conv(image, width 3, stride 2, pad 1, filters 4)\n", tmp_path)
    assert "Pad" not in operators(model)
    assert attributes(model, "Conv")["pads"] == [1, 1, 1, 1]


@pytest.mark.parametrize("rank", [1, 3])
def test_convolutions_have_any_rank(rank: int, tmp_path: Path) -> None:
    sizes, windows = ", ".join(["6"] * rank), ", ".join(["3"] * rank)
    places, inner = (", ".join(f"{letter}{n}" for n in range(rank)) for letter in "xP")
    seen = ", ".join(f"x{n}+P{n}" for n in range(rank))
    text = f"Given image[{sizes}, 2]\nparam W[{windows}, 2, 4] ~ xavier\n"
    model = agrees(f"{text}y[b,{places},j] = W[{inner},I,j] * image[b,{seen},I]\n", tmp_path)
    assert len(attributes(model, "Conv")["strides"]) == rank


def test_a_depthwise_convolution_has_a_group_for_each_channel(tmp_path: Path) -> None:
    text = "Given a[8, 8, 6]\nparam W[3, 3, 6] ~ xavier\ny[b,x,y,i] = W[ΔX,ΔY,i] * a[b,x+ΔX,y+ΔY,i]\n"
    assert attributes(agrees(text, tmp_path), "Conv")["group"] == 6


def test_poolings(tmp_path: Path) -> None:
    text = """
Given image[9, 9, 4]
m = MaxPool(image, width 3, stride 2, pad 1)
a = AvgPool(image, width 2, stride 2)
output m, a
"""
    model = agrees(text, tmp_path)
    assert attributes(model, "MaxPool")["pads"] == [1, 1, 1, 1]
    assert attributes(model, "AveragePool")["kernel_shape"] == [2, 2]


def test_matrix_products_softmax_and_relu(tmp_path: Path) -> None:
    text = """
Given q[5, 4], k[7, 4], v[7, 3]
param W[3, 6] ~ xavier
a[b,s,t] = softmax[t](q[b,s,I] * k[b,t,I] / 2)
y[b,s,j] = relu(W[K,j] * (a[b,s,T] * v[b,T,K]))
"""
    found = operators(agrees(text, tmp_path))
    assert (found["MatMul"], found["Softmax"], found["Relu"]) == (3, 1, 1)
    assert not found.keys() & {"Einsum", "Gather", "GatherND", "Exp"}


def test_concatenations_and_flattening(tmp_path: Path) -> None:
    text = """
Given l[4, 3], r[4, 5]
c[b,x,I+J] = l[b,x,I]; r[b,x,J]
y[b,(x,i)] = c[b,x,i]
"""
    found = operators(agrees(text, tmp_path))
    assert (found["Concat"], found["Reshape"]) == (1, 1)
    assert "ScatterND" not in found


# -- new layers ----------------------------------------------------------------------------------

NEW = {
    "adder convolution": """
Given image[x 8, y 8, i 3]
param W[3, 3, 3, 5] ~ xavier
y[b,x,y,j] = -sum[p in 0..3, q in 0..3, i in 0..3](abs(W[p,q,i,j] - image[b,x+p,y+q,i]))
""",
    "involution": """
Given image[x 8, y 8, i 4]
param K[4, 3, 3] ~ xavier
kernel[b,x,y,p,q] = K[I,p,q] * image[b,x,y,I]
P = pad(image, x: 1, y: 1)
y[b,x,y,i] = kernel[b,x,y,ΔX,ΔY] * P[b,x+ΔX,y+ΔY,i]
""",
    "a gather in a product, a diagonal, interleaving": """
Given image[6, 6, 2], place[3]: int64
param T[10, 4] ~ xavier
param W[4, 5] ~ xavier
word[b,t,j] = T[place[b,t], K] * W[K,j]
diagonal[b,i] = image[b,i,i,0]
up[b,2*x,y] = image[b,x,y,0]
up[b,2*x+1,y] = image[b,x,y,1]
best[b,y] = argmax[x,i](image[b,x,y,i])
edge[b,x] = image[b,x,0,0] + { image[b,x-1,0,0] if x > 0 ; 7 otherwise }
output word, diagonal, up, best, edge
""",
    "a recurrence": """
Given x[5, 3]
param U[4, 4] ~ xavier
param W[3, 4] ~ xavier
h[b,t,j] = tanh(U[I,j] * h[b,t-1,I] + W[K,j] * x[b,t,K])
h[b,-1,j] = 0
""",
}


@pytest.mark.parametrize("name", NEW)
def test_a_new_layer_is_put_together_from_basic_operators(name: str, tmp_path: Path) -> None:
    agrees(NEW[name], tmp_path, batch=3)


# -- networks --------------------------------------------------------------------------------------

SMALL = {
    "resnet": "Given image[32, 32, 3]\nscores = ResNet(image, blocks [2, 2, 2, 2], filters 8, classes 10)\n",
    "mobilenet": "Given image[32, 32, 3]\nscores = MobileNet(image, multiplier 1/4, classes 10)\n",
    "vision_transformer": (
        "Given image[16, 16, 3]\nscores = VisionTransformer(image, patch 4, length 24, blocks 2, heads 3, classes 10)\n"
    ),
}


def network(name: str) -> str:
    return f'import "{(NETWORKS / name).as_posix()}.maj"\n{SMALL[name]}'


def test_lenet(tmp_path: Path) -> None:
    model = agrees((ROOT / "examples" / "lenet.maj").read_text("utf-8"), tmp_path, batch=3)
    assert operators(model).keys() <= {
        "Conv",
        "Transpose",
        "Unsqueeze",
        "Add",
        "Relu",
        "MaxPool",
        "Reshape",
        "MatMul",
        "Identity",
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", sparse(["mobilenet", "resnet", "vision_transformer"], 3, EXHAUSTIVE))
def test_small_networks(name: str, tmp_path: Path) -> None:
    found = operators(agrees(network(name), tmp_path))
    assert not found.keys() & {"Einsum", "GatherND", "ScatterND", "Loop", "Where", "Pad"}
    assert found["Conv"] == {"resnet": 21, "mobilenet": 52, "vision_transformer": 1}[name]


# -- names and sizes -----------------------------------------------------------------------------


def test_names_shapes_and_weights_are_the_program_s(tmp_path: Path) -> None:
    text = "Given image[4, 3], k[2]: int32 without batch\n"
    text += "scores = FC(image, Φ1, units 5)\nn[i] = 2 * k[i]\noutput scores, n\n"
    weights = majuscule.compile(text, seed=1).weights
    model = exported(text, tmp_path, weights=weights)
    assert [value.name for value in model.graph.input] == ["image", "k"]
    assert [value.name for value in model.graph.output] == ["scores", "n"]
    shape = model.graph.input[0].type.tensor_type.shape
    assert [dim.dim_param or dim.dim_value for dim in shape.dim] == ["batch", 4, 3]
    kept = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for name, array in weights.items():
        numpy.testing.assert_array_equal(kept[name], array)


def test_sizes_that_are_open_stay_open(tmp_path: Path) -> None:
    text = """
Given x[t T, j 4], picture[H, W, 2]
average[b,j] = sum[t](x[b,t,j]) / T
P = pad(x, t: (1, 0))
shifted[b,t,j] = 2 * P[b,t,j]
C = Conv(picture, width 3, stride 2, pad 1, filters 3)
flat[b,(x,y,i)] = C[b,x,y,i]
output average, shifted, flat
"""
    for sizes in ({"T": 1, "H": 5, "W": 8}, {"T": 6, "H": 8, "W": 7}):
        agrees(text, tmp_path, 3, **sizes)


def test_a_model_takes_any_batch(tmp_path: Path) -> None:
    text = "Given image[6, 6, 2]\ny = FC(MaxPool(Conv(image, width 3, filters 4), width 2), units 3)\n"
    for batch in (1, 2, 5):
        agrees(text, tmp_path, batch)


def test_a_model_that_is_imported_again_is_the_same_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = majuscule.compile(ROOT / "examples" / "lenet.maj", seed=2)
    module.save("net.mod")
    for arguments in (["export", "net.mod", "-o", "net.onnx"], ["import", "net.onnx", "-o", "again.maj"]):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
    again = majuscule.compile("again.maj", weights="again.safetensors")
    image = numpy.random.default_rng(0).random((2, 28, 28, 1), numpy.float32)
    numpy.testing.assert_allclose(again(image), module(image), rtol=1e-5, atol=1e-6)


def test_weights_that_are_too_large_for_one_file_lie_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("majuscule.onnx_export.writing._LARGEST", 100)
    text = "Given x[3]\nparam k[2]: int64 = 3\nh = FC(x, units 30)\nz = FC(relu(h), units 2)\ny[b,i] = z[b,i] * k[i]\n"
    agrees(text, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "model.onnx.data"}
    bare = onnx.load(tmp_path / "model.onnx", load_external_data=False)
    assert all(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in bare.graph.initializer[:5])
    found = majuscule.import_onnx(tmp_path / "model.onnx")
    assert sum(array.size for array in found.weights.values()) >= 3 * 30 + 30 + 30 * 2 + 2


# -- refusals --------------------------------------------------------------------------------------


def test_random_numbers_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"z\S* draws random numbers"):
        majuscule.export_onnx("Given x[3]\nz[b,i] = x[b,i] + standard_normal()\n", tmp_path / "z.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ExportError, match=r"pip install 'majuscule\[onnx\]'"):
        majuscule.export_onnx("Given x[3]\ny[b,i] = 2 * x[b,i]\n", tmp_path / "y.onnx")


def test_the_command_writes_a_module_s_model_and_refuses_what_makes_no_sense(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    module = majuscule.compile("Given x[3]\ny = FC(x, units 2)\n", seed=4)
    module.save("net.mod")

    def maj(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["export", "net.mod", *arguments])

    for arguments, message in (
        (["-o", "net.txt"], "say what to write"),
        (["-o", "net.onnx", "--embed"], "go with --c"),
        (["-o", "no/net.onnx"], "there is no directory no"),
    ):
        result = maj(*arguments)
        assert (result.exit_code, message in result.output) == (2, True), result.output
    assert maj("-o", "net.onnx").exit_code == 0
    x = numpy.random.default_rng(0).standard_normal((2, 3), numpy.float32)
    (found,) = ReferenceEvaluator(onnx.load("net.onnx")).run(None, {"x": x})
    numpy.testing.assert_allclose(found, module(x), rtol=1e-6)
