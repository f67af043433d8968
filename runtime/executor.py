"""The thread on which compiled code runs.

TVM makes a pool of worker threads, which spin for a while after each parallel loop, for
every thread that calls compiled code.  So calls of a module go to one thread, which owns one
pool; callers hand it a function and wait.  Handing over takes some 20 µs, more than small
networks compute, so one executor of a process has a second pool, on the main thread, where
brief calls that come from there run at once.

Modules that use all cores share one executor: two pools of that size would only get in
each other's way.  A module with a number of threads of its own has its own executor, so
that several such modules run side by side.
"""

from __future__ import annotations

import os
import queue
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from .library import configure_threads

_CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")  # Linux: microseconds of computing per period, for a container


def available_cores() -> list[int]:
    """The numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def default_threads() -> int:
    """As many threads as this process may keep busy: its cores, or its container's share of them."""
    cores = len(available_cores())
    try:
        quota, period = _CPU_LIMIT.read_text().split()
        return max(1, min(cores, -(-int(quota) // int(period))))
    except (OSError, ValueError):  # no such file, or "max", which is no limit
        return cores


class _Job:
    """A function for the executor, its outcome, and a lock that is open once it is done."""

    __slots__ = ("done", "error", "function", "result")

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function
        self.result: Any = None
        self.error: BaseException | None = None
        self.done = threading.Lock()
        self.done.acquire()


_Jobs: TypeAlias = "queue.SimpleQueue[_Job | None]"  # None ends the thread


class Executor:
    """One thread with a pool of workers; runs functions one after another.

    The thread and its workers end when the executor is no longer referred to; whoever runs
    a function refers to it, so it cannot end under a caller.
    """

    def __init__(self, threads: int, cores: list[int]) -> None:
        self._jobs: _Jobs | None = None
        self._start_lock = threading.Lock()
        self._running = threading.Lock()
        self.cores = cores
        self.threads = threads
        _executors.add(self)

    def run(self, function: Callable[[], Any], *, brief: bool = False) -> Any:
        """Run `function` on the executor's thread; gives its result or raises its exception.

        An interrupted caller (Ctrl-C) leaves at once; the function still runs to its end.  A `brief`
        function may run on the main thread, if it comes from there and no other is running.
        """
        if brief and _home.is_open_to(self) and self._running.acquire(blocking=False):
            try:
                return function()
            finally:
                self._running.release()
        job = _Job(function)
        (self._jobs or self._start()).put(job)
        job.done.acquire()
        if job.error is None:
            return job.result
        try:
            raise job.error
        finally:
            del job  # its traceback refers to this frame

    def __del__(self) -> None:
        if self._jobs is not None:
            self._jobs.put(None)  # and nothing made here, when Python may have been taken down already

    def _start(self) -> _Jobs:
        with self._start_lock:
            if self._jobs is None:
                jobs: _Jobs = queue.SimpleQueue()
                # The thread knows the queue and the lock alone, so that it does not keep the executor alive.
                arguments = (jobs, self._running, self.threads, self.cores)
                threading.Thread(target=_serve, args=arguments, name="majuscule", daemon=True).start()
                self._jobs = jobs
            return self._jobs

    def _forget_thread(self) -> None:
        """In a forked child: the thread, and whoever held the lock, stayed behind in the parent."""
        self._start_lock = threading.Lock()
        self._running = threading.Lock()
        self._jobs = None


def _serve(jobs: _Jobs, running: threading.Lock, threads: int, cores: list[int]) -> None:
    configured = False
    while True:
        job = jobs.get()
        if job is None:
            return
        try:
            with running:
                if not configured:
                    configure_threads(threads, cores)
                    configured = True
                job.result = job.function()
        except BaseException as error:
            job.error = error
        job.done.release()
        del job  # the inputs and outputs of a call must not live on until the next one


class _MainThread:
    """The main thread's pool, which belongs to the first executor that asks for it."""

    def __init__(self) -> None:
        self._thread = threading.main_thread().ident
        self._owner: weakref.ref[Executor] | None = None
        self._has_workers = True

    def is_open_to(self, executor: Executor) -> bool:
        """Whether the executor may run a function here and now."""
        if threading.get_ident() != self._thread or not self._has_workers:
            return False
        if self._owner is None:
            self._owner = weakref.ref(executor)
            configure_threads(executor.threads, executor.cores)
        return self._owner() is executor

    def lose_workers(self) -> None:
        """In a forked child: the workers stayed behind in the parent."""
        self._has_workers = self._owner is None
        self._thread = threading.get_ident()


_home = _MainThread()
_executors: weakref.WeakSet[Executor] = weakref.WeakSet()
_shared: weakref.WeakValueDictionary[int, Executor] = weakref.WeakValueDictionary()
_shared_lock = threading.Lock()


def get_executor(threads: int | None) -> Executor:
    """The shared executor that keeps all cores busy if `threads` is None, else one of its own."""
    cores = available_cores()
    if threads is not None:
        return Executor(threads, cores)
    threads = default_threads()
    with _shared_lock:
        executor = _shared.get(threads)
        if executor is None:
            executor = _shared[threads] = Executor(threads, cores)
        return executor


def _after_fork() -> None:
    global _shared_lock
    _shared_lock = threading.Lock()
    _home.lose_workers()
    for executor in list(_executors):
        executor._forget_thread()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
