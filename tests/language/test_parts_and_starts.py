"""Parts and starts of tensors at positions that are names of numbers, and floors under conditions."""

from __future__ import annotations

import numpy
from programs import values


def test_a_start_beyond_the_end_of_a_tensor_that_reads_itself_through_another() -> None:
    x = numpy.arange(8.0).reshape(2, 4)
    text = """
Given x[T]
n = size(x, T)
u[b,t] = v[b,t+1] + x[b,t]
v[b,t] = 0.5 * u[b,t]
v[b,n] = 1
"""
    expected, following = numpy.zeros((2, 4)), numpy.ones(2)
    for t in reversed(range(4)):
        expected[:, t] = following + x[:, t]
        following = 0.5 * expected[:, t]
    numpy.testing.assert_allclose(values(text, {"x": x})["u"], expected)


def test_parts_at_named_positions() -> None:
    x = numpy.arange(6.0).reshape(2, 3)
    text = """
Given x[3]
last = 3
y[b,i] = x[b,i]
y[b,last] = 7
"""
    numpy.testing.assert_allclose(values(text, {"x": x})["y"], numpy.concatenate([x, numpy.full((2, 1), 7.0)], 1))


def test_a_floor_is_within_its_axis_where_a_condition_says_so() -> None:
    x = numpy.arange(8.0).reshape(2, 4)
    text = "Given x[4]\ny[b, i in 0..10] = { x[b, (i + 1)//2 - 1] if 0 <= i - 1 and i < 9 ; 0 otherwise }\n"
    expected = numpy.zeros((2, 10))
    expected[:, 1:9] = x[:, [(i - 1) // 2 for i in range(1, 9)]]
    numpy.testing.assert_allclose(values(text, {"x": x})["y"], expected)


def test_a_remainder_is_within_its_axis() -> None:
    x = numpy.arange(8.0).reshape(2, 2, 2)
    text = "Given x[2, 2]\ny[b, i in 0..4] = x[b, i//2, i - 2*(i//2)]\n"
    numpy.testing.assert_allclose(values(text, {"x": x})["y"], x.reshape(2, 4))
