"""The history of a training: loss, metrics, rate and speed, by step and by epoch.

A line of JSON for each step and each epoch is appended to `history.jsonl`, so that a training
that is killed loses at most the line being written.  When a training goes on from a checkpoint,
lines of later steps are dropped, for those steps are done again.  The line of an epoch comes after
its checkpoint, which has the same numbers, so that the line can be written if it is missing.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from .errors import CheckpointError
from .whole_files import whole_file

Entry = dict[str, Any]
"""`kind` ("step" or "epoch"), `step` and `epoch` (counted from 1), and numbers by name."""


class History:
    """The history in a file, which grows by a line at a time, and in memory."""

    def __init__(self, path: str | os.PathLike[str], *, after: int | None = None) -> None:
        """Start a new history, or continue one `after` that many steps.

        Raises `CheckpointError` if the file cannot be read or written.
        """
        self.path = Path(path)
        self.entries: list[Entry] = []
        kept = 0
        try:
            if after is not None and self.path.exists():
                self.entries, kept = _read(self.path.read_bytes(), after)
            self._file = open(self.path, "ab")  # noqa: SIM115
            self._file.truncate(kept)
        except OSError as error:
            raise CheckpointError(f"cannot write {self.path}: {error.strerror or error}") from error

    def add(self, kind: str, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Append an entry; numbers that are not finite become texts, which JSON can hold."""
        entry = {"kind": kind, "step": step, "epoch": epoch, **{name: _plain(value) for name, value in values.items()}}
        self.entries.append(entry)
        try:
            self._file.write(json.dumps(entry, ensure_ascii=False, allow_nan=False).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise CheckpointError(f"cannot write {self.path}: {error.strerror or error}") from error

    def of(self, kind: str) -> list[Entry]:
        """The entries of a kind, "step" or "epoch"."""
        return [entry for entry in self.entries if entry["kind"] == kind]

    def __enter__(self) -> History:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_history(path: str | os.PathLike[str]) -> list[Entry]:
    """The entries of a file; what is not whole at its end is left out.  Raises OSError."""
    return _read(Path(path).read_bytes(), None)[0]


def _read(data: bytes, after: int | None) -> tuple[list[Entry], int]:
    """The entries up to a step, and how many bytes they take."""
    entries: list[Entry] = []
    position = 0
    while (end := data.find(b"\n", position)) >= 0:
        try:
            entry = json.loads(data[position:end])
            if after is not None and entry["step"] > after:
                break
            known = entry["kind"] in ("step", "epoch")
        except (ValueError, KeyError, TypeError):
            break
        if known:
            entries.append(entry)
        position = end + 1
    return entries, position


def _plain(value: Any) -> Any:
    if isinstance(value, int | str):
        return value
    number = float(value)
    return number if math.isfinite(number) else str(number)


def write_csv(entries: Sequence[Entry], path: str | os.PathLike[str]) -> None:
    """Entries of one kind as a table: a row for each, a column for each name.  Raises OSError."""
    names = list(dict.fromkeys(name for entry in entries for name in entry if name != "kind"))
    text = StringIO()
    writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(entries)
    with whole_file(path) as file:
        file.write(text.getvalue().encode())


def draw_curves(entries: Sequence[Entry], names: Iterable[str], path: str | os.PathLike[str]) -> None:
    """Draw numbers over the epochs to a picture (.png, .svg, .pdf): the losses, and below them the rest.

    `names` are those of entries; `validation …` is drawn in its training number's colour,
    dashed.  Needs matplotlib (`pip install 'majuscule[plot]'`): ImportError without it.  Raises OSError.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.removeprefix("validation "), []).append(name)
    figure = Figure(figsize=(6.4, 1 + 2.4 * len(groups)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(groups), 1, sharex=True, squeeze=False)[:, 0]
    for place, (title, members) in zip(axes, groups.items(), strict=True):
        for name in members:
            points = [(entry["epoch"], float(entry[name])) for entry in entries if name in entry]
            style = "--" if name.startswith("validation ") else "-"
            label = "validation" if style == "--" else "training"
            place.plot(
                *zip(*points, strict=True), style, color="C0", marker="." if len(points) < 40 else "", label=label
            )
        place.set_ylabel(title)
        place.xaxis.set_major_locator(MaxNLocator(integer=True))
        place.grid(alpha=0.3)
        if len(members) > 1:
            place.legend()
    axes[-1].set_xlabel("epoch")
    with whole_file(path) as file:
        figure.savefig(file, format=Path(path).suffix.lstrip(".") or "png", dpi=150)
