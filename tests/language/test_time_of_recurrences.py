"""Which axis a recurrence goes along, where its reads move along others too."""

from __future__ import annotations

import numpy
import pytest

import majuscule

X = numpy.random.default_rng(0).normal(size=(2, 5, 4)).astype(numpy.float32)


def test_reads_may_move_along_other_axes_as_well() -> None:
    # Pascal's triangle, fed with x
    text = """Given x[5, 4]
h[b, t, j in 0..4] = h[b, t-1, j] + { h[b, t-1, j-1] if j >= 1 ; 0 otherwise } + x[b, t, j]
h[b, -1, j] = 0
"""
    wanted, row = [], numpy.zeros((2, 4))
    for t in range(5):
        row = row + numpy.pad(row, ((0, 0), (1, 0)))[:, :-1] + X[:, t]
        wanted.append(row)
    numpy.testing.assert_allclose(majuscule.compile(text)(X), numpy.stack(wanted, 1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("axis", [1, 2])
def test_where_a_start_is_given_decides_between_two_axes(axis: int) -> None:
    cases = {
        1: "h[b, t, j in 0..4] = { h[b, t-1, j-1] if j >= 1 ; 0 otherwise } + x[b, t, j]\nh[b, -1, j] = 0\n",
        2: "h[b, t in 0..5, j] = { h[b, t-1, j-1] if t >= 1 ; 0 otherwise } + x[b, t, j]\nh[b, t, -1] = 0\n",
    }
    wanted = X.astype(float)
    for t in range(1, 5):
        wanted[:, t, 1:] += wanted[:, t - 1, :-1]
    found = majuscule.compile("Given x[5, 4]\n" + cases[axis])(X)
    numpy.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_a_front_that_moves_along_two_axes_is_refused() -> None:
    text = """Given x[5, 4]
h[b, t, j] = h[b, t-1, j] + h[b, t, j-1] + x[b, t, j]
h[b, -1, j] = 0
h[b, t, -1] = 0
"""
    assert [d.code for d in majuscule.check(text).diagnostics] == ["E713"]
