"""Files of ONNX: read within bounds, and refused if they are broken; nothing outside their folder is touched.

A model is a message of Protocol Buffers; the numbers of large ones lie in files beside it, by relative
paths.  `onnx` parses the message; paths, offsets and lengths, shapes and sizes are checked here before
they are believed.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy

from .errors import ImportFailed

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

Array = numpy.ndarray[Any, Any]

OLDEST, NEWEST = 13, 28
"""Versions of the set of operators that are read."""
_LARGEST_FILE = 2**31
"""Bytes of a message of Protocol Buffers."""
_MOST_NODES = 100_000
DOMAINS = ("", "ai.onnx")
"""Under which ONNX's own operators go."""
DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "uint8", "bool")
"""What a tensor of the language can hold."""


def require_onnx() -> None:
    """Raise `ImportFailed` if the package `onnx` is not installed."""
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise ImportFailed(
            "reading ONNX needs the package onnx, which is not installed: pip install 'majuscule[onnx]'"
        ) from error


def read_model(path: str | os.PathLike[str]) -> ModelProto:
    """Parse a model and check what it says of itself; raises `ImportFailed`, or OSError if it cannot be read."""
    require_onnx()
    from google.protobuf.message import DecodeError
    from onnx import ModelProto

    name = Path(path).name
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size > _LARGEST_FILE:
            raise ImportFailed(f"{name} is larger than a model of ONNX can be (2 GiB; weights may lie beside it)")
        data = file.read(_LARGEST_FILE + 1)
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise ImportFailed(f"{name} is not a model of ONNX, or it is damaged: {error}") from error
    return checked(model, name)


def checked(model: ModelProto, name: str) -> ModelProto:
    """The model with its own functions written out; raises `ImportFailed` for one that is not whole or too old."""
    if not model.HasField("graph") or not model.graph.node or not model.graph.output:
        raise ImportFailed(f"{name} is not a model of ONNX, or its end is missing: it has no nodes or no outputs")
    version = opset(model)
    if version is None:
        raise ImportFailed(f"{name} does not say which version of ONNX's operators it uses")
    if not OLDEST <= version <= NEWEST:
        raise ImportFailed(f"{name} uses version {version} of ONNX's operators; {OLDEST} to {NEWEST} are read")
    if model.functions:
        from onnx.inliner import inline_local_functions

        try:
            model = inline_local_functions(model)
        except Exception as error:  # the inliner raises whatever a damaged model provokes
            raise ImportFailed(f"{name} has functions of its own that cannot be written out: {error}") from error
    if len(model.graph.node) > _MOST_NODES:
        raise ImportFailed(f"{name} has {len(model.graph.node):,} nodes; {_MOST_NODES:,} are read at most")
    if model.graph.sparse_initializer:
        raise ImportFailed(f"{name} has sparse weights, which are not read")
    return model


def opset(model: ModelProto) -> int | None:
    """The version of ONNX's own operators that a model uses."""
    versions = [entry.version for entry in model.opset_import if entry.domain in DOMAINS]
    return max(versions, default=None)


def check_node(node: NodeProto, model: ModelProto) -> str | None:
    """What is wrong with a node, in words: no such operator, or attributes or inputs that it does not take."""
    import onnx

    if node.domain not in DOMAINS:
        return f"operators of {node.domain} are not known"
    context = onnx.checker.C.CheckerContext()
    context.ir_version = model.ir_version or onnx.IR_VERSION
    context.opset_imports = {"": opset(model) or OLDEST}
    try:
        onnx.checker.check_node(node, context)
    except onnx.checker.ValidationError as error:
        return " ".join(str(error).split("\n==>")[0].split())
    return None


def tensor_array(tensor: TensorProto, folder: Path | None) -> Array:
    """The numbers of a tensor, from the message or from a file below `folder`; raises `ImportFailed`."""
    from onnx import TensorProto, helper, numpy_helper

    what = f"the tensor {tensor.name!r}"
    shape = tuple(tensor.dims)
    if any(size < 0 for size in shape):
        raise ImportFailed(f"{what} has a negative size: {list(shape)}")
    if tensor.data_type not in TensorProto.DataType.values() or tensor.data_type == TensorProto.UNDEFINED:
        raise ImportFailed(f"{what} has a dtype that ONNX does not have: {tensor.data_type}")
    if tensor.data_type == TensorProto.STRING:
        raise ImportFailed(f"{what} is made of text")
    if tensor.data_location != TensorProto.EXTERNAL:
        try:
            return numpy_helper.to_array(tensor)
        except Exception as error:  # whatever a damaged tensor provokes
            raise ImportFailed(f"{what} is damaged: {error}") from error
    if folder is None:
        raise ImportFailed(f"{what} lies in another file, and there is no folder to look for it")
    dtype = numpy.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
    if dtype.itemsize * 8 < 8 or "4" in dtype.name.removesuffix("64"):
        raise ImportFailed(f"{what} has a dtype that is not read from other files: {dtype.name}")
    return _from_file(tensor, folder, shape, dtype, what)


def _from_file(tensor: TensorProto, folder: Path, shape: tuple[int, ...], dtype: Any, what: str) -> Array:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    inside = folder.resolve()
    path = (inside / location).resolve() if location and "\0" not in location else inside
    if not location or Path(location).is_absolute() or not path.is_relative_to(inside) or path == inside:
        raise ImportFailed(f"{what} lies in {location!r}, which is not in the model's folder")
    try:
        offset, bytes_there = int(entries.get("offset") or 0), path.stat().st_size
        length = int(entries.get("length") or max(0, bytes_there - offset))
    except ValueError as error:
        raise ImportFailed(f"{what} has an offset or a length that is no number") from error
    except OSError as error:
        raise ImportFailed(f"{what} lies in {location}, which cannot be read: {error.strerror}") from error
    wanted = math.prod(shape) * dtype.itemsize
    if offset < 0 or length < wanted or offset + wanted > bytes_there:
        raise ImportFailed(f"{what} needs {wanted:,} bytes of {location} from {offset:,} on, which are not all there")
    if not path.is_file():
        raise ImportFailed(f"{what} lies in {location}, which is not a file")
    if not wanted:
        return numpy.zeros(shape, dtype)
    return numpy.memmap(path, dtype.newbyteorder("<"), "r", offset, shape)
