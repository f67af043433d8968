"""Contests of Majuscule with its peers: the sides of one do the same work in turns, in one process.

`networks.py` and `training.py` share what is here: the command line, the turns, and what is
printed and written of the times.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from machine import available_cores, describe_machine
from timing import timed

OURS = "Majuscule"
WARM_UP = 0.1
"""Seconds of calls before those that are timed: for so long, cores that were idle do not run at full speed."""


class Options(argparse.Namespace):
    """The command line."""

    networks: list[str]
    repeats: int
    rounds: int
    threads: int
    compile: bool
    json: Path | None


def options_parser(about: str, networks: Iterable[str], unit: str, compiling: str) -> argparse.ArgumentParser:
    """A parser of `Options`, for these networks; `compiling` says how long `torch.compile` takes."""
    known = list(networks)

    def network(name: str) -> str:
        if name not in known:
            raise argparse.ArgumentTypeError(f"no network called {name}; there are {', '.join(known)}")
        return name

    parser = argparse.ArgumentParser(description=about)
    help_text = f"all if left out: {', '.join(known)}"
    parser.add_argument("networks", nargs="*", type=network, default=known, metavar="NETWORK", help=help_text)
    parser.add_argument("--repeats", type=positive, default=5, help=f"timed {unit} of each side in a round")
    parser.add_argument("--rounds", type=positive, default=3)
    threads_help = "of each side; all cores if left out"
    parser.add_argument("--threads", type=positive, default=available_cores(), help=threads_help)
    parser.add_argument("--compile", action="store_true", help=f"torch.compile as well: {compiling}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    return parser


def positive(text: str) -> int:
    """A number that an option gives, 1 or more."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number from 1 on")
    return number


@dataclass(frozen=True)
class Contest:
    """The seconds of every side's calls, a list for each round."""

    network: str
    batch: int
    seconds: Mapping[str, Sequence[Sequence[float]]]
    goal: float | None = None
    """How many times as long as Majuscule the best peer is to take."""

    def median(self, side: str) -> float:
        """Of the calls of all rounds together."""
        return statistics.median(chain.from_iterable(self.seconds[side]))

    def medians(self, side: str) -> list[float]:
        """Of each round's calls."""
        return [statistics.median(calls) for calls in self.seconds[side]]

    @property
    def best_peer(self) -> str:
        """The peer with the smallest median."""
        return min((side for side in self.seconds if side != OURS), key=self.median)

    @property
    def ratio(self) -> float:
        """How many times as long as Majuscule the best peer takes."""
        return self.median(self.best_peer) / self.median(OURS)

    def ratios(self) -> list[float]:
        """The same for each round."""
        pairs = zip(self.medians(self.best_peer), self.medians(OURS), strict=True)
        return [theirs / ours for theirs, ours in pairs]

    def as_json(self) -> dict[str, Any]:
        """Everything that was found, in milliseconds."""
        found = {
            "network": self.network,
            "batch": self.batch,
            "milliseconds": {side: 1e3 * self.median(side) for side in self.seconds},
            "rounds": {side: [1e3 * median for median in self.medians(side)] for side in self.seconds},
            "best_peer": self.best_peer,
            "ratio": self.ratio,
            "ratios": self.ratios(),
        }
        return found if self.goal is None else {**found, "goal": self.goal}


def take_turns(sides: Mapping[str, Callable[[], object]], options: Options) -> dict[str, list[list[float]]]:
    """The seconds of every side's calls, a list for each round; each round starts with another side."""
    seconds: dict[str, list[list[float]]] = {name: [] for name in sides}
    names = list(sides)
    for turn in range(options.rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            seconds[name].append(timed(sides[name], options.repeats, WARM_UP))
    return seconds


def report(contests: Iterable[Contest], options: Options, unit: str, packages: Sequence[str]) -> list[Contest]:
    """Print and write the contests, each once it is over, under the machine and the versions of `packages`."""
    machine = describe_machine(packages)
    conditions = (
        f"{options.threads} threads, float32, medians of {options.rounds} rounds of {options.repeats} {unit}; "
        f"load of the machine before: {os.getloadavg()[0]:.1f}"
    )
    print(machine, conditions, sep="\n", flush=True)
    results: list[Contest] = []
    for found in contests:
        if not results:
            print(_headings(found))
        print(_row(found), flush=True)
        results.append(found)
        if options.json is not None:  # after each, so that an interrupted run is not lost
            written = {"machine": machine, "conditions": conditions, "results": [r.as_json() for r in results]}
            options.json.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    return results


def _headings(first: Contest) -> str:
    sides = "".join(f"{side:>16}" for side in first.seconds)
    goal = "" if first.goal is None else "  goal"
    return f"{'milliseconds':<17}{'batch':>6}{sides}  {'best peer':<15} ratio  {'rounds':<10}{goal}".rstrip()


def _row(found: Contest) -> str:
    times = "".join(f"{1e3 * found.median(side):>16.2f}" for side in found.seconds)
    spread = f"{min(found.ratios()):.2f}..{max(found.ratios()):.2f}"
    goal = "" if found.goal is None else f"{found.goal:>6.1f}{'' if found.ratio >= found.goal else '  missed'}"
    name = f"{found.network:<17}{found.batch:>6}"
    return f"{name}{times}  {found.best_peer:<15}{found.ratio:>6.2f}  {spread:<10}{goal}".rstrip()


def mean_ratio(contests: Iterable[Contest]) -> float:
    """The geometric mean of their ratios."""
    return math.exp(statistics.fmean(math.log(found.ratio) for found in contests))
