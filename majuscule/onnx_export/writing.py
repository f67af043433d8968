"""The file of an ONNX model; this module can be imported where the package `onnx` is not installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..dsl.equations import Program
from ..runtime.arrays import Array
from ..runtime.errors import ExportError
from ..runtime.whole_files import whole_file

_LARGEST = 2**31 - 2**24
"""Bytes of weights from which on they lie beside the model: a file of Protocol Buffers has less than 2 GiB."""


def write_model(path: Path, program: Program, weights: Mapping[str, Array]) -> None:
    """Write the model with the values of parameters and state; raises `ExportError` or OSError.

    What does not fit into a file of ONNX lies in another one, called `path` and `.data`.
    """
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise ExportError(
            "writing ONNX needs the package onnx, which is not installed: pip install 'majuscule[onnx]'"
        ) from error
    from .beside import Beside
    from .exporting import onnx_model

    large = sum(array.nbytes for array in weights.values()) >= _LARGEST
    beside = Beside(f"{path.name}.data") if large else None
    data = onnx_model(program, weights, beside).SerializeToString()
    if beside is not None:
        with whole_file(path.with_name(f"{path.name}.data")) as file:
            beside.write(file)
    with whole_file(path) as file:
        file.write(data)
