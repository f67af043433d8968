"""The cache of compiled code: the same results with it and without, whatever happens to its files."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest
from levels import sparse

import majuscule
from majuscule.compiler.codegen import CompiledProgram, cache, compile_graph, workers
from majuscule.compiler.codegen.cache import Cache, fingerprint
from majuscule.compiler.codegen.objects import Object, Source, compile_source
from majuscule.compiler.codegen.target import Target
from majuscule.compiler.graph import Graph
from majuscule.compiler.pipeline import optimize
from majuscule.dsl.equations import Axis, Read
from majuscule.dsl.integers import Integer
from majuscule.runtime.host import cpu_features

TEXT = """\
Given L0[8, 8, 3]
param W[3, 3, 3, 4]
param V[10, 4]
param B[4] = 0.5
L1[b,x,y,j] = max(0, W[ΔX,ΔY,I,j] * L0[b,x+ΔX,y+ΔY,I] + B[j])
s[b,j] = sum[x in 0..6, y in 0..6](L1[b,x,y,j])
p[b,k] = exp(V[k,J] * s[b,J])
"""

MANY = "Given x[40]\n" + "".join(f"y{n}[b] = max[i in 0..{n}](x[b,i])\n" for n in range(2, 20))
"""Eighteen small kernels: enough for helpers."""


@lru_cache(maxsize=1)
def host() -> Target:
    return Target.named("cpu", present=cpu_features())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; what LLVM says of this machine is known already."""
    host()
    monkeypatch.setenv("MAJUSCULE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the functions that this process compiles, helpers being left out."""
    names: list[str] = []

    def compiling(source: Source, target: Target) -> Object:
        names.append(source.name)
        return compile_source(source, target)

    monkeypatch.setattr(workers, "compile_source", compiling)
    monkeypatch.setattr(workers, "_MOST", 0)
    return names


def compiled(text: str = TEXT, **options: bool) -> CompiledProgram:
    graph = optimize(Graph.from_program(majuscule.check(text).require()), fold_weights=True)
    return compile_graph(graph, target=host(), **options)


def parts(program: CompiledProgram) -> tuple[object, ...]:
    return program.library, json.dumps(program.manifest), program.notes


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("aside-"))


def python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- keys --------------------------------------------------------------------------------------


def test_a_fingerprint_tells_apart_what_reprs_do_not() -> None:
    assert repr(Integer.symbol("n", 1)) == repr(Integer.symbol("n", 5))
    values = [
        Integer.symbol("n", 1), Integer.symbol("n", 5), Integer.index("n"), Axis("n", Integer.of(1)),
        Read("n", (), "float32"), 1, 1.0, True, "1", None, 0.0, -0.0, (), ((),), {}, {"a": "b"}, ("a", "b"), b"1",
    ]  # fmt: skip
    assert len({fingerprint(value) for value in values}) == len(values)
    assert fingerprint("ab", "c") != fingerprint("a", "bc") != fingerprint(("a", "bc"))
    assert fingerprint("a\nstr 'b'") != fingerprint("a", "b")


def test_equal_values_have_equal_fingerprints_in_every_process() -> None:
    code = (
        "from majuscule.compiler.codegen.cache import fingerprint\n"
        "from majuscule.dsl.integers import Integer\n"
        "print(fingerprint(Integer.symbol('n') * 3 + Integer.index('i') // 2, frozenset('abc'), {'x': 1.5}))"
    )
    assert len({python(code, PYTHONHASHSEED=seed) for seed in ("0", "1")}) == 1


def test_what_has_no_fingerprint_is_refused() -> None:
    with pytest.raises(TypeError, match="object has no fingerprint"):
        fingerprint((1, object()))


