"""Sizes as JSON, for the manifest: an int, or a sum of products of symbols and floors.

`{"terms": [[coefficient, [factor, ...]], ...]}`, where a factor is the name of a symbol or
`{"floordiv": [size, size]}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...dsl.integers import Atom, FloorDiv, Integer, Symbol

EncodedSize = int | dict[str, Any]


def encode_size(size: Integer) -> EncodedSize:
    """The JSON form of a size; TypeError if it holds an index or a gather."""
    if size.constant is not None:
        return size.constant
    return {"terms": [[coefficient, [_encode_atom(atom) for atom in factors]] for factors, coefficient in size.terms]}


def encode_shape(shape: tuple[Integer, ...]) -> list[EncodedSize]:
    """The JSON form of a shape."""
    return [encode_size(size) for size in shape]


def encode_largest(sizes: Sequence[Integer]) -> EncodedSize:
    """The JSON form of the largest of some sizes: `{"max": [size, ...]}` if it depends on the symbols."""
    encoded = [encode_size(size) for size in sizes]
    return encoded[0] if len(encoded) == 1 else {"max": encoded}


def _encode_atom(atom: Atom) -> str | dict[str, Any]:
    if isinstance(atom, Symbol):
        return atom.name
    if isinstance(atom, FloorDiv):
        return {"floordiv": [encode_size(atom.numerator), encode_size(atom.denominator)]}
    raise TypeError(f"{atom} is not a run-time size")
