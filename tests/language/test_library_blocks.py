"""The library's blocks against PyTorch functions put together by hand, with the same weights."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
from programs import Array, checked, close, numbers, parameters, shape, values

from majuscule.dsl.equations import State

torch = pytest.importorskip("torch")
functional = torch.nn.functional


class Weights:
    """Random weights for a program, and PyTorch's functions on them by the names of layers."""

    def __init__(self, text: str, training: bool = False) -> None:
        program = checked(text)
        self.values: dict[str, Array] = {}
        names = [n for n, o in program.operations.items() if n in parameters(program) or isinstance(o, State)]
        for k, name in enumerate(names):
            self.values[name] = 0.5 * numbers(*shape(program, name), seed=k)
            if name.endswith(("running_var", "γ")):
                self.values[name] = 1 + abs(self.values[name])

    def tensor(self, name: str) -> Any:
        return torch.from_numpy(self.values[name])

    def conv(self, name: str, x: Any, stride: int = 1, pad: int = 0, groups: int = 1) -> Any:
        weight = self.tensor(f"{name}.W").permute(3, 2, 0, 1).contiguous()
        bias = self.tensor(f"{name}.B") if f"{name}.B" in self.values else None
        return functional.conv2d(x, weight, bias, stride, pad, 1, groups)

    def norm(self, name: str, x: Any, epsilon: float = 1e-5) -> Any:
        mean, variance, γ, β = (self.tensor(f"{name}.{part}") for part in ("running_mean", "running_var", "γ", "β"))
        return functional.batch_norm(x, mean, variance, γ, β, eps=epsilon)

    def linear(self, name: str, x: Any) -> Any:
        return x @ self.tensor(f"{name}.W") + self.tensor(f"{name}.B")


def run(call: str, channels: int = 8) -> tuple[Array, Any, Weights]:
    """The block's output (channels first), its input for PyTorch, and its weights."""
    text = f"Given L[6, 7, {channels}]\nA = {call}\noutput A\n"
    weights = Weights(text)
    L = numbers(2, 6, 7, channels)
    found = values(text, {"L": L}, weights.values)["A"]
    return numpy.moveaxis(found, -1, 1), torch.from_numpy(numpy.moveaxis(L, -1, 1).copy()), weights


def test_conv_norm() -> None:
    found, x, w = run("ConvNorm(L, filters 4, width 3, stride 2, pad 1, groups 2, activation relu6)")
    close(found, functional.relu6(w.norm("A.norm", w.conv("A.conv", x, 2, 1, 2))).numpy())


def test_conv_norm_with_an_epsilon_of_its_own() -> None:
    found, x, w = run("ConvNorm(L, filters 4, epsilon 0.001)")
    close(found, torch.relu(w.norm("A.norm", w.conv("A.conv", x, 1, 1), 1e-3)).numpy())


@pytest.mark.parametrize("stride", [1, 2])
def test_residual_block(stride: int) -> None:
    found, x, w = run(f"ResidualBlock(L, filters {8 * stride}, stride {stride})")
    hidden = torch.relu(w.norm("A.norm1", w.conv("A.conv1", x, stride, 1)))
    straight = x if stride == 1 else w.norm("A.shortcut.norm", w.conv("A.shortcut.conv", x, stride))
    close(found, torch.relu(straight + w.norm("A.norm2", w.conv("A.conv2", hidden, 1, 1))).numpy())


@pytest.mark.parametrize(("stride", "groups"), [(1, 1), (2, 1), (1, 4)])
def test_bottleneck(stride: int, groups: int) -> None:
    found, x, w = run(f"Bottleneck(L, filters {8 * stride}, inner 4, stride {stride}, groups {groups})")
    hidden = torch.relu(w.norm("A.norm1", w.conv("A.conv1", x)))
    hidden = torch.relu(w.norm("A.norm2", w.conv("A.conv2", hidden, stride, 1, groups)))
    straight = x if stride == 1 else w.norm("A.shortcut.norm", w.conv("A.shortcut.conv", x, stride))
    close(found, torch.relu(straight + w.norm("A.norm3", w.conv("A.conv3", hidden))).numpy())


@pytest.mark.parametrize("stride", [1, 2])
def test_pre_activation_block(stride: int) -> None:
    found, x, w = run(f"PreActivationBlock(L, filters {8 * stride}, stride {stride})")
    active = torch.relu(w.norm("A.norm1", x))
    hidden = torch.relu(w.norm("A.norm2", w.conv("A.conv1", active, stride, 1)))
    straight = x if stride == 1 else w.conv("A.projection", active, stride)
    close(found, (straight + w.conv("A.conv2", hidden, 1, 1)).numpy())


def test_dense_block_and_transition() -> None:
    found, x, w = run("DenseBlock(L, layers 2, growth 3)")
    for k in (1, 2):
        hidden = w.conv(f"A.L_{k}.conv1", torch.relu(w.norm(f"A.L_{k}.norm1", x)))
        added = w.conv(f"A.L_{k}.conv2", torch.relu(w.norm(f"A.L_{k}.norm2", hidden)), 1, 1)
        x = torch.cat([x, added], 1)
    close(found, x.numpy())
    found, x, w = run("Transition(L)")
    close(found, functional.avg_pool2d(w.conv("A.conv", torch.relu(w.norm("A.norm", x))), 2).numpy())


@pytest.mark.parametrize(("stride", "filters", "expand"), [(1, 8, 6), (2, 8, 3), (1, 5, 1)])
def test_inverted_residual(stride: int, filters: int, expand: int) -> None:
    found, x, w = run(f"InvertedResidual(L, filters {filters}, stride {stride}, expand {expand})")
    hidden = x if expand == 1 else functional.relu6(w.norm("A.wide.norm", w.conv("A.wide.conv", x)))
    hidden = functional.relu6(w.norm("A.deep.norm", w.conv("A.deep.conv", hidden, stride, 1, 8 * expand)))
    out = w.norm("A.norm", w.conv("A.conv", hidden))
    close(found, (x + out if stride == 1 and filters == 8 else out).numpy())


def test_squeeze_excite() -> None:
    found, x, w = run("SqueezeExcite(L, units 2, gate hard_sigmoid)")
    gates = functional.hardsigmoid(w.linear("A.excite", torch.relu(w.linear("A.squeeze", x.mean((2, 3))))))
    close(found, (gates[:, :, None, None] * x).numpy())


def test_inception() -> None:
    found, x, w = run("Inception(L, 2, 3, 4, 5, 6, 7)")
    three = w.conv("A.three", torch.relu(w.conv("A.three_reduce", x)), 1, 1)
    five = w.conv("A.five", torch.relu(w.conv("A.five_reduce", x)), 1, 2)
    proj = w.conv("A.proj", functional.max_pool2d(x, 3, 1, 1))
    close(found, torch.relu(torch.cat([w.conv("A.one", x), three, five, proj], 1)).numpy())
