"""Cases of definitions that layers over tensors of any rank need."""

from __future__ import annotations

import numpy
from programs import checked, close, numbers, parameters, shape, values

from majuscule.compiler.interpreter import initial_values


def test_channels_of_a_grouped_layer_follow_from_an_asserted_shape() -> None:
    text = "Given L[8, 8, 4]\nA[6x6x10] = Conv(L, width 3, groups 2)\n"
    assert parameters(checked(text))["A.W"] == (3, 3, 2, 10)


def test_concatenation_behind_a_rest_keeps_the_order_of_axes() -> None:
    L, M = numbers(2, 3, 4, 5), numbers(2, 3, 4, 6)
    text = "Given L[3, 4, 5], M[3, 4, 6]\nC[..., y, I+J] = L[..., y, I] ; M[..., y, J]\n"
    close(values(text, {"L": L, "M": M})["C"], numpy.concatenate([L, M], -1))


def test_members_of_a_recurrence_may_have_different_numbers_of_axes() -> None:
    text = """
Given x[T, 3]
h[b, -1, i] = 0
a[b, t, g in 0..2, i] = h[b, t-1, i] + (g + 1) * x[b, t, i]
h[b, t, i] = a[b, t, 0, i] * a[b, t, 1, i]
"""
    x = numbers(2, 4, 3)
    h = numpy.zeros((2, 3))
    for t in range(4):
        h = (h + x[:, t]) * (h + 2 * x[:, t])
    close(values(text, {"x": x})["h"][:, -1], h)


def test_what_a_recurrence_needs_may_stand_between_its_start_and_its_step() -> None:
    text = "Given x[T]\nh[b, -1] = 1\na[b, t] = 2 * x[b, t]\nh[b, t] = a[b, t] * h[b, t-1]\n"
    x = numbers(3, 5)
    close(values(text, {"x": x})["h"], numpy.cumprod(2 * x, 1))


def test_cases_of_plain_numbers_are_fractions() -> None:
    text = "Given x[3]\nM[i in 0..3, j in 0..3] = { 1.5 if i == j ; 0 otherwise }\ny[b, i] = M[i, J] * x[b, J]\n"
    assert checked(text).tensor("M").dtype == "float32"
    x = numbers(2, 3)
    close(values(text, {"x": x})["y"], 1.5 * x)


def test_first_values_may_depend_on_the_position() -> None:
    program = checked("Given x[3]\nK = 3\nparam W[I, K] = { 2 if i == k ; i otherwise }\ny[b, k] = W[I, k] * x[b, I]\n")
    close(initial_values(program)["W"], [[2, 0, 0], [1, 2, 1], [2, 2, 2]])
    assert shape(program, "y") == (3,)


def test_results_keep_their_names_where_arguments_are_equations() -> None:
    program = checked("Given x[3]\ns = FC(relu(x), units 2)\n")
    assert program.outputs == ("s",)
    assert "s.input" in program.operations
