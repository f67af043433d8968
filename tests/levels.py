"""How long tests of many parameters take: which of them every run has, and which only runs of what is slow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

SLOW = [pytest.mark.slow]
EXHAUSTIVE = [pytest.mark.slow, pytest.mark.exhaustive]


def sparse(values: Iterable[Any], every: int, rest: Iterable[pytest.MarkDecorator] = SLOW) -> list[Any]:
    """Parameters of a test: the first, and from there on every so-manyth, as they are, and the others with marks.

    A tuple stands for several parameters, as in `pytest.mark.parametrize`.
    """
    sets = [value if isinstance(value, tuple) else (value,) for value in values]
    return [pytest.param(*each, marks=rest if n % every else []) for n, each in enumerate(sets)]
