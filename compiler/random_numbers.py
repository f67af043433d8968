"""Counter-based random numbers: Philox 4x32-10, one independent uniform number per element.

A number is a function of (seed, step, stream, element) and of nothing else, so that layout,
threads and recomputation cannot change it; generated code runs the same rounds.  The
generator is from Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as
1, 2, 3" (SC 2011), whose known answers the tests check.
"""

from __future__ import annotations

import numpy
from numpy.typing import NDArray

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_INCREMENTS = (0x9E3779B9, 0xBB67AE85)
UNIFORM_SCALE = 2.0**-24
"""A uniform number is the upper 24 bits of a word times this, so float32 holds it exactly."""

_MASK = 0xFFFFFFFF
_CHUNK = 1 << 15  # elements at a time, so that their words stay in the cache: four times as fast as 1 << 18

Words = NDArray[numpy.uint64]


def philox(counter: tuple[Words, Words, Words, Words], key: tuple[int, int]) -> tuple[Words, Words, Words, Words]:
    """Four 32-bit words (held in uint64 arrays) for each counter of four 32-bit words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    low, shift = numpy.uint64(_MASK), numpy.uint64(32)
    for _ in range(ROUNDS):
        product0 = c0 * numpy.uint64(MULTIPLIERS[0])
        product1 = c2 * numpy.uint64(MULTIPLIERS[1])
        c0, c1, c2, c3 = (
            (product1 >> shift) ^ c1 ^ numpy.uint64(k0),
            product1 & low,
            (product0 >> shift) ^ c3 ^ numpy.uint64(k1),
            product0 & low,
        )
        k0, k1 = (k0 + KEY_INCREMENTS[0]) & _MASK, (k1 + KEY_INCREMENTS[1]) & _MASK
    return c0, c1, c2, c3


def uniform(count: int, *, seed: int, stream: int, step: int = 0) -> NDArray[numpy.float64]:
    """`count` uniform numbers in [0, 1), multiples of 2**-24, for elements 0 … count - 1.

    Key = (seed low, seed high); counter = (element low, element high, stream, step);
    the number is `(word 0 >> 8) * 2**-24`.
    """
    key = (seed & _MASK, seed >> 32 & _MASK)
    result = numpy.empty(count, numpy.float64)
    for start in range(0, count, _CHUNK):
        element = numpy.arange(start, min(start + _CHUNK, count), dtype=numpy.uint64)
        counter = (
            element & numpy.uint64(_MASK),
            element >> numpy.uint64(32),
            numpy.full_like(element, stream & _MASK),
            numpy.full_like(element, step & _MASK),
        )
        word = philox(counter, key)[0]
        result[start : start + len(element)] = (word >> numpy.uint64(8)).astype(numpy.float64) * UNIFORM_SCALE
    return result
