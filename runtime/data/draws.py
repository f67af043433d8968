"""Random numbers of data: functions of a seed, a purpose and an epoch, the same on every machine.

Philox (Salmon, Moraes, Dror, Shaw 2011) is counter-based, and NumPy keeps the raw numbers of
its generators from version to version, which it does not promise for what is made of them.
"""

from __future__ import annotations

import hashlib

import numpy

from ..arrays import Array


def uniform(count: int, *key: int | str) -> Array:
    """`count` numbers from 0 up to 1, chosen by a key: a seed and whatever tells the purpose."""
    return (_raw(count, *key) >> numpy.uint64(11)) * 2.0**-53


def order_of(count: int, *key: int | str) -> Array:
    """The numbers below `count` in a random order, chosen by a key."""
    return numpy.argsort(_raw(count, *key), kind="stable")


def _raw(count: int, *key: int | str) -> Array:
    digest = hashlib.sha256("\0".join(map(str, key)).encode()).digest()
    generator = numpy.random.Philox(key=int.from_bytes(digest[:16], "little"))
    return numpy.asarray(generator.random_raw(count), numpy.uint64)
