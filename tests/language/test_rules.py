"""The rules R1 to R22 of the language, each pinned by what it makes of small programs."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest
from programs import Array, checked, close, notes, numbers, parameters, refused, shape, values

from majuscule.dsl import check_file, check_text
from majuscule.dsl.equations import Input, Parameter, Recurrence, State

A = numbers(4, 5)
X = numbers(3, 5, seed=1)
MATRIX = "Given x[5]\nparam A[4, 5]\n"


def result(equation: str, head: str = MATRIX, **more: Array) -> Array:
    """The tensor y of a program over x[b, 5] and A[4, 5]."""
    weights = {name: w for name, w in {"A": A, **more}.items() if f"param {name}[" in head}
    inputs = {name: w for name, w in {"x": X, **more}.items() if name not in weights and name != "A"}
    return values(f"{head}{equation}\n", inputs, weights)["y"]


# -- names -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Φ_1", "Phi_1"),
        ("Φ₁", "Φ_1"),
        ("µ", "mu"),
        ("μ", "mu"),
        ("L′", "L'"),
        ("ℓ", "l"),
        ("σ2", "sigma2"),
        ("Φs", "Phis"),
    ],
)
def test_r01_spellings_of_one_name(one: str, other: str) -> None:
    if one.startswith("Φ"):
        texts = [f"Given x[5]\ny = FC(x, {name}, units 2)\n" for name in (one, other)]
    else:
        texts = [f"Given x[5]\n{name}[b,j] = 2*x[b,j]\ny[b,j] = {name}[b,j] + 1\n" for name in (one, other)]
    first, second = (checked(text) for text in texts)
    assert first.operations == second.operations


@pytest.mark.parametrize(
    ("capital", "free"),
    [("J", "j"), ("ΔX", "Δx"), ("DX", "dx"), ("∆X", "∆x"), ("J_1", "j_1"), ("I'", "i'"), ("Λ", "λ"), ("JR", "jr")],
)
def test_r01_case_of_an_index(capital: str, free: str) -> None:
    close(result(f"y[b,k] = A[k,{capital}] x[b,{capital}]"), X @ A.T)
    close(result(f"y[b,k] = sum[{free}](A[k,{free}] * x[b,{free}])"), X @ A.T)


def test_r01_mixed_case_is_an_error() -> None:
    assert "mixes" in refused(MATRIX + "y[b,k] = A[k,Jr] x[b,Jr]\n", "E201").message


def test_r01_superscripts_are_powers_and_transposition() -> None:
    close(result("y[b,j] = x[b,j]² + x[b,j]³"), X**2 + X**3)
    close(result("y[b,k] = Aᵀ[J,k] x[b,J]"), X @ A.T)
    close(result("y[b,k] = A.T[J,k] x[b,J]"), X @ A.T)
    close(result("y[b,j] = x[b,j]^2"), X**2)


def test_r01_sigma_is_the_logistic_function_unless_defined() -> None:
    close(result("y[b,j] = σ(x[b,j])"), 1 / (1 + numpy.exp(-X)))
    close(result("σ[j] = mean[b](x[b,j])\ny[b,j] = x[b,j] - σ[j]"), X - X.mean(0))


def test_r02_tensors_and_indices_have_their_own_names() -> None:
    close(result("B[j] = A[0,j]\ny[b,j] = x[b,j] + B[j]\nz[B,j] = x[B,j] B[j]\noutput y"), X + A[0])


def test_r02_a_declared_number_in_brackets_is_a_number() -> None:
    close(result("s = 2\ny[b,j] = x[b,s*j]"), X[:, ::2])
    close(result("k = 3\ny[b] = x[b,k]"), X[:, 3])


def test_r02_an_undeclared_coefficient_is_an_error() -> None:
    refused(MATRIX + "y[b,j] = x[b,s*j]\n", "E233")


def test_r02_a_tensor_in_brackets_is_a_gather() -> None:
    t = numpy.array([2, 0, 3])
    found = values("Given t[]: int64\nparam A[4, 5]\ny[b,j] = A[t[b],j]\n", {"t": t}, {"A": A})["y"]
    close(found, A[t])
    refused(MATRIX + "y[b,j] = A[x[b,0],j]\n", "E236")


# -- sums --------------------------------------------------------------------------------------


def test_r03_a_capital_on_the_left_is_never_summed() -> None:
    close(result("y[b,J] = A[0,J] x[b,J]"), A[0] * X)


def test_r04_a_capital_is_summed_over_the_smallest_product() -> None:
    head = "Given x[5], z[6]\nparam A[4, 5]\nparam C[4, 6]\nparam b[4]\n"
    z, C, b = numbers(3, 6), numbers(4, 6), numbers(4)
    close(result("y[n,i] = A[i,J]*x[n,J] + C[i,K]*z[n,K] + b[i]", head, z=z, C=C, b=b), X @ A.T + z @ C.T + b)


def test_r04_the_same_capital_in_two_terms_is_two_sums() -> None:
    close(result("y[b,i] = A[i,J] x[b,J] + A[i,J] x[b,J]^2"), X @ A.T + X**2 @ A.T)


def test_r04_two_reads_of_one_tensor_and_three_factors() -> None:
    close(result("y[b] = x[b,J] x[b,J]"), (X * X).sum(1))
    close(result("y[b,i] = A[i,J] x[b,J] x[b,J]"), (X * X) @ A.T)


def test_r04_parentheses_keep_the_sum_outside() -> None:
    close(result("y[b,i] = A[i,J] (x[b,J] - A[0,J])"), (X - A[0]) @ A.T)


def test_r04_occurrences_in_affine_subscripts_count() -> None:
    close(result("y[b,j] = A[0,ΔX] x[b,j+ΔX]", "Given x[5]\nparam A[4, 5]\n")[:, 0], X @ A[0])


def test_r04_a_capital_bound_inside_and_used_outside_is_refused_with_a_rename() -> None:
    fix = refused(MATRIX + "y[b] = (A[0,J] x[b,J]) x[b,J]\n", "E304").fix
    assert fix is not None
    assert fix.replacement == "J'"


@pytest.mark.parametrize("equation", ["y[b] = x[b,J]", "y[b] = x[b,J] + 1", "y[i] = A[i,I] + A[I,I]"])
def test_r05_a_capital_that_occurs_once_is_an_error(equation: str) -> None:
    assert any("sum[" in note for note in refused(f"{MATRIX}{equation}\n", "E301").notes)


def test_r05_a_trace_must_be_explicit() -> None:
    head = "Given x[5]\nparam S[5, 5]\n"
    S = numbers(5, 5)
    refused(f"{head}y[b] = x[b,0] * S[I,I]\n", "E301")
    close(result("y[b] = x[b,0] * sum[i](S[i,i])", head, S=S), X[:, 0] * numpy.trace(S))


def test_r06_a_free_index_only_on_the_right_is_an_error() -> None:
    fix = refused(f"{MATRIX}y[b,i] = A[i,j] x[b,J]\n", "E302").fix
    assert fix is not None


def test_r07_sums_close_inside_a_function() -> None:
    close(result("y[b,i] = relu(A[i,J] x[b,J] - A[i,0])"), numpy.maximum(X @ A.T - A[:, 0], 0))


def test_r07_an_unrepeated_capital_inside_a_function_goes_on() -> None:
    close(result("y[b] = exp(x[b,J])*x[b,J]"), (numpy.exp(X) * X).sum(1))


def test_r07_denominators_and_powers_start_no_sum() -> None:
    refused(f"{MATRIX}y[b] = 1/x[b,J]\n", "E301")
    refused(f"{MATRIX}y[b] = x[b,J]/x[b,J]\n", "E301")
    refused(f"{MATRIX}y[b] = x[b,J]^2\n", "E301")


REDUCERS = {
    "sum": numpy.sum, "max": numpy.max, "min": numpy.min, "prod": numpy.prod, "mean": numpy.mean,
    "argmax": numpy.argmax, "argmin": numpy.argmin,
    "logsumexp": lambda v, axis: numpy.log(numpy.exp(v).sum(axis)),
}  # fmt: skip


@pytest.mark.parametrize("name", list(REDUCERS))
def test_r08_explicit_reducers(name: str) -> None:
    expected = REDUCERS[name](X, axis=1)
    close(result(f"y[b] = {name}[j](x[b,j])"), expected)
    close(result(f"y[b] = {name}[J](x[b,J])"), expected)
    close(result(f"y[b] = {name}_{{j}} x[b,j]"), expected)


def test_r08_the_slides_form_reaches_to_the_end_of_its_term() -> None:
    close(result("y[b,i] = Σ_{j} A[i,j] x[b,j] + 1"), X @ A.T + 1)


def test_r08_a_range_that_does_not_follow_must_be_given() -> None:
    refused(f"{MATRIX}y[b,j] = max[Δj](x[b,j+Δj])\n", "E402")
    found = result("y[b,j] = max[Δj in 0..2](x[b,j+Δj])")
    close(found, numpy.maximum(X[:, :4], X[:, 1:]))


def test_r08_ranges_are_half_open() -> None:
    close(result("y[b] = sum[j in 1..4](x[b,j])"), X[:, 1:4].sum(1))
    close(result("y[b,j in 1..3] = x[b,j]"), X[:, 1:3])
    close(result("for j in 1..3: y[b,j] = x[b,j]"), X[:, 1:3])


def test_r08_a_range_up_to_the_indexs_own_size_is_the_whole_axis() -> None:
    close(result("y[b] = sum[j in 0..J](x[b,j]) + 10 * sum[j in 0..J](A[j,0])"), X.sum(1) + 10 * A[:, 0].sum())
    close(result("y[b in 0..B, k in 0..2] = x[b,3]"), X[:, [3, 3]])
    close(result("for j in 0..J: y[b,j] = x[b,j]"), X)
    layer = "layer F(L[b, i]):\n    return[b, i in 0..I] = L[b,0] + sum[i' in 1..I](L[b,i'])\nGiven x[5]\n"
    close(result("y = F(x)", layer), numpy.tile(X[:, :1] + X[:, 1:].sum(1, keepdims=True), 5))


def test_r08_a_range_may_end_at_the_size_of_another_tensor_of_the_layer() -> None:
    layer = "layer F(L[b, i], M[k]):\n    return[b, i in 0..K] = L[b,i+1]\nGiven x[5], m[3] without batch\n"
    close(result("y = F(x, m)", layer, m=numbers(3)), X[:, 1:4])


def test_r08_softmax_binds_an_index_and_keeps_it() -> None:
    p = numpy.exp(X)
    close(result("y[b,j] = softmax[j](x[b,j])"), p / p.sum(1, keepdims=True))


def test_r09_a_capital_outside_brackets_is_a_size() -> None:
    close(result("y[j] = 1/B Σ_b x[b,j]"), X.mean(0))
    close(result("y[b,j] = x[b,j]/J"), X / 5)
    close(result("y[b,j] = x[b,j]*size(A, 0)"), X * 4)


def test_r09_a_capital_that_multiplies_or_divides_an_index_is_a_size() -> None:
    head = "Given x[5]\nX1 = 10\nparam u[10]\n"
    u = numbers(10)
    close(result("y[b,j] = x[b,j] + u[j*X1//J]", head, u=u), X + u[::2])


# -- axes ----------------------------------------------------------------------------------------


def test_r09_a_size_with_the_name_of_a_tensor_is_refused_where_the_tensor_seems_meant() -> None:
    head = "Given x[10]\nparam W[10, 4]\nparam B[4]\n"
    diagnostic = refused(f"{head}y[b,j] = W[I,j] * x[b,I] + B\n", "E322")
    assert diagnostic.fix is not None
    assert diagnostic.fix.replacement == "B[j]"
    x, B = numbers(5, 10), numbers(4)
    mean = values(
        f"{head}m[j] = 1/B Σ_b W[I,j] x[b,I]\ny[b,j] = m[j] + B[j] + (B) + 0*x[b,0]\n",
        {"x": x},
        {"B": B, "W": numbers(10, 4)},
    )
    close(mean["y"], (x @ numbers(10, 4)).mean(0) + B + 5 + 0 * x[:, :1])


def test_r10_concatenation_matches_pieces_by_name() -> None:
    close(result("y[b,I+J] = x[b,I] ; A[0,J]"), numpy.concatenate([X, numpy.broadcast_to(A[0], (3, 5))], 1))
    refused(f"{MATRIX}y[b,I+J] = x[b,J] ; A[0,I]\n", "E319")
    refused(f"{MATRIX}y[b,I+J] = x[b,I]\n", "E318")


def test_r10_a_semicolon_ends_no_statement() -> None:
    assert check_text(f"{MATRIX}y[b,j] = x[b,j];\n").program is None


def test_r11_fused_axes_are_row_major_on_both_sides() -> None:
    L = numbers(2, 3, 4, 5)
    text = "Given L[3, 4, 5]\nV[b,(x,y,i)] = L[b,x,y,i]\nparam W[7, 60]\nu[b,j] = W[j,(X,Y,I)] L[b,X,Y,I]\n"
    W = numbers(7, 60)
    found = values(text, {"L": L}, {"W": W})
    close(found["V"], L.reshape(2, 60))
    close(found["u"], L.reshape(2, 60) @ W.T)


def test_r11_fused_axes_are_taken_apart() -> None:
    V = numbers(2, 12)
    found = values("Given V[12]\nfor x in 0..3: L[b,x,y] = V[b,(x,y)]\n", {"V": V})["L"]
    close(found, V.reshape(2, 3, 4))
    refused("Given V[12]\nfor x in 0..5: L[b,x,y] = V[b,(x,y)]\n", "E407")


def test_r12_an_access_with_one_unknown_gives_its_largest_range() -> None:
    assert shape(checked("Given L[10]\nparam W[3]\ny[b,x] = W[ΔX] L[b,2*x+ΔX]\n"), "y") == (4,)


def test_r12_plain_uses_must_agree_and_affine_ones_intersect() -> None:
    diagnostic = refused("Given x[5], z[6]\ny[b,j] = x[b,j] + z[b,j]\n", "E401")
    assert diagnostic.labels
    assert shape(checked("Given x[5], z[9]\ny[b,j] = x[b,j+1] + z[b,2*j]\n"), "y") == (4,)


def test_r12_ranges_start_at_zero_and_negative_offsets_are_refused() -> None:
    refused("Given x[5]\ny[b,j] = x[b,j-1]\n", "E404")
    found = values("Given x[j 5]\ny[b,j] = cut(x, j: 1)[b,j-1]\n", {"x": X})["y"]
    close(found, X[:, : found.shape[1]])


def test_r12_places_that_do_not_divide_are_noted() -> None:
    text = "Given x[6]\nparam W[3]\ny[b,j] = W[K] x[b,2*j+K]\n"
    assert shape(checked(text), "y") == (2,)
    assert "last place" in notes(text, "N501")[0].message


def test_r12_an_access_out_of_bounds_shows_a_counterexample() -> None:
    diagnostic = refused("Given x[5], z[5]\ny[b,j] = z[b,j] + x[b,j+2]\n", "E403")
    assert any("j = 4 reads position 6" in note for note in diagnostic.notes)


def test_r12_deductions_are_recorded() -> None:
    program = checked("Given L[10]\nparam W[3]\ny[b,x] = W[ΔX] L[b,x+ΔX]\n")
    assert any("0..8" in deduction.text for deduction in program.deductions)


def test_r13_padding_and_skipping() -> None:
    head = "Given x[j 5]\n"
    for mode, name in (("zeros", "constant"), ("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")):
        found = values(f"{head}y = pad(x, j: (2,1), mode {mode})\n", {"x": X})["y"]
        close(found, numpy.pad(X, ((0, 0), (2, 1)), mode=name))  # type: ignore[call-overload]
    close(
        values(f"{head}y = pad(x, j: 1, value 7)\n", {"x": X})["y"], numpy.pad(X, ((0, 0), (1, 1)), constant_values=7)
    )
    negative = -abs(X)
    found = values(f"{head}y[b,j] = max[Δj in 0..3](skip(x, j: 1)[b,j+Δj])\n", {"x": negative})["y"]
    wide = numpy.pad(negative, ((0, 0), (1, 1)), constant_values=-numpy.inf)
    close(found, numpy.maximum(numpy.maximum(wide[:, :-2], wide[:, 1:-1]), wide[:, 2:]))
    refused(f"{head}y[b,j] = max[Δj in 0..2](skip(x, j: 2)[b,j+Δj])\n", "E309")


def test_r14_cases_have_ranges_of_their_own() -> None:
    found = values("Given x[5]\ny[b, j in 0..8] = { x[b,j] if j < 5 ; 2*x[b,j-5] otherwise }\n", {"x": X})["y"]
    close(found, numpy.concatenate([X, 2 * X[:, :3]], 1))
    found = values("Given x[5]\ny[b, j in 0..8] = { x[b,j] for j < J ; 0 otherwise }\n", {"x": X})["y"]
    close(found, numpy.pad(X, ((0, 0), (0, 3))))
    refused("Given x[5]\ny[b, j in 0..8] = { x[b,j] if j < 6 ; 0 otherwise }\n", "E403")
    refused("Given x[5]\ny[b, j] = { x[b,j] if x[b,j] > 0 }\n", "E307")


def test_r15_prefix_keywords_and_juxtaposition() -> None:
    close(result("for b, i: y[b,i] = 2 A[i,J] x[b,J]"), 2 * X @ A.T)
    one = checked("Given L[8, 8, 3]\nA = Conv(L, width 3, filters 2, pad 1)\n")
    other = checked("Given L[8, 8, 3]\nA = Conv(L, width = 3, filters: 2, pad = 1)\n")
    assert one.operations == other.operations


def test_r15_bundles_bind_by_kind_and_are_shared() -> None:
    one = checked("Given L[8, 8, 3]\nA = Conv(L, Φ, width 3, filters 2)\n")
    other = checked("Given L[8, 8, 3]\nA = Conv(Φ, L, width 3, filters 2)\n")
    assert one.operations == other.operations
    twice = checked("Given L[8, 8, 3], M[9, 9, 3]\nA = Conv(L, Φ, width 3, filters 2)\nB = Conv(M, Φ)\n")
    assert list(parameters(twice)) == ["Φ.W", "Φ.B"]
    refused("Given L[8, 8, 3], M[9, 9, 4]\nA = Conv(L, Φ, width 3, filters 2)\nB = Conv(M, Φ)\n", "E521")


def test_r15_asserted_shapes_are_checked() -> None:
    refused("Given x[5]\ny[6] = 2 * x\n", "E411")
    assert shape(checked("Given x[5]\ny[5] = 2 * x\n"), "y") == (5,)


def test_r15_loops_make_families() -> None:
    close(values("Given x_0[5]\nfor l in 0..3: x_{l+1} = 2 * x_l\n", {"x_0": X})["x_3"], 8 * X)


def test_r16_the_batch_is_not_part_of_the_program() -> None:
    program = checked("Given x[5], t[T]: int64, K[3, 3] without batch, m[H, W, 3]: uint8\ny[n,j] = x[n,j]\n")
    inputs = {n: o for n, o in program.operations.items() if isinstance(o, Input)}
    assert [str(s) for s in inputs["x"].shape] == ["batch", "5"]
    assert [str(s) for s in inputs["K"].shape] == ["3", "3"]
    assert [str(s) for s in inputs["m"].shape] == ["batch", "H", "W", "3"]
    assert (inputs["x"].dtype, inputs["t"].dtype, inputs["m"].dtype) == ("float32", "int64", "uint8")
    for batch in (1, 4):
        assert values("Given x[5]\ny = x + 1\n", {"x": numbers(batch, 5)})["y"].shape == (batch, 5)


def test_r17_recurrences_forwards_backwards_and_together() -> None:
    x = numbers(2, 6)
    text = """
