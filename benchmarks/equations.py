"""Single equations against the limits of this machine, against PyTorch, and against other spellings of themselves.

    python benchmarks/equations.py [GROUP ...] [--only TEXT] [--rounds N] [--repeats N] [--threads N]
                                   [--most N] [--json FILE]

    direct     convolutions and matrix products of ResNet-50, VGG and AlexNet as they stand, without
               Winograd's algorithm, on one core
    narrow     the same for a CPU with vectors of 256 bits (x86-64-v3)
    new        layers that no library has, against PyTorch's eager mode and torch.compile, on all cores
    spellings  one convolution in a dozen spellings, against the library's
    layers     grouped and depthwise convolutions, pooling, normalisation, softmax, on one core

`new` wants the extra `peers`, and a C++ compiler for torch.compile.  The machine's limits are measured in the same
rounds as the equations, in turns with them: FLOP/s in chains of multiply-adds that do not wait for
each other, and bytes/s of reading memory that no cache holds.  All times are medians of a round's calls,
and what is printed is the median of all rounds; a row that misses its goal is marked.  On a
machine that others use, the smallest and the largest round say how far a number is to be trusted.

The equations stand in `equation_programs.py`, those of the group `new` with what PyTorch does instead
in `equation_peers.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy
from equation_programs import (
    NARROW,
    NARROW_TARGET,
    SPELLED,
    Kernel,
    Sizes,
    contractions,
    library_spelling,
    others,
    spellings,
    two_dilations,
)
from machine import available_cores, describe_machine
from timing import timed

import majuscule
from majuscule.commands.console import print_table
from majuscule.compiler.codegen.machine import of
from majuscule.compiler.codegen.measuring import Meter, bandwidth_meter, peak_meter
from majuscule.compiler.codegen.target import Target
from majuscule.runtime.host import cpu_features
from majuscule.runtime.profiling import Profile

GROUPS = ("direct", "narrow", "new", "spellings", "layers")
PEAK_CALLS, BANDWIDTH_CALLS = 4, 2  # of a meter, before and after each turn of an equation
EQUAL_TIME = 1.05  # of the library's spelling
TIMES_EAGER, TIMES_COMPILED = 5.0, 2.0  # as long as Majuscule takes
TOLERANCE = 1e-4  # of the largest element, between any two results
RESOLUTION = 1e-9  # seconds: no time is shorter
WARM_UP = 0.03  # seconds: threads that rested, caches, the processor's clock
TRIALS = 5  # calls that settle which formulation is the fastest


@dataclass(frozen=True)
class Options:
    """The command line."""

    groups: list[str]
    only: str
    rounds: int
    repeats: int
    threads: int
    sizes: Sizes
    json: Path | None


@dataclass(frozen=True)
class Row:
    """What was found of one equation: cells of the table, everything for JSON, and whether it misses its goal."""

    cells: list[str]
    found: dict[str, Any]
    missed: bool


# -- against the machine -------------------------------------------------------------------------

LIMITS = ["equation", "ms", "GFLOP/s", "of peak", "GB/s", "of bandwidth", "rounds", "goal", ""]


@lru_cache
def meters(target: str) -> tuple[Meter, Meter]:
    """Of peak and of bandwidth, for one core."""
    core = replace(Target.named(target, present=cpu_features()), cores=1)
    return peak_meter(core), bandwidth_meter(core, of(Target.host()).l3_bytes)


def against_limits(kernel: Kernel, options: Options) -> Row:
    """An equation on one core, in turns with the meters."""
    module = majuscule.compile(kernel.text, target=kernel.target, exact=True, threads=1)
    inputs: dict[str, Any] = module.random_inputs(kernel.batch)
    result = module(**inputs)
    peak, bandwidth = meters(kernel.target)
    moved = sum(array.nbytes for array in (*inputs.values(), *module.weights.values(), result))
    times: list[float] = []
    limits: dict[str, list[float]] = {"peak": [], "bandwidth": []}
    shares: dict[str, list[float]] = {"peak": [], "bandwidth": []}
    for _ in range(options.rounds):
        reading, adding = warm(bandwidth, BANDWIDTH_CALLS), warm(peak, PEAK_CALLS)
        profile = module.profile(**inputs, out=result, rounds=options.repeats)
        adding += warm(peak, PEAK_CALLS)
        reading += warm(bandwidth, BANDWIDTH_CALLS)
        times.append(max(profile.whole, RESOLUTION))
        limits["peak"].append(peak.amount / statistics.median(adding))
        limits["bandwidth"].append(bandwidth.amount / statistics.median(reading))
        shares["peak"].append(operations(profile) / times[-1] / limits["peak"][-1])
        shares["bandwidth"].append(moved / times[-1] / limits["bandwidth"][-1])
    seconds = statistics.median(times)
    reached = {limit: statistics.median(found) for limit, found in shares.items()}
    bound = kernel.bound or max(reached, key=lambda limit: reached[limit])
    missed = kernel.goal is not None and reached[bound] < kernel.goal
    found = {
        "name": kernel.name,
        "milliseconds": 1e3 * seconds,
        "of_peak": reached["peak"],
        "of_bandwidth": reached["bandwidth"],
        "bound": bound,
        "rounds": shares[bound],
        "goal": kernel.goal,
        "missed": missed,
        "peak_flops": statistics.median(limits["peak"]),
        "bandwidth": statistics.median(limits["bandwidth"]),
        "steps": steps(profile),
    }
    cells = [
        kernel.name, f"{1e3 * seconds:.3f}", f"{operations(profile) / seconds / 1e9:.0f}", f"{reached['peak']:.1%}",
        f"{moved / seconds / 1e9:.1f}", f"{reached['bandwidth']:.1%}", spread(shares[bound], "{:.0%}"),
        "" if kernel.goal is None else f"{kernel.goal:.0%}",
    ]  # fmt: skip
    return Row(cells, found, missed)


def warm(meter: Meter, calls: int) -> list[float]:
    """The seconds of calls after one that does not count: what ran before left other data in the caches."""
    return meter.seconds(1 + calls)[1:]


def operations(profile: Profile) -> int:
    """Arithmetic operations of a call."""
    return sum(step.flops for step in profile.steps)


def spread(values: Sequence[float], form: str) -> str:
    """The smallest and the largest round."""
    return f"{form.format(min(values))}..{form.format(max(values))}"


def steps(profile: Profile) -> list[dict[str, Any]]:
    """What a call does, for JSON."""
    return [{"tensor": s.tensor, "road": s.road, "milliseconds": 1e3 * s.seconds} for s in profile.steps]


# -- against PyTorch -----------------------------------------------------------------------------

RIVALS = ["equation", "ms", "eager ms", "", "times", "rounds", "compiled ms", "", "times", "rounds", ""]


def against_pytorch(options: Options) -> Iterator[Row]:
    """The layers that no library has, on all threads; AssertionError if two sides do not give the same."""
    import torch
    from equation_peers import ready, rivalries

    torch.set_num_threads(options.threads)
    for rivalry in rivalries(options.sizes):
        if options.only not in rivalry.name:
            continue
        module = majuscule.compile(rivalry.text, exact=True, threads=options.threads)
        inputs: dict[str, Any] = module.random_inputs(options.sizes(rivalry.batch))
        result = module(**inputs)
        eager, compiled = ready(rivalry, {**inputs, **module.weights})
        for name, call in (*eager.items(), *compiled.items()):
            difference = abs(call().numpy() - result).max() / abs(result).max()
            assert difference < TOLERANCE, f"{rivalry.name}: {name} in PyTorch differs by {difference:.1e}"
        best_eager, best_compiled = fastest(eager), fastest(compiled)
        ours = partial(module, **inputs, out=result)
        seconds = in_turns([ours, eager[best_eager], compiled[best_compiled]], options)
        profile = module.profile(**inputs, rounds=options.repeats)
        yield rivalry_row(rivalry.name, seconds, (best_eager, best_compiled), profile)
        torch.compiler.reset()


def rivalry_row(name: str, seconds: Sequence[Sequence[float]], best: Sequence[str], profile: Profile) -> Row:
    """From the seconds of our rounds, of eager mode's and of torch.compile's, and the names of these formulations."""
    ours, *theirs = seconds
    found: dict[str, Any] = {"name": name, "milliseconds": 1e3 * statistics.median(ours), "steps": steps(profile)}
    cells, missed = [name, f"{1e3 * statistics.median(ours):.3f}"], False
    asked = ("eager", TIMES_EAGER), ("compiled", TIMES_COMPILED)
    for times, formulation, (mode, goal) in zip(theirs, best, asked, strict=True):
        ratios = [there / here for there, here in zip(times, ours, strict=True)]
        ratio, peer = statistics.median(ratios), 1e3 * statistics.median(times)
        missed |= ratio < goal
        cells += [f"{peer:.3f}", formulation, f"{ratio:.2f}", spread(ratios, "{:.1f}")]
        entry = {"formulation": formulation, "milliseconds": peer, "ratio": ratio, "rounds": ratios, "goal": goal}
        found[mode] = entry
    return Row(cells, {**found, "missed": missed}, missed)


def fastest(calls: Mapping[str, Callable[[], object]]) -> str:
    """The name of the fastest by a few calls."""
    return min(calls, key=lambda name: min(timed(calls[name], TRIALS, WARM_UP)))


def in_turns(sides: Sequence[Callable[[], object]], options: Options) -> list[list[float]]:
    """For each side the median of each round's calls; every round starts with another side."""
    medians: list[list[float]] = [[] for _ in sides]
    for turn in range(options.rounds):
        for place in range(len(sides)):
            side = (turn + place) % len(sides)
            medians[side].append(statistics.median(timed(sides[side], options.repeats, WARM_UP)))
    return medians