def test_code_is_not_kept_where_the_compiler_was_edited_meanwhile(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_LOADED", 0.0)
    assert cache.toolchain() is None
    assert compiled(cache=True).library == compiled(cache=False).library
    assert not folder.exists()


# -- files -----------------------------------------------------------------------------------------


def test_what_is_stored_is_found_and_what_is_damaged_is_not(tmp_path: Path) -> None:
    store = Cache(tmp_path)
    content = bytes(range(256)) * 10
    assert store.get("key") is None
    store.put("key", content)
    assert store.get("key") == content
    whole = (tmp_path / "key").read_bytes()
    flipped = bytearray(whole)
    flipped[-7] ^= 1
    for damaged in (b"", whole[:5], whole[:-1], whole + b"x", bytes(flipped), b"\0" * len(whole)):
        (tmp_path / "key").write_bytes(damaged)
        assert store.get("key") is None
        assert not (tmp_path / "key").exists()
    store.put("key", content)
    (tmp_path / "key").rename(tmp_path / "other")
    assert store.get("other") is None


def test_the_size_is_bounded_and_what_was_used_last_stays(tmp_path: Path) -> None:
    store = Cache(tmp_path, limit=10_000)
    for number in range(12):
        store.put(f"k{number:02}", bytes(1000))
        os.utime(tmp_path / f"k{number:02}", (number, number))
    assert store.get("k01") is not None  # used, so young again
    store.trim()
    left = [path.name for path in entries(tmp_path)]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 9_000
    assert left == ["k01", "k05", "k06", "k07", "k08", "k09", "k10", "k11"]
    store.trim()
    assert len(entries(tmp_path)) == len(left)


@pytest.mark.slow
def test_a_compilation_trims_the_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = compiled().library
    limit = sum(path.stat().st_size for path in folder.iterdir()) * 3 // 2
    monkeypatch.setattr(Cache.__init__, "__defaults__", (limit,))
    for size in (12, 13, 14):
        compiled(TEXT.replace("[10, 4]", f"[{size}, 4]"))
    assert 0 < sum(path.stat().st_size for path in folder.iterdir()) <= limit
    assert compiled().library == expected


def test_what_killed_processes_left_behind_is_removed_in_the_end(tmp_path: Path) -> None:
    store = Cache(tmp_path)
    store.put("key", b"1")
    for name, age in (("aside-old", 7200), ("aside-new", 5)):
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    store.trim()
    assert {path.name for path in tmp_path.iterdir()} == {"key", "aside-new"}


# -- programs ----------------------------------------------------------------------------------------


def test_results_are_the_same_with_the_cache_and_without(folder: Path, compilations: list[str]) -> None:
    without = compiled(cache=False)
    assert not folder.exists()
    cold = compiled()
    count = len(compilations)
    warm = compiled()
    assert len(compilations) == count
    assert parts(without) == parts(cold) == parts(warm)
    assert without.constants.keys() == warm.constants.keys()
    assert warm.manifest == cold.manifest


def test_checks_of_indices_come_with_the_code(folder: Path) -> None:
    text = "Given words[5]: int64\nparam T[10, 4]\ne[b,t,j] = T[words[b,t], j]\n"
    cold, warm = compiled(text), compiled(text)
    assert cold.manifest["checks"]
    for entry in entries(folder):
        if b'"manifest"' in entry.read_bytes():
            entry.unlink()  # the program; its kernels stay
    by_kernel = compiled(text)
    assert parts(cold) == parts(warm) == parts(by_kernel)


def test_a_program_in_the_cache_is_compiled_without_tvm(folder: Path) -> None:
    code = (
        f"import sys, majuscule; module = majuscule.compile({TEXT!r})\n"
        "print('tvm' in sys.modules, module([[[[1.0] * 3] * 8] * 8])[0, 0])"
    )
    cold, warm = python(code).split(), python(code).split()
    assert (cold[0], warm[0]) == ("True", "False")
    assert cold[1] == warm[1]


def test_comments_and_lines_do_not_count_and_an_edit_compiles_one_kernel(folder: Path, compilations: list[str]) -> None:
    first = compiled()
    count = len(compilations)
    assert parts(compiled("# A comment\n\n" + TEXT)) == parts(first)
    assert len(compilations) == count
    compiled(TEXT.replace("exp(", "tanh("))
    assert len(compilations) == count + 1


def test_other_targets_have_other_code(folder: Path) -> None:
    graph = optimize(Graph.from_program(majuscule.check(TEXT).require()), fold_weights=True)
    found = [compile_graph(graph, target=Target.named(cpu)).library for cpu in ("x86-64-v2", "x86-64-v3") * 2]
    assert found[0] == found[2] != found[1] == found[3]


@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: b"\0" * len(content)])
def test_damaged_entries_are_compiled_again(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    expected = parts(compiled())
    for entry in entries(folder):
        entry.write_bytes(damage(entry.read_bytes()))
    assert parts(compiled()) == expected
    assert parts(compiled()) == expected


def test_a_folder_that_cannot_be_written_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = parts(compiled(cache=False))
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "inside", Path("/proc/nothing")):
        monkeypatch.setenv("MAJUSCULE_CACHE_DIR", str(place))
        assert parts(compiled()) == expected


