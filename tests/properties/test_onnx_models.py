"""Random equations as ONNX models, run by ONNX's reference evaluator, against what they must give."""

from __future__ import annotations

import numpy
import onnx
import pytest
from cases import Case
from catalogue import FAMILIES, Chunk, all_chunks
from onnx.reference import ReferenceEvaluator

import majuscule
from majuscule.onnx_export.exporting import onnx_model

DEFAULT = [Chunk(family, 0) for family in FAMILIES]
"""The first programs of each family; the others are slow together."""


def check(case: Case, batch: int) -> None:
    """Raise AssertionError if the model is not valid, or gives something else than the case must give."""
    weights = {n: t.as_given(t.canonical(n, 0)) for n, t in case.tensors.items() if t.kind == "parameter"}
    program = majuscule.check(case.text()).require()
    model = onnx_model(program, weights)
    onnx.checker.check_model(model, full_check=True)
    if _confuses_the_reference(model):
        return
    inputs = {n: t.as_given(t.canonical(n, batch)) for n, t in case.tensors.items() if t.kind != "parameter"}
    (found,) = ReferenceEvaluator(model).run([case.name], inputs)
    wanted = case.wanted(case.canonical(batch))
    assert found.shape == wanted.value.shape, case.text()
    assert found.dtype.name == program.tensor(case.name).dtype, case.text()
    found = found.astype(numpy.float64)
    agrees = (numpy.abs(found - wanted.value) <= wanted.error) | (found == wanted.value)
    agrees |= numpy.isnan(found) & numpy.isnan(wanted.value)
    assert agrees.all(), f"batch {batch} of\n{case.text()}"


def _confuses_the_reference(model: onnx.ModelProto) -> bool:
    """Whether a pooling has other zeros around one axis than around another, which ONNX's evaluator mixes up."""
    pads = [
        a.ints for node in model.graph.node if node.op_type == "MaxPool" for a in node.attribute if a.name == "pads"
    ]
    return any(len(set(ints)) > 1 for ints in pads)


@pytest.mark.parametrize("chunk", DEFAULT, ids=str)
def test_models_give_what_the_equations_say(chunk: Chunk) -> None:
    for case in chunk.cases():
        check(case, chunk.batches[0])


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("chunk", [chunk for chunk in all_chunks() if chunk not in DEFAULT], ids=str)
def test_more_models_give_what_the_equations_say(chunk: Chunk) -> None:
    for case in chunk.cases():
        check(case, chunk.batches[-1])
