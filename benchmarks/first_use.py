"""How long the first use takes: from a cold process to help, a checked program, a compiled one, a loaded one.

    python benchmarks/first_use.py [--repeats N]

Every number is the median of N fresh processes, started one after the other; each stands beside
the limit that it is to keep on an idle machine.  Seconds of computing, on all cores together, tell
how much of it was waiting for other users of the machine.  Compilation starts from nothing but the
program (importing and random first weights included), and "again" from a cache that has its machine
code; what a machine that has Majuscule installed has is there: Python's bytecode, and files in the
disk cache.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from machine import describe_machine

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
COMPILE = "import sys, majuscule; majuscule.compile(sys.argv[1], cache=False)"
COMPILED = {"lenet": 4.0, "resnet50": 15.0, "mobilenet_v2": 15.0, "vgg16": 10.0}
"""Networks and the seconds within which they are to be compiled by a process that finds nothing in the cache."""
AGAIN = 2.0
"""The same where the cache has the machine code."""
LOAD = "import sys, majuscule; majuscule.load(sys.argv[1])"


@dataclass(frozen=True)
class Measurement:
    """A command and the seconds within which it is to end, if there is a limit."""

    name: str
    command: Sequence[str]
    limit: float | None = None


def environment(folder: Path) -> dict[str, str]:
    """This process's, with the cache in `folder` and bytecode as well, even where Python is told to write none."""
    dropped = ("PYTHONDONTWRITEBYTECODE", "MAJUSCULE_CACHE")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return kept | {"PYTHONPYCACHEPREFIX": str(folder / "bytecode"), "MAJUSCULE_CACHE_DIR": str(folder / "cache")}


def measurements(folder: Path) -> list[Measurement]:
    """What is measured, in this order: modules that are loaded lie in `folder` by then."""
    python, maj = [sys.executable, "-c"], [sys.executable, "-m", "majuscule"]
    found = [
        Measurement("maj --help", [*maj, "--help"], 0.3),
        Measurement("maj check resnet18", [*maj, "check", str(EXAMPLES / "resnet18.maj")], 0.5),
        Measurement("majuscule.compile lenet", [*python, COMPILE, str(EXAMPLES / "lenet.maj")], 4),
    ]
    for name, limit in COMPILED.items():
        path = folder / f"{name}.mod"
        command = [*maj, "compile", str(EXAMPLES / f"{name}.maj"), "-o", str(path)]
        found.append(Measurement(f"maj compile {name}, cold", [*command, "--no-cache"], limit))
        found.append(Measurement(f"maj compile {name}, again", command, AGAIN))
        found.append(Measurement(f"majuscule.load {name}", [*python, LOAD, str(path)]))
    return found


def seconds(command: Sequence[str], variables: Mapping[str, str]) -> tuple[float, float]:
    """The time from a process's start to its end, and the time that it and its children computed."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, env=variables, check=False)
    passed, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(done.stderr.decode())
    return passed, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(describe_machine())
    print(f"medians of {options.repeats} processes; load of the machine before: {os.getloadavg()[0]:.1f}")
    print(f"{'':<34}{'seconds':>9}{'fastest':>9}{'computing':>11}{'limit':>7}")
    with tempfile.TemporaryDirectory(prefix="majuscule-") as folder:
        variables = environment(Path(folder))
        for measurement in measurements(Path(folder)):
            seconds(measurement.command, variables)  # writes bytecode, reads files
            results = [seconds(measurement.command, variables) for _ in range(options.repeats)]
            times, computing = zip(*results, strict=True)
            median, worked = statistics.median(times), statistics.median(computing)
            limit = "" if measurement.limit is None else f"{measurement.limit:g}"
            late = "  missed" if measurement.limit is not None and median > measurement.limit else ""
            line = f"{measurement.name:<34}{median:>9.2f}{min(times):>9.2f}{worked:>11.2f}{limit:>7}{late}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
