"""Trains `sequence_lstm.maj` on the adding problem, and prints the squared error as it falls."""

from __future__ import annotations

from pathlib import Path

import numpy

import majuscule


def batch(numbers: numpy.random.Generator, size: int, length: int) -> dict[str, numpy.ndarray]:
    """So many sequences, with one mark in the first half and one in the second, and the sums that are wanted."""
    x = numpy.zeros((size, length, 2), "float32")
    x[..., 0] = numbers.random((size, length))
    samples = numpy.arange(size)
    x[samples, numbers.integers(0, length // 2, size), 1] = 1
    x[samples, numbers.integers(length // 2, length, size), 1] = 1
    return {"x": x, "total": (x[..., 0] * x[..., 1]).sum(1, keepdims=True)}


def train(steps: int = 1500, length: int = 50, show: int = 0) -> tuple[dict[str, float], dict[str, float]]:
    """Loss and metric on sequences that it is not trained with, before and after; `show` steps apart prints them."""
    numbers = numpy.random.default_rng(0)
    trainer = majuscule.Trainer(Path(__file__).with_suffix(".maj"), optimiser="Adam", rate=0.02, clip_norm=1.0)
    held_out = [batch(numbers, 1000, length)]
    before = trainer.evaluate(held_out)
    for step in range(steps):
        if show and step % show == 0:
            print(f"step {step:5}: squared error {trainer.evaluate(held_out)['error']:.5f}")
        trainer.step(batch(numbers, 64, length))
    return before, trainer.evaluate(held_out)


if __name__ == "__main__":
    before, after = train(show=300)
    print(f"squared error {before['error']:.5f} before, {after['error']:.5f} after; 0.16667 for a constant answer")
    print(f"{after['close']:.1%} of the sums are right to 0.1")
