"""A dataset: named columns with a value for each sample, and the names of the classes if there are any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy

from ..arrays import Array, as_array
from ..errors import DataError
from .columns import ArrayColumn, Column
from .problems import Problems

LABELS = ("label", "labels", "y", "target", "targets", "class")
"""What columns of labels are usually called."""

CLASSES = ("classes", "class_names", "label_names")
"""What an array or file is called that holds the names of the classes."""


@dataclass(frozen=True)
class Dataset:
    """Samples with a value in each of several columns.

    `name` says where they come from; `samples` are the numbers of the samples that belong to
    this dataset, in the columns' own counting.  `classes` names the values of labels 0, 1, ….
    `pixels` are the columns of floats that were made of bytes, divided by 255.
    """

    name: str
    columns: Mapping[str, Column]
    samples: Array
    classes: tuple[str, ...] = ()
    problems: Problems = field(default_factory=Problems)
    pixels: tuple[str, ...] = ()

    @staticmethod
    def of(
        name: str,
        columns: Mapping[str, Column],
        classes: Sequence[str] = (),
        problems: Problems | None = None,
    ) -> Dataset:
        """All samples of some columns, which must be equally long; raises `DataError`."""
        lengths = {key: column.shape[0] or 0 for key, column in columns.items()}
        if not lengths:
            raise DataError(f"{name} holds no data")
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{key} {length:,}" for key, length in lengths.items())
            raise DataError(f"{name}: the numbers of samples differ: {listed}")
        length = next(iter(lengths.values()))
        return Dataset(
            name, dict(columns), numpy.arange(length), tuple(classes), Problems() if problems is None else problems
        )

    @staticmethod
    def of_arrays(arrays: Mapping[str, object], classes: Sequence[str] = (), name: str = "arrays") -> Dataset:
        """A dataset of arrays in memory, whose first axis counts the samples."""
        found = {key: as_array(value, key) for key, value in arrays.items()}
        for key, array in found.items():
            if not array.ndim:
                raise DataError(f"{name}: {key} is a single number, and must have one for each sample")
        return Dataset.of(name, {key: ArrayColumn(array) for key, array in found.items()}, classes)

    def __len__(self) -> int:
        """The number of samples."""
        return len(self.samples)

    def read(self, places: Array | Sequence[int]) -> tuple[dict[str, Array], Array]:
        """The values of the samples at these places, by column, and for each place whether it can be read.

        Samples that cannot be read have no values.
        """
        samples = self.samples[numpy.asarray(places, numpy.int64)]
        found = {name: column.read(samples) for name, column in self.columns.items()}
        usable = numpy.ones(len(samples), bool)
        for _, readable in found.values():
            usable &= readable
        return {name: values[usable[readable]] for name, (values, readable) in found.items()}, usable

    def subset(self, places: Array | Sequence[int]) -> Dataset:
        """The samples at these places."""
        return replace(self, samples=self.samples[numpy.asarray(places, numpy.int64)])

    @property
    def label(self) -> str | None:
        """The column of labels: whole numbers, one for each sample; None if there is none."""
        whole = [
            name
            for name, column in self.columns.items()
            if column.dtype.kind in "iu" and (len(column.shape) == 1 or column.shape[1:] == (1,))
        ]
        usual = [name for name in whole if name.lower() in LABELS]
        return next(iter(usual or whole), None)

    def labels(self) -> Array | None:
        """The label of every sample; None if the dataset has no labels."""
        if self.label is None:
            return None
        return self.columns[self.label].read(self.samples)[0].reshape(-1)

    def describe(self) -> str:
        """What is in it, for people: a line for the whole, one for each column, one for the classes."""
        lines = [f"{self.name}: {len(self):,} sample{'' if len(self) == 1 else 's'}"]
        labels = self.labels()
        for name, column in self.columns.items():
            sizes = "×".join("?" if size is None else str(size) for size in column.shape[1:])
            if name != self.label:
                lines.append(f"  {name}: {column.dtype.name}{f' {sizes}' if sizes else ''}")
            elif labels is not None and labels.size:
                lines.append(f"  {name}: {self._describe_labels(labels)}")
        return "\n".join(lines)

    def _describe_labels(self, labels: Array) -> str:
        values, counts = numpy.unique(labels, return_counts=True)
        if len(values) > max(len(self.classes), 1000):
            return f"whole numbers from {values[0]} to {values[-1]}"
        names = [self.classes[value] if 0 <= value < len(self.classes) else str(value) for value in values]
        listed = ", ".join(names) if len(names) <= 10 else f"{', '.join(names[:4])}, …, {names[-1]}"
        least, most = counts.min(), counts.max()
        each = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        return f"{len(names)} class{'' if len(names) == 1 else 'es'} ({listed}), {each} samples each"
