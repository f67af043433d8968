"""Trains `threshold_logic.maj` on the four rows of a truth table, and prints the table that it has learnt."""

from __future__ import annotations

from pathlib import Path

import numpy

import majuscule

P, Q = numpy.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float32").T
TRUTH = (P != Q).astype("float32")
"""Exclusive or; any other function of P and Q can be put here."""


def train(steps: int = 300) -> tuple[float, float, majuscule.Module]:
    """The loss before and after so many steps, and the module that has learnt."""
    trainer = majuscule.Trainer(Path(__file__).with_suffix(".maj"), optimiser="Adam", rate=0.1)
    batch = {"P": P, "Q": Q, "truth": TRUTH}
    before = trainer.evaluate([batch])["cost"]
    for _ in range(steps):
        trainer.step(batch)
    return before, trainer.evaluate([batch])["cost"], trainer.module()


if __name__ == "__main__":
    before, after, module = train()
    print(f"loss {before:.3f} before, {after:.4f} after\n")
    print("P Q   learnt   by weights that were known")
    for p, q, learnt, known in zip(P, Q, *module(P, Q), strict=True):
        print(f"{p:.0f} {q:.0f}   {learnt:.4f}   {known:.4f}")
