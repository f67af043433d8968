"""The library's normalisations against PyTorch's or NumPy, in float64."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
from programs import Array, checked, close, numbers, values, weights_of

torch = pytest.importorskip("torch")
functional = torch.nn.functional


def first(array: Array) -> Any:
    """Channels first, as PyTorch has it."""
    return torch.from_numpy(numpy.moveaxis(array, -1, 1).copy())


def last(tensor: Any) -> Array:
    """Channels last."""
    return numpy.moveaxis(tensor.detach().numpy(), 1, -1)


@pytest.mark.parametrize("shape", [(5, 3), (4, 6, 3), (4, 5, 6, 3), (2, 3, 4, 5, 3)])
def test_batch_norm_in_training_uses_and_follows_the_batch(shape: tuple[int, ...]) -> None:
    L, γ, β, mean = numbers(*shape), numbers(3, seed=1), numbers(3, seed=2), numbers(3, seed=3)
    variance = abs(numbers(3, seed=4))
    text = f"Given L[{', '.join(map(str, shape[1:]))}]\nA = BatchNorm(L)\n"
    weights = {"A.γ": γ, "A.β": β, "A.running_mean": mean, "A.running_var": variance}
    found = values(text, {"L": L}, weights, mode="training")
    estimates = torch.from_numpy(mean.copy()), torch.from_numpy(variance.copy())
    expected = functional.batch_norm(
        first(L), *estimates, torch.from_numpy(γ), torch.from_numpy(β), training=True, momentum=0.1, eps=1e-5
    )
    close(found["A"], last(expected))
    updates = checked(text, "training").updates
    close(found[updates["A.running_mean"]], estimates[0].numpy())
    close(found[updates["A.running_var"]], estimates[1].numpy())


def test_batch_norm_in_use_has_fixed_estimates() -> None:
    L, γ, β, mean = numbers(4, 5, 6, 3), numbers(3, seed=1), numbers(3, seed=2), numbers(3, seed=3)
    variance = abs(numbers(3, seed=4))
    text = "Given L[5, 6, 3]\nA = BatchNorm(L, epsilon 0.01)\n"
    found = values(text, {"L": L}, {"A.γ": γ, "A.β": β, "A.running_mean": mean, "A.running_var": variance})
    close(found["A"], γ * (L - mean) / numpy.sqrt(variance + 0.01) + β)
    assert not checked(text).updates


def test_batch_norm_starts_as_the_identity() -> None:
    weights = weights_of(checked("Given L[3]\nA = BatchNorm(L)\n"))
    close(weights["A.γ"], numpy.ones(3))
    close(weights["A.running_var"], numpy.ones(3))
    assert not weights["A.β"].any()
    assert not weights["A.running_mean"].any()


def test_layer_norm() -> None:
    L, γ, β = numbers(2, 4, 5), numbers(5, seed=1), numbers(5, seed=2)
    found = values("Given L[4, 5]\nA = LayerNorm(L)\n", {"L": L}, {"A.γ": γ, "A.β": β})["A"]
    expected = functional.layer_norm(
        *(torch.from_numpy(a) for a in (L,)), (5,), torch.from_numpy(γ), torch.from_numpy(β)
    )
    close(found, expected.numpy())


def test_instance_norm() -> None:
    L = numbers(2, 4, 5, 3)
    found = values("Given L[4, 5, 3]\nA = InstanceNorm(L)\noutput A\n", {"L": L})["A"]
    close(found, last(functional.instance_norm(first(L))))


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_norm(groups: int) -> None:
    L, γ, β = numbers(2, 4, 5, 6), numbers(6, seed=1), numbers(6, seed=2)
    found = values(f"Given L[4, 5, 6]\nA = GroupNorm(L, groups {groups})\n", {"L": L}, {"A.γ": γ, "A.β": β})["A"]
    close(found, last(functional.group_norm(first(L), groups, torch.from_numpy(γ), torch.from_numpy(β))))


@pytest.mark.parametrize("size", [5, 4, 1])
def test_local_response_norm_has_pytorchs_convention(size: int) -> None:
    L = numbers(2, 4, 5, 7)
    text = f"Given L[4, 5, 7]\nA = LRN(L, size {size}, alpha 0.1, beta 0.75, k 2)\n"
    close(values(text, {"L": L})["A"], last(functional.local_response_norm(first(L), size, 0.1, 0.75, 2.0)))


def test_local_response_norm_of_alexnets_paper() -> None:
    """a / (2 + 1e-4 * sum of squares over 5 channels)^0.75: its α is the library's divided by 5."""
    L = 10 * numbers(2, 3, 3, 8)
    found = values("Given L[3, 3, 8]\nA = LRN(L, size 5, alpha 5 * 0.0001, k 2)\n", {"L": L})["A"]
    sums = numpy.stack([(L[..., max(0, i - 2) : i + 3] ** 2).sum(-1) for i in range(8)], -1)
    close(found, L / (2 + 1e-4 * sums) ** 0.75)


def test_decorrelated_batch_norm_whitens() -> None:
    L = numbers(40, 3, 2, 4) @ numbers(4, 4, seed=1) + 3
    text = "Given L[3, 2, 4]\nA = DecorrelatedBatchNorm(L, epsilon 0.001, iterations 20)\n"
    found = values(text, {"L": L}, mode="training")
    flat = L.reshape(-1, 4) - L.reshape(-1, 4).mean(0)
    values_, vectors = numpy.linalg.eigh(flat.T @ flat / len(flat) + 0.001 * numpy.eye(4))
    whitening = vectors @ numpy.diag(values_**-0.5) @ vectors.T
    close(found["A"], (flat @ whitening).reshape(L.shape), 1e-6)
    updates = checked(text, "training").updates
    close(found[updates["A.running_whitening"]], 0.9 * numpy.eye(4) + 0.1 * whitening, 1e-6)


def test_decorrelated_batch_norm_in_use() -> None:
    L, Q, mean = numbers(5, 2, 4), numbers(4, 4, seed=1), numbers(4, seed=2)
    found = values(
        "Given L[2, 4]\nA = DecorrelatedBatchNorm(L)\n", {"L": L}, {"A.running_whitening": Q, "A.running_mean": mean}
    )
    close(found["A"], (L - mean) @ Q.T)
