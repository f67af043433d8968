"""The networks of `examples/`, compiled, against PyTorch eager.

    python benchmarks/networks.py [NETWORK ...] [--batches 1 8] [--repeats N] [--rounds N] [--threads N]

Both sides have equal weights and take turns in one process: PyTorch as its users run it
(channels last, inference mode), the compiled module through `module(images)`, on equally many
threads.  A round warms up each side and times N calls of each; medians of all rounds are
printed, and their ratio, below 1 where the compiled module is faster.  On a machine that others
use, the ratios of the single rounds (smallest and largest) say how far the median is to be trusted.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain

import torch
from machine import describe_machine
from peers import NETWORKS, Network, channels_first, channels_last, program_weights

import majuscule

PAUSE = 0.3  # seconds: idle threads of either side spin for a while and would hold a core that the other needs


@dataclass
class Contest:
    """The seconds of both sides, a list for each round."""

    ours: list[list[float]] = field(default_factory=list)
    theirs: list[list[float]] = field(default_factory=list)

    def medians(self) -> tuple[float, float]:
        """Of all rounds together."""
        first, second = (statistics.median(chain.from_iterable(rounds)) for rounds in (self.ours, self.theirs))
        return first, second

    def ratios(self) -> list[float]:
        """Our time by theirs, for each round."""
        pairs = zip(self.ours, self.theirs, strict=True)
        return [statistics.median(ours) / statistics.median(theirs) for ours, theirs in pairs]


def timed(function: Callable[[], object], repeats: int) -> list[float]:
    """The seconds of each call, after one that warms up."""
    time.sleep(PAUSE)
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return times


def contest(
    network: Network, module: majuscule.Module, model: torch.nn.Module, batch: int, options: Options
) -> Contest:
    """Both sides in turns; AssertionError if they do not agree."""
    images = network.images(batch)
    theirs = channels_first(images)

    def peer() -> torch.Tensor:
        with torch.inference_mode():
            found: torch.Tensor = model(theirs)
            return found

    expected = channels_last(peer())
    assert abs(module(images) - expected).max() < 1e-3 * abs(expected).max(), "the two sides do not agree"
    result = Contest()
    for _ in range(options.rounds):
        result.ours.append(timed(lambda: module(images), options.repeats))
        result.theirs.append(timed(peer, options.repeats))
    return result


@dataclass(frozen=True)
class Options:
    """The command line."""

    names: list[str]
    batches: list[int]
    repeats: int
    rounds: int
    threads: int


def read_options() -> Options:
    """The options given on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=", ".join(NETWORKS))
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--repeats", type=int, default=5, help="calls of each side in a round")
    parser.add_argument("--rounds", type=int, default=3)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser.add_argument("--threads", type=int, default=cores)
    given = parser.parse_args()
    unknown = [name for name in given.networks if name not in NETWORKS]
    if unknown:
        parser.error(f"no network called {', '.join(unknown)}; there are {', '.join(NETWORKS)}")
    return Options(given.networks or list(NETWORKS), given.batches, given.repeats, given.rounds, given.threads)


def main() -> None:
    """Measure and print."""
    options = read_options()
    torch.set_num_threads(options.threads)
    print(describe_machine(("apache-tvm", "torch")))
    print(
        f"{options.threads} threads, medians of {options.rounds} rounds of {options.repeats} calls; "
        f"load of the machine before: {os.getloadavg()[0]:.1f}"
    )
    print(f"{'network':<17}{'batch':>5}{'Majuscule ms':>14}{'PyTorch ms':>12}{'ratio':>7}  of single rounds")
    for name in options.names:
        network = NETWORKS[name]
        model = network.peer()
        module = majuscule.compile(network.path, weights=program_weights(model), threads=options.threads)
        model = model.to(memory_format=torch.channels_last)
        for batch in options.batches:
            found = contest(network, module, model, batch, options)
            ours, theirs = found.medians()
            spread = f"{min(found.ratios()):.2f} to {max(found.ratios()):.2f}"
            print(
                f"{name:<17}{batch:>5}{1e3 * ours:>14.2f}{1e3 * theirs:>12.2f}{ours / theirs:>7.2f}  {spread}",
                flush=True,
            )


if __name__ == "__main__":
    main()