Given x[6]
f[b,-1] = 0
f[b,t] = 0.5 f[b,t-1] + x[b,t]
g[b,6] = 0
g[b,t] = 0.5 g[b,t+1] + x[b,t]
p[b,-1] = 1
q[b,-1] = 2
p[b,t] = q[b,t-1] + x[b,t]
q[b,t] = p[b,t] - q[b,t-1]
"""
    found = values(text, {"x": x})
    f, p, q, g = numpy.zeros(2), numpy.ones(2), numpy.full(2, 2.0), numpy.zeros(2)
    for t in range(6):
        f = 0.5 * f + x[:, t]
        p = q + x[:, t]
        q = p - q
        close(found["f"][:, t], f)
        close(found["p"][:, t], p)
        close(found["q"][:, t], q)
    for t in reversed(range(6)):
        g = 0.5 * g + x[:, t]
        close(found["g"][:, t], g)
    assert sum(isinstance(o, Recurrence) for o in checked(text).operations.values()) == 3


def test_r17_a_recurrence_without_start_is_an_error() -> None:
    refused("Given x[T]\nh[b,t] = h[b,t-1] + x[b,t]\n", "E712")


def test_r18_parameters_and_state() -> None:
    text = """
Given x[5]
param W[I, 3] ~ he
param c[3] = 1 untrained
state n[3] = 0
y[b,j] = W[I,j] x[b,I] + c[j]
update n[j] = n[j] + mean[b](y[b,j])
"""
    program = checked(text, "training")
    W, c, n = (program.operations[name] for name in ("W", "c", "n"))
    assert isinstance(W, Parameter)
    assert W.trained
    assert isinstance(c, Parameter)
    assert not c.trained
    assert isinstance(n, State)
    assert program.updates == {"n": "n.next"}
    assert not checked(text).updates


def test_r19_training_and_inference_are_one_program() -> None:
    text = "Given x[5]\nwhen training:\n    y = 2 * x\nwhen inferring:\n    y = 3 * x\n"
    close(values(text, {"x": X})["y"], 3 * X)
    close(values(text, {"x": X}, mode="training")["y"], 2 * X)


def test_r19_losses_name_the_parameters_that_they_train() -> None:
    text = """
