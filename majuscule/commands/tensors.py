"""Arrays from files for `maj run`, and back: .npy, .npz and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy

from ..runtime.data.normalisation import Normalisation
from ..runtime.data.pictures import ENDINGS as PICTURES
from ..runtime.data.pictures import read_picture
from ..runtime.errors import DataError
from ..runtime.tensor_files import write_npz
from .failures import Failure, file_problem

if TYPE_CHECKING:
    from ..runtime.signature import TensorInfo

Array = numpy.ndarray[Any, Any]

READABLE = (".npy", ".npz", *PICTURES)


def read_inputs(
    arguments: Sequence[str],
    inputs: Sequence[TensorInfo],
    *,
    resize: bool,
    metadata: Mapping[str, Any] | None = None,
) -> dict[str, Array]:
    """Arrays for a module's inputs from `file` and `name=file` arguments; raises Failure.

    Files without a name are the inputs in order; where there is one input, all of them are
    its samples.  A .npz file without a name may hold several inputs by name.

    `metadata` are the module's: inputs are prepared as those that it was trained with.
    """
    named, positional = _by_name(arguments, inputs)
    given = {name: [_read(file, inputs[_index(name, inputs)], resize)] for name, file in named.items()}
    free = [tensor for tensor in inputs if tensor.name not in named]
    for file in positional:
        archive = _named_arrays(file, free)
        if archive:
            given.update({name: [array] for name, array in archive.items()})
            free = [tensor for tensor in free if tensor.name not in archive]
        elif len(free) == 1 and (len(inputs) == 1 or free[0].name not in given):
            given.setdefault(free[0].name, []).append(_read(file, free[0], resize))
        elif free:
            given[free[0].name] = [_read(file, free[0], resize)]
            free = free[1:]
        else:
            raise Failure(f"{file}: all inputs are given already", *_how_to_give(inputs))
    missing = [tensor.name for tensor in inputs if tensor.name not in given]
    if missing:
        raise Failure(f"missing: input{'s' if len(missing) > 1 else ''} {', '.join(missing)}", *_how_to_give(inputs))
    return {name: _prepared(_together(arrays, name), name, metadata or {}) for name, arrays in given.items()}


def _by_name(arguments: Sequence[str], inputs: Sequence[TensorInfo]) -> tuple[dict[str, str], list[str]]:
    from ..dsl.names import normal

    names = [tensor.name for tensor in inputs]
    named: dict[str, str] = {}
    positional: list[str] = []
    for argument in arguments:
        name, equals, file = argument.partition("=")
        if equals and normal(name) in names:
            named[normal(name)] = file
        elif equals and not Path(argument).exists():
            raise Failure(f"there is no input called {name}", *_how_to_give(inputs))
        else:
            positional.append(argument)
    return named, positional


def _how_to_give(inputs: Sequence[TensorInfo]) -> list[str]:
    if not inputs:
        return ["the program takes no inputs"]
    example = " ".join(f"{tensor.name}=FILE" for tensor in inputs)
    return [*(f"input {tensor}" for tensor in inputs), f"give each as a file, or by name: {example}"]


def _index(name: str, inputs: Sequence[TensorInfo]) -> int:
    return [tensor.name for tensor in inputs].index(name)


def _together(arrays: list[Array], name: str) -> Array:
    if len(arrays) == 1:
        return arrays[0]
    if len({array.shape[1:] for array in arrays}) > 1:
        shapes = ", ".join(str(list(array.shape)) for array in arrays)
        raise Failure(f"the files for input {name} have different shapes: {shapes}")
    return numpy.concatenate(arrays)


def _prepared(array: Array, name: str, metadata: Mapping[str, Any]) -> Array:
    """Bytes as numbers from 0 to 1, less the mean, divided by the deviation, where the module was trained so."""
    if array.dtype == numpy.uint8 and name in metadata.get("pixels", ()):
        array = (array / numpy.float32(255)).astype(numpy.float32)
    return Normalisation.from_json(metadata.get("normalisation", {})).apply(name, array)


# -- reading -----------------------------------------------------------------------------------


def _named_arrays(file: str, free: Sequence[TensorInfo]) -> dict[str, Array]:
    """The inputs that a .npz file holds by name; empty for another file."""
    if Path(file).suffix.lower() != ".npz":
        return {}
    arrays = _load(file)
    return {tensor.name: _with_batch(arrays[tensor.name], tensor) for tensor in free if tensor.name in arrays}


def _read(file: str, tensor: TensorInfo, resize: bool) -> Array:
    suffix = Path(file).suffix.lower()
    if suffix in PICTURES:
        return _with_batch(_read_picture(file, tensor, resize), tensor)
    if suffix not in READABLE:
        raise _unknown_format(file)
    arrays = _load(file)
    if tensor.name in arrays:
        return _with_batch(arrays[tensor.name], tensor)
    if len(arrays) != 1:
        raise Failure(f"{file} has no array {tensor.name}", f"it has {', '.join(arrays) or 'none'}")
    return _with_batch(next(iter(arrays.values())), tensor)


def _unknown_format(file: str) -> Failure:
    suffix = Path(file).suffix
    problem = f"files ending in {suffix} are not known" if suffix else "the end of its name tells no format"
    return Failure(f"{file}: {problem}", f"known: {' '.join(READABLE)}")


def _load(file: str) -> dict[str, Array]:
    """The arrays of a .npy or .npz file by name; pickles in them are refused."""
    try:
        loaded = numpy.load(file, allow_pickle=False)
        if isinstance(loaded, numpy.ndarray):
            return {"": loaded}
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except OSError as error:
        raise Failure(file_problem(error, file) if error.errno else f"{file}: {error}") from error
    except Exception as error:  # numpy and zipfile have many exceptions for a broken file
        # numpy takes any file that it does not know for a pickle, and advises to load it all the same
        reason = "it is damaged, or of another kind" if "pickle" in str(error) else str(error)
        raise Failure(f"{file} cannot be read as NumPy arrays: {reason}") from error


def _with_batch(array: Array, tensor: TensorInfo) -> Array:
    """The array with a batch axis if only that is missing."""
    return array[None] if tensor.batched and array.ndim == len(tensor.shape) - 1 else array


def _read_picture(file: str, tensor: TensorInfo, resize: bool) -> Array:
    """Rows × columns × channels; values from 0 to 1, or bytes for an input of bytes."""
    shape = tensor.shape[1:] if tensor.batched else tensor.shape
    if len(shape) not in (2, 3):
        raise Failure(f"input {tensor} is no picture, so {file} does not fit")
    rows, columns, *channels = (size if isinstance(size, int) else None for size in shape)
    if channels and channels[0] not in (1, 3, 4):
        raise Failure(f"input {tensor} has {shape[2]} channels, and a picture has 1, 3 or 4")
    try:
        pixels = read_picture(file, (rows, columns), channels[0] if channels else None, resize=resize)
    except DataError as error:
        raise Failure(error.message) from error
    return pixels if tensor.dtype == "uint8" else (pixels / numpy.float32(255)).astype(numpy.float32)


# -- writing -----------------------------------------------------------------------------------


def write_outputs(targets: Sequence[str], outputs: dict[str, Array]) -> list[str]:
    """Write outputs to `file` or `name=file` targets and give the files' names; raises Failure."""
    written: list[str] = []
    for target in targets:
        name, equals, file = target.partition("=")
        if not equals:
            name, file = "", target
        elif name not in outputs:
            raise Failure(f"there is no output called {name}", f"outputs: {', '.join(outputs)}")
        chosen = {name: outputs[name]} if name else outputs
        try:
            _write(file, chosen)
        except OSError as error:
            raise Failure(file_problem(error, file)) from error
        written.append(file)
    return written


