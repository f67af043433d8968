"""Data to train and to evaluate with: where they come from, how they fit a program, and batches of them.

    training, held_out = split(open_dataset("flowers/"), 0.1)
    training = match_inputs(training, inputs, resize=True)
    for batch in Batches(training, 32, augmentations=[Flip()]).epoch(1):
        ...                                   # a dictionary of arrays by the inputs' names

Needs NumPy and Pillow, no compiler.  Everything is a function of files and seeds: the same
batches come out in every run, from whichever position an epoch is taken up again.
"""

from __future__ import annotations

from .augmentation import Augmentation, Crop, Flip, Rotate, parse_augmentations
from .batches import Batches
from .dataset import Dataset
from .matching import match_inputs
from .normalisation import Normalisation
from .problems import Problems
from .sources import open_dataset
from .splitting import split

__all__ = [
    "Augmentation",
    "Batches",
    "Crop",
    "Dataset",
    "Flip",
    "Normalisation",
    "Problems",
    "Rotate",
    "match_inputs",
    "open_dataset",
    "parse_augmentations",
    "split",
]
