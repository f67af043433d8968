"""What people ask of the roads that equations take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from ..road_names import INEXACT, ROADS, Forced
from .errors import CompilationFailed


@dataclass(frozen=True)
class Asked:
    """What people ask of all equations: a road for those that can take it, exactness for all."""

    road: Forced | None = None
    exact: bool = False

    def allows(self, road: str) -> bool:
        """Whether an equation may take a road of its own choice."""
        return not (self.exact and road in INEXACT)


ANYTHING = Asked()


def asked_for(exact: bool, road: str | None) -> Asked:
    """What is asked for by people who ask for exactness, for a road, or for nothing; raises `CompilationFailed`.

    The direct road means exactness, too: sums without a window never round otherwise.
    """
    found = next((name for name in get_args(Forced) if name == road), None)
    if road is not None and found is None:
        raise CompilationFailed(f"there is no road called {road!r}: there are {', '.join(ROADS)}")
    if exact and road in INEXACT:
        raise CompilationFailed(
            "exact and road winograd contradict each other: Winograd's algorithm rounds differently"
        )
    return Asked(found, exact or road == "direct")
