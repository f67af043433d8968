"""Sizes and ranks as compile-time values, and `(...)`, which fuses all axes that are not named."""

from __future__ import annotations

import numpy
from programs import checked, close, numbers, shape, values


def test_fused_rest_flattens_all_but_the_batch() -> None:
    L = numbers(2, 4, 5, 3)
    found = values("Given L[4, 5, 3]\nV[b, (…)] = L[b, …]\n", {"L": L})
    close(found["V"], L.reshape(2, 60))


def test_fused_rest_of_a_tensor_without_batch_is_one_axis() -> None:
    L = numbers(4, 5)
    close(values("Given L[4, 5] without batch\nV[(...)] = L[...]\n", {"L": L})["V"], L.reshape(20))


def test_size_of_a_whole_tensor_counts_its_elements() -> None:
    L = numbers(2, 4, 3)
    close(values("Given L[4, 3]\nn = size(L)\nm = size(L) / size(L, 2)\nV = L * m / n\n", {"L": L})["V"], L / 3)


def test_batched_tells_inputs_with_a_batch_from_others() -> None:
    text = "Given x[3]\nGiven y[3] without batch\nn = 2 if batched(x) and not batched(y) else 5\nV[i in 0..n] = y[i]\n"
    assert shape(checked(text), "V") == (2,)


def test_margins_of_zero_places_make_no_guard() -> None:
    text = "Given L[x 4, i 3]\nP = skip(L, x: 0)\nM[b, x, i] = max[Δx in 0..2](P[b, 2*x + Δx, i])\n"
    operation = checked(text).operations["M"]
    assert operation.guard is None  # type: ignore[union-attr]
    L = numbers(2, 4, 3)
    close(values(text, {"L": L})["M"], numpy.maximum(L[:, 0::2], L[:, 1::2]))


def test_a_size_may_stand_before_the_reducer_that_binds_its_index() -> None:
    x = numbers(3, 4, 5)
    text = "Given x[y 4, j 5]\nμ[j] = 1/(B*Y) Σ_{b,y} x[b,y,j]\nσ[j] = sqrt(1/(B*Y - 1) Σ_{b,y} (x[b,y,j] - μ[j])²)\n"
    found = values(text, {"x": x})
    close(found["μ"], x.mean((0, 1)))
    close(found["σ"], x.std((0, 1), ddof=1))


def test_a_sum_sign_may_name_a_single_index_without_braces() -> None:
    x = numbers(3, 5)
    found = values(
        "Given x[j 5]\nμ[j] = 1/B Σ_b x[b,j]\nσ[j] = sqrt(1/(B - 1) Σ_b (x[b,j] - μ[j])²)\nP[j] = ∏_b x[b,j]\n",
        {"x": x},
    )
    close(found["μ"], x.mean(0))
    close(found["σ"], x.std(0, ddof=1))
    close(found["P"], x.prod(0))