def test_the_cache_can_be_turned_off(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAJUSCULE_CACHE", "0")
    compiled()
    assert not folder.exists()


@pytest.mark.slow
def test_the_command_goes_without_it_when_asked(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "net.maj").write_text(TEXT, encoding="utf-8")

    def compile_file(*options: str) -> bytes:
        path = tmp_path / "net.mod"
        command = [sys.executable, "-m", "majuscule", "compile", str(tmp_path / "net.maj"), "-o", str(path), *options]
        subprocess.run(command, check=True, capture_output=True)
        return path.read_bytes()

    cold = compile_file()
    stored = {entry.name: entry.stat().st_mtime_ns for entry in entries(folder)}
    assert len(stored) > 3
    for entry in entries(folder):
        if b'{"triple"' not in entry.read_bytes()[:100]:  # what LLVM said of the machine is no code
            entry.write_bytes(b"")
    assert compile_file("--no-cache") == cold
    assert sum(entry.stat().st_size == 0 for entry in entries(folder)) == len(stored) - 1
    assert compile_file() == compile_file() == cold


def test_tensor_ir_and_assembly_of_a_cached_program(folder: Path) -> None:
    cold, warm = compiled(), compiled()
    assert "majuscule_run" in warm.tensor_ir
    assert warm.tensor_ir.count("def majuscule_kernel_") == cold.tensor_ir.count("def majuscule_kernel_") > 1
    assert warm.assembly == cold.assembly


# -- several processes ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_helpers_compile_the_same_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "available_cores", lambda: 1)
    alone = compiled(MANY, cache=False)
    monkeypatch.setattr(workers, "available_cores", lambda: 3)
    served = []
    original = workers._compile_here

    def only_helpers(*arguments: object) -> None:
        """This process waits until the helpers have done everything."""
        waiting = arguments[0]
        limit = time.monotonic() + 120
        while waiting and time.monotonic() < limit:  # type: ignore[truthy-bool]
            time.sleep(0.05)
        served.append(len(waiting))  # type: ignore[arg-type]
        original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(workers, "_compile_here", only_helpers)
    together = compiled(MANY, cache=False)
    assert served[0] == 0
    assert parts(alone) == parts(together)


@pytest.mark.parametrize("python_command", sparse(["/bin/cat", "/nonexistent/python", "/bin/false"], 3))
def test_helpers_that_fail_are_done_without(monkeypatch: pytest.MonkeyPatch, python_command: str) -> None:
    expected = compiled(MANY, cache=False).library
    monkeypatch.setattr(workers, "available_cores", lambda: 3)
    monkeypatch.setattr(workers.sys, "executable", python_command)
    assert compiled(MANY, cache=False).library == expected


def test_a_helper_that_dies_gives_its_kernel_back(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = compiled(MANY, cache=False).library
    monkeypatch.setattr(workers, "available_cores", lambda: 2)
    received = workers._receive
    killed: list[int] = []

    def receive(stream: object) -> object:
        """Kills the helper after its first answer, which is lost."""
        value = received(stream)  # type: ignore[arg-type]
        if isinstance(value, Object) and not killed:
            (child,) = helpers
            killed.append(child.pid)
            child.kill()
            return None
        return value

    helpers: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def popen(command: list[str], **options: object) -> subprocess.Popen[bytes]:
        process = start(command, **options)  # type: ignore[call-overload]
        if "-P" in command:
            helpers.append(process)
        return process  # type: ignore[no-any-return]

    monkeypatch.setattr(workers, "_receive", receive)
    monkeypatch.setattr(workers.subprocess, "Popen", popen)
    original = workers._compile_here
    calls: list[int] = []

    def after_helper(*arguments: object) -> None:
        """This process begins when the helper is dead."""
        limit = time.monotonic() + 120
        while not calls and not killed and time.monotonic() < limit:
            time.sleep(0.05)
        calls.append(1)
        original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(workers, "_compile_here", after_helper)
    assert compiled(MANY, cache=False).library == expected
    assert killed
    assert helpers[0].returncode is not None


def test_a_mistake_while_compiling_is_raised_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(source: Source, target: Target) -> Object:
        raise ValueError("no such instruction")

    monkeypatch.setattr(workers, "compile_source", fail)
    with pytest.raises(ValueError, match="no such instruction"):
        compiled(MANY, cache=False)


COMPILE = f"""
import sys, majuscule
module = majuscule.compile({MANY!r})
module.save(sys.stdin.readline().strip())
"""


def start_compiling(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", COMPILE],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdin is not None
    process.stdin.write(f"{path}\n")
    process.stdin.flush()
    return process


@pytest.mark.slow
def test_four_processes_compile_the_same_program_at_once(folder: Path, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.mod" for number in range(4)]
    processes = [start_compiling(path) for path in paths]
    for process in processes:
        _, messages = process.communicate(timeout=300)
        assert process.returncode == 0, messages
    assert len({path.read_bytes() for path in paths}) == 1
    store = Cache(folder)
    assert all(store.get(entry.name) is not None for entry in entries(folder))


@pytest.mark.slow
def test_a_compilation_killed_at_any_moment_does_no_harm(folder: Path, tmp_path: Path) -> None:
    expected = compiled(MANY, cache=False).library
    started = time.perf_counter()
    process = start_compiling(tmp_path / "whole.mod")
    process.communicate(timeout=300)
    whole = time.perf_counter() - started
    moments = random.Random(7)
    for _ in range(5):
        for entry in entries(folder)[::2]:
            entry.unlink()
        process = start_compiling(tmp_path / "killed.mod")
        time.sleep(moments.uniform(0.3, 1.0) * whole)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    store = Cache(folder)
    assert all(store.get(entry.name) is not None for entry in entries(folder))
    assert compiled(MANY).library == expected
