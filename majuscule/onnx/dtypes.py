"""Dtypes of ONNX by their names in the language."""

from __future__ import annotations

from .errors import CannotSay
from .model_files import DTYPES


def named(code: object) -> str:
    """The dtype with this number in ONNX; raises `CannotSay` if the language has none like it."""
    from onnx import TensorProto, helper

    if not isinstance(code, int) or code not in TensorProto.DataType.values() or code == TensorProto.UNDEFINED:
        raise CannotSay(f"{code} is no dtype of ONNX")
    if code == TensorProto.STRING:
        raise CannotSay("text is no dtype of the language")
    name = helper.tensor_dtype_to_np_dtype(code).name
    if name not in DTYPES:
        raise CannotSay(f"{name} is no dtype of the language")
    return name