# -- against other spellings ---------------------------------------------------------------------

SPELLED_ROWS = ["spelling", "ms", "the library's", "edges", "times", "rounds", ""]


def against_library(size: int, channels: int, *, exact: bool, options: Options) -> Iterator[Row]:
    """A convolution in all spellings on one core; AssertionError if two do not give the same.

    Where a spelling's arrays lie otherwise than the library's, the library's time and that of
    bringing the image and the result into that order count together.
    """
    library = library_spelling(size, channels)
    reference = majuscule.compile(library.text, exact=exact, threads=1)
    generator = numpy.random.default_rng(0)
    image = generator.standard_normal((1, size, size, channels), numpy.float32)
    weight = generator.standard_normal((3, 3, channels, channels), numpy.float32)
    reference.load_weights({tensor.name: weight for tensor in reference.parameters})
    expected = reference(image)
    kind = "direct" if exact else "any road"
    for spelling in spellings(size, channels):
        name = f"{size}², {channels}, {kind}: {spelling.name}"
        if options.only not in name:
            continue
        module = majuscule.compile(spelling.text, exact=exact, threads=1)
        given = moved_axes(image, library.image, spelling.image)
        turned = weight[::-1, ::-1] if spelling.flipped else weight
        axes = moved_axes(turned, library.weight, spelling.weight)
        module.load_weights({tensor.name: axes for tensor in module.parameters})
        result = module(given)
        difference = abs(moved_axes(result, spelling.result, library.result) - expected).max() / abs(expected).max()
        assert difference < TOLERANCE, f"{name}: differs from the library's by {difference:.1e}"
        edges = None if spelling.edges is None else majuscule.compile(spelling.edges, threads=1)
        edge_inputs: dict[str, Any] = {} if edges is None else edges.random_inputs(1)
        times, ratios, allowed, conversions = [], [], [], []
        for _ in range(options.rounds):
            ours = module.profile(given, out=result, rounds=options.repeats)
            allowed.append(max(reference.profile(image, rounds=options.repeats).whole, RESOLUTION))
            edge = 0.0 if edges is None else edges.profile(**edge_inputs, rounds=options.repeats).whole
            times.append(max(ours.whole, RESOLUTION))
            conversions.append(edge)
            ratios.append(times[-1] / (allowed[-1] + edge))
        ratio, seconds = statistics.median(ratios), statistics.median(times)
        missed = ratio > EQUAL_TIME
        found = {
            "name": name,
            "milliseconds": 1e3 * seconds,
            "library_milliseconds": 1e3 * statistics.median(allowed),
            "edges_milliseconds": 1e3 * statistics.median(conversions),
            "ratio": ratio,
            "rounds": ratios,
            "goal": EQUAL_TIME,
            "missed": missed,
            "steps": steps(ours),
        }
        edge_cell = "" if edges is None else f"{1e3 * statistics.median(conversions):.3f}"
        cells = [
            name, f"{1e3 * seconds:.3f}", f"{1e3 * statistics.median(allowed):.3f}", edge_cell, f"{ratio:.3f}",
            spread(ratios, "{:.2f}"),
        ]  # fmt: skip
        yield Row(cells, found, missed)


