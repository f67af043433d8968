"""`maj explain --roads`: what each equation could take, what that is expected to cost, and what it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from ..compiler.road_names import Forced
from .console import print_table
from .measuring import time_format

if TYPE_CHECKING:
    from ..compiler.codegen.asked import Asked
    from ..compiler.codegen.choosing import Candidate, Decision
    from ..road_times import RoadTimes

_ALGORITHMS = ("winograd", "image-to-column")
"""Roads of which a table says why an equation cannot take them, even if nobody asks."""

_MOST_NAMES = 4
Times = Mapping[str, Mapping[str, float]]
"""Seconds by equation and road."""


@dataclass(frozen=True)
class Roads:
    """What each equation takes, with all roads that it can take, and their times if they were measured.

    `symbols` are the run-time sizes that costs are for, `peak` FLOP/s of the whole machine.
    """

    decisions: list[Decision]
    times: Times
    symbols: Mapping[str, int]
    peak: float


def decide(times: RoadTimes, asked: Asked, *, measure: bool) -> Roads:
    """The roads of all equations of a program."""
    from ..compiler.codegen import machine
    from ..compiler.codegen.asked import Asked as Wish
    from ..compiler.codegen.choosing import Choosing
    from ..compiler.codegen.tuning import tuned_choices

    symbols = times.symbols()
    choosing = Choosing(times.graph, times.target, asked, tuned_choices(times.target), symbols)
    decisions = [choosing.decision(group, whole=True) for group in choosing.groups.values()]
    found: dict[str, dict[str, float]] = {decision.name: {} for decision in decisions}
    for road in _all_roads() if measure else ():
        able = [d.name for d in decisions if any(candidate.road == road for candidate in d.candidates)]
        if able:
            seconds = times.measure(Wish(road))
            for name in able:
                found[name][road] = seconds[name]
    described = machine.of(times.target)
    return Roads(decisions, found, symbols, described.typical.peak_flops_per_core * described.cores)


def _all_roads() -> tuple[Forced, ...]:
    from typing import get_args

    return get_args(Forced)


def print_roads(roads: Roads, wanted: set[str]) -> None:
    """A table with a row for each road of each equation, or of the `wanted` ones."""
    measured = any(roads.times.values())
    rows: list[list[str]] = []
    refused: dict[tuple[str, str], list[str]] = {}
    for found in roads.decisions:
        if wanted and found.name not in wanted and found.name.split(".")[0] not in wanted:
            continue
        times = roads.times.get(found.name, {})
        listed = sorted(found.candidates, key=lambda c: (c is not found.chosen, c.estimate.seconds))
        for place, candidate in enumerate(listed):
            taken = f"taken: {found.reason}" if candidate is found.chosen else ""
            cells = _cells(candidate, roads.peak, times.get(candidate.road), measured=measured)
            rows.append(["" if place else found.name, candidate.road, taken, candidate.shown, *cells])
        for road, reason in found.refused.items():
            if road in _ALGORITHMS and found.chosen.road != "reduction":
                refused.setdefault((road, reason), []).append(found.name)
    given = ", ".join(f"{name} {size}" for name, size in roads.symbols.items())
    typer.echo(f"The roads of each reduction{f', for {given}' if given else ''}\n")
    headings = ["tensor", "road", "", "how", "expected", *(["measured"] if measured else [])]
    print_table([*headings, "GFLOP/s", "of peak", "bound by"], rows, left=4, elastic=3)
    typer.echo()
    for (road, reason), names in refused.items():
        typer.echo(f"{road} is not for {_some(names)}: {reason}")
    typer.echo(_REMARK)


_REMARK = """\
usual: register tiles, which suit any batch; winograd and image-to-column are taken unasked where they are expected
to save 10% and 20%, and 2 µs, other roads only if they are asked for (maj compile --road NAME) or found by maj tune"""


def _some(names: list[str]) -> str:
    shown = names[:_MOST_NAMES]
    return ", ".join(shown) + (f" and {len(names) - len(shown)} more" if len(names) > len(shown) else "")


def _cells(candidate: Candidate, peak: float, seconds: float | None, *, measured: bool) -> list[str]:
    estimate = candidate.estimate
    speed = estimate.flops / estimate.seconds
    time = "-" if seconds is None else time_format(seconds)(seconds)
    return [
        time_format(estimate.seconds)(estimate.seconds),
        *([time] if measured else []),
        f"{speed / 1e9:,.0f}",
        f"{100 * speed / peak:.0f}%",
        estimate.bound,
    ]


def roads_json(roads: Roads) -> list[dict[str, Any]]:
    """The same for JSON; times in seconds."""

    def entry(found: Decision, candidate: Candidate) -> dict[str, Any]:
        estimate = candidate.estimate
        speed = estimate.flops / estimate.seconds
        return {
            "road": candidate.road,
            "taken": candidate is found.chosen,
            "how": candidate.shown,
            "expected_seconds": estimate.seconds,
            "parts": dict(estimate.parts),
            "bound": estimate.bound,
            "flops": estimate.flops,
            "flops_per_second": speed,
            "share_of_peak": speed / roads.peak,
            "measured_seconds": roads.times.get(found.name, {}).get(candidate.road),
        }

    return [
        {
            "tensor": found.name,
            "road": found.chosen.road,
            "reason": found.reason,
            "candidates": [entry(found, candidate) for candidate in found.candidates],
            "cannot": {road: reason for road, reason in found.refused.items() if reason},
        }
        for found in roads.decisions
    ]
