"""`maj profile`: where the time of a module goes, launch by launch or layer by layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .compiling import DtypeOption, ExactOption, RoadOption, SeedOption, TargetOption
from .console import print_json, print_table
from .failures import Failure
from .measuring import RepeatsOption, SecondsOption, counted, make_inputs, setting, setting_text, time_format
from .running import ModuleFile, ThreadsOption, open_module
from .sizes import SizeOption, parse_sizes

if TYPE_CHECKING:
    from ..runtime.profiling import Profile

ROWS = ("step", "layer")
_BAR = 8  # columns
_EIGHTHS = " ▏▎▍▌▋▊▉"
_BUSY = 1.15  # a round's time over the sum of the steps' medians, from which on others are taken to disturb


@dataclass(frozen=True)
class Row:
    """One step, or all steps of a layer; `kind` is the road that takes most of the time.

    `flops_per_second` and `bytes_per_second` are None where the time is too short to tell.
    """

    layer: str
    tensor: str
    road: str
    kind: str
    kernel: str
    steps: int
    seconds: float
    flops: int
    bytes: int

    @property
    def flops_per_second(self) -> float | None:
        return self.flops / self.seconds if self.seconds else None

    @property
    def bytes_per_second(self) -> float | None:
        return self.bytes / self.seconds if self.seconds else None


def profile(
    program: ModuleFile,
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="Samples in a call; 1 if left out.")] = None,
    threads: ThreadsOption = None,
    target: TargetOption = "cpu",
    dtype: DtypeOption = "float32",
    exact: ExactOption = False,
    road: RoadOption = None,
    by: Annotated[str, typer.Option("--by", help="A row for each step, or for each layer: step or layer.")] = "step",
    seconds: SecondsOption = 3.0,
    repeats: RepeatsOption = None,
    size: SizeOption = None,
    trace: Annotated[
        str | None, typer.Option("--trace", metavar="FILE", help="Write a timeline for Perfetto or chrome://tracing.")
    ] = None,
    chart: Annotated[
        str | None, typer.Option("--chart", metavar="FILE", help="Draw the times as bars: .png, .svg or .pdf.")
    ] = None,
    seed: SeedOption = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Show where the time of a module goes.

    Each step (a kernel, or a recurrence with all its turns) is run and timed by itself, in
    order, between runs of the whole.  A program is compiled first, with first values for
    weights.  Inputs are random.
    """
    from .profile_files import check_chart, write_chart, write_trace

    if by not in ROWS:
        raise Failure(f"there are no rows by {by}", f"write --by {' or --by '.join(ROWS)}")
    if chart is not None:
        check_chart(chart)
    sizes = parse_sizes(size)
    with open_module(program, target=target, dtype=dtype, seed=seed, threads=threads, exact=exact, road=road) as module:
        inputs = make_inputs(module, batch or 1, sizes, asked=batch is not None, seed=seed)
        found = module.profile(*(inputs[t.name] for t in module.inputs), seconds=seconds, rounds=repeats)
        facts = {**setting(module), "batch": batch or 1}
    steps = step_rows(found)
    layers = layer_rows(steps)
    rows = steps if by == "step" else layers
    peak = peak_flops(found.threads) if facts["gpu"] is None else None
    if trace is not None:
        write_trace(trace, steps, facts["name"])
    if chart is not None:
        bars = {row.tensor: [row] for row in steps} if by == "step" else _by_layer(steps)
        write_chart(chart, bars, f"{facts['name']}, batch {facts['batch']}, {setting_text(facts)}")
    if as_json:
        print_json(_as_json(found, facts, peak, steps, layers))
    else:
        _print(found, facts, peak, rows, by)
    for file in (trace, chart):
        if file is not None:
            typer.echo(f"wrote {file}", err=True)


def peak_flops(threads: int) -> float | None:
    """Float32 FLOP/s that so many threads can reach on this machine; None without the compiler, which measures it."""
    try:
        from ..compiler.codegen.machine import host

        machine = host()
        return machine.peak_flops_per_core * min(threads, machine.cores)
    except ImportError:
        return None


# -- rows --------------------------------------------------------------------------------------


def step_rows(found: Profile) -> list[Row]:
    """A row for each step, in order."""
    return [
        Row(s.statement, s.tensor, s.road, _kind(s.road), s.kernel, 1, s.seconds, s.flops, s.bytes) for s in found.steps
    ]


def layer_rows(steps: Sequence[Row]) -> list[Row]:
    """A row for each statement of the program, in the order in which they begin."""
    return [_together(layer, rows) for layer, rows in _by_layer(steps).items()]


