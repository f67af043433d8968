"""Files of `torch.save`: a zip with a pickle of the tensors' shapes and, beside it, their numbers.

The numbers stay where they lie in the mapped file; the pickle is read without running any of it
(`pytorch_pickles`).  What is no dictionary of tensors, such as a whole model, is refused with a
message that says what to save instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy

from .arrays import Array
from .errors import WeightsFileError
from .pytorch_pickles import Refused, read_pickle
from .zip_members import Packed

_LARGEST_PICKLE = 1 << 24  # bytes; of a model with a thousand tensors it has some 100 kB
_MOST_LISTED = 8
_LEGACY = bytes.fromhex("80028a0a6cfc9c46f9206aa85019")  # a pickle of torch.serialization.MAGIC_NUMBER
_TAR = slice(257, 262)
SAVE_AGAIN = "torch.save(torch.load(FILE, map_location='cpu', weights_only=True), NEW)"


def require_zip(start: bytes, name: str) -> None:
    """Refuse PyTorch's formats from before its zips, and other pickles, by the first 512 bytes of a file."""
    if start.startswith(_LEGACY):
        raise WeightsFileError(
            f"{name} has the format of PyTorch before 1.6, which is a pickle from end to end; "
            f"if you trust it, save it again: {SAVE_AGAIN}"
        )
    if start[_TAR] == b"ustar":
        raise WeightsFileError(
            f"{name} is a tar archive, as PyTorch before 0.2 made; if you trust it, save it again: {SAVE_AGAIN}"
        )
    if start[:1] == b"\x80" and start[1:2] <= b"\x05":
        raise WeightsFileError(f"{name} is a bare pickle, which could run anything; save state_dict() with torch.save")


def read_state_dict(
    members: Mapping[str, memoryview | Packed], name: str, inside: str | None = None
) -> dict[str, Array]:
    """The tensors of a zip with these members by name, in their order, as views of the file.

    `inside` chooses one of several dictionaries of tensors, as a checkpoint of a training has.
    Raises `WeightsFileError` for what holds no such dictionary or would have to be run, and other
    exceptions for a damaged file.
    """
    if "manifest.json" in members:
        raise WeightsFileError(f"{name} is a compiled module: `maj export-weights` takes the weights out of it")
    root = next((member.removesuffix("data.pkl") for member in members if member.endswith("/data.pkl")), None)
    if any(member.endswith("/constants.pkl") for member in members):
        raise WeightsFileError(
            f"{name} is a TorchScript archive (torch.jit.save), which holds a program; save its weights: "
            "torch.save(torch.jit.load(FILE, map_location='cpu').state_dict(), NEW)"
        )
    if root is None:
        raise WeightsFileError(f"{name} is a zip, but neither NumPy's nor one of torch.save")
    plain = {member: contents for member, contents in members.items() if not isinstance(contents, Packed)}
    if len(plain) < len(members):
        raise WeightsFileError(f"{name} has compressed members, as torch.save makes none; save it again: {SAVE_AGAIN}")
    if bytes(plain.get(f"{root}byteorder", memoryview(b"little"))[:8]) != b"little":
        raise WeightsFileError(f"{name} was saved on a machine of the other byte order")
    pickle = plain[f"{root}data.pkl"]
    if len(pickle) > _LARGEST_PICKLE:
        raise WeightsFileError(f"{name} has a pickle of {len(pickle) / 1e6:.0f} MB, too large for names and shapes")

    def storage(key: str, dtype: numpy.dtype[Any], count: int) -> Array:
        contents = plain.get(f"{root}data/{key}")
        if contents is None or count < 0 or len(contents) < count * dtype.itemsize:
            raise ValueError(f"its storage {key} is missing or too small")
        return numpy.frombuffer(contents[: count * dtype.itemsize], numpy.uint8).view(dtype)

    try:
        saved = read_pickle(bytes(pickle), storage)
    except Refused as error:
        raise WeightsFileError(
            f"{name} is no plain dictionary of tensors: {error}. Save model.state_dict(), or, of a checkpoint "
            "with other things in it, only that"
        ) from error
    return _tensors_in(saved, name, inside)


def _tensors_in(saved: object, name: str, inside: str | None) -> dict[str, Array]:
    """The dictionary of tensors that was saved, or the one in what was saved."""
    if not isinstance(saved, dict):
        raise WeightsFileError(f"{name} holds no dictionary of tensors, but {_described(saved)}")
    nested = {str(key): _tensors(value) for key, value in saved.items() if isinstance(value, dict)}
    nested = {key: tensors for key, tensors in nested.items() if tensors}
    if inside is not None:
        if inside not in nested:
            known = ", ".join(nested) or "none"
            raise WeightsFileError(f"{name} has no dictionary of tensors called {inside}; it has {known}")
        return nested[inside]
    if own := _tensors(saved):
        return own
    if len(nested) == 1:
        return next(iter(nested.values()))
    if nested:
        listed = ", ".join(list(nested)[:_MOST_LISTED])
        raise WeightsFileError(f"{name} has several dictionaries of tensors: {listed}; choose one with --inside NAME")
    raise WeightsFileError(f"{name} holds no tensors by name")


def _tensors(mapping: Mapping[Any, object]) -> dict[str, Array]:
    return {key: value for key, value in mapping.items() if type(key) is str and isinstance(value, numpy.ndarray)}


def _described(value: object) -> str:
    return "a tensor without a name" if isinstance(value, numpy.ndarray) else f"a {type(value).__name__}"
