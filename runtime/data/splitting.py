"""Holding samples out: by chance, but the same ones every time, and equally many of each class."""

from __future__ import annotations

import numpy

from ..arrays import Array
from ..errors import DataError
from .dataset import Dataset
from .draws import order_of


def split(dataset: Dataset, fraction: float, *, seed: int = 0) -> tuple[Dataset, Dataset]:
    """What is left of a dataset, and the `fraction` (between 0 and 1) of its samples that is held out.

    Where the dataset has labels, that fraction of each class is held out, rounded up or down so that
    the sum is right.  Equal seeds hold out equal samples.
    Raises `DataError` if nothing would be left, or nothing held out.
    """
    if not 0 < fraction < 1:
        raise DataError(f"the fraction that is held out must lie between 0 and 1, and {fraction:g} does not")
    labels = dataset.labels()
    classes = numpy.zeros(len(dataset), int) if labels is None else numpy.unique(labels, return_inverse=True)[1]
    counts = _shares(numpy.bincount(classes) * fraction)
    if not 0 < counts.sum() < len(dataset):
        raise DataError(f"{dataset.name} has {len(dataset)} samples, too few to hold out {fraction:g} of them")
    order = order_of(len(dataset), seed)
    held_out = numpy.zeros(len(dataset), bool)
    for number, count in enumerate(counts):
        held_out[order[classes[order] == number][:count]] = True
    return dataset.subset(numpy.flatnonzero(~held_out)), dataset.subset(numpy.flatnonzero(held_out))


def _shares(quotas: Array) -> Array:
    """Whole numbers next to some quotas, and of their sum: the largest rests are rounded up."""
    shares = numpy.floor(quotas).astype(numpy.int64)
    missing = round(float(quotas.sum())) - int(shares.sum())
    shares[numpy.argsort(shares - quotas, kind="stable")[:missing]] += 1
    return shares
