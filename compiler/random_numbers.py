"""Counter-based random numbers: Philox 4x32-10, one of the four words of a counter per element.

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
WORDS = 4
"""How many words a counter makes: element e is word e mod 4 of counter e div 4."""
UNIFORM_SCALE = 2.0**-24
"""A uniform number is the upper 24 bits of a word times this, so float32 holds it exactly."""

_MASK = 0xFFFFFFFF
_CHUNK = 1 << 13  # counters at a time, so that their words stay in the cache

Words = NDArray[numpy.uint64]


def philox(counter: tuple[Words, Words, Words, Words], key: tuple[int, int]) -> tuple[Words, Words, Words, Words]:
    """Four 32-bit words (held in uint64 arrays) for each counter of four 32-bit words."""
    c0, c1, c2, c3 = (words.copy() for words in counter)
    product0, product1 = numpy.empty_like(c0), numpy.empty_like(c2)
    k0, k1 = key
    low, shift = numpy.uint64(_MASK), numpy.uint64(32)
    for _ in range(ROUNDS):
        numpy.multiply(c0, numpy.uint64(MULTIPLIERS[0]), out=product0)
        numpy.multiply(c2, numpy.uint64(MULTIPLIERS[1]), out=product1)
        numpy.right_shift(product1, shift, out=c0)
        c0 ^= c1
        c0 ^= numpy.uint64(k0)
        numpy.bitwise_and(product1, low, out=c1)
        numpy.right_shift(product0, shift, out=c2)
        c2 ^= c3
        c2 ^= numpy.uint64(k1)
        numpy.bitwise_and(product0, low, out=c3)
        k0, k1 = (k0 + KEY_INCREMENTS[0]) & _MASK, (k1 + KEY_INCREMENTS[1]) & _MASK
    return c0, c1, c2, c3


def uniform(count: int, *, seed: int, stream: int, step: int = 0) -> NDArray[numpy.float32]:
    """`count` uniform numbers in [0, 1), multiples of 2**-24, for elements 0 … count - 1.

    Key = (seed low, seed high); counter = (c low, c high, stream, step) with c = element div 4;
    the number is `(word >> 8) * 2**-24`, with word (element mod 4) of the four.
    """
    key = (seed & _MASK, seed >> 32 & _MASK)
    counters = -(-count // WORDS)
    result = numpy.empty((counters, WORDS), numpy.float32)
    for first in range(0, counters, _CHUNK):
        part = result[first : first + _CHUNK]
        number = numpy.arange(first, first + len(part), dtype=numpy.uint64)
        counter = (
            number & numpy.uint64(_MASK),
            number >> numpy.uint64(32),
            numpy.full_like(number, stream & _MASK),
            numpy.full_like(number, step & _MASK),
        )
        for place, word in enumerate(philox(counter, key)):
            word >>= numpy.uint64(8)
            # signed numbers are converted faster
            numpy.multiply(word.view(numpy.int64), numpy.float32(UNIFORM_SCALE), out=part[:, place], casting="unsafe")
    return result.reshape(-1)[:count]
