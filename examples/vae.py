"""Trains `vae.maj` on the digits, prints the evidence lower bound before and after, and digits that it draws."""

from __future__ import annotations

from pathlib import Path

import numpy

import majuscule
from majuscule.runtime.data import Batches, match_inputs, open_dataset

HERE = Path(__file__).parent
SHADES = " .:-=+*#%@"


def train(epochs: int = 100) -> tuple[dict[str, float], dict[str, float], majuscule.Module]:
    """Losses and metrics on digits that it is not trained with, before and after, and the module."""
    trainer = majuscule.Trainer(HERE / "vae.maj", optimiser="Adam", rate=0.003)
    training, others = (
        match_inputs(open_dataset(HERE / "digits.npz", part), trainer.compiled.inputs) for part in ("train", "test")
    )
    held_out = Batches(others, 100, shuffle=False)
    before = trainer.evaluate(held_out)
    trainer.fit(Batches(training, 32), epochs)
    return before, trainer.evaluate(held_out), trainer.module()


def show(pictures: numpy.ndarray) -> None:
    """Print pictures side by side, the darker the ink the denser the character."""
    for row in (pictures[..., 0] * (len(SHADES) - 1)).round().astype(int).swapaxes(0, 1):
        print("  ".join("".join(SHADES[shade] for shade in picture) for picture in row))


if __name__ == "__main__":
    before, after, module = train()
    print("bound on -log p(x), in nats, for a picture that was held out:")
    print(f"  {before['bound']:.2f} before, {after['bound']:.2f} after")
    print(f"  ({after['reconstruction']:.2f} for the picture given z, {after['divergence']:.2f} for z)\n")
    show(module(numpy.zeros((8, 8, 8, 1)))["drawn"])
