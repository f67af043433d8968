"""The generator against the published known answers of Philox 4x32-10."""

import numpy
import pytest

from majuscule.compiler.random_numbers import philox, uniform

KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_known_answers(counter: tuple[int, ...], key: tuple[int, int], answer: tuple[int, ...]) -> None:
    c0, c1, c2, c3 = (numpy.array([word], numpy.uint64) for word in counter)
    words = philox((c0, c1, c2, c3), key)
    assert tuple(int(word[0]) for word in words) == answer


def test_element_depends_on_its_position_only() -> None:
    long = uniform(600_000, seed=7, stream=2, step=3)
    assert numpy.array_equal(uniform(10, seed=7, stream=2, step=3), long[:10])
    assert numpy.array_equal(long, long.astype(numpy.float32))


def test_element_is_one_of_the_four_words_of_its_counter() -> None:
    found = uniform(103, seed=5 + (6 << 32), stream=2, step=3)
    numbers = numpy.arange(26, dtype=numpy.uint64)
    zeros, twos, threes = (numpy.full_like(numbers, word) for word in (0, 2, 3))
    words = numpy.stack(philox((numbers, zeros, twos, threes), (5, 6)), axis=1).ravel()
    assert found.shape == (103,)
    assert numpy.array_equal(found, (words[:103] >> 8) / 2.0**24)


def test_streams_steps_and_seeds_differ() -> None:
    first = uniform(100, seed=1, stream=0, step=0)
    for seed, stream, step in [(2, 0, 0), (1, 1, 0), (1, 0, 1), (1 + (1 << 32), 0, 0)]:
        assert not numpy.array_equal(first, uniform(100, seed=seed, stream=stream, step=step))


def test_numbers_are_uniform() -> None:
    numbers = uniform(200_000, seed=0, stream=0)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = numpy.histogram(numbers, 20, (0, 1))[0]
    assert abs(counts - 10_000).max() < 500
