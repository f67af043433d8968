"""GPUs by their architecture: what a kernel may use of one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import CompilationFailed

DEFAULT = "sm_80"
"""What code is made for where no GPU is at hand and none is named: all GPUs from 2020 on run it."""

# Multiprocessors of the largest GPU of an architecture, and the bytes of memory that their threads share,
# from the tables of technical specifications in NVIDIA's CUDA C++ Programming Guide.
_KNOWN = {
    75: (72, 64 << 10),
    80: (108, 163 << 10),
    86: (84, 99 << 10),
    87: (16, 163 << 10),
    88: (84, 99 << 10),
    89: (144, 99 << 10),
    90: (132, 227 << 10),
    100: (148, 227 << 10),
    103: (160, 227 << 10),
    110: (20, 227 << 10),
    120: (188, 99 << 10),
    121: (48, 99 << 10),
}
_NAME = re.compile(r"(?:cuda:)?(?:sm_?|compute_?)?(\d{2,3})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU's architecture.

    `capability` is its compute capability times ten (90 for 9.0); a block of threads may use `shared_memory` bytes.
    With `tf32`, products of float32 may be rounded to tf32 for tensor cores.
    """

    capability: int
    multiprocessors: int
    shared_memory: int
    tf32: bool = False

    @staticmethod
    def named(name: str) -> Gpu:
        """The architecture called "sm_90", "cuda:sm_90", "cuda:90", or the default one for "cuda".

        Raises `CompilationFailed` for one that there is not.
        """
        found = _NAME.fullmatch(DEFAULT if name == "cuda" else name)
        number = 0 if found is None else int(found[1])
        if number not in _KNOWN:
            known = ", ".join(f"sm_{known}" for known in _KNOWN)
            raise CompilationFailed(f"there is no GPU architecture called {name!r}; there are {known}")
        return Gpu(number, *_KNOWN[number])

    @property
    def architecture(self) -> str:
        """The name of the architecture, such as "sm_90"."""
        return f"sm_{self.capability}"


def known_below(capability: int) -> int | None:
    """The latest architecture, as its compute capability times ten, whose code a GPU of this one runs."""
    return max((known for known in _KNOWN if known <= capability), default=None)


def names_gpu(target: str) -> bool:
    """Whether a target is a GPU rather than a CPU."""
    return target == "cuda" or target.startswith(("cuda:", "sm_"))
