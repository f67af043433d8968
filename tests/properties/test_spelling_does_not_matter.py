"""Other names and orders give the same numbers, and the same code where only names of indices differ."""

from __future__ import annotations

import numpy
import pytest
from answers import results
from cases import Case, program
from catalogue import FAMILIES, Maker
from compiled import compiled
from levels import EXHAUSTIVE
from rounding import Array
from spelling import PLAIN, RENAMED

import majuscule

GROUPS = [
    pytest.param(family, seeds, marks=[] if len(seeds) < 5 else EXHAUSTIVE, id=f"{family} {seeds.start}")
    for family in FAMILIES
    for seeds in (range(1000, 1004), range(1004, 1016))
]
"""Seeds that no other test uses, for each program."""


def _cases(family: str, seeds: range, spelling: int | str) -> list[Case]:
    make: Maker = FAMILIES[family][0]
    return [make(seed, seed, spelling=spelling) for seed in seeds]


def _canonical_results(cases: list[Case], batch: int) -> dict[str, Array]:
    """Results with their axes in canonical order."""
    tensors = {name: tensor for case in cases for name, tensor in case.tensors.items()}
    arrays = {name: tensor.as_given(tensor.canonical(name, batch)) for name, tensor in tensors.items()}
    weights = {name: arrays[name] for name, tensor in tensors.items() if tensor.kind == "parameter"}
    inputs = {name: arrays[name] for name, tensor in tensors.items() if tensor.kind != "parameter"}
    found = results(majuscule.compile(program(cases), weights=weights), inputs, [case.name for case in cases])
    return {
        c.name: found[c.name] if c.order is None else found[c.name].transpose(numpy.argsort(c.order)) for c in cases
    }


@pytest.mark.parametrize(("family", "seeds"), GROUPS)
def test_names_of_indices_leave_no_trace_in_the_code(family: str, seeds: range) -> None:
    plain, renamed = (program(_cases(family, seeds, spelling)) for spelling in (PLAIN, RENAMED))
    if family != "layer":  # calls of layers name no indices
        assert plain != renamed
    assert compiled(plain).library == compiled(renamed).library


@pytest.mark.parametrize(("family", "seeds"), GROUPS)
def test_every_spelling_gives_the_same_numbers(family: str, seeds: range) -> None:
    plain = _cases(family, seeds, PLAIN)
    expected = _canonical_results(plain, 3)
    for spelling in (1, 2):
        cases = _cases(family, seeds, spelling)
        found = _canonical_results(cases, 3)
        for case, reference in zip(cases, plain, strict=True):
            if "argm" in case.text():
                continue  # a position in the box of indices depends on the order in which they are named
            bound = reference.wanted(reference.canonical(3)).error
            if reference.order is not None:
                bound = bound.transpose(numpy.argsort(reference.order))
            # both answers may be off by the bound, in opposite directions
            difference = abs(found[case.name].astype(float) - expected[case.name].astype(float))
            assert (difference <= 2 * bound).all(), case.text()
