"""Weights of PyTorch's layers, imported, give what PyTorch gives; all axes have equal sizes where they can.

So no shape tells what an axis is: the program's equations must.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest

import majuscule
from majuscule.compiler.graph import Graph
from majuscule.compiler.interpreter import evaluate

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

Array = numpy.ndarray[Any, Any]


def run(text: str, data: dict[str, Array], weights: dict[str, Array]) -> Array:
    """The last tensor of a program, in float64."""
    program = majuscule.check(text).require()
    given = {name: array.astype(numpy.float64) for name, array in weights.items()}
    return evaluate(Graph.from_program(program), data, given)[program.outputs[-1]]


def drawn(module: Any) -> Any:
    """The module with random numbers in all weights and running statistics, whose sums float32 does not round."""
    torch.manual_seed(0)
    for tensor in module.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.randint(128, 384, tensor.shape) / 256)
    return module.eval()


def assert_same(text: str, module: Any, x: Array, expected: Callable[[Any, Any], Any], **choices: Any) -> None:
    """Import the module's weights, compare what both give, and get the same weights back, bit for bit."""
    drawn(module)
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    weights, report = majuscule.import_weights(text, state, **choices)
    assert not report.left_in_program
    with torch.no_grad():
        wanted = expected(module.double(), torch.from_numpy(x)).numpy()
    found = run(text, {"x": x}, weights)
    numpy.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)
    back = majuscule.export_weights(text, weights, like=state, **choices)
    again, _ = majuscule.import_weights(text, back, **choices)
    assert list(again) == list(weights)
    assert all(numpy.array_equal(again[name], weights[name]) for name in weights)
    exported = majuscule.export_weights(text, weights, channels=choices.get("channels"))
    own, _ = majuscule.import_weights(text, exported, channels=choices.get("channels"))
    assert all(numpy.array_equal(own[name], weights[name]) for name in weights)
    if not any("_hh_l0" in name for name in state):  # of two biases only the sum is left
        assert {name: tensor.tolist() for name, tensor in state.items()} == {n: a.tolist() for n, a in back.items()}


def numbers(*shape: int) -> Array:
    return numpy.random.default_rng(shape).standard_normal(shape)


