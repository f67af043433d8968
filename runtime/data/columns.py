"""Columns of a dataset: one value for each sample, read when it is needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy

from ..arrays import Array
from ..errors import DataError
from .pictures import read_picture
from .problems import Problems


class Column(Protocol):
    """Values of one kind for all samples.

    `shape` starts with the number of samples; sizes that differ between samples, or are not
    known yet, are None.
    """

    @property
    def shape(self) -> tuple[int | None, ...]: ...

    @property
    def dtype(self) -> numpy.dtype[Any]: ...

    def read(self, samples: Array) -> tuple[Array, Array]:
        """The values of those samples (by number) that can be read, and for each whether it can."""
        ...


@dataclass(frozen=True)
class ArrayColumn:
    """The rows of an array, which may be mapped from a file."""

    array: Array

    @property
    def shape(self) -> tuple[int | None, ...]:
        return tuple(self.array.shape)

    @property
    def dtype(self) -> numpy.dtype[Any]:
        return self.array.dtype

    def read(self, samples: Array) -> tuple[Array, Array]:
        return numpy.asarray(self.array[samples]), numpy.ones(len(samples), bool)


@dataclass(frozen=True)
class PictureColumn:
    """Pictures in files, as bytes: rows × columns × channels.

    `size` is rows and columns, to which pictures are scaled if `resize`; without a size they
    are those of each file.  `channels` is 1, 3 or 4, or None for an axis less and shades of grey.
    """

    files: Sequence[Path]
    problems: Problems
    size: tuple[int | None, int | None] = (None, None)
    channels: int | None = 3
    resize: bool = False

    @property
    def shape(self) -> tuple[int | None, ...]:
        shape = (len(self.files), *self.size)
        return shape if self.channels is None else (*shape, self.channels)

    @property
    def dtype(self) -> numpy.dtype[Any]:
        return numpy.dtype("uint8")

    def read(self, samples: Array) -> tuple[Array, Array]:
        pictures: list[Array] = []
        readable = numpy.ones(len(samples), bool)
        for place, sample in enumerate(samples):
            try:
                pictures.append(read_picture(self.files[sample], self.size, self.channels, resize=self.resize))
            except DataError as error:
                self.problems.add(error.message)
                readable[place] = False
        sizes = {picture.shape for picture in pictures}
        if len(sizes) > 1:
            listed = ", ".join("×".join(map(str, size[:2])) for size in sorted(sizes)[:2])
            raise DataError(f"the pictures have different sizes ({listed}, …); ask for resizing (--resize)")
        shape = (0, *(size or 0 for size in self.shape[1:]))
        return numpy.stack(pictures) if pictures else numpy.empty(shape, numpy.uint8), readable


@dataclass(frozen=True)
class MappedColumn:
    """Another column with a function applied to arrays of its samples."""

    column: Column
    shape: tuple[int | None, ...]
    dtype: numpy.dtype[Any]
    function: Callable[[Array], Array]

    def read(self, samples: Array) -> tuple[Array, Array]:
        values, readable = self.column.read(samples)
        return self.function(values), readable
