"""Batches of a dataset, prepared on other threads while the caller computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy

from ..arrays import Array
from ..errors import DataError
from .augmentation import Augmentation
from .dataset import Dataset
from .draws import order_of, uniform
from .normalisation import Normalisation

Batch = dict[str, Array]
Result = TypeVar("Result")

_AXES_OF_PICTURES = 3
"""With this many axes or more, values are pictures: samples, rows, columns, and perhaps channels."""


class Batches:
    """The samples of a dataset in batches, in a new order in every epoch.

    `dataset` may be a mapping of arrays.  `batch` is how many samples are in a batch; the last
    one of an epoch may have fewer, and is left out if `drop_last`.  With `shuffle` the order,
    and with `augmentations` what becomes of the pictures, is chosen by `seed` and the number of
    the epoch: equal ones give equal batches, bit for bit.  `augmentations` change inputs with
    rows and columns, `normalisation` comes after them.  `threads` prepare up to `ahead` batches
    before they are asked for; 0 threads prepare each when it is.
    """

    def __init__(
        self,
        dataset: Dataset | Mapping[str, object],
        batch: int,
        *,
        shuffle: bool = True,
        seed: int = 0,
        augmentations: Sequence[Augmentation] = (),
        normalisation: Normalisation | None = None,
        drop_last: bool = False,
        threads: int = 1,
        ahead: int = 4,
    ) -> None:
        self.dataset = dataset if isinstance(dataset, Dataset) else Dataset.of_arrays(dataset)
        self.batch = batch
        self.shuffle = shuffle
        self.seed = seed
        self.augmentations = tuple(augmentations)
        self.normalisation = normalisation
        self._drop_last = drop_last
        self._threads = threads
        self._ahead = ahead
        if batch < 1:
            raise DataError(f"a batch has at least 1 sample, not {batch}")
        if not len(self):
            raise DataError(f"{self.dataset.name} has {len(self.dataset)} samples, not enough for a batch of {batch}")

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        count, rest = divmod(len(self.dataset), self.batch)
        return count if self._drop_last else count + (rest > 0)

    def __iter__(self) -> Iterator[Batch]:
        """The batches of epoch 0."""
        return self.epoch(0)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch as arrays by column, from batch `start` on (0: all of them).

        A batch without a readable sample is left out.  Errors are raised where the batch would be
        given.  The threads end with the iterator.
        """
        for _, batch in self.numbered_epoch(number, start):
            yield batch

    def numbered_epoch(self, number: int, start: int = 0) -> Iterator[tuple[int, Batch]]:
        """The same, each batch with its number: the epoch can be taken up again at the next one."""
        prepare, numbers = self._preparation(number), range(start, len(self))
        results = _in_order(prepare, numbers, self._threads, self._ahead) if self._threads else map(prepare, numbers)
        for place, batch in zip(numbers, results, strict=True):
            if len(next(iter(batch.values()))):
                yield place, batch

    def _preparation(self, epoch: int) -> Callable[[int], Batch]:
        """The function that makes a batch of this epoch by its number."""
        count = len(self.dataset)
        order = order_of(count, self.seed, "order", epoch) if self.shuffle else numpy.arange(count)
        numbers = [
            uniform(count * augmentation.draws, self.seed, "augmentation", place, epoch).reshape(count, -1)
            for place, augmentation in enumerate(self.augmentations)
        ]

        def prepare(number: int) -> Batch:
            places = order[number * self.batch : (number + 1) * self.batch]
            arrays, usable = self.dataset.read(places)
            drawn = [drawn_by_sample[places[usable]] for drawn_by_sample in numbers]
            return {name: self._changed(name, array, drawn) for name, array in arrays.items()}

        return prepare

    def _changed(self, name: str, array: Array, numbers: Sequence[Array]) -> Array:
        if array.ndim >= _AXES_OF_PICTURES:
            for augmentation, drawn in zip(self.augmentations, numbers, strict=True):
                array = augmentation.apply(array, drawn)
        return array if self.normalisation is None else self.normalisation.apply(name, array)


def _in_order(function: Callable[[int], Result], numbers: Sequence[int], threads: int, ahead: int) -> Iterator[Result]:
    """`map(function, numbers)` that is up to `ahead` results ahead, on threads which end with the iterator."""
    with ThreadPoolExecutor(threads, "majuscule-data") as executor:
        waiting: deque[Future[Result]] = deque()
        remaining = iter(numbers)
        try:
            while True:
                while len(waiting) < ahead and (number := next(remaining, None)) is not None:
                    waiting.append(executor.submit(function, number))
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
