"""Windows of random size, stride, dilation and padding, over axes of known and of open size."""

from __future__ import annotations

import pytest
from differences import assert_gradients, program_of
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from reading_back import assert_prints

LAX = {"deadline": None, "suppress_health_check": list(HealthCheck)}
KINDS = {
    "sum": "W[Δx,i,j] * P[b,{place},i]",
    "max": "max[Δx in 0..{width}, i](P[b,{place},i] * V[j])",
    "skip": "max[Δx in 0..{width}](S[b,{place},j])",
    "mean": "mean[Δx in 0..{width}](S[b,{place},j])",
    "prod": "prod[Δx in 0..{width}](P[b,{place},j] + 0.3)",
}


@st.composite
def windows(draw: st.DrawFn) -> tuple[str, int]:
    """A program with one window, and the size of the axis if that is open."""
    width, stride, dilation = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.integers(1, 3))
    size, before, after = draw(st.integers(1, 12)), draw(st.integers(0, 2)), draw(st.integers(0, 2))
    assume(size + before + after > dilation * (width - 1))
    kind, is_open, backwards = draw(st.sampled_from(list(KINDS))), draw(st.booleans()), draw(st.booleans())
    assume(kind not in ("skip", "mean") or (before + after < 2 and dilation == 1 and width > 1))
    assume(not is_open or size >= 8)  # so that every residue of the stride occurs
    offset = f"{dilation}*{width - 1} - {dilation}*Δx" if backwards else f"{dilation}*Δx"
    body = KINDS[kind].format(place=f"{stride}*x + {offset}", width=width)
    body = body.replace("Δx,i,j]", "ΔX,I,j]").replace("Δx,i]", "ΔX,I]") if kind == "sum" else body
    body = body.replace("Δx", "ΔX").replace(",i]", ",I]") if kind == "sum" else body
    return (
        f"""Given L[x {"T" if is_open else size}, i 2]
param W[{width}, 2, 2]
param V[2]
P = pad(L, x: ({before}, {after}))
S = skip(L, x: ({before}, {after}))
R[b,x,j] = {body}
output R
""",
        size,
    )


@settings(max_examples=25, **LAX)
@given(windows())
def test_gradients(case: tuple[str, int]) -> None:
    text, size = case
    program = program_of(text)
    assert_gradients(program, sizes={"T": size}, tolerance=1e-5, most=8)
    assert_prints(program, sizes={"T": size})


@pytest.mark.slow
@pytest.mark.exhaustive
@settings(max_examples=300, **LAX)
@given(windows())
def test_gradients_of_hundreds(case: tuple[str, int]) -> None:
    text, size = case
    program = program_of(text)
    assert_gradients(program, sizes={"T": size}, tolerance=1e-5, most=8)
    assert_prints(program, sizes={"T": size})
