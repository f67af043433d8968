"""A profile as a file: a timeline for Chrome's and Perfetto's viewers, and a bar chart."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .failures import Failure, file_problem
from .text_files import write_text

if TYPE_CHECKING:
    from .profiling import Row

CHARTS = (".png", ".svg", ".pdf")
_MICRO = 1e6
_COLOURS = ("#4c72b0", "#dd8452", "#55a868", "#8172b3", "#937860", "#da8bc3", "#8c8c8c", "#ccb974", "#64b5cd")


def write_trace(path: str, rows: Sequence[Row], name: str) -> None:
    """Write steps one after the other, each as long as it takes, below the layers that they belong to.

    The format is Chrome's Trace Event Format: complete events (`ph` X), times in microseconds.
    """
    events: list[dict[str, Any]] = [
        {"ph": "M", "name": "process_name", "pid": 1, "tid": 1, "args": {"name": name}},
        {"ph": "M", "name": "thread_name", "pid": 1, "tid": 1, "args": {"name": "steps, medians"}},
    ]
    now = 0.0
    for layer, group in groupby(rows, key=lambda row: row.layer):
        start, inner = now, []
        for row in group:
            end = now + row.seconds * _MICRO
            details = {"road": row.road, "kernel": row.kernel, "flops": row.flops, "bytes": row.bytes}
            inner.append(_event(row.tensor, row.kind, now, end, details))
            now = end
        events += [_event(layer, "layer", start, now, {}), *inner]
    text = json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}, ensure_ascii=False, indent=1)
    write_text(path, text)


def _event(name: str, category: str, start: float, end: float, details: dict[str, Any]) -> dict[str, Any]:
    return {
        "ph": "X", "name": name, "cat": category, "ts": start, "dur": end - start, "pid": 1, "tid": 1, "args": details,
    }  # fmt: skip


def check_chart(path: str) -> None:
    """Refuse, before anything is measured, a chart that cannot be drawn; raises Failure."""
    if Path(path).suffix.lower() not in CHARTS:
        raise Failure(f"{path}: charts are written to {', '.join(CHARTS)}")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise Failure(
            "charts are drawn by matplotlib, which is not installed", "pip install 'majuscule[plot]'"
        ) from None


def write_chart(path: str, bars: Mapping[str, Sequence[Row]], title: str) -> None:
    """Draw a bar for each name, from top to bottom, of the times of its steps, in a colour for each kind of road."""
    from matplotlib.figure import Figure

    steps = [step for inside in bars.values() for step in inside]
    whole = sum(step.seconds for step in steps) or 1.0
    times = [{kind: _milliseconds(inside, kind) for kind in _kinds(inside)} for inside in bars.values()]
    figure = Figure(figsize=(9, 1.3 + 0.24 * len(bars)), layout="constrained")
    axes = figure.add_subplot()
    ends = [0.0] * len(bars)
    for place, kind in enumerate(_kinds(steps)):
        lengths = [found.get(kind, 0.0) for found in times]
        axes.barh(range(len(bars)), lengths, left=ends, height=0.72, label=kind, color=_COLOURS[place % len(_COLOURS)])
        ends = [end + length for end, length in zip(ends, lengths, strict=True)]
    for place, end in enumerate(ends):
        share = f"{end / whole / 10:.1f}%"  # of milliseconds in seconds
        axes.annotate(
            share, (end, place), (4, 0), textcoords="offset points", va="center", fontsize=7.5, color="#444444"
        )
    axes.set_yticks(range(len(bars)), list(bars), fontsize=8)
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_xlim(0, max([*ends, 1e-6]) * 1.09)
    axes.set_xlabel("milliseconds", fontsize=8)
    axes.set_title(title, fontsize=10, loc="left")
    axes.tick_params(length=0, labelsize=8)
    axes.grid(axis="x", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False, loc="best")
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise Failure(file_problem(error, path)) from error


def _milliseconds(steps: Sequence[Row], kind: str) -> float:
    return sum(step.seconds * 1e3 for step in steps if step.kind == kind)


def _kinds(steps: Sequence[Row]) -> list[str]:
    """The kinds of road, those that take most time first."""
    return sorted(dict.fromkeys(step.kind for step in steps), key=lambda kind: -_milliseconds(steps, kind))
