"""`python -m majuscule`, and the entry point of `maj`."""

from __future__ import annotations

import gc
import io
import os
import sys

BROKEN_PIPE = 141
"""What a shell shows for a program that was stopped because nobody reads its output."""

GARBAGE = 100_000
"""New objects between two searches for garbage: a compiler makes many that live, and a search visits them all."""


def main() -> None:
    """Run the command line and exit with its status."""
    _write_utf8()
    gc.set_threshold(GARBAGE)
    status: object = 0
    try:
        from .commands.application import app  # takes a while, in which it may be interrupted

        app(prog_name="maj")
    except SystemExit as stop:
        status = stop.code
    except KeyboardInterrupt:
        status = 130
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more while it shuts down, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = BROKEN_PIPE
    raise SystemExit(status)


def _write_utf8() -> None:
    """Make letters such as Δ printable wherever the output goes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            if stream.isatty():
                stream.reconfigure(errors="replace")
            else:
                stream.reconfigure(encoding="utf-8")


if __name__ == "__main__":
    main()