def _by_layer(steps: Sequence[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in steps:
        groups.setdefault(row.layer, []).append(row)
    return groups


def _together(layer: str, rows: Sequence[Row]) -> Row:
    times: Counter[str] = Counter()
    for row in rows:
        times[row.kind] += max(round(row.seconds * 1e9), 1)  # nanoseconds
    kinds = [kind for kind, _ in times.most_common()]
    return Row(
        layer,
        rows[-1].tensor,
        ", ".join(kinds),
        kinds[0],
        ", ".join(dict.fromkeys(row.kernel for row in rows)),
        len(rows),
        sum(row.seconds for row in rows),
        sum(row.flops for row in rows),
        sum(row.bytes for row in rows),
    )


def _kind(road: str) -> str:
    """The road's name without its details."""
    name = road.partition(":")[0]
    return "recurrence" if name.startswith("recurrence over") else name


# -- showing -----------------------------------------------------------------------------------


def _print(found: Profile, facts: dict[str, Any], peak: float | None, rows: Sequence[Row], by: str) -> None:
    total = _together("total", rows)
    longest = max((row.seconds for row in rows), default=0.0)
    shown = time_format(found.whole)
    typer.echo(f"{facts['name']}, batch {facts['batch']}, {setting_text(facts)}\n")
    cells = partial(_cells, shown=shown, whole=total.seconds, longest=longest, peak=peak)
    names = ["layer", "tensor", "road"] if by == "step" else ["layer", "steps", "roads"]
    lines: list[list[str]] = []
    for previous, row in zip([None, *rows], rows, strict=False):
        if by == "step":
            layer = "" if previous is not None and previous.layer == row.layer else row.layer
            lines.append([layer, row.tensor, row.road, *cells(row)])
        else:
            lines.append([row.layer, f"{row.steps:>5}", row.road, *cells(row)])
    headings = [*names, "time", "share", "MFLOP", "GFLOP/s", *(["of peak"] if peak else []), "MB", "GB/s"]
    count = "" if by == "step" else f"{sum(row.steps for row in rows):>5}"
    print_table(headings, lines, left=3, elastic=2, total=["total", count, "", *cells(total)])
    typer.echo()
    for line in _remarks(found, peak, shown):
        typer.echo(line)


def _cells(row: Row, *, shown: Any, whole: float, longest: float, peak: float | None) -> list[str]:
    share = row.seconds / whole if whole else 0.0
    speed, stream = row.flops_per_second, row.bytes_per_second
    return [
        shown(row.seconds),
        f"{_bar(row.seconds / longest if longest else 0.0) if row.layer != 'total' else ''} {_percent(share):>5}",
        _number(row.flops / 1e6),
        "-" if speed is None else _number(speed / 1e9),
        *([] if peak is None else ["-" if speed is None else _percent(speed / peak)]),
        _number(row.bytes / 1e6),
        "-" if stream is None else _number(stream / 1e9),
    ]


def _bar(part: float) -> str:
    """A bar of up to 8 columns for a number from 0 to 1."""
    eighths = min(round(part * _BAR * 8), _BAR * 8)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()).ljust(_BAR)


def _percent(part: float) -> str:
    return f"{100 * part:.0f}%" if part >= 0.0995 else f"{100 * part:.1f}%"


def _number(value: float) -> str:
    """Three digits or more, but no more than three decimals."""
    decimals = sum(value < limit for limit in (99.95, 9.995, 0.9995))
    return f"{value:,.{decimals}f}"


def _remarks(found: Profile, peak: float | None, shown: Any) -> list[str]:
    """How the parts relate to the whole, and what they are measured against."""
    between = found.whole - found.stepwise
    relation = "more" if between >= 0 else "less"
    lines = [
        f"a run of the whole takes {shown(found.whole)}, {shown(abs(between))} {relation} than its steps one by one; "
        f"medians of {counted(found.rounds, 'round')}"
    ]
    if min(found.whole, found.stepwise) > _BUSY * found.sum:
        lines.append(
            f"other programs kept the machine busy: the steps of a round took {shown(found.stepwise)} together, "
            f"their medians {shown(found.sum)}"
        )
    if peak is not None:
        lines.append(f"peak: {peak / 1e9:,.0f} GFLOP/s in float32 multiply-adds on {counted(found.threads, 'thread')}")
    return lines


def _as_json(
    found: Profile, facts: dict[str, Any], peak: float | None, steps: Sequence[Row], layers: Sequence[Row]
) -> dict[str, Any]:
    def entry(row: Row) -> dict[str, Any]:
        speed = row.flops_per_second
        return {
            "layer": row.layer,
            "tensor": row.tensor,
            "road": row.road,
            "kernel": row.kernel,
            "steps": row.steps,
            "seconds": row.seconds,
            "share": row.seconds / found.sum if found.sum else 0.0,
            "flops": row.flops,
            "flops_per_second": speed,
            "share_of_peak": None if peak is None or speed is None else speed / peak,
            "bytes": row.bytes,
            "bytes_per_second": row.bytes_per_second,
        }

    seconds = {"whole": found.whole, "stepwise": found.stepwise, "sum": found.sum, "call": found.call}
    return {
        **facts,
        "rounds": found.rounds,
        "seconds": seconds,
        "peak_flops_per_second": peak,
        "steps": [entry(row) for row in steps],
        "layers": [entry(row) for row in layers],
    }
