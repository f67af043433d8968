"""What can go wrong with a compiled module, each with a stable code.

Every refusal of the runtime is a `ModuleError`, so that `except ModuleError` is enough;
the subclasses tell the causes apart, and those about the arguments of a call are also
`ValueError` or `TypeError`, which callers of array libraries expect.  The codes are part
of the interface: they never change their meaning.
"""

from __future__ import annotations

from typing import ClassVar


class ModuleError(Exception):
    """The root of all errors of the runtime; `code` is stable, the message is for people."""

    code: ClassVar[str] = "R000"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]"


# -- the file ------------------------------------------------------------------------------


class NotAModule(ModuleError):
    """The file is something else than a compiled module."""

    code = "R101"


class TruncatedModule(ModuleError):
    """The file ends before it should: an interrupted copy or download."""

    code = "R102"


class DamagedModule(ModuleError):
    """The file's contents do not match the checksums written into it."""

    code = "R103"


class UnsafeModule(ModuleError):
    """The file is put together in a way that no compiler of ours does, and that may be an attack."""

    code = "R104"


class FormatVersionError(ModuleError):
    """The file has a newer or an older format than this version of Majuscule reads."""

    code = "R105"


class UnreadableModule(ModuleError, OSError):
    """The operating system does not let us read or write the file."""

    code = "R106"


class MissingModule(UnreadableModule, FileNotFoundError):
    """There is no such file."""

    code = "R107"


# -- the machine ---------------------------------------------------------------------------


class ForeignPlatform(ModuleError):
    """The module was compiled for another operating system, architecture or kind of device."""

    code = "R201"


class ForeignCPU(ModuleError):
    """The module uses instructions that this processor lacks."""

    code = "R202"


class NativeLibraryError(ModuleError):
    """TVM's runtime or the module's machine code cannot be loaded."""

    code = "R203"


class NoGpu(ModuleError):
    """There is no GPU, or no driver that works, and the module is for one."""

    code = "R204"


class ForeignGpu(ModuleError):
    """The module was compiled for GPUs of a later architecture."""

    code = "R205"


# -- weights -------------------------------------------------------------------------------


class WeightsError(ModuleError, ValueError):
    """Weights are missing, unexpected, or of the wrong shape or dtype."""

    code = "R301"


class WeightsFileError(ModuleError):
    """A file of weights cannot be read."""

    code = "R302"


# -- a call --------------------------------------------------------------------------------


class ArgumentError(ModuleError, TypeError):
    """Too many, too few, or unknown arguments; or something that is not an array."""

    code = "R401"


class ShapeError(ModuleError, ValueError):
    """An input has a shape that the program does not take."""

    code = "R402"


class DtypeError(ModuleError, TypeError):
    """An input has a dtype that cannot be converted without losing what it says."""

    code = "R403"


class RequirementError(ModuleError, ValueError):
    """The sizes of the inputs break a condition that the program needs."""

    code = "R404"


class CheckError(ModuleError, ValueError):
    """A condition that the program checks while it runs does not hold."""

    code = "R405"


class ExecutionError(ModuleError, RuntimeError):
    """The compiled code reported a failure of its own."""

    code = "R406"


class ClosedModule(ModuleError, RuntimeError):
    """The module was closed and cannot be called any more."""

    code = "R407"


class OutOfMemory(ModuleError, MemoryError):
    """There is not enough memory for this call."""

    code = "R408"


# -- training ------------------------------------------------------------------------------


class DataError(ModuleError, ValueError):
    """Data cannot be read, or do not fit the inputs of a program."""

    code = "R501"


class CheckpointError(ModuleError):
    """A checkpoint cannot be read or written."""

    code = "R502"


class NotFiniteError(ModuleError, ArithmeticError):
    """A loss or a gradient is infinite or not a number, so the step was not taken."""

    code = "R503"


# -- exchange ------------------------------------------------------------------------------


class ExportError(ModuleError):
    """A program cannot be written in the format that was asked for."""

    code = "R601"
