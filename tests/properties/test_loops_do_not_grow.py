"""The code of a recurrence does not grow with its length."""

from __future__ import annotations

import pytest
from compiled import CompiledProgram, compiled

PROGRAMS = {
    "hidden state": """Given x[LENGTH, 5]
param W[7, 7]
param U[5, 7]
h[b,t,j] = tanh(W[J,j]*h[b,t-1,J] + U[I,j]*x[b,t,I])
h[b,-1,j] = 0
""",
    "backward, two tensors": """Given x[LENGTH, 5]
u[b,t,j] = 0.5*u[b,t+1,j] + v[b,t+1,j]
v[b,t,j] = 0.5*v[b,t+1,j] - u[b,t,j] + x[b,t,j]
u[b,LENGTH,j] = 0
v[b,LENGTH,j] = 0
output u, v
""",
    "two steps back": """Given x[LENGTH, 5]
h[b,t,j] = h[b,t-1,j] + h[b,t-2,j] + x[b,t,j]
h[b,-1,j] = 1
h[b,-2,j] = 0
""",
}


@pytest.mark.parametrize("text", PROGRAMS.values(), ids=PROGRAMS)
def test_code_does_not_grow_with_the_number_of_steps(text: str) -> None:
    lengths = 10, 1_000, 64_000, 640_000
    ten, thousand, many, most = (compiled(text.replace("LENGTH", str(length))) for length in lengths)
    assert _functions_and_calls(ten) == _functions_and_calls(thousand) == _functions_and_calls(many)
    # What is done for all steps at once (products with inputs, copies) is tiled another way for ten steps than for
    # many, and by one thread or by several for a thousand: two versions, where unrolling would take a thousand.
    assert len(thousand.library) <= 2 * len(ten.library)
    assert len(many.library) <= 2 * len(ten.library)
    # Bounds of loops simplify a little better for some lengths than for others.
    assert len(most.library) <= 1.05 * len(many.library)


def _functions_and_calls(made: CompiledProgram) -> tuple[int, int]:
    """How many functions there are, and how many calls of them are written down."""
    return made.tensor_ir.count("@T.prim_func"), made.tensor_ir.count("T.call_extern")
