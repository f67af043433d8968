"""What `maj train` shows while it works: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, TextIO

from ..trainer import amount_of

_SECONDS_BETWEEN_LINES = 60.0
"""How often a long epoch is told of where there is no terminal."""


class Display:
    """Tells of a training, on a stream: the present epoch as a bar, finished ones as lines.

    To be used as a context manager, so that the terminal is as before when something fails.
    """

    def __init__(self, stream: TextIO, *, steps: int, done: int, epochs: int) -> None:
        """`steps` there are in all, of which `done` are done already."""
        self._stream = stream
        self._steps = steps
        self._epochs = epochs
        self._step = done
        self._first = done
        self._started = self._told = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Display:
        if self._stream.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[values]}"),
                TimeRemainingColumn(),
                TextColumn("left"),
                console=Console(file=self._stream, highlight=False),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=self._steps, completed=self._step, values="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, epoch: int, step: int, values: Mapping[str, float], rate: float) -> None:
        """Show how far it is: means of the present epoch so far, and samples a second."""
        self._step = step
        shown = f"{numbers(values)}  {rate:,.0f} samples/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=step, description=f"epoch {epoch}/{self._epochs}", values=shown)
        elif time.monotonic() - self._told > _SECONDS_BETWEEN_LINES:
            self._line(f"epoch {epoch}/{self._epochs}, step {step:,} of {self._steps:,}  {shown}  {self._left()} left")

    def epoch(self, epoch: int, values: Mapping[str, float], rate: float, note: str = "") -> None:
        """Tell of a finished epoch."""
        width = len(str(self._epochs))
        left = f"  {self._left()} left" if self._step < self._steps else ""
        text = f"epoch {epoch:{width}}/{self._epochs}  {numbers(values)}  {rate:,.0f} samples/s{left}"
        self._line(f"{text}  {note}".rstrip())

    def memory(self, step: int, limit: int) -> None:
        """Tell of the bytes that a step holds, and of how many there may be."""
        self._line(f"{'memory':10} {amount_of(step)} in a step, of {amount_of(limit)} that there may be")

    def say(self, text: str) -> None:
        """A line of its own."""
        self._line(text)

    def _line(self, text: str) -> None:
        self._told = time.monotonic()
        if self._bar is not None:
            self._bar.console.print(text, markup=False, soft_wrap=True)
        else:
            print(text, file=self._stream, flush=True)

    def _left(self) -> str:
        done = self._step - self._first
        seconds = (time.monotonic() - self._started) / max(done, 1) * (self._steps - self._step)
        return duration(seconds)


def numbers(values: Mapping[str, float]) -> str:
    """Losses and metrics by name, in a line."""
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())


def duration(seconds: float) -> str:
    """A time in words: `45 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest and minutes < 10 else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
