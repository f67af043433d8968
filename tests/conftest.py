"""All tests share one cache of compiled code, which is theirs alone and gone when they end.

Where tests run in several processes, all cores are busy: then modules are compiled without helpers.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest

from majuscule.__main__ import GARBAGE


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whatever the tests compile, in this process or in others that they start, goes here."""
    gc.set_threshold(GARBAGE)  # as the command line does
    patch = pytest.MonkeyPatch()
    patch.setenv("MAJUSCULE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    patch.delenv("MAJUSCULE_CACHE", raising=False)
    if int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) > 1:
        from majuscule.compiler.codegen import tvm_loading, workers  # noqa: F401 (in this order)

        patch.setattr(workers, "available_cores", lambda: 1)
    yield
    patch.undo()