def moved_axes(array: Any, present: str, wanted: str) -> Any:
    """The array with its axes in another order, row-major."""
    return numpy.ascontiguousarray(array.transpose([present.index(axis) for axis in wanted]))


# -- all together ---------------------------------------------------------------------------------


def tables(group: str, options: Options) -> Iterator[tuple[str, list[str], Iterator[Row]]]:
    """Title, headings and rows of the tables of a group."""
    sizes = options.sizes
    kernels: dict[str, Iterator[Kernel]] = {
        "direct": contractions(sizes),
        "narrow": contractions(sizes, NARROW_TARGET, NARROW),
        "new": iter([two_dilations(sizes)]),
        "layers": others(sizes),
    }
    if group in kernels:
        chosen = (kernel for kernel in kernels[group] if options.only in kernel.name)
        yield f"{group}, 1 thread", LIMITS, (against_limits(kernel, options) for kernel in chosen)
    if group == "new":
        yield f"{group}, {options.threads} threads", RIVALS, against_pytorch(options)
    if group == "spellings":
        for size, channels in SPELLED:
            for exact in (False, True):
                shape = sizes(size), sizes(channels)
                yield f"{group}, 1 thread", SPELLED_ROWS, against_library(*shape, exact=exact, options=options)


def measured_limits(rows: Sequence[Row]) -> str:
    """What the meters showed during the rows of a table."""
    found = [row.found for row in rows if "peak_flops" in row.found]
    if not found:
        return ""
    peaks, bandwidths = ([entry[name] / 1e9 for entry in found] for name in ("peak_flops", "bandwidth"))
    return f": peak {spread(peaks, '{:.0f}')} GFLOP/s, bandwidth {spread(bandwidths, '{:.1f}')} GB/s"


