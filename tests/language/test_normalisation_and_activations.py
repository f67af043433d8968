"""Equations E18 to E22 of the slides: batch statistics, other normalisations, activations, logic, first values."""

from __future__ import annotations

import math

import numpy
import pytest
from programs import checked, close, loops, numbers, values, weights_of


def test_e18_batch_statistics_as_on_the_slides() -> None:
    x = numbers(6, 4)
    text = """
Given x[4]
μ[j] = 1/B Σ_b x[b,j]
s[j] = sqrt( 1/(B−1) Σ_b (x[b,j]−μ[j])² )
x̃[b,j] = (x[b,j]−μ[j])/s[j]
"""
    found = values(text, {"x": x})
    close(found["μ"], x.mean(0))
    close(found["s"], x.std(0, ddof=1))
    close(found["x̃"], (x - x.mean(0)) / x.std(0, ddof=1))


def test_e18_sigma_may_be_the_name_of_a_tensor() -> None:
    x = numbers(6, 4)
    text = """
Given x[4]
μ[j] = mean[b](x[b,j])
σ[j] = sqrt(1/(B-1) sum[b]((x[b,j]-μ[j])^2))
y[b,j] = (x[b,j]-μ[j])/σ[j]
"""
    close(values(text, {"x": x})["y"], (x - x.mean(0)) / x.std(0, ddof=1))


def test_e18_spatial_statistics_with_scale_and_shift() -> None:
    L, γ, β = numbers(3, 4, 5, 2), numbers(2), numbers(2, seed=1)
    text = """
Given L[4, 5, 2]
param γ[J]
param β[J]
μ[j] = mean[b,x,y](L[b,x,y,j])
v[j] = 1/(B*X*Y) sum[b,x,y]((L[b,x,y,j] - μ[j])^2)
N[b,x,y,j] = γ[j] (L[b,x,y,j] − μ[j])/sqrt(v[j] + 1e-5) + β[j]
"""
    mean, variance = L.mean((0, 1, 2)), L.var((0, 1, 2))
    close(values(text, {"L": L}, {"γ": γ, "β": β})["N"], γ * (L - mean) / numpy.sqrt(variance + 1e-5) + β)


def test_e18_training_and_use_differ() -> None:
    text = "Given x[4]\ny = BatchNorm(x)\n"
    x = 3 + 2 * numbers(50, 4)
    close(values(text, {"x": x}, mode="training")["y"], (x - x.mean(0)) / numpy.sqrt(x.var(0) + 1e-5), 1e-6)
    close(values(text, {"x": x})["y"], x / math.sqrt(1 + 1e-5), 1e-6)


def test_e19_layer_and_instance_norm_as_equations() -> None:
    L = numbers(3, 4, 5, 2)
    text = """
Given L[4, 5, 2]
μ[b] = mean[x,y,j](L[b,x,y,j])
v[b] = mean[x,y,j]((L[b,x,y,j] - μ[b])²)
Layer[b,x,y,j] = (L[b,x,y,j] - μ[b])/sqrt(v[b])
m[b,j] = mean[x,y](L[b,x,y,j])
w[b,j] = mean[x,y]((L[b,x,y,j] - m[b,j])²)
Instance[b,x,y,j] = (L[b,x,y,j] - m[b,j])/sqrt(w[b,j])
"""
    found = values(text, {"L": L})
    for name, axes in (("Layer", (1, 2, 3)), ("Instance", (1, 2))):
        close(found[name], (L - L.mean(axes, keepdims=True)) / L.std(axes, keepdims=True))


def test_e19_decorrelated_batch_norm_by_a_loop() -> None:
    x = numbers(30, 3) @ numbers(3, 3, seed=1)
    text = """
Given x[3]
μ[i] = mean[b](x[b,i])
D[b,i] = x[b,i] − μ[i]
C[i,k] = 1/B D[B,i] D[B,k] + { 0.01 if i == k ; 0 otherwise }
t = sum[i](C[i,i])
Z_0[i in 0..3, k in 0..3] = { 1 if i == k ; 0 otherwise }
Y_0[i,k] = C[i,k]/t
for l in 0..20:
    T_l[i in 0..3, k in 0..3] = { 1.5 if i == k ; 0 otherwise } − 0.5 Z_l[i,J] Y_l[J,k]
    Y_{l+1}[i,k] = Y_l[i,J] T_l[J,k]
    Z_{l+1}[i,k] = T_l[i,J] Z_l[J,k]
x̂[b,i] = Z_20[i,K] D[b,K]/sqrt(t)
"""
    D = x - x.mean(0)
    numbers_, vectors = numpy.linalg.eigh(D.T @ D / 30 + 0.01 * numpy.eye(3))
    close(values(text, {"x": x})["x̂"], D @ vectors @ numpy.diag(numbers_**-0.5) @ vectors.T, 1e-6)


