"""The description of machines: looked up for targets, measured for the machine at hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from majuscule.compiler.codegen import machine, measuring
from majuscule.compiler.codegen.machine import Speed
from majuscule.compiler.codegen.target import Target
from majuscule.runtime.host import cpu_features


@pytest.fixture
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and nothing measured yet."""
    monkeypatch.setenv("MAJUSCULE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("MAJUSCULE_CACHE", raising=False)
    machine.measured.cache_clear()
    return tmp_path / "cache"


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Target]:
    """Stands in for measuring; the targets that were measured."""
    found: list[Target] = []

    def measure(target: Target, cache_bytes: int) -> Speed:
        found.append(target)
        return Speed(2e11, 5e10)

    monkeypatch.setattr(measuring, "measure", measure)
    return found


def host() -> Target:
    return Target.named("cpu", present=cpu_features())


@pytest.mark.parametrize(
    ("cpu", "ports", "l2"),
    [
        ("x86-64-v2", 1, 256 << 10),
        ("x86-64-v3", 2, 256 << 10),
        ("x86-64-v4", 2, 1 << 20),
        ("znver4", 1, 1 << 20),  # two pipes of 256 bits make one of 512
        ("znver5", 2, 1 << 20),
        ("neoverse-n1", 2, 1 << 20),
        ("neoverse-v1", 4, 1 << 20),
        ("goldmont", 1, 256 << 10),  # not in the table
    ],
)
def test_named_targets_have_typical_values(cpu: str, ports: int, l2: int) -> None:
    found = machine.of(Target.named(cpu, cores=4))
    assert (found.cores, found.fma_ports, found.l2_bytes) == (4, ports, l2)
    assert found.l1_bytes < found.l2_bytes < found.l3_bytes
    assert 1e10 < found.peak_flops_per_core < 4e11
    assert found.bandwidth > 1e9


def test_looking_up_measures_nothing_and_depends_on_the_target_alone(cache_folder: Path, runs: list[Target]) -> None:
    target = host()
    kept = set(cache_folder.rglob("*"))  # what LLVM said of the target
    assert machine.of(target) == machine.of(target)
    assert machine.of(target).peak_flops_per_core > 0
    assert machine.host(target).l1_bytes == machine.of(target).l1_bytes
    assert not runs
    assert set(cache_folder.rglob("*")) == kept


def test_hidden_vectors_lower_the_peak() -> None:
    wide = Target.named("x86-64-v4", cores=1)
    narrow = replace(wide, vector_bits=256)
    assert machine.of(narrow).peak_flops_per_core == machine.of(wide).peak_flops_per_core / 2


def test_caches_of_this_machine_are_those_of_linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A core with two hardware threads, whose second cache serves two cores, the third all eight."""
    for position, (level, kind, size, shared) in enumerate(
        [(1, "Data", "48K", "0,8"), (1, "Instruction", "32K", "0,8"), (2, "Unified", "4M", "0-1,8-9"),
         (3, "Unified", "32768K", "0-15")]
    ):  # fmt: skip
        folder = tmp_path / "cpu0" / "cache" / f"index{position}"
        folder.mkdir(parents=True)
        for name, value in (("level", str(level)), ("type", kind), ("size", size), ("shared_cpu_list", shared)):
            (folder / name).write_text(f"{value}\n")
    (tmp_path / "cpu0" / "topology").mkdir()
    (tmp_path / "cpu0" / "topology" / "thread_siblings_list").write_text("0,8\n")
    monkeypatch.setattr(machine, "_CACHES", tmp_path)
    machine._caches.cache_clear()
    try:
        assert machine._caches() == (48 << 10, 2 << 20, 32 << 20)
        monkeypatch.setattr(machine, "_CACHES", tmp_path / "hidden")
        machine._caches.cache_clear()
        assert machine._caches() is None
        target = replace(Target.named("znver5", cores=2), native=True)
        assert machine.of(target).l1_bytes == 48 << 10  # the typical one then
    finally:
        machine._caches.cache_clear()


def test_measured_once_and_kept_on_disk(cache_folder: Path, runs: list[Target]) -> None:
    found = machine.host(host())
    assert not runs
    assert (found.peak_flops_per_core, found.bandwidth) == (2e11, 5e10)
    machine.measured.cache_clear()  # as in another process
    assert machine.host(host()).bandwidth == 5e10
    assert len(runs) == 1
    machine.measured.cache_clear()
    assert machine.host(replace(host(), cores=host().cores + 1)).bandwidth == 5e10  # another question
    assert len(runs) == 2


@pytest.mark.parametrize("damage", ["truncated", "nonsense", "negative"])
def test_a_damaged_file_is_measured_again(cache_folder: Path, runs: list[Target], damage: str) -> None:
    target = host()
    cache_folder.mkdir(exist_ok=True)
    kept = set(cache_folder.iterdir())  # what LLVM said of the target
    machine.measured(target)
    (path,) = set(cache_folder.iterdir()) - kept
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:20])
    elif damage == "nonsense":
        path.write_bytes(b"\0" * 200)
    else:  # whole, but no speed
        from majuscule.compiler.codegen.cache import Cache

        Cache(cache_folder).put(path.name, json.dumps([-1.0, 2.0]).encode())
    machine.measured.cache_clear()
    assert machine.measured(target) == Speed(2e11, 5e10)
    assert len(runs) == 2


def test_a_folder_that_cannot_be_written_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: list[Target]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MAJUSCULE_CACHE_DIR", str(tmp_path / "file" / "cache"))
    machine.measured.cache_clear()
    assert machine.measured(host()) == Speed(2e11, 5e10)


def test_what_is_measured_is_plausible() -> None:
    target = host()
    found = measuring.measure(target, 1 << 20)
    # Shared machines lose some, and clocks vary; a kernel that waits or spills would be far off.
    assert found.peak_flops_per_core > machine.of(target).peak_flops_per_core / 4
    assert found.peak_flops_per_core < machine.of(target).peak_flops_per_core * 4
    assert 5e8 < found.bandwidth < 2e12
