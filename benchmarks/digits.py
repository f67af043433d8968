"""How well LeNet reads handwritten digits that it was not trained with, over several seeds.

    python benchmarks/digits.py [--seeds N] [--epochs N]

Trains as the README's first command does, once for each seed, which chooses the first weights,
the order of the digits and how they are varied.  A third of the digits is held out, always the
same one.  Prints the share of these that is read rightly; the exit status is 1 if the mean is below
98.5%.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import describe_machine

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
OPTIONS = ("--resize", "--augment", "crop:2,rotate:10", "--schedule", "cosine", "--json")
LEAST = 0.985


def train(seed: int, epochs: int) -> float:
    """The share of the held-out digits that LeNet reads rightly after training."""
    command = [sys.executable, "-m", "majuscule", "train", str(EXAMPLES / "lenet.maj")]
    with tempfile.TemporaryDirectory() as folder:
        chosen = ["--seed", str(seed), "--epochs", str(epochs), "--checkpoint", folder]
        done = subprocess.run(
            [*command, "--data", str(EXAMPLES / "digits.npz"), *OPTIONS, *chosen], capture_output=True, text=True
        )
    if done.returncode:
        raise SystemExit(done.stderr)
    right: float = json.loads(done.stdout)["test"]["right"]
    return right


def main() -> None:
    """Train and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=40)
    arguments = parser.parse_args()
    print(describe_machine())
    found = []
    for seed in range(arguments.seeds):
        started = time.perf_counter()
        found.append(train(seed, arguments.epochs))
        print(f"seed {seed}: {found[-1]:.2%} right, {time.perf_counter() - started:.0f} s", flush=True)
    mean = statistics.mean(found)
    print(f"mean {mean:.2%}, to be at least {LEAST:.1%}")
    raise SystemExit(mean < LEAST)


if __name__ == "__main__":
    main()
