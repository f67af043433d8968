"""Targets: what a CPU must have for the code that is compiled for it."""

from __future__ import annotations

import numpy
import pytest
from harness import Runner, apply, axes, compiled, read, shape

from majuscule.compiler.codegen.target import Target
from majuscule.dsl.equations import Equation, Input, Operation
from majuscule.runtime import host
from majuscule.runtime.errors import ForeignCPU


def plain(features: tuple[str, ...]) -> set[str]:
    return {feature.replace(".", "").replace("-", "") for feature in features}


def test_a_target_needs_every_instruction_set_that_llvm_may_use() -> None:
    needed = set(Target.named("znver4").features)
    assert needed >= {
        "avx512f", "avx512vl", "avx512vbmi", "avx512vbmi2", "avx512vnni", "avx512bf16", "avx512ifma", "avx512bitalg",
        "avx512vpopcntdq", "gfni", "lzcnt", "popcnt", "bmi", "bmi2", "movbe", "fma", "f16c", "sse4a", "avx2",
    }  # fmt: skip
    assert not needed & {"64bit", "fast-gather", "macrofusion", "vzeroupper", "shstk", "wbnoinvd", "crc32"}
    assert not any(feature.startswith("avx") for feature in Target.named("x86-64-v2").features)
    assert {"neon", "lse", "dotprod", "fullfp16", "rdm", "rcpc"} <= set(Target.named("neoverse-n1").features)
    assert "lse" not in Target.named("generic").features


def test_code_for_this_machine_needs_nothing_that_it_lacks() -> None:
    present = host.cpu_features()
    target = Target.named("cpu", present=present)
    assert present is None or plain(target.features) <= present
    host.require_host(target.describe(), "anything")


def test_a_module_is_refused_where_one_instruction_set_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target.named("znver4")
    known = plain(target.features)
    monkeypatch.setattr(host, "machine", lambda: "x86_64")
    monkeypatch.setattr(host, "system", lambda: "linux")
    monkeypatch.setattr(host, "cpu_features", lambda: frozenset(known))
    host.require_host(target.describe(), "anything")
    monkeypatch.setattr(host, "cpu_features", lambda: frozenset(known - {"avx512vnni", "gfni"}))
    with pytest.raises(ForeignCPU, match="does not have: avx512vnni, gfni;"):
        host.require_host(target.describe(), "anything")


def test_extensions_hidden_from_a_virtual_machine_are_not_used() -> None:
    everything = plain(Target.host().features)
    if "avx2" not in everything:
        pytest.skip("this machine has no AVX2 to hide")
    target = Target.host(present={feature for feature in everything if not feature.startswith(("avx512", "avx10"))})
    assert target.vector_bits == 256
    assert target.registers == 16
    assert not any(feature.startswith("avx512") for feature in target.features)
    operations: dict[str, Operation] = {
        "x": Input(shape(100), "float32", batched=False),
        "y": Equation(axes(i=100), apply("mul", read("x", "i"), read("x", "i")), "float32"),
    }
    program = compiled(operations, "y", target=target)
    assert "zmm" not in program.assembly
    x = numpy.arange(100, dtype=numpy.float32)
    numpy.testing.assert_array_equal(Runner(program)(x=x)["y"], x * x)


def test_names_of_linux_and_of_llvm_meet() -> None:
    present = host.cpu_features()
    if present is None or host.machine() != "x86_64":
        pytest.skip("needs the list of features that Linux gives on x86-64")
    # Every machine that is in use has these; a wrong translation of their names would lose them.
    assert plain(Target.named("x86-64-v2").features) <= present