Given z[4], x[4]
fake = FC(z, Φg, units 4)
a = FC(fake, Φd, units 1)
b = FC(x, Φd)
loss critic = mean[n](a[n,0]) - mean[n](b[n,0]) trains Φd
loss forger = -mean[n](a[n,0]) trains Φg
metric gap = mean[n](b[n,0])
"""
    losses = checked(text, "training").losses
    assert losses["critic"][1:] == ("Φd.W", "Φd.B")
    assert losses["forger"][1:] == ("Φg.W", "Φg.B")


def test_r20_partial_definitions_interleave_and_must_cover() -> None:
    text = "Given x[5]\nT[b,2*j] = x[b,j]\nT[b,2*j+1] = 10 x[b,j]\n"
    close(values(text, {"x": X})["T"], numpy.stack([X, 10 * X], 2).reshape(3, 10))
    refused("Given x[5]\nT[b,2*j] = x[b,j]\nT[b,2*j] = 10 x[b,j]\n", "E706")
    refused("Given x[5]\nT[b,3*j] = x[b,j]\nT[b,3*j+1] = 10 x[b,j]\n", "E707")


def test_r20_a_constant_part_runs_over_the_other_axes_as_its_neighbours_do() -> None:
    text = """
Given x[5, 4]
T[b, 2*i, j] = x[b,i,j]
for b, i in 0..5, j: T[b, 2*i+1, j] = 0
"""
    x = numbers(3, 5, 4)
    expected = numpy.zeros((3, 10, 4))
    expected[:, ::2] = x
    close(values(text, {"x": x})["T"], expected)
    refused("Given x[5]\nT[b, 2*i] = x[b,i]\nT[b, 2*i + 1] = 0\n", "E402")


def test_r21_patterns_refuse_lists_of_the_wrong_length() -> None:
    head = "Given x[5]\n"
    assert shape(checked(head + "y = x -> [FC(units [4, 3]) -> RELU]*2 -> FC(units 2)\n"), "y") == (2,)
    refused(head + "y = x -> [FC(units [4, 3, 7]) -> RELU]*2 -> FC(units 2)\n", "E702")
    refused(head + "y = x -> [FC(units [4]) -> RELU]*2 -> FC(units 2)\n", "E702")


def test_r22_pairs_apply_to_axes_in_their_order() -> None:
    program = checked("Given L[20, 30, 1]\nA = Conv(L, filters 1, width (3, 5), stride (2, 1), pad (0, 2))\n")
    assert shape(program, "A") == (9, 30, 1)
    assert parameters(program)["A.W"] == (3, 5, 1, 1)


# -- what a program looks like -----------------------------------------------------------------------


def test_a_copy_of_a_library_layer_under_another_name_gives_the_same_code() -> None:
    library = Path(__file__).resolve().parents[2] / "dsl" / "library" / "convolution.maj"
    text = library.read_text(encoding="utf-8")
    body = text[text.index("layer Conv(") : text.index("alias CONV")].replace("layer Conv(", "layer MyOwn(")
    call = "Given L[9, 9, 4]\nA = {}(L, width 3, stride 2, pad 1, filters 6, groups 2)\n"
    assert checked(call.format("MyOwn") + "\n" + body).operations == checked(call.format("Conv")).operations


def test_definitions_may_be_imported(tmp_path: Path) -> None:
    (tmp_path / "own.maj").write_text(
        "function twice(x) = 2 * x\nlayer Both(L[..., i]):\n    return twice(L) + 1\n", encoding="utf-8"
    )
    (tmp_path / "main.maj").write_text('from "own.maj" import Both\nGiven x[5]\ny = Both(x)\n', encoding="utf-8")
    program = check_file(tmp_path / "main.maj").require()
    assert program.outputs == ("y",)


def test_sizes_of_a_networks_own_tensors_are_not_imported(tmp_path: Path) -> None:
    (tmp_path / "own.maj").write_text(
        "Given x[T, 2]\nn = size(x, T)\nhalf = n // 2\nk = 3 * len([1, 2])\n"
        "layer Twice(L[...]): return[...] = 2 * L[...]\nlast[b,i] = x[b,n-1,i]\n",
        encoding="utf-8",
    )
    (tmp_path / "main.maj").write_text('import "own.maj"\nGiven z[3]\ny = k * Twice(z)\n', encoding="utf-8")
    program = check_file(tmp_path / "main.maj").require()
    assert program.inputs == ("z",)
