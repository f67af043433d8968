"""Training under a limit of memory: the same bits, no more memory than that, or an error that says what is needed."""

from __future__ import annotations

import re
from typing import Any

import numpy
import pytest
from levels import sparse

import majuscule
from majuscule.trainer import bytes_of

LOSS = """
when training:
    Given label[]: int64
    loss cost = cross_entropy(scores, label)
"""
NETWORK = (
    """\
Given image[16, 16, 3]
first = relu(BatchNorm(CONV(image, width 3, pad 1, filters 16)))
second = relu(BatchNorm(CONV(first, width 3, pad 1, filters 16))) + first
third = MaxPool(Dropout(CONV(second, width 3, pad 1, filters 32)), width 2, stride 2)
scores = FC(third, units 10)
"""
    + LOSS
)
CHAIN = (
    "Given image[200]\nh0 = tanh(FC(image, units 200))\n"
    + "".join(f"h{k} = Dropout(tanh(FC(h{k - 1}, units 200)))\n" for k in range(1, 9))
    + "scores = FC(h8, units 10)\n"
    + LOSS
)


def batch_for(text: str, size: int) -> dict[str, Any]:
    shape = (16, 16, 3) if "[16, 16, 3]" in text else (200,)
    numbers = numpy.random.default_rng(0)
    image = numbers.normal(size=(size, *shape)).astype("float32")
    return {"image": image, "label": numbers.integers(0, 10, size)}


def least_for(text: str, batch: dict[str, Any]) -> str:
    """The least amount of memory for a step, as the error for a lower limit says it."""
    with pytest.raises(majuscule.ModuleError, match="at least") as caught:
        majuscule.Trainer(text, memory="1 MB").step(batch)
    assert caught.value.code == "R408"
    found = re.search(r"needs ([\d.]+ MB) at least", str(caught.value))
    assert found is not None
    return found[1]


@pytest.mark.parametrize(("text", "size"), sparse([(NETWORK, 64), (CHAIN, 1000)], 2))
def test_steps_within_a_limit_are_the_same_bits(text: str, size: int) -> None:
    batch = batch_for(text, size)
    free = majuscule.Trainer(text)
    total, least = free.memory_of(batch).total, bytes_of(least_for(text, batch))
    assert least < 0.99 * total, "there is something to be recomputed"
    limit = (total + least) // 2
    limited = majuscule.Trainer(text, memory=limit)
    for _ in range(2):
        one, other = free.step(batch), limited.step(batch)
        assert (one.losses, one.norm) == (other.losses, other.norm)
    assert limited.memory_of(batch).total <= limit
    for name, array in free.tensors.items():
        numpy.testing.assert_array_equal(array, limited.tensors[name], err_msg=name)


def test_what_is_needed_at_least_is_said_and_enough() -> None:
    batch = batch_for(CHAIN, 1000)
    least = least_for(CHAIN, batch)
    trainer = majuscule.Trainer(CHAIN, memory=least)
    assert trainer.step(batch).taken
    assert trainer.memory_of(batch).total <= bytes_of(least)


def test_amounts_of_memory_are_read_as_people_write_them() -> None:
    assert [bytes_of(text) for text in ("500MB", "1.5 GiB", "12 kb", "7", 300)] == [
        500 * 10**6, 3 * 2**29, 12_000, 7, 300,
    ]  # fmt: skip
    for wrong in ("", "much", "5 XB", "-1 MB", "0"):
        with pytest.raises(majuscule.ModuleError, match="amount of memory"):
            bytes_of(wrong)
