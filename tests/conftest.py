"""All tests share one cache of compiled code, which is theirs alone and gone when they end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whatever the tests compile, in this process or in others that they start, goes here."""
    patch = pytest.MonkeyPatch()
    patch.setenv("MAJUSCULE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    patch.delenv("MAJUSCULE_CACHE", raising=False)
    yield
    patch.undo()