def channels_first(layers: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """Run PyTorch's layers on a picture of ours: channels first inside, last outside."""
    return lambda module, x: layers(module)(x.movedim(-1, 1)).movedim(1, -1)


WINDOWS = {
    "Conv(x, Φ, width 3, filters 3)": lambda: nn.Conv2d(3, 3, 3),
    "Conv(x, Φ, width 3, filters 6, groups 3)": lambda: nn.Conv2d(3, 6, 3, groups=3),
    "Conv(x, Φ, width (2, 3), stride 2, filters 3)": lambda: nn.Conv2d(3, 3, (2, 3), 2),
    "Conv(x, Φ, width 3, stride 3, filters 3)": lambda: nn.Conv2d(3, 3, 3, 3),
    "Conv(x, Φ, width 6, filters 3)": lambda: nn.Conv2d(3, 3, 6),
    "DepthwiseConv(x, Φ, width 3)": lambda: nn.Conv2d(3, 3, 3, groups=3),
    "DepthwiseConv(x, Φ, width 3, multiplier 3)": lambda: nn.Conv2d(3, 9, 3, groups=3),
    "ConvTranspose(x, Φ, width 3, filters 3)": lambda: nn.ConvTranspose2d(3, 3, 3),
    "ConvTranspose(x, Φ, width 1, filters 3)": lambda: nn.ConvTranspose2d(3, 3, 1),
    "ConvTranspose(x, Φ, width 3, stride 3, filters 3)": lambda: nn.ConvTranspose2d(3, 3, 3, 3),
    "ConvTranspose(x, Φ, width 3, stride 2, pad 1, outpad 1, filters 3)": lambda: nn.ConvTranspose2d(3, 3, 3, 2, 1, 1),
    "ConvTranspose(x, Φ, width 3, dilation 2, groups 3, filters 9)": lambda: nn.ConvTranspose2d(
        3, 9, 3, groups=3, dilation=2
    ),
}


@pytest.mark.parametrize("layer", WINDOWS)
def test_convolutions(layer: str) -> None:
    assert_same(f"Given x[6, 6, 3]\ny = {layer}\n", WINDOWS[layer](), numbers(2, 6, 6, 3), channels_first(lambda m: m))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose"])
def test_groups_of_several_channels(kind: str, groups: int) -> None:
    module = getattr(nn, f"{kind}2d")(4, 4, 2, groups=groups)
    text = f"Given x[5, 5, 4]\ny = {kind}(x, Φ, width 2, filters 4, groups {groups})\n"
    assert_same(text, module, numbers(2, 5, 5, 4), channels_first(lambda m: m))


@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize("rank", [1, 3])
def test_other_ranks(kind: str, rank: int) -> None:
    sizes = ", ".join(["3"] * rank)
    text = f"Given x[{sizes}, 2]\ny = {kind}{rank}d(x, Φ, width 2, filters 2)\n"
    x = numbers(2, *[3] * rank, 2)
    assert_same(text, getattr(nn, f"{kind}{rank}d")(2, 2, 2), x, channels_first(lambda m: m))


WRITTEN = {
    "columns": "param W[4, 4]\nparam B[4]\ny[b,j] = W[I,j] * x[b,I] + B[j]",
    "rows": "param W[4, 4]\nparam B[4]\ny[b,j] = W[j,I] * x[b,I] + B[j]",
    "a bias that is subtracted": "param W[4, 4]\nparam B[4]\ny[b,j] = W[j,I] * x[b,I] - B[j]",
    "products that are subtracted": "param W[4, 4]\nparam B[4]\ny[b,j] = B[j] - W[j,I] * x[b,I]",
    "inside a function": "param W[4, 4]\nparam B[4]\ny[b,j] = min(1e9, W[I,j] * x[b,I] - B[j])",
}


@pytest.mark.parametrize("text", WRITTEN.values(), ids=WRITTEN)
def test_square_matrices_are_turned_as_the_equation_says(text: str) -> None:
    assert_same(f"Given x[4]\n{text}\n", nn.Linear(4, 4), numbers(3, 4), lambda m, x: m(x))


@pytest.mark.parametrize(("against", "kind"), [("x+Δx", nn.Conv1d), ("x-Δx", nn.ConvTranspose1d)])
def test_a_convolution_that_someone_wrote(against: str, kind: Any) -> None:
    text = f"""
Given x[x 8, i 3]
param K[3, 3, 3]
P = pad(x, x: 2)
y[b,x in 0..10,j] = sum[Δx, i](K[j,Δx,i] * P[b,{against.replace("x-", "x+2-")},i])
"""
    if kind is nn.Conv1d:
        text = text.replace("P = pad(x, x: 2)\n", "").replace("P[", "x[").replace("x in 0..10", "x")
    assert_same(text, kind(3, 3, 3, bias=False), numbers(2, 8, 3), channels_first(lambda m: m))


def test_a_factor_belongs_to_the_program() -> None:
    text = "Given x[4]\nparam W[4, 4]\nparam B[4]\ny[b,j] = W[j,I] * x[b,I] / 3 + 2 * B[j]\n"
    assert_same(text, nn.Linear(4, 4), numbers(2, 4), lambda m, x: (m(x) - m.bias) / 3 + 2 * m.bias)


@pytest.mark.parametrize("fused", [True, False])
def test_image_to_column(fused: bool) -> None:
    product = "W[(ΔX,ΔY,I),j] * P[b,x,y,(ΔX,ΔY,I)]" if fused else "W[ΔX,ΔY,I,j] * P[b,x,y,ΔX,ΔY,I]"
    text = f"""
Given x[5, 5, 3]
param W[3, 3, 3, 3]
P[b,x,y,Δx in 0..3,Δy in 0..3,i] = x[b,x+Δx,y+Δy,i]
y[b,x,y,j] = {product}
"""
    assert_same(text, nn.Conv2d(3, 3, 3, bias=False), numbers(2, 5, 5, 3), channels_first(lambda m: m))


def test_a_product_of_two_tensors() -> None:
    text = "Given x[3], z[3]\nparam W[3, 3, 3]\nparam B[3]\ny[b,k] = W[I,J,k] * x[b,I] * z[b,J] + B[k]\n"
    module = drawn(nn.Bilinear(3, 3, 3))
    weights, _ = majuscule.import_weights(text, module.state_dict())
    x, z = numbers(2, 3), numbers(3, 2, 3)[0]
    with torch.no_grad():
        wanted = module.double()(torch.from_numpy(x), torch.from_numpy(z)).numpy()
    numpy.testing.assert_allclose(run(text, {"x": x, "z": z}, weights), wanted, rtol=1e-9)


def test_a_picture_is_flattened_channels_first_in_pytorch() -> None:
    module = nn.Sequential(nn.Conv2d(3, 3, 2), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, 27))
    text = "Given x[7, 7, 3]\nL = MaxPool(Conv(x, Φ1, width 2, filters 3), width 2)\ny = FC(L, Φ2, units 27)\n"
    assert_same(text, module, numbers(2, 7, 7, 3), lambda m, x: m(x.movedim(-1, 1)))


