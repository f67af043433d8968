"""`benchmarks/equations.py` at tiny sizes: its programs are right, and what it compares gives the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
import pytest

import majuscule
from majuscule.compiler.codegen.target import Target
from majuscule.runtime.host import cpu_features

programs = pytest.importorskip("equation_programs")
equations = pytest.importorskip("equations")

SMALL = programs.Sizes(8)
QUICK = ("--most", "8", "--rounds", "1", "--repeats", "1")
NARROW = set(Target.named(programs.NARROW_TARGET).features) <= set(Target.host(cpu_features()).features)


@pytest.mark.parametrize("sizes", [SMALL, programs.Sizes()], ids=["small", "full"])
def test_every_program_is_right(sizes: programs.Sizes) -> None:
    kernels = [*programs.contractions(sizes), programs.two_dilations(sizes), *programs.others(sizes)]
    assert len({kernel.name for kernel in kernels}) == len(kernels)
    for kernel in kernels:
        assert not majuscule.check(kernel.text).errors, kernel.name


@pytest.mark.parametrize(
    ("group", "only"),
    [
        ("direct", "dense, 9216"),
        pytest.param("narrow", "dense, 9216", marks=pytest.mark.skipif(not NARROW, reason="another kind of CPU")),
        ("layers", "softmax over 1000"),
    ],
)
def test_a_group_gives_shares_of_both_limits(
    group: str, only: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "found.json"
    equations.main([group, "--only", only, *QUICK, "--json", str(file)])
    (found,) = json.loads(file.read_text(encoding="utf-8"))["results"]
    assert only in found["name"]
    assert 0 < found["of_peak"] < 10  # measured in an instant, perhaps while others compute
    assert found["of_bandwidth"] > 0
    assert found["peak_flops"] > 1e8
    assert only in capsys.readouterr().out


def test_all_spellings_compute_the_librarys_convolution() -> None:
    options = equations.read_options(["spellings", *QUICK])
    rows = list(equations.against_library(8, 8, exact=True, options=options))
    assert len(rows) == len(list(programs.spellings(8, 8)))
    assert all(row.found["ratio"] > 0 for row in rows)


@pytest.mark.slow
def test_pytorch_computes_the_same() -> None:
    peers = pytest.importorskip("equation_peers")
    for rivalry in peers.rivalries(SMALL):
        module = majuscule.compile(rivalry.text)
        inputs = module.random_inputs(2)
        expected = module(**inputs)
        eager, _ = peers.ready(rivalry, {**inputs, **module.weights})
        for name, call in eager.items():
            numpy.testing.assert_allclose(call(), expected, rtol=0, atol=1e-4 * abs(expected).max(), err_msg=name)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_new_layers_compete_with_torch_compile(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    file = tmp_path / "found.json"
    equations.main(["new", "--only", "dilation", *QUICK, "--json", str(file)])
    (found,) = json.loads(file.read_text(encoding="utf-8"))["results"]
    assert found["eager"]["ratio"] > 0
    assert found["compiled"]["ratio"] > 0


def test_unknown_groups_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        equations.read_options(["directions"])
    assert "no group called directions" in capsys.readouterr().err
