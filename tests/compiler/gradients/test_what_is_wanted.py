"""Several results and wanted tensors at once, tensors on the way, and what cannot be differentiated."""

from __future__ import annotations

import numpy
import pytest
from differences import program_of, run, values_for

import majuscule
from majuscule.compiler.gradients import NoGradient, gradients, only
from majuscule.dsl.equations import Equation

TEXT = """
Given x[4], label[]: int64
param W[4, 3]
param V[3, 3] untrained
h[b,j] = tanh(W[I,j] * x[b,I])
s[b,k] = V[J,k] * h[b,J]
loss first = mean[b](s[b,0]^2)
loss second = sum[b](h[b,1]) trains W
"""


def test_losses_are_differentiated_together_with_respect_to_trained_parameters() -> None:
    program = program_of(TEXT)
    both = gradients(program)
    assert list(both.tensors) == ["W"]
    values = values_for(program)
    parts = [gradients(program, [loss]) for loss in ("first", "second")]
    total = sum(run(part.program, values, [part.tensors["W"]])[part.tensors["W"]] for part in parts)
    numpy.testing.assert_allclose(run(both.program, values, [both.tensors["W"]])[both.tensors["W"]], total)


def test_tensors_on_the_way_are_wanted_too() -> None:
    program = program_of(TEXT)
    found = gradients(program, ["first"], ["h", "W", "V", "x"])
    values = values_for(program)
    made = run(found.program, values, [*found.tensors.values(), "h", "s"])
    h, s, V, W, x = made["h"], made["s"], values["V"], values["W"], values["x"]
    d_s = numpy.zeros_like(s)
    d_s[:, 0] = 2 * s[:, 0] / len(s)
    d_h = d_s @ V.T
    expected = {"h": d_h, "W": x.T @ (d_h * (1 - h**2)), "V": h.T @ d_s, "x": (d_h * (1 - h**2)) @ W.T}
    for name, gradient in expected.items():
        numpy.testing.assert_allclose(made[found.tensors[name]], gradient, err_msg=name)


def test_what_a_result_does_not_depend_on_has_the_gradient_zero() -> None:
    program = program_of(TEXT)
    found = gradients(program, ["second"], ["V", "second"])
    made = run(found.program, values_for(program), list(found.tensors.values()))
    numpy.testing.assert_array_equal(made[found.tensors["V"]], numpy.zeros((3, 3)))
    assert made[found.tensors["second"]] == 1


def test_forward_tensors_are_shared() -> None:
    program = program_of(TEXT)
    found = gradients(program, ["first"], ["W"])
    assert program.operations.items() <= found.program.operations.items()
    again = gradients(found.program, ["first"], ["W"])
    assert set(again.tensors.values()).isdisjoint(found.tensors.values()), "new names, if names are taken"


def test_a_program_of_gradients_alone_needs_no_more_than_them() -> None:
    found = gradients(program_of(TEXT), ["second"], ["W"])
    alone = only(found)
    assert alone.inputs == ("x",)
    assert alone.outputs == ("d_W",)
    assert "s" not in alone.operations
    assert isinstance(alone.operations["d_W"], Equation)


@pytest.mark.parametrize(
    ("of", "with_respect_to", "reason"),
    [
        ("third", None, "no tensor third"),
        ("first", "U", "no tensor U"),
        ("label", None, "label is int64"),
        ("first", "label", "no gradient with respect to it"),
    ],
)
def test_mistakes(of: str, with_respect_to: str | None, reason: str) -> None:
    with pytest.raises(NoGradient, match=reason):
        majuscule.gradient(TEXT, of=of, with_respect_to=with_respect_to)