def test_what_is_flattened_keeps_its_order_in_a_normalisation() -> None:
    module = nn.Sequential(nn.Conv2d(3, 3, 2), nn.Flatten(), nn.BatchNorm1d(27))
    text = "Given x[4, 4, 3]\ny = BatchNorm(Flatten(Conv(x, Φ1, width 2, filters 3)), Φ2)\n"
    x = numbers(2, 4, 4, 3)
    places_first = lambda y: y.unflatten(1, (3, 3, 3)).movedim(1, -1).flatten(1)  # noqa: E731
    assert_same(text, module, x, lambda m, x: places_first(m(x.movedim(-1, 1))))


def test_channels_that_come_first_in_the_program_too() -> None:
    module = nn.Sequential(nn.Conv2d(3, 3, 2), nn.Flatten(), nn.Linear(27, 27))
    text = """
Given x[3, 4, 4]
param K[3, 3, 2, 2]
param B[3]
param W[27, 27]
param C[27]
L[b,j,x,y] = K[j,I,ΔX,ΔY] * x[b,I,x+ΔX,y+ΔY] + B[j]
V[b,(j,x,y)] = L[b,j,x,y]
y[b,k] = W[I,k] * V[b,I] + C[k]
"""
    assert_same(text, module, numbers(2, 3, 4, 4), lambda m, x: m(x))


@pytest.mark.parametrize("channels", ["first", "last"])
def test_an_input_that_is_flattened_at_once_needs_to_be_told(channels: str) -> None:
    text = "Given x[3, 3, 3]\ny = FC(x, Φ, units 4)\n"
    module = nn.Linear(27, 4)
    with pytest.raises(majuscule.ModuleError, match="flattened from 3×3×3, and nothing tells which axis"):
        majuscule.import_weights(text, module.state_dict())

    def expected(module: Any, x: Any) -> Any:
        return module((x.movedim(-1, 1) if channels == "first" else x).flatten(1))

    assert_same(text, module, numbers(2, 3, 3, 3), expected, channels=channels)


def test_a_picture_with_one_channel_needs_not_be_told() -> None:
    text = "Given x[3, 3, 1]\ny = FC(x, Φ, units 4)\n"
    assert_same(text, nn.Linear(9, 4), numbers(2, 3, 3, 1), lambda m, x: m(x.flatten(1)))


class Decoder(nn.Module):
    """Features that are cut into a picture, channels first."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 27)
        self.norm = nn.BatchNorm1d(27)
        self.layer = layer

    def forward(self, x: Any) -> Any:
        return self.layer(self.norm(self.linear(x)).relu().unflatten(1, (3, 3, 3))).movedim(1, -1)


@pytest.mark.parametrize(
    ("layer", "module"),
    [
        ("Conv(P, Φ3, width 2, filters 3)", nn.Conv2d(3, 3, 2)),
        ("ConvTranspose(P, Φ3, width 2, stride 2, filters 3)", nn.ConvTranspose2d(3, 3, 2, 2)),
        ("MaxPool(P, width 2)", nn.MaxPool2d(2)),
    ],
)
def test_features_are_cut_into_a_picture_channels_first_in_pytorch(layer: str, module: Any) -> None:
    text = f"""
Given x[6]
F = relu(BatchNorm(Linear(x, Φ1, units 27), Φ2))
P[b, x in 0..3, y in 0..3, i] = F[b,(x,y,i)]
y = {layer}
"""
    assert_same(text, Decoder(module), numbers(2, 6), lambda m, x: m(x))


@pytest.mark.parametrize("channels", ["first", "last"])
def test_a_picture_that_is_the_result_needs_to_be_told(channels: str) -> None:
    text = "Given x[4]\nF = Linear(x, Φ1, units 27)\ny[b, x in 0..3, y in 0..3, i] = F[b,(x,y,i)]\n"
    module = nn.Linear(4, 27)
    with pytest.raises(majuscule.ModuleError, match="its output is cut into 3×3×3, and nothing tells"):
        majuscule.import_weights(text, module.state_dict())

    def expected(module: Any, x: Any) -> Any:
        y = module(x).unflatten(1, (3, 3, 3))
        return y.movedim(1, -1) if channels == "first" else y

    assert_same(text, module, numbers(2, 4), expected, channels=channels)


def test_heads_are_no_places() -> None:
    text = """
