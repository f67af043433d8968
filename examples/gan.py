"""Trains `gan.maj` on the digits, prints its two losses, and digits that the generator makes."""

from __future__ import annotations

from pathlib import Path

import numpy

import majuscule
from majuscule.runtime.data import Batches, match_inputs, open_dataset

HERE = Path(__file__).parent
SHADES = " .:-=+*#%@"


def train(epochs: int = 400) -> tuple[majuscule.Module, list[majuscule.fitting.Report], majuscule.Module]:
    """The module before training, a report of each epoch, and the module after training."""
    trainer = majuscule.Trainer(HERE / "gan.maj", optimiser="Adam(beta1 0.5)", rate=0.001)
    digits = match_inputs(open_dataset(HERE / "digits.npz"), trainer.compiled.inputs)
    before = trainer.module()
    reports = trainer.fit(Batches(digits, 64, drop_last=True), epochs)
    return before, reports, trainer.module()


def show(pictures: numpy.ndarray) -> None:
    """Print pictures side by side, the darker the ink the denser the character."""
    for row in (pictures[..., 0] * (len(SHADES) - 1)).round().astype(int).swapaxes(0, 1):
        print("  ".join("".join(SHADES[shade] for shade in picture) for picture in row))


if __name__ == "__main__":
    _, reports, module = train()
    for report in (reports[0], reports[len(reports) // 2], reports[-1]):
        losses = ", ".join(f"{name} {value:.3f}" for name, value in report.training.items())
        print(f"epoch {report.epoch}: {losses}")
    print()
    show(module(numpy.zeros((8, 8, 8, 1))))
