"""Timing the steps of a module one by one, and random inputs to do it with."""

from __future__ import annotations

import numpy
import pytest

import majuscule
from majuscule.runtime import errors

CONVOLUTION = """\
Given L0[6, 6, 3]
param W[3, 3, 3, 4] ~ xavier
L1[b,x,y,j] = relu(W[ΔX,ΔY,I,j] * L0[b,x+ΔX,y+ΔY,I])
s[b,j] = max[x in 0..3, y in 0..3](L1[b,x,y,j])
"""

RECURRENCE = """\
Given x[T, 3]
h, c = LSTM(x, Φ, units 5)
output h
"""

GATHER = """\
Given word[T]: int32, chosen[T, 3]
param Table[7, 4] ~ xavier
e[b,t,j] = Table[word[b,t], j] * sum[i](chosen[b,t,i])
"""


@pytest.mark.parametrize("text", [CONVOLUTION, RECURRENCE], ids=["convolution", "recurrence"])
def test_the_steps_one_by_one_compute_what_a_call_computes(text: str) -> None:
    module = majuscule.compile(text)
    inputs = module.random_inputs(3)
    whole = module(**inputs)
    stepwise = (
        [numpy.full_like(array, 77) for array in whole] if isinstance(whole, tuple) else numpy.full_like(whole, 77)
    )
    profile = module.profile(**inputs, out=stepwise, rounds=3)
    assert len(profile.steps) > 1
    assert numpy.array_equal(stepwise, whole)


def test_work_is_counted_from_the_equations() -> None:
    module = majuscule.compile(CONVOLUTION, threads=1)
    profile = module.profile(**module.random_inputs(2), rounds=4)
    first, second = profile.steps
    assert (first.tensor, first.statement, second.tensor, second.statement) == ("L1", "L1", "s", "s")
    assert first.flops == 2 * (2 * 4 * 4 * 4) * (3 * 3 * 3)
    assert first.bytes == 4 * (2 * 6 * 6 * 3 + 3 * 3 * 3 * 4 + 2 * 4 * 4 * 4)
    assert second.flops == 2 * 4 * 3 * 3
    assert second.bytes == 4 * (2 * 4 * 3 * 3 + 2 * 4)
    assert (profile.rounds, profile.threads) == (4, 1)
    assert profile.whole > 0
    assert profile.call > 0
    assert profile.sum == pytest.approx(first.seconds + second.seconds)


def test_a_recurrence_is_one_step_with_the_work_of_all_turns() -> None:
    module = majuscule.compile(RECURRENCE)
    short, long = (module.profile(**module.random_inputs(1, sizes={"T": turns}), rounds=3) for turns in (4, 8))
    loops = [(a, b) for a, b in zip(short.steps, long.steps, strict=True) if a.road.startswith("recurrence")]
    ((few, many),) = loops
    assert many.flops == 2 * few.flops
    assert few.statement == "h"


def test_random_whole_numbers_are_places_in_the_axis_they_select_from() -> None:
    module = majuscule.compile(GATHER)
    inputs = module.random_inputs(50, sizes={"T": 20}, seed=1)
    assert inputs["word"].shape == (50, 20)
    assert (inputs["word"].min(), inputs["word"].max()) == (0, 6)
    assert module(**inputs).shape == (50, 20, 4)
    assert numpy.array_equal(module.random_inputs(2, seed=3)["word"], module.random_inputs(2, seed=3)["word"])


def test_an_unknown_size_is_named() -> None:
    module = majuscule.compile(GATHER)
    with pytest.raises(errors.ArgumentError, match="no open size U; open sizes: batch, T"):
        module.random_inputs(1, sizes={"U": 3})


def test_a_profile_refuses_what_a_call_refuses() -> None:
    module = majuscule.compile(GATHER)
    inputs = module.random_inputs(2)
    with pytest.raises(errors.CheckError, match=r"not in 0\.\.6"):
        module.profile(**(inputs | {"word": inputs["word"] + 7}))
    with pytest.raises(errors.ArgumentError):
        module.profile(inputs["word"])
