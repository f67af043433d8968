"""Results do not depend on how many threads compute, nor on how many call."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
import pytest
from answers import results
from cases import Case, program
from catalogue import FAMILIES
from levels import EXHAUSTIVE, sparse
from rounding import Array

import majuscule

pytestmark = pytest.mark.usefixtures("all_cores")


def _compiled(cases: list[Case]) -> tuple[str, dict[str, Array]]:
    tensors = {name: tensor for case in cases for name, tensor in case.tensors.items() if tensor.kind == "parameter"}
    return program(cases), {name: tensor.as_given(tensor.canonical(name, 0)) for name, tensor in tensors.items()}


def _inputs(cases: list[Case], batch: int) -> dict[str, Array]:
    tensors = {name: tensor for case in cases for name, tensor in case.tensors.items() if tensor.kind != "parameter"}
    return {name: tensor.as_given(tensor.canonical(name, batch)) for name, tensor in tensors.items()}


def _mixed(first: int) -> list[Case]:
    """Two cases of every family."""
    return [
        make(first + n, 10 * position + n)
        for position, (make, _) in enumerate(FAMILIES.values(), 1)
        for n in range(2)
    ]  # fmt: skip


@pytest.mark.parametrize("first", sparse([2000, 2010, 2020], 3, EXHAUSTIVE))
def test_the_number_of_threads_changes_no_bit(first: int, tmp_path: Path) -> None:
    cases = _mixed(first)
    names = [case.name for case in cases]
    text, weights = _compiled(cases)
    majuscule.compile(text, weights=weights).save(tmp_path / "mixed.mod")
    answers = []
    for threads in (1, 2, 3, 5):
        with majuscule.load(tmp_path / "mixed.mod", threads=threads) as module:
            answers.append({b: results(module, _inputs(cases, b), names) for b in (1, 2, 7)})
    for other in answers[1:]:
        for batch, found in other.items():
            for name, array in found.items():
                assert array.tobytes() == answers[0][batch][name].tobytes(), (name, batch)


def test_one_module_called_from_many_threads_with_batches_of_all_sizes() -> None:
    cases = _mixed(2030)
    names = [case.name for case in cases]
    text, weights = _compiled(cases)
    module = majuscule.compile(text, weights=weights)
    batches = (1, 2, 3, 5, 8)
    inputs = {batch: _inputs(cases, batch) for batch in batches}
    wanted = {batch: results(module, inputs[batch], names) for batch in batches}

    def work(worker: int) -> None:
        for call in range(20):
            batch = batches[(worker + call) % len(batches)]
            found = results(module, inputs[batch], names)
            for name in names:
                assert numpy.array_equal(found[name], wanted[batch][name])

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(work, worker) for worker in range(8)]:
            future.result()
    for case in cases:
        expected = case.wanted(case.canonical(5))
        assert (abs(wanted[5][case.name].astype(float) - expected.value) <= expected.error).all()