def check_targets(targets: Sequence[str]) -> None:
    """Refuse formats that cannot be written before anything is computed."""
    for target in targets:
        suffix = Path(target).suffix.lower()
        if suffix not in READABLE:
            raise _unknown_format(target)


def _write(file: str, outputs: dict[str, Array]) -> None:
    suffix = Path(file).suffix.lower()
    if suffix == ".npz":
        with open(file, "wb") as stream:
            write_npz(stream, outputs)
        return
    if len(outputs) > 1:
        hint = f"name one, as in -o {next(iter(outputs))}={file}, or write all to a .npz file"
        raise Failure(f"{file} holds one array, and there are {len(outputs)} outputs", hint)
    array = next(iter(outputs.values()))
    if suffix == ".npy":
        with open(file, "wb") as stream:
            numpy.save(stream, array)
        return
    _write_picture(file, array)


def _write_picture(file: str, array: Array) -> None:
    """One sample with 1, 3 or 4 channels or none; floats from 0 to 1, clipped."""
    from PIL import Image

    pixels = array[0] if array.ndim > 2 and array.shape[0] == 1 else array
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim != 2 and not (pixels.ndim == 3 and pixels.shape[2] in (3, 4)):
        raise Failure(f"an output of shape {list(array.shape)} is no picture", "write it to a .npy file")
    if pixels.dtype != numpy.uint8:
        pixels = (numpy.clip(numpy.nan_to_num(pixels.astype(numpy.float64)), 0, 1) * 255).round().astype(numpy.uint8)
    picture = Image.fromarray(pixels)
    if Path(file).suffix.lower() in (".jpg", ".jpeg", ".bmp") and picture.mode == "RGBA":
        picture = picture.convert("RGB")
    picture.save(file)
