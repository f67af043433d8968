"""The roads by name: the algorithms among which equations choose, and what people may ask for.

This is the one list that the choice (see `codegen.choosing`), help texts, errors and documents share.
What has no choice is not in it: element-wise equations, scatters, borders of paddings, random numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal as OneOf

Forced = OneOf["direct", "winograd", "image-to-column", "depthwise", "matrix", "vector-matrix", "reduction"]

ROADS: Mapping[str, str] = {
    "direct": "a window slides over an operand: the sum as it stands, for a tile of results in registers",
    "winograd": "tiles of results of a window that moves by single steps, with fewer products, rounded differently",
    "image-to-column": "what the window sees is copied into the rows of a matrix, which is multiplied by the weights",
    "depthwise": "a window over each channel by itself: as direct, where nothing but the window is summed",
    "matrix": "a sum of products without a window: a tile of results in registers",
    "vector-matrix": "a large matrix times few vectors: it is read once, row by row, with the sums in the first cache",
    "reduction": "each result by itself: vectors, but no tile of results that shares what it loads",
}
"""What each road is; the names are those of `Forced`."""

INEXACT = ("winograd",)
"""Roads that round otherwise than the sum as it stands."""
