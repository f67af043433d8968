"""Augmentation: training pictures are changed a little, anew in every epoch, so that a network learns what matters.

Each augmentation draws a few numbers for each sample, chosen by seed, epoch and sample; what
becomes of a picture depends on nothing else, neither on its batch nor on threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy

from ..arrays import Array
from ..errors import DataError


class Augmentation(Protocol):
    """A random change of pictures."""

    name: ClassVar[str]
    draws: ClassVar[int]
    """How many random numbers it needs for a sample."""

    def apply(self, pictures: Array, numbers: Array) -> Array:
        """Changed copies of pictures [samples, rows, columns(, channels)].

        `numbers` [samples, draws] are uniform from 0 up to 1.
        """
        ...


@dataclass(frozen=True)
class Flip:
    """Turns every other picture around, left to right."""

    name: ClassVar[str] = "flip"
    draws: ClassVar[int] = 1

    def apply(self, pictures: Array, numbers: Array) -> Array:
        turned = numbers[:, 0] < 0.5
        result = pictures.copy()
        result[turned] = pictures[turned, :, ::-1]
        return result


@dataclass(frozen=True)
class Crop:
    """Moves each picture by up to `padding` pixels along both axes; what comes in at the borders is 0."""

    padding: int = 4
    name: ClassVar[str] = "crop"
    draws: ClassVar[int] = 2

    def __post_init__(self) -> None:
        _whole_pixels(self.padding)

    def apply(self, pictures: Array, numbers: Array) -> Array:
        reach = int(self.padding)
        borders = [(0, 0), (reach, reach), (reach, reach), (0, 0)][: pictures.ndim]
        padded = numpy.pad(pictures, borders)
        result = numpy.empty_like(pictures)
        rows, columns = pictures.shape[1:3]
        for sample, (row, column) in enumerate((numbers * (2 * reach + 1)).astype(numpy.int64)):
            result[sample] = padded[sample, row : row + rows, column : column + columns]
        return result


@dataclass(frozen=True)
class Rotate:
    """Turns each picture about its middle by up to `degrees` to either side; what comes in is 0."""

    degrees: float = 10.0
    name: ClassVar[str] = "rotate"
    draws: ClassVar[int] = 1

    def apply(self, pictures: Array, numbers: Array) -> Array:
        from PIL import Image

        result = numpy.empty_like(pictures)
        for sample, number in enumerate(numbers[:, 0]):
            angle = float((2 * number - 1) * self.degrees)
            planes = numpy.atleast_3d(pictures[sample])
            for channel in range(planes.shape[2]):
                # Pillow knows no pictures of several channels of floats
                plane = Image.fromarray(numpy.ascontiguousarray(planes[:, :, channel]))
                turned = numpy.asarray(plane.rotate(angle, Image.Resampling.BILINEAR))
                if pictures.ndim == 3:
                    result[sample] = turned
                else:
                    result[sample, :, :, channel] = turned
        return result


_KINDS: dict[str, type[Flip] | type[Crop] | type[Rotate]] = {kind.name: kind for kind in (Flip, Crop, Rotate)}


def parse_augmentations(text: str) -> list[Augmentation]:
    """Augmentations as they are written on the command line: `flip,crop:4,rotate:10`; raises `DataError`."""
    return [_parse(item.strip()) for item in text.split(",") if item.strip()]


def _parse(item: str) -> Augmentation:
    name, colon, value = item.partition(":")
    kind = _KINDS.get(name)
    if kind is None:
        raise DataError(f"there is no augmentation {name!r}; there are {', '.join(_KINDS)}")
    if not colon:
        return kind()
    if kind is Flip:
        raise DataError("flip takes no number")
    try:
        number = float(value)
    except ValueError:
        raise DataError(f"{item}: {value!r} is no number; write such as {name}:4") from None
    return Crop(_whole_pixels(number)) if kind is Crop else Rotate(number)


def _whole_pixels(number: float) -> int:
    """How far a crop moves; raises `DataError` unless it is a whole number from 1 on."""
    if number < 1 or not float(number).is_integer():
        raise DataError(f"crop moves by a whole number of pixels from 1 on, not by {number:g}")
    return int(number)
