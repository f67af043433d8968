"""Texts that nobody means well with: each gets a message, soon, and nothing is exhausted."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from majuscule.dsl import check_text, context
from majuscule.dsl.diagnostics import render_all

X = "Given x[3]\n"
DOUBLING = "".join(f"function f{k + 1}(v) = f{k}(v) + f{k}(v)\n" for k in range(30))
LAYERS = "".join(f"layer F{k + 1}(L[b, i]):\n    return F{k}(L) + F{k}(L)\n" for k in range(30))

TEXTS: dict[str, tuple[str, str]] = {
    "an empty file": ("", "E601"),
    "only comments": ("# a\n   # b\n", "E601"),
    "only blank lines": ("\n" * 100_000, "E601"),
    "a NUL": (f"{X}y = 2 * x\x00\n", "E102"),
    "all bytes": (bytes(range(256)).decode("latin1") * 20, "E102"),
    "half a surrogate pair": (f"{X}y = 2 * x\ud800\n", "E102"),
    "a line of 10 MB": (f"{X}y = {'x + ' * 2_500_000}x\n", "E106"),
    "a name of 10 MB": ("a" * 10_000_000, "E106"),
    "10 MB of brackets": ("(" * 10_000_000, "E105"),
    "200,000 statements": ("x = 1\n" * 200_000, "E119"),
    "thousands of broken statements": ("".join(f"y{k} = z{k} +\n" for k in range(5_000)), "E116"),
    "3,000 signs": (f"{X}y = {'-' * 3_000}x\n", "E105"),
    "3,000 powers": (f"{X}y = {'x^' * 3_000}x\n", "E105"),
    "3,000 negations": (f"{X}y = {'not ' * 3_000}x\n", "E105"),
    "3,000 transpositions": (f"{X}y = x{'ᵀ' * 3_000}\n", "E105"),
    "3,000 sums in one another": (f"{X}y[b] = {'Σ_{i} ' * 3_000}x[b,i]\n", "E105"),
    "30,000 superscripts": (f"{X}y = x{'²' * 30_000}\n", "E113"),
    "a shape of 5,000 digits": (f"{X}y[{'9' * 5_000}x2] = 2 * x\n", "E113"),
    "a name of 100,000 primes": (f"{X}y = x{chr(39) * 100_000}\n", "E120"),
    "functions that double": (f"function f0(v) = v\n{DOUBLING}{X}y = f30(x)\n", "E616"),
    "numbers that double": (f"function f0(v) = v\n{DOUBLING}{X}y = x * f30(1)\n", "E616"),
    "layers that double": (f"layer F0(L[b, i]):\n    return 2 * L\n{LAYERS}{X}y = F30(x)\n", "E616"),
    "a layer that calls itself twice": (
        f"layer F(L[b, i]):\n    a = F(L)\n    c = F(L)\n    return a\n{X}y = F(x)\n",
        "E523",
    ),
    "a function that calls itself": (f"function f(n) = f(n - 1) + f(n - 1)\n{X}y = x * f(3)\n", "E523"),
    "aliases in a circle": (f"alias A = B\nalias B = A\n{X}y = A(x)\n", "E202"),
    "a loop of 10^12 turns": (f"{X}for l in 0..1000000000000:\n    y_{{l}} = 2 * x\n", "E612"),
    "10^8 turns of two loops": (f"{X}for l in 0..9999:\n    for m in 0..9999:\n        n = l + m\ny = 2 * x\n", "E616"),
    "10^8 turns of one loop": (f"{X}for l in 0..9999, m in 0..9999:\n    n = l + m\ny = 2 * x\n", "E616"),
    "10^8 stages": (f"{X}N = 10000\ny = x -> [[relu]*N]*N\n", "E616"),
    "10^8 empty stages": (f"{X}N = 10000\ny = x -> [[[relu]*0]*N]*N\n", "E616"),
    "a tower of powers": (f"{X}n = 9^9^9^9\ny = n * x\n", "E216"),
    "a power of a fraction": (f"{X}n = 2.5^1024\ny = n * x\n", "E217"),
    "a list of 10^16 entries": (f"n = [1] * 10000 * 10000 * 10000 * 10000\n{X}y = 2 * x\n", "E237"),
    "a list that doubles": (f"n = [0]\nfor l in 0..100:\n    n = n + n\n{X}y = 2 * x\n", "E237"),
    "a polynomial of many terms": (
        "Given x[M, N]\nn = (size(x, 1) + size(x, 2) + 1)^8\nm = n * n * n\ny = m * x\n",
        "E238",
    ),
    "a subscript of many terms": (f"Given x[M, N]\ny[b,i] = x[b, {'*'.join(['(M + N + 1)'] * 60)} * i, 0]\n", "E238"),
    "sizes beyond all memory": ("Given x[1000000000000, 1000000000000]\ny[b,i] = x[b,i,0]\n", "E620"),
    "a size of twenty digits": ("Given x[99999999999999999999]\ny = 2 * x\n", "E620"),
    "a parameter beyond all memory": ("Given x[3]\nparam W[3, 9999999999999]\ny[b,j] = W[I,j] * x[b,I]\n", "E620"),
    "no places": ("Given x[0]\ny = 2 * x\n", "E604"),
    "fewer than no places": ("Given x[-1]\ny = 2 * x\n", "E604"),
    "a window of 10^12 places": ("Given x[10]\ny[b,i] = sum[d in 0..1000000000000](x[b, i + d])\n", "E405"),
    "a memory of 10^12 steps": ("Given x[5]\nh[b,t] = h[b,t-1000000000000] + x[b,t]\nh[b,-1] = 0\n", "E718"),
    "tabs under spaces": (f"layer F(L[b, i]):\n\ta = L\n        b = a\n    return a\n{X}y = F(x)\n", "E107"),
    "an import of itself": ('import "net.maj"\n', "E601"),
    "an import of a folder": (f'import "."\n{X}y = 2 * x\n', "E223"),
    "an import with a NUL in its name": (f'import "a{chr(0)}b"\n{X}y = 2 * x\n', "E223"),
    "an import of an endless file": (f'import "/dev/zero"\n{X}y = 2 * x\n', "E223"),
}


@pytest.mark.parametrize("name", list(TEXTS))
def test_it_gets_a_message(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "MAXIMUM_STEPS", 30_000)
    text, code = TEXTS[name]
    (tmp_path / "net.maj").write_text('import "net.maj"\n', encoding="utf-8")
    started = time.process_time()
    result = check_text(text, "net.maj", folder=tmp_path)
    report = render_all(result.diagnostics, result.sources)
    assert time.process_time() - started < 10
    assert result.program is None
    assert code in {d.code for d in result.errors}
    assert len(report) < 100_000
    report.encode("utf-8")  # it can be printed


ACCEPTED: dict[str, str] = {
    "very large sizes": "Given x[1000000, 1000000]\ny[b,i] = x[b,i,0]\n",
    "spaces of other widths": "Given\u00a0x[3]\ny\u2009=\u202f2\u3000* x\n",
    "a range of 10^12 places": f"{X}y[b, i in 0..1000000000000] = x[b,0]\n",
    "carriage returns": "Given x[3]\r\ny = 2 * x\r\n",
    "carriage returns alone": "Given x[3]\ry = 2 * x\r",
    "a byte-order mark": f"\ufeff{X}y = 2 * x\n",
    "a block indented by tabs": f"layer F(L[b, i]):\n\ta = 2 * L\n\treturn a\n{X}y = F(x)\n",
    "no newline at the end": "Given x[3]\ny = 2 * x",
    "hundreds of terms": f"{X}y[b,i] = {' + '.join(['x[b,i]'] * 300)}\n",
    "brackets as deep as allowed": f"{X}y = 2 * {'(' * 60}x{')' * 60}\n",
    "functions handed on": f"function f(v) = v + v\nfunction g(v) = f(v + v)\n{X}y = g(x)\n",
    "hundreds of layers": f"{X}y_0 = x\nfor l in 0..500:\n    y_{{l+1}} = tanh(y_{{l}})\n",
    "hundreds of parts": "Given x[1000]\n" + "".join(f"T[b, {k}] = x[b, {k}]\n" for k in range(300)),
}


@pytest.mark.parametrize("name", list(ACCEPTED))
def test_what_is_only_unusual_is_accepted(name: str) -> None:
    result = check_text(ACCEPTED[name], "net.maj")
    assert render_all(result.errors, result.sources) == ""
    assert result.program is not None


def test_errors_are_capped() -> None:
    result = check_text("".join(f"y{k} = z{k} +\n" for k in range(5_000)), "net.maj")
    assert len(result.diagnostics) == 101
    assert result.diagnostics[-1].code == "N502"
