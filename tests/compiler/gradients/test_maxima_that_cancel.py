"""The maximum that softmax and log-sum-exp take off gets no adjoint; any other maximum does."""

from __future__ import annotations

import pytest
from differences import assert_gradients, program_of

from majuscule.compiler.gradients import gradients
from majuscule.dsl.equations import Equation, Program


def positions(program: Program) -> list[str]:
    """Names of the tensors that hold where a maximum is."""
    return [n for n, o in program.operations.items() if isinstance(o, Equation) and o.combiner == "argmax"]


@pytest.mark.parametrize(
    "text",
    [
        "p[b,i] = softmax[i](x[b,i])",
        "p[b,t,i] = softmax[i](y[b,t,i])",
        "p[b,t] = logsumexp[i](2*y[b,t,i])",
        "p[b] = logsumexp[t,i](y[b,t,i])",
    ],
)
def test_of_softmax_and_log_sum_exp(text: str) -> None:
    source = f"Given x[4], y[3, 4]\nz = x * 2\nw = y + 1\n{text}\noutput p\n"
    assert not positions(gradients(program_of(source), ["p"], ["x", "y"]).program)
    assert_gradients(source, of=["p"], with_respect_to=["x", "y"])


@pytest.mark.parametrize(
    "text",
    [
        "m[b] = max[i](x[b,i])\np[b,i] = exp(x[b,i] - m[b])",
        "m[b] = max[i](x[b,i])\ne[b,i] = exp(x[b,i] - m[b])\ns[b] = sum[i](e[b,i])\np[b,i] = e[b,i] / s[b] + e[b,i]",
        "m[b] = max[i](x[b,i])\ns[b] = sum[i](exp(x[b,i] - m[b]))\np[b] = log(s[b]) + 2*m[b]",
        "m[b] = max[i](x[b,i])\ns[b] = sum[i](exp(x[b,i] - m[b]))\np[b] = log(s[b]) + m[b]\nq[b] = s[b]",
    ],
)
def test_of_maxima_that_matter(text: str) -> None:
    source = f"Given x[4]\n{text}\n" + ("output p, q\n" if "q[b]" in text else "output p\n")
    assert positions(gradients(program_of(source), None, ["x"]).program)
    assert_gradients(source, with_respect_to=["x"])


def test_of_a_sum_that_is_differentiated_itself() -> None:
    source = "Given x[4]\nm[b] = max[i](x[b,i])\ns[b] = sum[i](exp(x[b,i] - m[b]))\np[b] = log(s[b]) + m[b]\noutput p\n"
    assert positions(gradients(program_of(source), ["s", "p"], ["x"]).program)
    assert_gradients(source, of=["s", "p"], with_respect_to=["x"])
