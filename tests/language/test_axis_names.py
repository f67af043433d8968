"""Axes without names get some, and those never clash with the writer's."""

from __future__ import annotations

import numpy

import majuscule


def test_an_index_may_have_the_name_that_an_unnamed_axis_would_get() -> None:
    # the start comes first, so that the third axis, an open position there, has no name
    text = """Given x[5, 2]
h[i₂, b, 2] = x[b, i₂, 0]
h[i₂, b, t] = h[i₂, b, t+1] + x[b, i₂, t]
"""
    x = numpy.random.default_rng(0).normal(size=(3, 5, 2)).astype(numpy.float32)
    last = x[:, :, 0] + x[:, :, 1]
    wanted = numpy.stack([(last + x[:, :, 0]).T, last.T], 2)
    numpy.testing.assert_allclose(majuscule.compile(text)(x), wanted, rtol=1e-6)


def test_padding_by_position_beside_an_axis_named_like_an_unnamed_one() -> None:
    text = """Given x[i_2 4, 5]
P = pad(x, i_2: 1)
y[b, i, j] = 2*P[b, i, j]
"""
    x = numpy.random.default_rng(0).normal(size=(3, 4, 5)).astype(numpy.float32)
    assert numpy.array_equal(majuscule.compile(text)(x), numpy.pad(2 * x, ((0, 0), (1, 1), (0, 0))))
