"""Normalising inputs: less the mean of the training data, divided by their standard deviation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy

from ..arrays import Array
from ..errors import DataError
from .dataset import Dataset

_SAMPLES_AT_A_TIME = 256


@dataclass(frozen=True)
class Normalisation:
    """For each of several inputs its mean and deviation, one number for each place of its last axis.

    For pictures these are the channels, for tables the features.
    """

    mean: Mapping[str, tuple[float, ...]]
    deviation: Mapping[str, tuple[float, ...]]

    @staticmethod
    def of(dataset: Dataset) -> Normalisation:
        """That of all inputs of floats that have axes beside the batch, over all samples of a dataset.

        Where a deviation is 0 it becomes 1.  Raises `DataError` if no sample can be read.
        """
        names = [name for name, column in dataset.columns.items() if _is_normalised(column.shape, column.dtype)]
        count = dict.fromkeys(names, 0)
        mean: dict[str, Any] = dict.fromkeys(names, 0.0)
        squares: dict[str, Any] = dict.fromkeys(names, 0.0)
        for start in range(0, len(dataset), _SAMPLES_AT_A_TIME):
            arrays, _ = dataset.read(range(start, min(start + _SAMPLES_AT_A_TIME, len(dataset))))
            for name in names:
                rows = arrays[name].reshape(-1, arrays[name].shape[-1]).astype(numpy.float64)
                # Chan, Golub, LeVeque 1979: means and sums of squares of parts, put together
                if total := count[name] + len(rows):
                    part_mean = rows.mean(0) if len(rows) else mean[name]
                    shift = part_mean - mean[name]
                    squares[name] += ((rows - part_mean) ** 2).sum(0) + shift**2 * count[name] * len(rows) / total
                    mean[name] += shift * len(rows) / total
                    count[name] = total
        if not all(count.values()):
            raise DataError(f"{dataset.name}: no sample can be read")
        deviation = {name: numpy.sqrt(squares[name] / count[name]) for name in names}
        return Normalisation(
            {name: tuple(map(float, mean[name])) for name in names},
            {name: tuple(float(value) or 1.0 for value in deviation[name]) for name in names},
        )

    def apply(self, name: str, array: Array) -> Array:
        """An input's values normalised; another input's as they are."""
        if name not in self.mean:
            return array
        mean = numpy.array(self.mean[name], array.dtype)
        return numpy.asarray((array - mean) / numpy.array(self.deviation[name], array.dtype))

    def to_json(self) -> dict[str, Any]:
        """The same as plain values, to be kept with a module."""
        return {name: {"mean": list(self.mean[name]), "deviation": list(self.deviation[name])} for name in self.mean}

    @staticmethod
    def from_json(values: Mapping[str, Mapping[str, list[float]]]) -> Normalisation:
        """What `to_json` gave."""
        mean = {name: tuple(entry["mean"]) for name, entry in values.items()}
        return Normalisation(mean, {name: tuple(entry["deviation"]) for name, entry in values.items()})


def _is_normalised(shape: tuple[int | None, ...], dtype: numpy.dtype[Any]) -> bool:
    return "float" in dtype.name and len(shape) > 1 and shape[-1] is not None
