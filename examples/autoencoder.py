"""Trains `autoencoder.maj` on the digits, and prints the mean squared error of pixels before and after."""

from __future__ import annotations

from pathlib import Path

import majuscule
from majuscule.runtime.data import Batches, match_inputs, open_dataset

HERE = Path(__file__).parent


def train(epochs: int = 60) -> tuple[float, float]:
    """The error on digits that it is not trained with, before and after training."""
    trainer = majuscule.Trainer(HERE / "autoencoder.maj", optimiser="Adam", rate=0.003)
    training, others = (
        match_inputs(open_dataset(HERE / "digits.npz", part), trainer.compiled.inputs) for part in ("train", "test")
    )
    held_out = Batches(others, 100, shuffle=False)
    before = trainer.evaluate(held_out)["error"]
    trainer.fit(Batches(training, 32), epochs)
    return before, trainer.evaluate(held_out)["error"]


if __name__ == "__main__":
    before, after = train()
    print(f"squared error of a pixel in pictures that were held out: {before:.4f} before, {after:.4f} after")
