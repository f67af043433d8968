"""CIFAR-10's binary version (https://www.cs.toronto.edu/~kriz/cifar.html).

A folder with `data_batch_1.bin` … `data_batch_5.bin`, `test_batch.bin` and, for the names of
the classes, `batches.meta.txt`.  A sample is 3073 bytes: its label, then the red, the green
and the blue values of 32 × 32 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy

from ..arrays import Array
from ..errors import DataError
from .array_files import lines_of
from .columns import ArrayColumn
from .dataset import Dataset
from .problems import Problems

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_SIDE = 32
_SAMPLE = 1 + 3 * _SIDE * _SIDE


def is_cifar(folder: Path) -> bool:
    """Whether a folder holds CIFAR-10's binary files."""
    return any(folder.glob("data_batch_*.bin")) or (folder / "test_batch.bin").is_file()


def read_cifar(folder: Path, problems: Problems) -> dict[str, Dataset]:
    """The parts of a folder, "train" and "test" as far as their files are there; raises `DataError`."""
    parts = {"train": sorted(folder.glob("data_batch_*.bin")), "test": [*folder.glob("test_batch.bin")]}
    names = folder / "batches.meta.txt"
    classes = tuple(lines_of(names)) if names.is_file() else CLASSES
    return {part: _read(folder, part, files, classes, problems) for part, files in parts.items() if files}


def _read(folder: Path, part: str, files: Sequence[Path], classes: Sequence[str], problems: Problems) -> Dataset:
    records = numpy.concatenate([_records(file) for file in files]) if len(files) > 1 else _records(files[0])
    pictures = records[:, 1:].reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)
    columns = {"image": ArrayColumn(pictures), "label": ArrayColumn(records[:, 0])}
    return Dataset.of(f"{folder} ({part})", columns, classes, problems)


def _records(file: Path) -> Array:
    size = file.stat().st_size
    if not size or size % _SAMPLE:
        raise DataError(f"{file} is cut off or no file of CIFAR-10: {size:,} bytes are not a multiple of {_SAMPLE:,}")
    return numpy.asarray(numpy.memmap(file, numpy.uint8, "r")).reshape(-1, _SAMPLE)
