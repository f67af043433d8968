"""All tests share one cache of compiled code, which is theirs alone and gone when they end.

Where tests run in several processes, all cores are busy: then modules are compiled without helpers, and
each process keeps to cores of its own, since threads that wait for each other on a core that is taken
make the tests take half as long again.
"""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from majuscule.__main__ import GARBAGE
from majuscule.runtime.executor import available_cores

PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
CORES = available_cores()


def _keep_to(cores: list[int]) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


if PROCESSES > 1:  # before the tests are imported, since PyTorch counts the cores when it is
    _keep_to(CORES[int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw")) % len(CORES) :: PROCESSES])


@pytest.fixture
def all_cores() -> Iterator[None]:
    """The test may use all cores: threads that it starts run side by side."""
    before = available_cores()
    _keep_to(CORES)
    yield
    _keep_to(before)


@pytest.fixture(scope="session")
def emulated_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library of a driver whose GPU is emulated."""
    from emulated_gpu import make_driver

    return make_driver(tmp_path_factory.mktemp("driver"))


@pytest.fixture
def emulated_gpu(emulated_driver: Path) -> Iterator[ctypes.CDLL]:
    """The machine has a GPU, which is emulated; gives the driver's library."""
    from emulated_gpu import emulated  # which imports the compiler, and with it PyTorch

    with emulated(emulated_driver) as library:
        yield library


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whatever the tests compile, in this process or in others that they start, goes here."""
    gc.set_threshold(GARBAGE)  # as the command line does
    patch = pytest.MonkeyPatch()
    patch.setenv("MAJUSCULE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    patch.delenv("MAJUSCULE_CACHE", raising=False)
    if PROCESSES > 1:
        from majuscule.compiler.codegen import tvm_loading, workers  # noqa: F401 (in this order)

        patch.setattr(workers, "available_cores", lambda: 1)
    yield
    patch.undo()
