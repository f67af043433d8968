"""How long the first use takes: from a cold process to help, a checked program, a compiled one, a loaded one.

    python benchmarks/first_use.py [--repeats N]

Every number is the median of N fresh processes, started one after the other; each stands beside
the limit that it is to keep on an idle machine.  Seconds of computing, on all cores together, tell
how much of it was waiting for other users of the machine.  Compilation starts from nothing but the
program (importing and random first weights included); what a machine that has Majuscule
installed has is there: Python's bytecode, and files in the disk cache.
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
COMPILE = "import sys, majuscule; majuscule.compile(sys.argv[1])"
COMPILE_AND_SAVE = "import sys, majuscule; majuscule.compile(sys.argv[1]).save(sys.argv[2])"
LOAD = "import sys, majuscule; majuscule.load(sys.argv[1])"


@dataclass(frozen=True)
class Measurement:
    """A command and the seconds within which it is to end, if there is a limit."""

    name: str
    command: Sequence[str]
    limit: float | None = None


def environment(folder: Path) -> dict[str, str]:
    """This process's, with bytecode kept in `folder` even where Python is told to write none, and no compiled code."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPYCACHEPREFIX": str(folder / "bytecode"), "MAJUSCULE_CACHE": "0"}


def measurements(folder: Path) -> list[Measurement]:
    """What is measured; modules to load are put into `folder`."""
    python, maj = [sys.executable, "-c"], [sys.executable, "-m", "majuscule"]
    saved = []
    for name in ("lenet", "vgg16"):
        path = folder / f"{name}.mod"
        subprocess.run([*python, COMPILE_AND_SAVE, str(EXAMPLES / f"{name}.maj"), str(path)], check=True)
        saved.append(Measurement(f"load {name} ({path.stat().st_size / 1e6:.0f} MB)", [*python, LOAD, str(path)]))
    return [
        Measurement("maj --help", [*maj, "--help"], 0.3),
        Measurement("maj check resnet18.maj", [*maj, "check", str(EXAMPLES / "resnet18.maj")], 0.5),
        Measurement("compile lenet", [*python, COMPILE, str(EXAMPLES / "lenet.maj")], 4),
        Measurement("compile vgg16", [*python, COMPILE, str(EXAMPLES / "vgg16.maj")], 30),
        *saved,
    ]


def seconds(command: Sequence[str], variables: Mapping[str, str]) -> tuple[float, float]:
    """The time from a process's start to its end, and the time that it and its children computed."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=variables)
    passed, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return passed, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(describe_machine())
    print(f"medians of {options.repeats} processes; load of the machine before: {os.getloadavg()[0]:.1f}")
    print(f"{'':<26}{'seconds':>9}{'fastest':>9}{'computing':>11}{'limit':>7}")
    with tempfile.TemporaryDirectory(prefix="majuscule-") as folder:
        variables = environment(Path(folder))
        for measurement in measurements(Path(folder)):
            seconds(measurement.command, variables)  # writes bytecode, reads files
            results = [seconds(measurement.command, variables) for _ in range(options.repeats)]
            times, computing = zip(*results, strict=True)
            median, worked = statistics.median(times), statistics.median(computing)
            limit = "" if measurement.limit is None else f"{measurement.limit:g}"
            late = "  missed" if measurement.limit is not None and median > measurement.limit else ""
            line = f"{measurement.name:<26}{median:>9.2f}{min(times):>9.2f}{worked:>11.2f}{limit:>7}{late}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
