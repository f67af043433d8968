"""A short name that stands for nothing: an index, a tensor defined later, or a typing error."""

from __future__ import annotations

from programs import refused


def test_an_index_is_meant_among_indices() -> None:
    refused("Given x[10]\ny[b,i] = x[b,i] * k\n", "E302")


def test_a_tensor_is_meant_where_there_are_no_indices() -> None:
    refused("Given x[10]\ny = 2*z\n", "E202")


def test_a_tensor_that_is_defined_later_is_named_as_such() -> None:
    refused("Given x[10]\ny = 2*z\nz = x\n", "E225")
    refused("Given x[10]\ny[b,i] = 2*z*x[b,i]\nz = sum[b,i](x[b,i])\n", "E225")
