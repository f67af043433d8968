"""Gradients that are compiled, in float32, against the interpreter's in float64."""

from __future__ import annotations

import numpy
import pytest
from differences import floats, program_of, run, values_for
from levels import EXHAUSTIVE
from test_constructs import EQUATIONS, RECURRENCES

import majuscule
from majuscule.compiler.gradients import gradients, only
from majuscule.dsl.equations import FLOATS, Parameter

FAST = ("a layer", "maxima and minima", "gathers", "a start at 0")
PROGRAMS = {**EQUATIONS, **RECURRENCES}


@pytest.mark.parametrize("name", [*FAST, *(pytest.param(p, marks=EXHAUSTIVE) for p in PROGRAMS if p not in FAST)])
def test_compiled_gradients(name: str) -> None:
    program = program_of(PROGRAMS[name])
    found = gradients(program, None, floats(program))
    target = only(found)
    values = values_for(found.program, {"T": 5})
    expected = run(target, values, target.outputs)
    known = {n: v for n, v in values.items() if n in target.operations}
    single = {n: v.astype("float32") if target.tensor(n).dtype in FLOATS else v for n, v in known.items()}
    weights = {n: single[n] for n, o in target.operations.items() if isinstance(o, Parameter)}
    module = majuscule.compile_program(target, weights=weights)
    made = module(**{n: single[n] for n in target.inputs})
    scale = max(1.0, *(float(abs(value).max()) for value in expected.values()))
    for output, value in zip(target.outputs, made if isinstance(made, tuple) else (made,), strict=True):
        numpy.testing.assert_allclose(value, expected[output], rtol=0, atol=2e-6 * scale, err_msg=output)
