"""Holding samples out: by chance, but the same ones every time, and equally many of each class."""

from __future__ import annotations

import numpy

from ..arrays import Array
from ..errors import DataError
from .dataset import Dataset
from .draws import order_of


def split(dataset: Dataset, fraction: float, *, seed: int = 0) -> tuple[Dataset, Dataset]:
    """What is left of a dataset, and the `fraction` (between 0 and 1) of its samples that is held out.

    Where the dataset has labels, that fraction of each class is held out, up to whole samples,
    so that the whole is as near to the fraction as it can be.  Equal seeds hold out equal samples.
    Raises `DataError` if nothing would be left, or nothing held out.
    """
    if not 0 < fraction < 1:
        raise DataError(f"the fraction that is held out must lie between 0 and 1, and {fraction:g} does not")
    order = order_of(len(dataset), seed)
    labels = dataset.labels()
    if labels is not None:
        order = _spread(order, labels)
    count = round(fraction * len(dataset))
    if not 0 < count < len(dataset):
        raise DataError(f"{dataset.name} has {len(dataset)} samples, too few to hold out {fraction:g} of them")
    held_out = numpy.zeros(len(dataset), bool)
    held_out[order[:count]] = True
    return dataset.subset(numpy.flatnonzero(~held_out)), dataset.subset(numpy.flatnonzero(held_out))


def _spread(order: Array, labels: Array) -> Array:
    """The samples in an order that mixes the classes evenly, each with its samples in the given order."""
    _, classes, counts = numpy.unique(labels[order], return_inverse=True, return_counts=True)
    by_class = numpy.argsort(classes, kind="stable")
    firsts = numpy.repeat(numpy.cumsum(counts) - counts, counts)
    rank = numpy.empty(len(order), numpy.int64)
    rank[by_class] = numpy.arange(len(order)) - firsts
    return order[numpy.argsort((rank + 0.5) / counts[classes], kind="stable")]