Given x[5, 12]
F = Linear(x, Φ1, units 12)
H[b,t,h in 0..3,d] = F[b,t,(h,d)]
S[b,t,h,d] = 2 * H[b,t,h,d]
R[b,t,(h,d)] = S[b,t,h,d]
y = Linear(R, Φ2, units 12)
"""
    module = nn.Sequential(nn.Linear(12, 12), nn.Linear(12, 12))
    assert_same(text, module, numbers(2, 5, 12), lambda m, x: m[1](2 * m[0](x)))


NORMALISATIONS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "BatchNorm(x, Φ)": (lambda: nn.BatchNorm2d(4), lambda m: m),
    "GroupNorm(x, Φ, groups 2)": (lambda: nn.GroupNorm(2, 4), lambda m: m),
    "PReLU(x, Φ)": (lambda: nn.PReLU(4), lambda m: m),
}


@pytest.mark.parametrize("layer", NORMALISATIONS)
def test_normalisations_and_slopes(layer: str) -> None:
    build, layers = NORMALISATIONS[layer]
    assert_same(f"Given x[3, 3, 4]\ny = {layer}\n", build(), numbers(2, 3, 3, 4), channels_first(layers))


def test_layer_norm() -> None:
    assert_same("Given x[3, 4]\ny = LayerNorm(x, Φ)\n", nn.LayerNorm(4), numbers(2, 3, 4), lambda m, x: m(x))


def test_embedding() -> None:
    text = "Given x[6]: int64\ny = Embedding(x, Φ, words 5, features 5)\n"
    words = numpy.random.default_rng(0).integers(0, 5, (2, 6))
    assert_same(text, nn.Embedding(5, 5), words, lambda m, x: m(x))


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("biased", [True, False])
def test_recurrent_cells(kind: str, biased: bool) -> None:
    result = "h, c" if kind == "LSTM" else "h"
    text = f"Given x[T, 4]\n{result} = {kind}(x, Φ, units 4)\noutput h\n"
    module = getattr(nn, kind)(4, 4, bias=biased, batch_first=True)
    if biased:
        assert_same(text, module, numbers(2, 5, 4), lambda m, x: m(x)[0])
        return
    with pytest.raises(majuscule.ModuleError, match=r"Φ\.B"):
        majuscule.import_weights(text, module.state_dict())


def test_a_cell_that_someone_wrote() -> None:
    text = """
Given x[T, 4]
layer Cell(x[b,t,i], Φ):
    n = I
    param bias[4, n]
    param V[4, n, I]
    param A[n, 4, n]
    c[b,-1,j] = 0
    h[b,-1,j] = 0
    a[b,t,g,j] = V[g,j,I] * x[b,t,I] + A[K,g,j] * h[b,t-1,K] + bias[g,j]
    c[b,t,j] = σ(a[b,t,1,j]) * c[b,t-1,j] + σ(a[b,t,0,j]) * tanh(a[b,t,2,j])
    h[b,t,j] = σ(a[b,t,3,j]) * tanh(c[b,t,j])
    return h
y = Cell(x, Φ1)
"""
    assert_same(text, nn.LSTM(4, 4, batch_first=True), numbers(2, 5, 4), lambda m, x: m(x)[0])


def test_a_normalisation_that_someone_wrote() -> None:
    text = """
Given x[3, 3, 4]
param shift[4]
state spread[4]
state centre[4]
param scale[4]
y[b,x,y,i] = (x[b,x,y,i] - centre[i]) / sqrt(spread[i] + 0.00001) * scale[i] - shift[i]
"""
    given = drawn(nn.BatchNorm2d(4))
    weights, _ = majuscule.import_weights(
        text, given.state_dict(), rename=["weight=scale", "bias=shift", "running_mean=centre", "running_var=spread"]
    )
    x = numbers(2, 3, 3, 4)
    wanted = channels_first(lambda m: m)(given.double(), torch.from_numpy(x)).detach().numpy()
    numpy.testing.assert_allclose(run(text, {"x": x}, weights), wanted, rtol=1e-9)


class Transformer(nn.Module):
    """A vision transformer as torchvision orders its parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.class_token = nn.Parameter(torch.zeros(1, 1, 8))
        self.conv_proj = nn.Conv2d(3, 8, 2, 2)
        self.pos_embedding = nn.Parameter(torch.zeros(1, 10, 8))
        self.blocks = nn.ModuleList(
            nn.ModuleDict({
                "ln_1": nn.LayerNorm(8), "attention": nn.MultiheadAttention(8, 2, batch_first=True),
                "ln_2": nn.LayerNorm(8), "mlp": nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 8)),
            }) for _ in range(2)
        )  # fmt: skip
        self.head = nn.Linear(8, 8)

    def forward(self, x: Any) -> Any:
        patches = self.conv_proj(x.movedim(-1, 1)).flatten(2).mT
        x = torch.cat([self.class_token.expand(len(x), 1, 8), patches], 1) + self.pos_embedding
        for block in self.blocks:
            y = block["ln_1"](x)
            x = x + block["attention"](y, y, y)[0]
            x = x + block["mlp"](block["ln_2"](x))
        return self.head(x[:, 0])


