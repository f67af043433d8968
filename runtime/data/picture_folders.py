"""Folders of pictures by class: `flowers/rose/1.jpg`, with a folder for each class.

There may be a level for parts above: `flowers/train/rose/1.jpg` and `flowers/test/rose/7.jpg`.
Labels count the classes in the order of their names.
"""

from __future__ import annotations

from pathlib import Path

import numpy

from ..errors import DataError
from .columns import ArrayColumn, Column, PictureColumn
from .dataset import Dataset
from .parts import PARTS
from .pictures import ENDINGS
from .problems import Problems


def read_picture_folder(folder: Path, problems: Problems) -> dict[str, Dataset]:
    """The parts of a folder, or all of it under an empty name; raises `DataError`."""
    parts: dict[str, Path] = {}
    for path in _folders(folder):
        part = PARTS.get(path.name.lower())
        if part is None:
            return {"": _read(folder, str(folder), problems)}
        if part in parts:
            raise DataError(f"{folder} has two folders for one part: {parts[part].name} and {path.name}")
        parts[part] = path
    if not parts:
        raise DataError(f"{folder} holds no data: neither .npy or IDX files nor a folder of pictures for each class")
    return {part: _read(path, str(path), problems) for part, path in parts.items()}


def _read(folder: Path, name: str, problems: Problems) -> Dataset:
    classes = [path.name for path in _folders(folder)]
    files: list[Path] = []
    labels: list[int] = []
    for label, class_name in enumerate(classes):
        found = [path for path in sorted((folder / class_name).rglob("*")) if path.suffix.lower() in ENDINGS]
        if not found:
            raise DataError(f"the folder {folder / class_name} holds no pictures ({' '.join(ENDINGS)})")
        files += found
        labels += [label] * len(found)
    if not files:
        raise DataError(f"{folder} has no folders of pictures, one for each class")
    columns: dict[str, Column] = {
        "image": PictureColumn(files, problems),
        "label": ArrayColumn(numpy.array(labels, numpy.int64)),
    }
    return Dataset.of(name, columns, classes, problems)


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
