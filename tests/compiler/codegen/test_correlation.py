"""Winograd's algorithm for sums over whole maps at a few offsets, against NumPy's float64."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import majuscule
from majuscule.compiler.codegen import machine
from majuscule.compiler.codegen.errors import CompilationFailed

Array = numpy.ndarray[Any, Any]
SMALL = 3e-6
"""Of the largest result: float32 rounds some hundred products and what the transforms make of them."""

PLACES, OFFSETS = "uvw", "pqr"


def program(offsets: tuple[int, ...], maps: tuple[int, ...], rows: int, columns: int, extra: int, swap: bool) -> str:
    """A gradient of weights: `extra` is a second axis of samples, which is summed as the batch is."""
    sides = ", ".join(str(size + m - 1) for size, m in zip(maps, offsets, strict=True))
    places, names = PLACES[: len(maps)].upper(), OFFSETS[: len(maps)]
    moved = ",".join(f"{place}+{name}" for place, name in zip(places, names, strict=True))
    factors = [f"D[B,T,{moved},i]", f"G[B,T,{','.join(places)},j]"]
    ranges = ", ".join(f"{name} in 0..{m}" for name, m in zip(names, offsets, strict=True))
    return (
        f"Given D[{extra}, {sides}, {rows}], G[{extra}, {', '.join(map(str, maps))}, {columns}]\n"
        f"S[{ranges}, i, j] = 2 * {' * '.join(factors[::-1] if swap else factors)} + 1\n"
    )


def expected(data: Array, other: Array, offsets: tuple[int, ...]) -> Array:
    maps, axes = other.shape[2:-1], tuple(range(other.ndim - 1))
    found = numpy.empty((*offsets, data.shape[-1], other.shape[-1]))
    for place in itertools.product(*map(range, offsets)):
        seen = data[:, :, *(slice(by, by + size) for by, size in zip(place, maps, strict=True))]
        found[place] = 2 * numpy.tensordot(seen.astype(float), other.astype(float), (axes, axes)) + 1
    return found


def tensors(shape: tuple[int, ...], offsets: tuple[int, ...], rows: int, columns: int) -> tuple[Array, Array]:
    """The two factors; `shape` is that of the second but for its channels."""
    generator = numpy.random.default_rng(sum(shape))
    sides = (size + m - 1 for size, m in zip(shape[2:], offsets, strict=True))
    data = generator.normal(size=(*shape[:2], *sides, rows)).astype("float32")
    return data, generator.normal(size=(*shape, columns)).astype("float32")


def check(module: majuscule.Module, shape: tuple[int, ...], offsets: tuple[int, ...], rows: int, columns: int) -> None:
    data, other = tensors(shape, offsets, rows, columns)
    exact = expected(data, other, offsets)
    assert abs(module(data, other) - exact).max() <= SMALL * abs(exact).max()


def roads(module: majuscule.Module) -> list[str]:
    return [step["road"] for step in module._manifest["steps"]]


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    windows=st.lists(st.tuples(st.sampled_from((2, 3, 5)), st.integers(2, 11)), min_size=1, max_size=2),
    rows=st.integers(2, 37),
    columns=st.sampled_from((16, 32, 48, 64)),
    extra=st.integers(1, 2),
    swap=st.booleans(),
)
def test_sums_at_offsets(windows: list[tuple[int, int]], rows: int, columns: int, extra: int, swap: bool) -> None:
    offsets, maps = tuple(m for m, _ in windows), tuple(size for _, size in windows)
    module = majuscule.compile(program(offsets, maps, rows, columns, extra, swap), road="winograd")
    assert any("sums of F(" in road for road in roads(module))
    for batch in (1, 3):
        check(module, (batch, extra, *maps), offsets, rows, columns)


def test_three_axes_of_offsets() -> None:
    module = majuscule.compile(program((3, 2, 3), (5, 4, 6), 20, 32, 1, False), road="winograd")
    assert any("sums of F(3, " in road for road in roads(module))
    check(module, (2, 1, 5, 4, 6), (3, 2, 3), 20, 32)


@pytest.mark.usefixtures("all_cores")
def test_many_chunks_of_tiles_whatever_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of several chunks are added in one order: all numbers of threads give the same bits."""
    here = machine.of
    monkeypatch.setattr(machine, "of", lambda target: replace(here(target), l2_bytes=1 << 20, l3_bytes=32 << 20))
    module = majuscule.compile(program((3, 3), (61, 58), 16, 32, 1, False))
    assert any("sums of F(3, 4) x F(3, 4)" in road for road in roads(module)), "it is what is taken unasked"
    chunk = next(int(road.split(",")[-1].split()[0]) for road in roads(module) if "sums of" in road)
    data, other = tensors((40, 1, 61, 58), (3, 3), 16, 32)
    assert 2 * chunk < 40 * 16 * 15, "there are several chunks"
    results = []
    for threads in (1, 2, 3):
        module.set_threads(threads)
        results.append(module(data, other).tobytes())
    assert len(set(results)) == 1
    exact = expected(data, other, (3, 3))
    plain = majuscule.compile(program((3, 3), (61, 58), 16, 32, 1, False), exact=True)(data, other)
    assert abs(module(data, other) - exact).max() <= 2 * abs(plain - exact).max(), "rounding hardly differs"


