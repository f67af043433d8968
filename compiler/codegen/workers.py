"""Kernels are compiled by several processes, this one among them.

Threads do not help: TVM lets go of Python's lock, but two threads that compile seven
kernels of VGG16 each took 4.5 s where one took 2.6 s for its seven, and two processes 2.6 s
for all fourteen.  A process has to import TVM first, which takes it 0.7 s, so helpers are
started only where there is much to compile, and this process begins at once; they take
kernels off the same list when they are ready.  With one helper, VGG16 was compiled in 4.3 s
instead of 6.8 s (two cores of a Zen 5).  A helper that is not when the list is empty
is stopped, and what a helper fails to compile is compiled here, so they can make a
compilation faster or not, but never fail.

Helpers are started as programs of their own rather than by `multiprocessing`, which would
run the user's main module again.
"""

from __future__ import annotations

import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Any

from .cache import toolchain
from .objects import Object, Source, compile_source
from .target import Target, available_cores

_KERNELS_EACH = 6  # of 0.1 to 0.2 s each: what a helper must be able to take over to earn its start back
_MOST = 15


def compile_together(sources: Sequence[Source], target: Target) -> dict[str, Object]:
    """The objects of all sources, by name, compiled in the order given."""
    waiting = deque(sources)
    made: dict[str, Object] = {}
    helpers: list[_Helper] = []
    try:
        for _ in range(min(available_cores() - 1, len(sources) // _KERNELS_EACH, _MOST)):
            helpers.append(_Helper(target, waiting, made))
        _compile_here(waiting, made, target)
        for helper in helpers:
            helper.finish()
        _compile_here(waiting, made, target)  # what a helper gave back
    finally:
        for helper in helpers:
            helper.stop()
    return made


def _compile_here(waiting: deque[Source], made: dict[str, Object], target: Target) -> None:
    while True:
        try:
            source = waiting.popleft()
        except IndexError:
            return
        made[source.name] = compile_source(source, target)


class _Helper:
    """Another process that compiles, and the thread that feeds it."""

    def __init__(self, target: Target, waiting: deque[Source], made: dict[str, Object]) -> None:
        self._target = target
        self._waiting = waiting
        self._made = made
        self._lock = threading.Lock()
        self._ready = self._stopped = False
        self._process: subprocess.Popen[bytes] | None = None
        with suppress(OSError):
            self._process = subprocess.Popen(
                [sys.executable or "python3", "-P", "-c", f"from {__name__} import main; main()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
                start_new_session=True,  # Ctrl-C is for this process, which then stops its helpers
            )
        self._thread = threading.Thread(target=self._feed, daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Wait for the kernel at hand; nothing if the helper has none."""
        with self._lock:
            if not self._ready:
                self._stopped = True
        if self._stopped:
            self.stop()
        else:
            self._thread.join()

    def stop(self) -> None:
        """End the process, whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._thread.join()
        if self._process is not None and self._process.stdin is not None and self._process.stdout is not None:
            with suppress(OSError):
                self._process.stdin.close()
            self._process.stdout.close()

    def _feed(self) -> None:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            return
        # Another source, edited meanwhile, would make other code.
        if _receive(process.stdout) != toolchain() or not _send(process.stdin, self._target):
            return
        with self._lock:
            if self._stopped:
                return
            self._ready = True
        while True:
            try:
                source = self._waiting.popleft()
            except IndexError:
                return
            answer = _receive(process.stdout) if _send(process.stdin, source) else None
            if not isinstance(answer, Object):
                self._waiting.append(source)
                return
            self._made[source.name] = answer


# -- messages: a length and a pickled value, between processes of one user and one program -----------


def _send(stream: IO[bytes], value: Any) -> bool:
    """Whether the value could be sent."""
    content = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    try:
        stream.write(struct.pack("<Q", len(content)) + content)
        stream.flush()
    except OSError:
        return False
    return True


def _receive(stream: IO[bytes]) -> Any:
    """The next value; None at the end of the stream."""
    length = stream.read(8)
    if len(length) < 8:
        return None
    content = stream.read(struct.unpack("<Q", length)[0])
    try:
        return pickle.loads(content)
    except (pickle.UnpicklingError, EOFError):
        return None


def main() -> None:
    """A helper: receives a target, then sources, and answers each with its object, until the stream ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not come between the answers
    from . import tvm_loading  # noqa: F401 (comes first)
    from .lower import lower  # noqa: F401 (takes long, and it is ready only afterwards)

    _send(answers, toolchain())
    target = _receive(sys.stdin.buffer)
    while target is not None and (source := _receive(sys.stdin.buffer)) is not None:
        try:
            answer: Object | str = compile_source(source, target)
        except Exception as error:
            answer = repr(error)  # it will be raised where the whole program is compiled
        if not _send(answers, answer):
            return
