"""Every test case that ONNX has for single operators: the same numbers, or refused for a reason that is listed here.

Each case is imported as it is, with all operands as inputs, and with all but the first as weights.  A case is said
if what can be imported of the two gives ONNX's numbers.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import numpy
import pytest
from levels import EXHAUSTIVE, sparse

pytest.importorskip("onnx")
from node_cases import as_array, cases, dtypes, run, with_weights

from majuscule.onnx.errors import ImportFailed
from majuscule.onnx.importing import import_model
from majuscule.onnx.model_files import DTYPES
from majuscule.onnx.translation import RULES

Array = numpy.ndarray[Any, Any]

WRITTEN_OUT = frozenset([
    "Attention", "CausalConvWithState", "CenterCropPad", "GroupNormalization",
    "MeanVarianceNormalization", "NegativeLogLikelihoodLoss", "RMSNormalization", "RotaryEmbedding",
    "SoftmaxCrossEntropyLoss", "SwiGLU",
])  # fmt: skip
"""Operators that ONNX defines by others."""

DEFINED = frozenset(
    [
        "AffineGrid",
        "Bernoulli",
        "BlackmanWindow",
        "DynamicQuantizeLinear",
        "HammingWindow",
        "HannWindow",
        "LinearAttention",
    ]
)
"""Operators that ONNX defines by others, some of which are refused by their names."""

COMPUTED = frozenset(["Constant", "Shape", "Size"])
"""Operators whose results are known while importing."""

NO_TENSOR = "no dtype of the language|made of text|not a tensor|axis of size 0|does not say which shape"
"""Why an input cannot be one of a program's."""

OF_NOTHING = frozenset([
    "test_optional_has_element_empty_no_input_name_tensor_input",
    "test_optional_has_element_empty_no_input_tensor_input",
    "test_optional_has_element_empty_no_input_name_optional_input",
    "test_optional_has_element_empty_no_input_optional_input",
])  # fmt: skip
"""Cases that ask whether something is there that is not, which is known."""

pytestmark = pytest.mark.slow


def listed() -> dict[str, str]:
    """Cases that are refused, and a part of the reason, from the file beside this one."""
    found: dict[str, str] = {}
    reason = ""
    for line in (Path(__file__).parent / "refused_node_cases.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("    "):
            for name in line.split():
                found[name] = reason
        elif line and not line.startswith("#"):
            reason = line.removesuffix(":")
    return found


@functools.cache
def by_operator() -> dict[str, list[Any]]:
    """ONNX's cases by operator."""
    found: dict[str, list[Any]] = {}
    for case in cases():
        found.setdefault(case.model.graph.node[0].op_type, []).append(case)
    return found


def agrees(case: Any, found: list[Array], wanted: list[Array]) -> None:
    assert len(found) == len(wanted)
    for array, expected in zip(found, wanted, strict=True):
        assert array.shape == expected.shape
        assert array.dtype == expected.dtype
        coarse = {"float16": 2e-3, "bfloat16": 2e-2}.get(expected.dtype.name, 0)  # ONNX rounds every step
        array, expected = (one.astype(numpy.float64) for one in (array, expected))
        numpy.testing.assert_allclose(array, expected, max(case.rtol, 1e-4, coarse), max(case.atol, 1e-5, coarse))


def outcome(case: Any) -> str | None:
    """None if a case is said, else why not; raises AssertionError if its numbers are wrong."""
    given, wanted = case.data_sets[0]
    values = {value.name: as_array(one) for value, one in zip(case.model.graph.input, given, strict=False)}
    refusals = []
    kept = 0 if case.model.graph.node[0].op_type == "ConstantOfShape" else 1  # its only input is a shape
    for model in (case.model, with_weights(case.model, values, kept)):
        try:
            imported = import_model(model)
        except ImportFailed as error:
            refusals.append(str(error))
            continue
        agrees(case, run(imported, values), [as_array(one) for one in wanted])
    return refusals[1] if len(refusals) == 2 else None


@pytest.mark.parametrize("operator", sparse(sorted({*RULES, *WRITTEN_OUT, *COMPUTED}), 4, EXHAUSTIVE))
def test_an_operator_gives_the_numbers_of_onnx(operator: str) -> None:
    known, wrong = listed(), []
    said = 0
    for case in by_operator()[operator]:
        if dtypes(case.model) - set(DTYPES):
            with pytest.raises(ImportFailed, match=NO_TENSOR):
                import_model(case.model)
            assert case.name not in known
            continue
        try:
            reason = outcome(case)
        except AssertionError as error:
            wrong.append(f"{case.name}: {error}")
            continue
        said += reason is None
        if reason is None and case.name in known:
            wrong.append(f"{case.name} is listed as refused, but is said")
        elif reason is not None and known.get(case.name, "\0") not in reason:
            wrong.append(f"{case.name} is refused: {reason}")
    assert not wrong, "\n".join(wrong)
    assert said, "no case of this operator is said"


def test_all_other_operators_are_refused_by_name() -> None:
    said = set()
    for operator, some in by_operator().items():
        if operator in RULES or operator in WRITTEN_OUT or operator in COMPUTED:
            continue
        for case in some:
            try:
                import_model(case.model)
                said.add(case.name)
            except ImportFailed as error:
                text = str(error)
                assert re.search(NO_TENSOR, text) or f"  {operator} " in text or operator in DEFINED, (case.name, text)
    assert said == OF_NOTHING


def test_what_is_listed_as_refused_exists() -> None:
    names = {case.name for some in by_operator().values() for case in some}
    assert set(listed()) <= names
