"""Winograd's algorithm and packed weights: taken where windows slide, and right against PyTorch in float64."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy
import pytest

import majuscule
from majuscule.compiler.codegen import Target
from majuscule.compiler.codegen.roads import winograd
from majuscule.compiler.codegen.toom_cook import transforms

torch = pytest.importorskip("torch")

Array = numpy.ndarray[Any, Any]


@pytest.mark.parametrize(("m", "r"), [(3, 2), (2, 3), (4, 3), (2, 5)])
def test_transforms_give_the_sliding_sum(m: int, r: int) -> None:
    found = transforms(m, r)
    data = [Fraction(3 * k * k - 7 * k + 2) for k in range(m + r - 1)]
    window = [Fraction(5 - 2 * k) for k in range(r)]

    def applied(matrix: Any, vector: list[Fraction]) -> list[Fraction]:
        return [sum((c * v for c, v in zip(row, vector, strict=True)), Fraction(0)) for row in matrix]

    products = [a * b for a, b in zip(applied(found.window, window), applied(found.inputs, data), strict=True)]
    expected = [sum(data[k + p] * window[p] for p in range(r)) for k in range(m)]
    assert applied(found.outputs, products) == expected


def test_too_many_points_are_refused() -> None:
    with pytest.raises(ValueError, match="points"):
        transforms(6, 5)


def _roads(module: majuscule.Module) -> str:
    return "; ".join(step["road"] for step in module._manifest["steps"])


def _convolved(x: Array, weights: Array, bias: Array, **options: Any) -> Array:
    """A 2-D convolution with channels last, in float64."""
    found = torch.nn.functional.conv2d(
        torch.from_numpy(x).double().permute(0, 3, 1, 2),
        torch.from_numpy(numpy.array(weights)).double().permute(3, 2, 0, 1),
        torch.from_numpy(numpy.array(bias)).double(),
        **options,
    )
    return numpy.asarray(found.permute(0, 2, 3, 1))


def _numbers(*shape: int) -> Array:
    return numpy.random.default_rng(sum(shape)).standard_normal(shape, numpy.float32)


@pytest.mark.parametrize(
    ("rows", "columns", "width", "pad", "channels", "filters"),
    [
        (16, 16, 3, 1, 32, 32),
        (13, 9, 3, 1, 48, 16),
        (7, 7, 3, 1, 64, 64),
        (11, 12, 5, 2, 32, 32),
        (10, 14, 3, 0, 40, 32),
    ],
)
def test_sliding_windows_take_winograd_and_are_right(
    rows: int, columns: int, width: int, pad: int, channels: int, filters: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAJUSCULE_CACHE", "0")
    monkeypatch.setattr(winograd, "_WORTH_WHILE", 1e9)  # small maps would be computed directly
    module = majuscule.compile(
        f"Given L[{rows}, {columns}, {channels}]\nM = relu(Conv(L, Φ, width {width}, pad {pad}, filters {filters}))\n",
        weights={
            "Φ.W": _numbers(width, width, channels, filters) / (width * channels**0.5),
            "Φ.B": _numbers(filters),
        },
    )
    if Target.host().registers >= 32:
        assert "winograd" in _roads(module)
    for batch in (1, 2, 5):
        x = _numbers(batch, rows, columns, channels)
        expected = numpy.maximum(_convolved(x, module.weights["Φ.W"], module.weights["Φ.B"], padding=pad), 0)
        for threads in (1, 2, 3):
            module.set_threads(threads)
            assert abs(module(x) - expected).max() < 2e-5 * abs(expected).max()


def test_folded_batch_norms_and_shortcuts_are_right() -> None:
    module = majuscule.compile(
        "Given L[16, 16, 32]\nA = ResidualBlock(L)\nB = ResidualBlock(A, filters 64, stride 2)\n"
    )
    plain = majuscule.compile("Given L[16, 16, 32]\nA = ResidualBlock(L)\nB = ResidualBlock(A, filters 64, stride 2)\n")
    x = _numbers(3, 16, 16, 32)
    assert numpy.isfinite(module(x)).all()
    assert numpy.array_equal(module(x), plain(x))
    assert abs(module(x)[:1] - module(x[:1])).max() < 1e-5


@pytest.mark.parametrize("batch", [1, 3, 8, 17])
@pytest.mark.parametrize(("units", "inputs"), [(1000, 96), (256, 200), (48, 640)])
def test_packed_matrices_are_right_for_any_batch(units: int, inputs: int, batch: int) -> None:
    module = majuscule.compile(f"Given L[{inputs}]\nM = FC(L, Φ, units {units})\n")
    x = _numbers(batch, inputs)
    expected = x.astype(numpy.float64) @ numpy.array(module.weights["Φ.W"], numpy.float64)
    assert abs(module(x) - expected).max() < 1e-5 * abs(expected).max()


@pytest.mark.parametrize(
    ("width", "stride", "groups", "channels", "filters"),
    [
        (1, 1, 1, 128, 256),
        (3, 2, 1, 64, 160),
        (1, 2, 1, 96, 96),
        (3, 1, 48, 48, 48),
        (3, 2, 32, 32, 32),
        (3, 1, 4, 64, 64),
    ],
)
def test_direct_convolutions_are_right(width: int, stride: int, groups: int, channels: int, filters: int) -> None:
    options = f"width {width}, stride {stride}, pad {width // 2}, groups {groups}, filters {filters}"
    module = majuscule.compile(f"Given L[15, 17, {channels}]\nM = Conv(L, Φ, {options})\n")
    assert "winograd" not in _roads(module)
    for batch in (1, 3):
        x = _numbers(batch, 15, 17, channels)
        expected = _convolved(
            x, module.weights["Φ.W"], module.weights["Φ.B"], stride=stride, padding=width // 2, groups=groups
        )
        assert abs(module(x) - expected).max() < 1e-5 * abs(expected).max()