def read_options(arguments: Sequence[str] | None) -> Options:
    """The options given on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"all if left out: {', '.join(GROUPS)}")
    parser.add_argument("--only", default="", metavar="TEXT", help="rows whose name has this in it")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=9, help="timed calls of each side in a round")
    threads_help = "of the group new; all cores if left out"
    parser.add_argument("--threads", type=int, default=available_cores(), help=threads_help)
    parser.add_argument("--most", type=int, metavar="N", help="cut sizes down to this, to see that everything runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.groups if name not in GROUPS]
    if unknown:
        parser.error(f"no group called {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    if min(given.rounds, given.repeats, given.threads) < 1 or (given.most is not None and given.most < 8):
        parser.error("rounds, repeats and threads are 1 or more, sizes 8 or more")
    sizes = Sizes(given.most)
    groups = given.groups or list(GROUPS)
    return Options(groups, given.only, given.rounds, given.repeats, given.threads, sizes, given.json)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = read_options(arguments)
    machine = describe_machine(("majuscule", "apache-tvm", *(["torch"] if "new" in options.groups else [])))
    conditions = (
        f"float32, medians of {options.rounds} rounds of {options.repeats} calls; "
        f"load of the machine before: {os.getloadavg()[0]:.1f}"
    )
    if options.sizes.most is not None:
        conditions += f"; sizes cut to {options.sizes.most}, so neither names nor goals hold"
    print(machine, conditions, sep="\n")
    results: list[dict[str, Any]] = []
    for group in options.groups:
        for title, headings, rows in tables(group, options):
            found = []
            for row in rows:
                found.append(row)
                results.append({"group": group, **row.found})
                if options.json is not None:  # after each, so that an interrupted run is not lost
                    report = {"machine": machine, "conditions": conditions, "results": results}
                    options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
            if found:
                print(f"\n{title}{measured_limits(found)}\n")
                print_table(headings, [[*row.cells, "missed" if row.missed else ""] for row in found])
    with_goal = [result for result in results if result.get("goal") is not None or "eager" in result]
    missed = sum(bool(result["missed"]) for result in with_goal)
    print(f"\n{missed} of {len(with_goal)} goals missed")


if __name__ == "__main__":
    main()
