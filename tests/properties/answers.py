"""Three answers for every case: the compiled module's, the interpreter's, and what the case expects.

`compare` compiles many cases as one program.  If anything is wrong it compiles each case
by itself, so that a failure names the case and shows its text alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy
from cases import INTERPRETED, Case, program
from rounding import EXACT, PRECISIONS, Array, Rounded

import majuscule
from majuscule.compiler.graph import Graph
from majuscule.compiler.interpreter import evaluate


class WrongAnswer(AssertionError):
    """A case whose answers differ; the message shows its text."""


def compare(cases: Sequence[Case], batches: Sequence[int], target: str = "cpu") -> None:
    """Compile the cases together and compare all answers, for every batch size."""
    try:
        _compare(cases, batches, target)
    except Exception as together:
        failures: list[str] = []
        if len(cases) > 1:
            for case in cases:
                try:
                    _compare([case], batches, target)
                except Exception as error:
                    failures.append(f"{type(error).__name__}: {error}\n{case.text()}")
        if failures:
            raise WrongAnswer(f"{len(failures)} of {len(cases)} cases are wrong\n" + "\n".join(failures)) from None
        raise WrongAnswer(f"{type(together).__name__}: {together}\n{program(cases)}") from together


def _compare(cases: Sequence[Case], batches: Sequence[int], target: str) -> None:
    text = program(cases)
    tensors = {name: tensor for case in cases for name, tensor in case.tensors.items()}
    weights = {
        name: tensor.as_given(tensor.canonical(name, 0))
        for name, tensor in tensors.items()
        if tensor.kind == "parameter"
    }
    module = majuscule.compile(text, weights=weights, target=target)
    graph = Graph.from_program(majuscule.check(text).require())
    for batch in batches:
        inputs = {
            name: tensor.as_given(tensor.canonical(name, batch))
            for name, tensor in tensors.items() if tensor.kind != "parameter"
        }  # fmt: skip
        compiled = results(module, inputs, [case.name for case in cases])
        interpreted = evaluate(graph, inputs, weights)
        for case in cases:
            canonical = case.canonical(batch)
            where = f"{case.name}, batch {batch}"
            _agree(interpreted[case.name], case.wanted(canonical, interpreter_precision(case)), f"interpreter: {where}")
            _agree(compiled[case.name], case.wanted(canonical), f"module: {where}")


def results(module: majuscule.Module, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
    """A module's outputs by name."""
    outputs: Any = module(**inputs)
    return {names[0]: outputs} if len(names) == 1 else dict(outputs.items())


def interpreter_precision(case: Case):  # type: ignore[no-untyped-def]
    """What the interpreter computes floats in, whatever their dtype."""
    return EXACT if PRECISIONS[case.dtype] == EXACT else INTERPRETED


def _agree(actual: Array, wanted: Rounded, where: str) -> None:
    if actual.shape != wanted.value.shape:
        raise WrongAnswer(f"{where}: shape {actual.shape} instead of {wanted.value.shape}")
    difference = numpy.abs(actual.astype(numpy.float64) - wanted.value)
    if not (difference <= wanted.error).all():
        worst = numpy.unravel_index(numpy.argmax(difference - wanted.error), difference.shape)
        place = tuple(int(p) for p in worst)
        raise WrongAnswer(
            f"{where}: {actual[worst]} at {place} instead of {wanted.value[worst]}, "
            f"which differs by {difference[worst]:.3g}, more than {wanted.error[worst]:.3g}"
        )


def compare_with_peer(case: Case, batch: int) -> None:
    """Compare what a case expects with PyTorch's own operation, in float64."""
    assert case.peer is not None
    canonical = {name: array.astype(numpy.float64) for name, array in case.canonical(batch).items()}
    wanted = case.wanted(canonical, INTERPRETED)
    found = case.peer(canonical)
    if case.order is not None:
        found = found.transpose(case.order)
    # both round: the bound holds twice
    doubled = Rounded(wanted.value, 2 * wanted.error, wanted.precision)
    _agree(found, doubled, f"PyTorch: {case.name}")
