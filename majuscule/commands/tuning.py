"""`maj tune`: the fastest road of each equation, found by measuring and kept for later compilations."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .compiling import ExactOption, SeedOption
from .console import print_json, print_table
from .failures import Failure
from .measuring import counted, time_format
from .programs import ModeOption, ProgramFile, load_program
from .sizes import SizeOption, parse_sizes

if TYPE_CHECKING:
    from ..road_times import Tuning

INTERRUPTED = 130


def tune(
    program: ProgramFile,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Samples in a call that is to be fast.")] = 1,
    size: SizeOption = None,
    candidates: Annotated[
        int, typer.Option("--candidates", min=2, help="The most that are tried for an equation.")
    ] = 6,
    seconds: Annotated[float, typer.Option("--seconds", min=0.0, help="How long to measure in each round.")] = 2.0,
    exact: ExactOption = False,
    mode: ModeOption = "inferring",
    seed: SeedOption = 0,
    forget: Annotated[bool, typer.Option("--forget", help="Only remove what was found on this machine.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Measure the roads of a program's equations and keep the fastest.

    The program is compiled and timed several times, each time with other roads and tiles for all
    equations.  Later compilations on this machine take the winners, in other programs that have the
    same equations, too; `maj explain --roads` says "tuned".  Ctrl-C keeps what was found so far.
    """
    from ..compiler.codegen.asked import Asked
    from ..compiler.codegen.target import Target
    from ..compiler.codegen.tuning import forget as remove
    from ..compiler.codegen.tuning import is_kept, keep
    from ..road_times import RoadTimes, Tuning

    target = Target.host()
    if not is_kept(target):
        raise Failure("caches are turned off, so nothing that is found could be kept", "unset MAJUSCULE_CACHE")
    if forget:
        remove(target)
        return
    checked = load_program(program, mode)
    times = RoadTimes(checked, target, batch=batch, sizes=parse_sizes(size), seconds=seconds, seed=seed)
    tuning = Tuning(times, Asked(exact=exact), candidates)
    interrupted = False
    with _progress(tuning.rounds + 2) as advance:
        try:
            for number in range(tuning.rounds):
                tuning.round(number)
                keep(target, tuning.options, tuning.winners())
                advance(1)
            tuning.confirm()
            keep(target, tuning.options, tuning.winners())
            advance(2)
        except KeyboardInterrupt:
            interrupted = True
    if as_json:
        print_json(_as_json(tuning, batch, complete=not interrupted))
    else:
        _print(tuning)
    if interrupted:
        typer.echo("interrupted: what was found so far is kept", err=True)
        raise typer.Exit(INTERRUPTED)


@contextmanager
def _progress(rounds: int) -> Iterator[Any]:
    """A bar on a terminal, which is gone at the end; gives a function that moves it on."""
    if not sys.stderr.isatty():
        yield lambda steps: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(file=sys.stderr, highlight=False)
    columns = TextColumn("measuring"), BarColumn(bar_width=24), TimeRemainingColumn(), TextColumn("left")
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=rounds)
        yield lambda steps: bar.advance(task, steps)


def _print(tuning: Tuning) -> None:
    winners = tuning.winners()
    rows = []
    before = after = 0.0
    for name, key in tuning.keys.items():
        times, usual = tuning.seconds.get(key, {}), tuning.options[key][0]
        first = times.get((usual.road, usual.details))
        if first is None:
            continue
        best = times[winners[key]] if key in winners else first
        before, after = before + first, after + best
        if key in winners:
            shown = {(c.road, c.details): c.shown for c in tuning.options[key]}[winners[key]]
            show = time_format(first)
            rows.append([name, usual.road, winners[key][0], shown, show(first), show(best), f"{first / best:.2f}×"])
    if rows:
        print_table(["tensor", "road", "tuned", "how", "before", "after", "faster"], rows, left=4, elastic=3)
        show, count = time_format(before), counted(len(tuning.keys), "equation")
        typer.echo(f"\n{count} with a choice: {show(before)} before, {show(after)} tuned")
    else:
        count = counted(len(tuning.keys), "equation")
        typer.echo(f"{count} with a choice: none is faster on another road than on the one that it takes")


def _as_json(tuning: Tuning, batch: int, *, complete: bool) -> dict[str, Any]:
    winners = tuning.winners()

    def entry(name: str, key: str) -> dict[str, Any]:
        options = {(c.road, c.details): c.shown for c in tuning.options[key]}
        usual = next(iter(options))
        return {
            "tensor": name,
            "road": winners.get(key, usual)[0],
            "tuned": key in winners,
            "candidates": [
                {"road": choice[0], "how": shown, "seconds": tuning.seconds.get(key, {}).get(choice)}
                for choice, shown in options.items()
            ],
        }

    return {"batch": batch, "complete": complete, "equations": [entry(*item) for item in tuning.keys.items()]}
