"""Printed gradients, read again: the text parses and means the same numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy
from differences import floats, program_of, run, values_for

from majuscule.compiler.gradients import gradients, only
from majuscule.compiler.program_text import program_text
from majuscule.dsl.equations import Program


def assert_prints(
    program: Program, with_respect_to: Sequence[str] | None = None, sizes: Mapping[str, int] | None = None
) -> Program:
    """The program that is read back from the printed gradients, once its numbers are found equal."""
    found = gradients(program, None, with_respect_to or floats(program))
    target = only(found)
    printed = program_text(target)
    again = program_of(printed.text)
    values = values_for(found.program, sizes)
    renamed = {printed.names[name]: value for name, value in values.items() if name in printed.names}
    expected = run(target, values, target.outputs)
    actual = run(again, renamed, [printed.names[name] for name in target.outputs])
    for name in target.outputs:
        numpy.testing.assert_allclose(actual[printed.names[name]], expected[name], rtol=1e-9, atol=1e-9, err_msg=name)
    return again
