"""The file of an ONNX model; this module can be imported where the package `onnx` is not installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..dsl.equations import Program
from ..runtime.arrays import Array
from ..runtime.errors import ExportError
from ..runtime.whole_files import whole_file

_LARGEST = 2**31 - 1
"""Bytes of a file of Protocol Buffers."""


def write_model(path: Path, program: Program, weights: Mapping[str, Array]) -> None:
    """Write the model with the values of parameters and state; raises `ExportError` or OSError."""
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise ExportError(
            "writing ONNX needs the package onnx, which is not installed: pip install 'majuscule[onnx]'"
        ) from error
    from .exporting import onnx_model

    if sum(array.nbytes for array in weights.values()) >= _LARGEST:
        raise ExportError(f"the weights of {program.name} do not fit into a file of ONNX, which has at most 2 GiB")
    data = onnx_model(program, weights).SerializeToString()
    with whole_file(path) as file:
        file.write(data)