def test_a_vision_transformer_in_the_order_of_definition() -> None:
    text = """
Given x[6, 6, 3]
param token[8]
patches = Conv(x, Φ0, width 2, stride 2, filters 8)
param places[10, 8]
rows[b,(x,y),i] = patches[b,x,y,i]
first[b in 0..size(x, 0), t in 0..1, i] = token[i]
tokens[b,T1+T2,i] = first[b,T1,i] ; rows[b,T2,i]
L0[b,t,i] = tokens[b,t,i] + places[t,i]
L1 = EncoderBlock(L0, Φ1, heads 2)
L2 = EncoderBlock(L1, Φ2, heads 2)
last[b,i] = L2[b,0,i]
scores = Linear(last, Φ3, units 8)
"""
    assert_same(text, Transformer(), numbers(2, 6, 6, 3), lambda m, x: m(x))


def test_two_layers_of_one_module() -> None:
    text = "Given x[T, 4]\nh_1 = GRU(x, Φ1, units 4)\nh_2 = GRU(h_1, Φ2, units 4)\noutput h_2\n"
    assert_same(text, nn.GRU(4, 4, 2, batch_first=True), numbers(2, 5, 4), lambda m, x: m(x)[0])


def test_attention_stacked_and_apart() -> None:
    text = "Given x[5, 4]\ny = MultiHeadAttention(x, Φ, heads 2)\n"
    module = nn.MultiheadAttention(4, 2, batch_first=True)
    assert_same(text, module, numbers(2, 5, 4), lambda m, x: m(x, x, x)[0])
    together = module.state_dict()
    apart = {"out_proj.weight": together["out_proj.weight"], "out_proj.bias": together["out_proj.bias"]}
    for letter, weight, bias in zip(
        "qkv", together["in_proj_weight"].chunk(3), together["in_proj_bias"].chunk(3), strict=True
    ):
        apart |= {f"{letter}_proj.weight": weight, f"{letter}_proj.bias": bias}
    found, _ = majuscule.import_weights(text, {f"Φ.{name}": tensor for name, tensor in apart.items()})
    expected, _ = majuscule.import_weights(text, together)
    assert all(numpy.array_equal(found[name], expected[name]) for name in expected)


def test_a_program_for_training_has_the_same_weights() -> None:
    text = "Given x[4, 4, 3]\ny = BatchNorm(Conv(x, Φ1, width 2, filters 3), Φ2)\n"
    state = drawn(nn.Sequential(nn.Conv2d(3, 3, 2), nn.BatchNorm2d(3))).state_dict()
    expected, _ = majuscule.import_weights(text, state)
    found, _ = majuscule.import_weights(text, state, mode="training")
    assert found.keys() == expected.keys()
    assert all(numpy.array_equal(found[name], expected[name]) for name in found)


def test_what_is_imported_and_exported_is_a_copy() -> None:
    state = drawn(nn.Linear(4, 4)).state_dict()
    text = "Given x[4]\nparam W[4, 4]\nparam B[4]\ny[b,j] = W[j,I] * x[b,I] + B[j]\n"
    weights, _ = majuscule.import_weights(text, state)
    exported = majuscule.export_weights(text, weights, like=state)
    for array in (*weights.values(), *exported.values()):
        array += 1
    assert not any(numpy.array_equal(array, state[name].numpy()) for name, array in exported.items())
    assert all(array.flags.writeable for array in exported.values())
    assert float(state["weight"].max()) < 1.5


def test_a_matrix_that_is_used_in_two_ways_is_not_guessed() -> None:
    text = "Given x[4]\nparam W[4, 4]\ny[b,j] = W[I,j] * x[b,I]\nz[b,j] = W[j,I] * y[b,I]\n"
    with pytest.raises(majuscule.ModuleError, match="used in two ways"):
        majuscule.import_weights(text, {"weight": numpy.zeros((4, 4), "float32")})


def test_an_embedding_that_is_also_the_last_layer() -> None:
    text = """
Given x[6]: int64
param E[5, 4]
h[b,t,j] = E[x[b,t],j]
y[b,t,w] = E[w,J] * h[b,t,J]
"""
    words = numpy.random.default_rng(0).integers(0, 5, (2, 6))
    assert_same(text, nn.Embedding(5, 4), words, lambda m, x: m(x) @ m.weight.T)
