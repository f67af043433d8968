"""ONNX's own test cases for single operators, through the import and the interpreter."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy
from onnx import ModelProto, defs, helper, numpy_helper
from onnx.backend.test.case.node import collect_testcases

from majuscule.compiler.graph import Graph
from majuscule.compiler.interpreter import evaluate
from majuscule.dsl import check_text
from majuscule.onnx.importing import ImportedModel
from majuscule.onnx.model_files import OLDEST
from majuscule.runtime.arrays import numpy_dtype

Array = numpy.ndarray[Any, Any]


def cases() -> Iterator[Any]:
    """All cases with one node (the others are the same operators written out) that version 13 or a later one has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    for case in found:
        operators = case.model.opset_import[0]
        if len(case.model.graph.node) != 1 or operators.domain:
            continue
        if operators.version < OLDEST:  # as good if the operator has not changed since
            operator = case.model.graph.node[0].op_type
            if operators.version < defs.get_schema(operator, OLDEST).since_version:
                continue
            operators.version = OLDEST
        yield case


def as_array(value: Any) -> Array:
    """What a case gives or expects as an array."""
    return numpy.asarray(numpy_helper.to_array(value) if hasattr(value, "dims") else value)


def with_weights(model: ModelProto, values: Mapping[str, Array], kept: int) -> ModelProto:
    """The same model with all inputs but the first few among its weights."""
    changed = ModelProto()
    changed.CopyFrom(model)
    del changed.graph.input[kept:]
    for value in model.graph.input[kept:]:
        changed.graph.initializer.append(numpy_helper.from_array(values[value.name], value.name))
    return changed


def run(imported: ImportedModel, values: Mapping[str, Array]) -> list[Array]:
    """The outputs of an imported model in the model's order of axes and the program's dtypes.

    The interpreter computes floats in float64, and whole numbers without wrapping around.
    """
    program = check_text(imported.text, "imported.maj").require()
    given = {
        tensor.name: array.transpose(tensor.order).copy()
        for tensor, array in zip(imported.inputs, values.values(), strict=False)
    }
    found = evaluate(Graph.from_program(program), given, imported.weights)
    outputs = []
    with numpy.errstate(all="ignore"):
        for one in imported.outputs:
            array = numpy.asarray(found[one.name]).transpose(numpy.argsort(one.order))
            outputs.append(array.astype(numpy_dtype(program.tensor(one.name).dtype)))
    return outputs


def dtypes(model: ModelProto) -> set[str]:
    """The dtypes of a model's inputs and outputs, as NumPy calls them."""
    kinds = [value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)]
    return {helper.tensor_dtype_to_np_dtype(kind).name if kind else "none" for kind in kinds}
