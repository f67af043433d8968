"""Calls from many threads, after a fork, and with other numbers of threads."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
import pytest
from hand_written import expected, samples

from majuscule.runtime import errors
from majuscule.runtime import executor as executors
from majuscule.runtime.artifact import Artifact
from majuscule.runtime.executor import Executor, available_cores, default_threads, get_executor
from majuscule.runtime.module import Module

pytestmark = pytest.mark.usefixtures("all_cores")


def test_calls_from_many_threads_do_not_disturb_each_other(module: Module) -> None:
    def work(worker: int) -> None:
        for call in range(60):
            batch = 1 + (worker * 7 + call * 5) % 40
            x, label = samples(batch, seed=worker * 1000 + call)
            z, picked, numbers = module(x, label, seed=worker, step=call)
            wanted_z, wanted_picked = expected(x, label)
            numpy.testing.assert_allclose(z, wanted_z, rtol=1e-6, atol=1e-6)
            numpy.testing.assert_allclose(picked, wanted_picked, rtol=1e-6, atol=1e-6)
            assert numbers.tolist() == [worker, call]

    with ThreadPoolExecutor(8) as pool:
        for result in [pool.submit(work, worker) for worker in range(8)]:
            result.result()


def test_errors_reach_the_caller_that_caused_them(module: Module) -> None:
    def work(worker: int) -> None:
        for call in range(50):
            x, label = samples(5, seed=call)
            if worker % 2:
                with pytest.raises(errors.CheckError):
                    module(x, label + 4)
            else:
                numpy.testing.assert_allclose(module(x, label).z, expected(x, label)[0], rtol=1e-6, atol=1e-6)

    with ThreadPoolExecutor(4) as pool:
        for result in [pool.submit(work, worker) for worker in range(4)]:
            result.result()


def test_new_weights_while_others_call_are_never_seen_by_halves(module: Module) -> None:
    sets = [{"W": numpy.full(4, float(k)), "shift": numpy.full(4, 100.0 * k)} for k in range(3)]
    module.load_weights(sets[0])
    stop = threading.Event()

    def call() -> None:
        while not stop.is_set():
            z = module(numpy.ones((2, 4)), [0, 1]).z
            assert numpy.unique(z).tolist() in ([1], [103], [205])

    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(call) for _ in range(3)]
        for k in range(60):
            module.load_weights(sets[k % 3])
        stop.set()
        for result in calls:
            result.result()


def test_closing_lets_running_calls_finish(artifact: Artifact) -> None:
    module = Module(artifact)
    x, label = samples(900)

    def call() -> int:
        done = 0
        try:
            while True:
                numpy.testing.assert_allclose(module(x, label).z, expected(x, label)[0], rtol=1e-6, atol=1e-6)
                done += 1
        except errors.ClosedModule:
            return done

    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(call) for _ in range(2)]
        time.sleep(0.05)
        module.close()
        assert all(result.result(10) > 0 for result in calls)


def test_default_threads_are_the_cores_of_this_process(artifact: Artifact) -> None:
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    assert available_cores() == cores
    assert Module(artifact).threads == default_threads() <= len(cores)


def test_a_container_that_may_use_half_a_core_gets_one_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(executors, "_CPU_LIMIT", tmp_path / "cpu.max")
    cores = len(available_cores())
    for limit, threads in (("50000 100000", 1), ("max 100000", cores), ("99999999 100000", cores), ("", cores)):
        (tmp_path / "cpu.max").write_text(limit)
        assert default_threads() == threads


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_pool_has_the_size_asked_for(module: Module, threads: int) -> None:
    from majuscule.runtime.library import _get_runtime

    module.set_threads(threads)
    assert module.threads == threads
    runtime = _get_runtime()
    count = module._executor.run(lambda: runtime.call(runtime.function("runtime.NumThreads")))
    assert count == threads
    x, label = samples(9)
    numpy.testing.assert_allclose(module(x, label).z, expected(x, label)[0], rtol=1e-6)
    with pytest.raises(errors.ArgumentError, match="at least 1"):
        module.set_threads(0)


def test_modules_that_use_all_cores_share_a_thread_and_others_have_their_own(artifact: Artifact) -> None:
    assert Module(artifact)._executor is Module(artifact)._executor
    assert Module(artifact, threads=1)._executor is not Module(artifact, threads=1)._executor


def test_brief_functions_of_the_main_thread_run_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "_home", executors._MainThread())
    first, second = Executor(2, available_cores()), Executor(2, available_cores())
    here = threading.get_ident()
    assert first.run(threading.get_ident, brief=True) == here
    assert first.run(threading.get_ident) != here
    assert second.run(threading.get_ident, brief=True) != here  # the pool of the main thread is the first one's
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(first.run, threading.get_ident, brief=True).result() not in (
            here,
            pool.submit(threading.get_ident).result(),
        )


def test_functions_of_an_executor_never_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "_home", executors._MainThread())
    executor = Executor(1, available_cores())
    running: list[int] = []

    def function() -> int:
        running.append(1)
        time.sleep(0.0005)
        running.pop()
        return len(running)

    with ThreadPoolExecutor(2) as pool:
        others = [pool.submit(executor.run, function) for _ in range(60)]
        assert not any(executor.run(function, brief=True) for _ in range(60))
        assert not any(other.result() for other in others)


def test_the_thread_ends_with_its_executor() -> None:
    executor = Executor(2, available_cores())
    thread = executor.run(threading.current_thread)
    with pytest.raises(ZeroDivisionError):
        executor.run(lambda: 1 / 0)
    del executor
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()


def test_a_call_keeps_nothing_alive(module: Module) -> None:
    class Tracked(numpy.ndarray):
        pass

    import weakref

    x = samples(3)[0].view(Tracked)
    seen = weakref.ref(x)
    module(x, samples(3)[1])
    del x
    for _ in range(100):
        if seen() is None:
            break
        time.sleep(0.01)
    assert seen() is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_forked_children_can_call_and_so_can_their_parent(module: Module) -> None:
    x, label = samples(20)
    wanted = expected(x, label)[0]
    numpy.testing.assert_allclose(module(x, label).z, wanted, rtol=1e-6)
    stop = threading.Event()

    def keep_busy() -> None:
        while not stop.is_set():
            module(x, label)

    busy = [threading.Thread(target=keep_busy) for _ in range(2)]
    for thread in busy:
        thread.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                signal.alarm(20)
                right = all(numpy.allclose(module(x, label).z, wanted) for _ in range(3))
                os._exit(0 if right else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        for thread in busy:
            thread.join()
    numpy.testing.assert_allclose(module(x, label).z, wanted, rtol=1e-6)


def _call_in_child(module: Module, connection) -> None:  # type: ignore[no-untyped-def]
    connection.send(module(*samples(3)).z)


def test_modules_travel_to_spawned_processes(module: Module) -> None:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_call_in_child, args=(module, there))
    process.start()
    assert here.poll(60)
    numpy.testing.assert_allclose(here.recv(), expected(*samples(3))[0], rtol=1e-6)
    process.join(20)
    assert process.exitcode == 0


def test_an_interrupted_wait_does_no_harm(module: Module) -> None:
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals go to the main thread")
    executor = get_executor(None)
    signal.signal(signal.SIGALRM, _interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    with pytest.raises(KeyboardInterrupt):
        executor.run(lambda: time.sleep(0.5))
    x, label = samples(3)
    numpy.testing.assert_allclose(module(x, label).z, expected(x, label)[0], rtol=1e-6)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_an_executor_ends_when_python_has_taken_its_globals_away(monkeypatch: pytest.MonkeyPatch) -> None:
    executor = Executor(1, available_cores()[:1])
    assert executor.run(lambda: 3) == 3
    monkeypatch.setattr(executors, "_Job", None)
    executor.__del__()
    executor._forget_thread()
