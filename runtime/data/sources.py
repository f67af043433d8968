"""Where data come from: files and folders in the formats that people have them in."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..arrays import Array
from ..errors import DataError
from .array_files import lines_of, read_npy, read_npz
from .cifar_files import is_cifar, read_cifar
from .columns import ArrayColumn
from .dataset import CLASSES, Dataset
from .idx_files import is_idx, read_idx
from .parts import by_part
from .picture_folders import read_picture_folder
from .problems import Problems

Source = str | os.PathLike[str]

Sources = Source | Sequence[Source]

WHOLE = ""
"""The name of the only part of a source that has no parts."""


def open_dataset(
    source: Source | Sequence[Source], part: str = "train", *, problems: Problems | None = None
) -> Dataset:
    """A part of a source of data, or all of it where it has no parts.

    A source is

    - a `.npz` file, or several `.npy` files, in which each array has a row for each sample; they
      are given one by one (`["images.npy", "labels.npy"]`), with the names of a program's inputs
      if need be (`"image=a.npy"`), or as the folder that they are in;
    - a folder with a folder of pictures for each class;
    - MNIST's IDX files, plain or .gz: one by one or as their folder;
    - the folder of CIFAR-10's binary version.

    `part` is "train", "validation" or "test"; parts are told from the names of arrays, files and
    folders (`x_train`, `t10k-images-idx3-ubyte.gz`, `flowers/test/rose/`).  Samples that cannot
    be used are left out and told to `problems`.  Raises `DataError` for a source that cannot be
    read or has not this part.
    """
    parts = open_parts(source, problems=problems)
    if part in parts or WHOLE in parts:
        return parts[part if part in parts else WHOLE]
    name = next(iter(parts.values())).name.rpartition(" (")[0]
    raise DataError(f"{name or source} has no part {part!r}; it has {', '.join(parts)}")


def open_parts(source: Sources, *, problems: Problems | None = None) -> dict[str, Dataset]:
    """All parts of a source by name, as far as it has any, else the whole as "" (see `open_dataset`)."""
    noted = Problems() if problems is None else problems
    sources = [source] if isinstance(source, str | os.PathLike) else list(source)
    paths = dict(_named(os.fspath(item)) for item in sources)
    if len(paths) < len(sources):
        raise DataError(f"two of the files have one name: {', '.join(map(str, sources))}")
    try:
        if len(paths) == 1 and (path := next(iter(paths.values()))).is_dir():
            return _open_folder(path, noted)
        arrays: dict[str, Array] = {}
        for name, path in paths.items():
            arrays |= _read_file(path, name)
        return _of_arrays(" + ".join(map(str, paths.values())), arrays, (), noted)
    except OSError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"cannot read {error.filename or sources[0]}: {error.strerror or error}") from error


def _named(item: str) -> tuple[str, Path]:
    """The name of a file's array, and the file: of `name=file`, or by the file's own name."""
    name, equals, file = item.partition("=")
    if equals and not Path(item).exists():
        return name, Path(file)
    return _stem(Path(item)), Path(item)


def _stem(path: Path) -> str:
    name = path.name.removesuffix(".gz")
    return name[: name.index("idx") - 1] if is_idx(path) else Path(name).stem


def _open_folder(folder: Path, problems: Problems) -> dict[str, Dataset]:
    if is_cifar(folder):
        return read_cifar(folder, problems)
    files = sorted(path for path in folder.iterdir() if path.is_file() and (path.suffix == ".npy" or is_idx(path)))
    if not files:
        return read_picture_folder(folder, problems)
    arrays: dict[str, Array] = {}
    for path in files:
        if (name := _stem(path)) in arrays:
            raise DataError(f"{folder} holds {name} twice, as in {path.name}")
        arrays[name] = read_npy(path) if path.suffix == ".npy" else read_idx(path)
    names = [path for stem in CLASSES if (path := folder / f"{stem}.txt").is_file()]
    return _of_arrays(str(folder), arrays, tuple(lines_of(names[0])) if names else (), problems)


def _read_file(path: Path, name: str) -> Mapping[str, Array]:
    if not path.exists():
        raise DataError(f"there is no file or folder {path}")
    if path.is_dir():
        raise DataError(f"{path} is a folder, and one folder alone is a source of data")
    if path.suffix == ".npz":
        return read_npz(path)
    if path.suffix == ".npy":
        return {name: read_npy(path)}
    if is_idx(path) or path.name.removesuffix(".gz").endswith((".idx", "ubyte")):
        return {name: read_idx(path)}
    raise DataError(f"{path} is no data that can be read: known are .npz, .npy and IDX files, and folders")


def _of_arrays(
    name: str, arrays: Mapping[str, Array], classes: tuple[str, ...], problems: Problems
) -> dict[str, Dataset]:
    texts = {key: array for key, array in arrays.items() if array.dtype.kind in "US"}
    for key in CLASSES:
        if key in texts and texts[key].ndim == 1:
            classes = tuple(str(value) for value in texts[key].astype("U"))
    numbers = {key: array for key, array in arrays.items() if key not in texts}
    if not numbers:
        raise DataError(f"{name} holds no arrays of numbers")
    single = [key for key, array in numbers.items() if not array.ndim]
    if single:
        raise DataError(f"{name}: {single[0]} is a single number, and must have one for each sample")
    return {
        part: Dataset.of(
            f"{name} ({part})" if part else name,
            {key: ArrayColumn(array) for key, array in columns.items()}, classes, problems,
        )
        for part, columns in by_part(numbers).items()
    }  # fmt: skip