def test_e19_local_response_norm_as_an_equation() -> None:
    a = numbers(2, 3, 3, 6)
    text = """
Given a[x 3, y 3, i 6]
α = 0.1
β = 0.75
k = 2
A = pad(a, i: 2)
N[b,x,y,i] = a[b,x,y,i] / (k + α sum[Δi in 0..5](A[b,x,y,i+Δi]²))^β
"""
    expected = loops(
        (2, 3, 3, 6),
        lambda b, x, y, i: a[b, x, y, i] / (2 + 0.1 * (a[b, x, y, max(0, i - 2) : i + 3] ** 2).sum()) ** 0.75,
    )
    close(values(text, {"a": a})["N"], expected)


def test_e20_activations_as_equations() -> None:
    x = 2 * numbers(3, 5)
    text = """
Given x[5]
α = 0.7
a[b,j] = 1/(1 + exp(-x[b,j]))
c[b,j] = max(0.1 x[b,j], x[b,j])
d[b,j] = { x[b,j] if x[b,j] ≥ 0 ; α (exp(x[b,j]) − 1) otherwise }
d'[b,j] = { x[b,j] if x[b,j] ≥ 0 ; α(exp(x[b,j]) − 1) otherwise }
e[b,j] = x[b,j] if x[b,j] >= 0 else α*(exp(x[b,j]) - 1)
p[b,j] = softmax[j](x[b,j])
z[b] = logsumexp[j](x[b,j])
"""
    found = values(text, {"x": x})
    close(found["a"], 1 / (1 + numpy.exp(-x)))
    close(found["c"], numpy.where(x > 0, x, 0.1 * x))
    for name in ("d", "d'", "e"):
        close(found[name], numpy.where(x >= 0, x, 0.7 * (numpy.exp(x) - 1)))
    close(found["p"], numpy.exp(x) / numpy.exp(x).sum(1, keepdims=True))
    close(found["p"].sum(1), numpy.ones(3))
    close(found["z"], numpy.log(numpy.exp(x).sum(1)))


def test_e20_maxout_as_an_equation() -> None:
    x, weights = numbers(3, 5), {"w1": numbers(5), "w2": numbers(5, seed=1), "b1": numbers(1), "b2": numbers(1, seed=2)}
    text = """
Given x[5]
param w1[I]
param w2[I]
param b1[1]
param b2[1]
m[b] = max(w1[I] x[b,I] + b1[0], w2[I] x[b,I] + b2[0])
"""
    expected = numpy.maximum(x @ weights["w1"] + weights["b1"], x @ weights["w2"] + weights["b2"])
    close(values(text, {"x": x}, weights)["m"], expected)


def test_e21_threshold_logic() -> None:
    table = numpy.array([[0, 0], [0, 1], [1, 0], [1, 1]], float)
    text = """
Given Q[2]
both[b] = σ(100 Q[b,0] + 100 Q[b,1] − 150)
either[b] = σ(100 Q[b,0] + 100 Q[b,1] − 50)
none[b] = σ(100(1 − Q[b,0]) − 50)
"""
    found = values(text, {"Q": table})
    close(found["both"], [0, 0, 0, 1], 1e-9)
    close(found["either"], [0, 1, 1, 1], 1e-9)
    close(found["none"], [1, 1, 0, 0], 1e-9)


@pytest.mark.parametrize(
    ("initial", "low", "high"),
    [("uniform(-sqrt(3/75), sqrt(3/75))", -0.2, 0.2), ("xavier", -0.2, 0.2), ("uniform(1, 2)", 1, 2)],
)
def test_e22_uniform_initialisation(initial: str, low: float, high: float) -> None:
    text = f"Given L[9, 9, 3]\nparam W[5, 5, 3, 40] ~ {initial}\nA[b,x,y,j] = W[ΔX,ΔY,I,j] L[b,x+ΔX,y+ΔY,I]\n"
    W = weights_of(checked(text))["W"]
    assert low <= W.min() < low + 0.01 * (high - low)
    assert high - 0.01 * (high - low) < W.max() <= high


def test_e22_other_first_values() -> None:
    text = """
Given x[400]
param A[I, 300] ~ he
param B[I, 300] ~ glorot
param C[300] = 0
param D[300] = 1
param E[300] = 0.25
param F[I, 300] ~ normal(1, 0.5)
y[b,j] = (A[I,j] + B[I,j] + F[I,j]) x[b,I] + C[j] + D[j] + E[j]
"""
    found = weights_of(checked(text))
    assert found["A"].std() == pytest.approx(math.sqrt(2 / 400), rel=0.02)
    assert abs(found["B"]).max() == pytest.approx(math.sqrt(6 / 700), rel=0.01)
    assert (found["F"].mean(), found["F"].std()) == (pytest.approx(1, rel=0.02), pytest.approx(0.5, rel=0.02))
    close(found["C"] + found["D"] + found["E"], numpy.full(300, 1.25))


def test_e22_first_values_depend_on_the_seed_and_the_parameter() -> None:
    program = checked("Given x[4]\nparam A[I, 4]\nparam B[I, 4]\ny[b,j] = A[I,j] x[b,I] + B[I,j] x[b,I]\n")
    one, other = weights_of(program, 1), weights_of(program, 2)
    assert (one["A"] != one["B"]).any()
    assert (one["A"] != other["A"]).any()
    close(one["A"], weights_of(program, 1)["A"])