def test_gradients_of_weights_pad_by_themselves() -> None:
    """Neither factor's padding is a tensor of its own."""
    text = """
Given L[13, 11, 32]
M = relu(Conv(L, Φ1, filters 32, width 3, pad 1))
N = Conv(M, Φ2, filters 32, width 3, pad 1)
loss J = mean[...](N[...]^2)
"""
    fast, exact = (majuscule.Trainer(text, optimiser="SGD", rate=0.1, exact=exact) for exact in (False, True))
    fast.load_weights({name: exact.tensors[name] for name in exact.parameters})
    steps = fast.compiled.module._manifest["steps"]
    assert sum("sums of F(" in step["road"] for step in steps) == 2
    assert not any(step["statement"].endswith(".pad") for step in steps)
    batch = {"L": numpy.random.default_rng(1).normal(size=(4, 13, 11, 32)).astype("float32")}
    for _ in range(3):
        assert fast.step(batch).loss == pytest.approx(exact.step(batch).loss, rel=1e-5)
    for name in exact.parameters:
        numpy.testing.assert_allclose(fast.tensors[name], exact.tensors[name], rtol=1e-4, atol=1e-5)


def test_a_factor_that_is_padded_is_read_without_its_padding() -> None:
    """What the padding reads is made as a tensor, though another equation reads the padding."""
    text = """
Given D[12, 12, 16], G[8, 8, 32]
H[b,x,y,j] = sum[t in 0..2](G[b,x,y,j] * (t + 1))
K = pad(H, x: 1, y: 1)
S[p in 0..3, q in 0..3, i, j] = D[B,X+p,Y+q,i] * K[B,X,Y,j]
M[j] = max[b,x,y](K[b,x,y,j])
output S, M
"""
    generator = numpy.random.default_rng(0)
    data, inner = (generator.normal(size=shape).astype("float32") for shape in ((3, 12, 12, 16), (3, 8, 8, 32)))
    padded = numpy.pad(3 * inner.astype(float), ((0, 0), (1, 1), (1, 1), (0, 0)))
    module = majuscule.compile(text, road="winograd")
    assert any("sums of F(" in road for road in roads(module))
    found = module(data, inner)
    exact = (expected(data[:, None], padded[:, None], (3, 3)) - 1) / 2
    assert abs(found["S"] - exact).max() <= SMALL * abs(exact).max()
    numpy.testing.assert_allclose(found["M"], padded.max((0, 1, 2)), rtol=1e-6)


def test_other_numbers_of_offsets_and_exact_sums_take_other_roads() -> None:
    other = majuscule.compile(program((4,), (9,), 16, 16, 1, False), road="winograd")
    assert not any("sums of" in road for road in roads(other))
    with pytest.raises(CompilationFailed, match="contradict each other"):
        majuscule.compile(program((3,), (9,), 16, 16, 1, False), road="winograd", exact=True)
    module = majuscule.compile(program((3,), (90,), 16, 16, 1, False), exact=True)
    assert not any("winograd" in road for road in roads(module))
