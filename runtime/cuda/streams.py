"""What a GPU is given to do, in order: streams, and recordings of what a stream was given, to be given again at once.

A recording is a CUDA graph.  Starting a kernel takes the processor some microseconds, and a network has a hundred
kernels that each take no longer; starting a recording of them takes as long as starting one.
"""

from __future__ import annotations

import ctypes
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Any

from ..errors import ExecutionError
from .devices import WITHOUT_TIME, Context

_OF_THIS_THREAD = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may go on using the GPU
_MOST_RECORDINGS = 16


class Stream:
    """A stream of its own, which ends when nobody refers to it any more."""

    def __init__(self, context: Context) -> None:
        self._library = context.driver.library
        self._context = context.handle
        self.handle = context.driver.handle("cuStreamCreate", 0)

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            self._library.cuCtxSetCurrent(self._context)
            self._library.cuStreamDestroy_v2(self.handle)


class InFlight:
    """What kernels that were started may still use: kept until they are done."""

    def __init__(self, context: Context) -> None:
        self._driver = context.driver
        self._kept: deque[tuple[int, object]] = deque()

    def keep(self, things: object, stream: int) -> None:
        """Keep these until all is done that the stream was given so far; let go of what is done."""
        event = self._driver.handle("cuEventCreate", WITHOUT_TIME)
        self._kept.append((event, things))
        self._driver.call("cuEventRecord", event, stream)
        while self._kept and self._driver.library.cuEventQuery(self._kept[0][0]) == 0:
            self._release()

    def _release(self) -> None:
        event, _ = self._kept.popleft()
        self._driver.library.cuEventDestroy_v2(event)

    def __del__(self) -> None:
        while self._kept:
            self._driver.library.cuEventSynchronize(self._kept[0][0])
            self._release()


class Recordings:
    """Recordings of calls by what they are called with; the second of equal calls is recorded, all others play it."""

    def __init__(self, context: Context, stream: int) -> None:
        self._driver = context.driver
        self._stream = stream
        self._known: OrderedDict[Hashable, int] = OrderedDict()  # 0 for a call that was seen once
        self._works = True

    def run(self, key: Hashable, call: Callable[[], None]) -> None:
        """Do what `call` does, which may do nothing but start kernels in the stream; raises what it raises."""
        if not self._works:
            call()
            return
        known = self._known.get(key)
        if known is None:
            self._known[key] = 0
            self._forget_old_ones()
            call()
            return
        self._known.move_to_end(key)
        if known == 0:
            known = self._known[key] = self._recorded(call)
        if known:
            self._driver.call("cuGraphLaunch", known, self._stream)
        else:
            call()

    def _recorded(self, call: Callable[[], None]) -> int:
        """A recording that can be started, or 0 where the driver makes none: then nothing is recorded any more."""
        graph = ctypes.c_void_p()
        library = self._driver.library
        if library.cuStreamBeginCapture_v2(self._stream, _OF_THIS_THREAD):
            self._works = False
            return 0
        try:
            call()
        finally:
            failed = library.cuStreamEndCapture(self._stream, ctypes.byref(graph))
        try:
            self._driver.check(failed)
            return self._driver.handle("cuGraphInstantiateWithFlags", graph, 0)
        except ExecutionError:
            self._works = False
            return 0
        finally:
            if graph.value:
                library.cuGraphDestroy(graph)

    def _forget_old_ones(self) -> None:
        while len(self._known) > _MOST_RECORDINGS:
            _, old = self._known.popitem(last=False)
            self._destroy(old)

    def _destroy(self, recording: int) -> Any:
        return recording and self._driver.library.cuGraphExecDestroy(recording)

    def __del__(self) -> None:
        for recording in self._known.values():
            self._destroy(recording)
