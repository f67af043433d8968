"""The machine and the versions that a benchmark's numbers are for."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from pathlib import Path


def describe_machine(packages: Sequence[str] = ("apache-tvm",)) -> str:
    """One line: processor, cores, system, and the versions of Python and of these packages."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in packages]
    system = f"{platform.system()} {platform.machine()}"
    python = f"Python {platform.python_version()}"
    return ", ".join([_processor(), f"{available_cores()} cores", system, python, *versions])


def available_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    """The processor's name; Linux tells family and model beside a name that hosts like to shorten."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    entries = dict(map(str.strip, line.split(":", 1)) for line in reversed(lines) if ":" in line)
    name = entries.get("model name", platform.machine())
    family, model = entries.get("cpu family"), entries.get("model")
    return f"{name} (family {family}, model {model})" if family and model else name
