"""Parts of the batch one after the other give the bits of the whole batch at once, and only where samples are alone.

Caches are declared so large, or memory so slow, that the compiler takes as few samples at a time as it may.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy
import pytest

import majuscule
from majuscule.compiler.codegen import machine, micro_batches
from majuscule.compiler.codegen.actions import MicroBatches
from majuscule.compiler.codegen.micro_batches import with_micro_batches
from majuscule.compiler.codegen.plan import make_plan
from majuscule.compiler.codegen.target import Target
from majuscule.compiler.graph import Graph
from majuscule.compiler.interpreter import evaluate
from majuscule.compiler.pipeline import optimize

NETWORK = """\
Given image[11, 9, 3]
A = relu(BatchNorm(CONV(image, width 3, pad 1, filters 16)))
B = relu(CONV(A, width 3, pad 1, filters 16)) + A
C1 = CONV(B, width 1, filters 16)
C2 = relu(CONV(B, width 3, pad 1, filters 24, groups 2))
C[b,x,y,I+J] = C1[b,x,y,I] ; C2[b,x,y,J]
D = MaxPool(C, width 2, stride 2)
E[b,j] = mean[x,y](D[b,x,y,j])
scores = FC(relu(FC(E, units 24)), units 7)
"""
APART = {
    "the number of the sample": ["y[b,i] = p[b,i] * (b + 1)"],
    "the size of the batch": ["y[b,i] = p[b,i] / B"],
    "all samples": ["s[i] = mean[b](p[b,i])", "y[b,i] = p[b,i] - s[i]"],
    "the first sample": ["y[b,i] = p[b,i] + p[0,i]"],
    "another sample": ["y[b,i] = p[k[b],i]"],
    "each other sample": ["s[b,c] = p[b,I] * p[c,I]", "y[b,i] = s[b,C] * p[C,i]"],
}
"""What a sample may depend on beside the same sample of the tensors before, by equations for y[b,i] of p[b,i]."""


@contextmanager
def at_most(samples: int) -> Iterator[None]:
    """The compiler takes so many samples at a time wherever it can, or all for 0."""

    def endless(target: Target) -> machine.Machine:
        known = machine.of(target)
        return replace(known, l2_bytes=1 << 50, memory_bytes_per_cycle=1e-3, launch_seconds=0.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(micro_batches, "machine_of", endless)
        patch.setattr(micro_batches, "PARTS", (samples,) if samples else ())
        yield


def compiled(text: str, samples: int) -> majuscule.Module:
    with at_most(samples):
        return majuscule.compile(text, cache=False)


def batches(text: str, samples: int) -> tuple[MicroBatches, ...]:
    target = Target.named("x86-64-v4", cores=2)
    graph = optimize(Graph.from_program(majuscule.check(text).require()), fold_weights=True)
    with at_most(samples):
        return with_micro_batches(make_plan(graph, target), target).batches


@pytest.fixture(scope="module")
def networks() -> dict[int, majuscule.Module]:
    """The network by how many samples it takes at a time."""
    return {samples: compiled(NETWORK, samples) for samples in (0, 1, 3)}


def interpreted(module: majuscule.Module, text: str, inputs: dict[str, Any], names: list[str]) -> dict[str, Any]:
    weights = {name: array.copy() for name, array in module.weights.items()}
    return evaluate(Graph.from_program(majuscule.check(text).require()), inputs, weights, keep=names)


def test_parts_give_the_bits_of_the_whole(networks: dict[int, majuscule.Module]) -> None:
    whole = networks[0]
    for batch in (1, 2, 5, 7):
        inputs = whole.random_inputs(batch, seed=batch)
        scores = whole(**inputs)
        for module in networks.values():
            assert numpy.array_equal(scores, module(**inputs))
    wanted = interpreted(whole, NETWORK, inputs, ["scores"])["scores"]
    assert numpy.abs(scores - wanted).max() < 1e-4 * numpy.abs(wanted).max()


def test_a_network_without_sums_over_samples_runs_in_parts_as_a_whole() -> None:
    (found,) = batches(NETWORK, 1)
    assert found.most == 1
    assert len(found.during) > 8
    assert not batches(NETWORK, 0)


def test_samples_that_know_of_others_are_not_parted() -> None:
    lines = ["Given x[6]", "Given k[]: int64", "p = relu(FC(x, units 6))"]
    for number, equations in enumerate(APART.values()):
        lines += [line.replace("y[", f"y{number}[").replace("s[", f"s{number}[") for line in equations]
        lines.append(f"z{number} = FC(relu(FC(y{number}, units 5)), units 4)")
    text = "\n".join(lines) + "\n"
    module = compiled(text, 2)
    names = [tensor.name for tensor in module.outputs]
    for batch in (1, 4, 5):
        inputs = {**module.random_inputs(batch, seed=1), "k": numpy.arange(batch)[::-1].copy()}
        wanted = interpreted(module, text, inputs, names)
        for meaning, name in zip(APART, names, strict=True):
            error = numpy.abs(module(**inputs)[name] - wanted[name]).max()
            assert error < 1e-5 * max(1, numpy.abs(wanted[name]).max()), meaning
    assert batches(text, 2), "the layers behind them treat samples one by one"


def test_what_is_used_within_a_part_takes_its_memory_only(networks: dict[int, majuscule.Module]) -> None:
    assert networks[1].memory(64).arena * 20 < networks[0].memory(64).arena


def test_each_step_of_a_part_can_be_timed(networks: dict[int, majuscule.Module]) -> None:
    module = networks[3]
    profile = module.profile(**module.random_inputs(5, seed=0), rounds=1)
    assert len(profile.steps) == len(module._manifest["steps"])
