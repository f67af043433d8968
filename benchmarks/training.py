"""Training steps of networks, against PyTorch in the fastest of its modes, in float32 on this processor.

    python benchmarks/training.py [NETWORK ...] [--repeats N] [--rounds N] [--threads N] [--compile] [--json FILE]

It wants the extra `peers`.  A step is the forward pass, the cross-entropy, all gradients and the update
of SGD with momentum 0.9.  Both sides start from equal weights, get equal random images and have equal
numbers of threads; where no dropout draws random numbers, their losses must agree in the first steps.
They take turns in one process, in rounds that each start with another side: a side rests, warms up,
and is timed for N steps.  Printed are the medians in milliseconds, and how many times as long as
Majuscule the fastest of PyTorch's modes takes.

PyTorch runs with channels first and channels last, gradients set to nothing after each step; with
`--compile`, also through `torch.compile`, which takes a minute for each network.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import math
import os
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy
import torch
from machine import describe_machine
from peers import NETWORKS, Array, Network, program_weights, vgg
from timing import timed
from torch import nn

import majuscule

OURS = "Majuscule"
MOMENTUM, RATE = 0.9, 1e-3
STEPS = 3  # whose losses are compared
TOLERANCE = 1e-3  # of the loss
PACKAGES = ("majuscule", "apache-tvm", "torch")


@dataclass(frozen=True)
class Task:
    """A network to train: the program, the same in PyTorch, the batch, and how many times as fast it is to be."""

    name: str
    text: str
    network: Network
    batch: int
    goal: float

    def data(self) -> tuple[Array, Array]:
        """Images [batch, rows, columns, channels] and the numbers of their classes."""
        images = self.network.images(self.batch)
        classes = list(self.network.build().modules())[-1]
        count = classes.out_features if isinstance(classes, nn.Linear) else 10
        return images, numpy.random.default_rng(0).integers(0, count, self.batch)


def tasks() -> dict[str, Task]:
    """All networks, by name."""
    found = [
        Task("vgg_a", _vgg((1, 1, 2, 2, 2)), Network("vgg_a", lambda: vgg((1, 1, 2, 2, 2)), (224, 224, 3)), 4, 1.8),
        _example("resnet18", 8, 1.5),
        _example("alexnet_pytorch", 16, 1.4),
        _example("mobilenet_v2", 8, 1.4),
        _example("lenet", 64, 3.0),
    ]
    return {task.name: task for task in found}


def _example(name: str, batch: int, goal: float) -> Task:
    network = NETWORKS[name]
    text = network.path.read_text(encoding="utf-8")
    return Task(name, text if "loss " in text else text + _LOSS, network, batch, goal)


_LOSS = """
when training:
    Given label[]: int64
    loss cost = cross_entropy(scores, label)
"""


def _vgg(depths: tuple[int, ...]) -> str:
    """The program of a VGG with so many convolutions in each stage (Simonyan and Zisserman 2014, table 1)."""
    lines, last = ["Given pool0[224, 224, 3]"], "pool0"
    for stage, (filters, depth) in enumerate(zip((64, 128, 256, 512, 512), depths, strict=True), 1):
        for position in range(1, depth + 1):
            lines.append(f"conv{stage}_{position} = CONV({last}, width 3, pad 1, filters {filters})")
            last = f"relu(conv{stage}_{position})"
        lines.append(f"pool{stage} = MaxPool({last}, width 2, stride 2)")
        last = f"pool{stage}"
    lines += ["fc6 = FC(pool5, units 4096)", "drop6 = Dropout(relu(fc6))", "fc7 = FC(drop6, units 4096)"]
    lines += ["drop7 = Dropout(relu(fc7))", "scores = FC(drop7, units 1000)"]
    return "\n".join(lines) + "\n" + _LOSS


@dataclass
class Contest:
    """The seconds of every side's steps, a list for each round."""

    task: Task
    seconds: dict[str, list[list[float]]] = field(default_factory=dict)

    def median(self, side: str) -> float:
        """Of the steps of all rounds together."""
        return statistics.median(chain.from_iterable(self.seconds[side]))

    @property
    def best_peer(self) -> str:
        """The mode of PyTorch with the smallest median."""
        return min((side for side in self.seconds if side != OURS), key=self.median)

    @property
    def ratio(self) -> float:
        """How many times as long as Majuscule it takes."""
        return self.median(self.best_peer) / self.median(OURS)

    def ratios(self) -> list[float]:
        """The same for each round."""
        pairs = zip(self.seconds[self.best_peer], self.seconds[OURS], strict=True)
        return [statistics.median(theirs) / statistics.median(ours) for theirs, ours in pairs]

    def as_json(self) -> dict[str, Any]:
        """Everything that was found, in milliseconds."""
        return {
            "network": self.task.name,
            "batch": self.task.batch,
            "milliseconds": {side: 1e3 * self.median(side) for side in self.seconds},
            "best_peer": self.best_peer,
            "ratio": self.ratio,
            "ratios": self.ratios(),
            "goal": self.task.goal,
        }


Step = Callable[[], float]
"""One step; gives the loss before it."""


def ours(task: Task, weights: dict[str, Array], images: Array, labels: Array, threads: int) -> Step:
    """The compiled step."""
    trainer = majuscule.Trainer(
        task.text, optimiser=f"Momentum(momentum {MOMENTUM})", rate=RATE, weights=weights, threads=threads
    )
    batch = {trainer.program.inputs[0]: images, "label": labels}
    return lambda: float(next(iter(trainer.step(batch).losses.values())))


def pytorch(model: nn.Module, images: Array, labels: Array, *, last: bool, compiled: bool = False) -> Step:
    """PyTorch's step, with channels `last` or first in memory."""
    order = torch.channels_last if last else torch.contiguous_format
    model = model.to(memory_format=order)
    given = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(memory_format=order)
    wanted = torch.from_numpy(labels)
    optimiser = torch.optim.SGD(model.parameters(), RATE, momentum=MOMENTUM)
    forward = torch.compile(model, dynamic=False) if compiled else model

    def step() -> float:
        optimiser.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(forward(given), wanted)
        loss.backward()
        optimiser.step()
        return float(loss.detach())

    return step


def sides(task: Task, options: Options) -> dict[str, Step]:
    """Majuscule and PyTorch's modes, warmed up; AssertionError if their losses differ."""
    torch.manual_seed(0)
    model = task.network.build()
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    model.train()
    images, labels = task.data()
    found = {OURS: ours(task, program_weights(model), images, labels, options.threads)}
    for name, last in (("channels first", False), ("channels last", True)):
        found[name] = pytorch(copy.deepcopy(model), images, labels, last=last)
    if options.compile:
        found["torch.compile"] = pytorch(copy.deepcopy(model), images, labels, last=True, compiled=True)
    losses = {name: [step() for _ in range(STEPS)] for name, step in found.items()}
    if not any(isinstance(layer, nn.Dropout) for layer in model.modules()):
        for name, values in losses.items():
            for value, expected in zip(values, losses["channels first"], strict=True):
                assert abs(value - expected) <= TOLERANCE * expected, f"{task.name}, {name}: {losses}"
    return found


def contest(task: Task, options: Options) -> Contest:
    """A network's; nothing of it stays in memory."""
    ready = sides(task, options)
    found = Contest(task, {name: [] for name in ready})
    for turn in range(options.rounds):
        names = list(ready)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            found.seconds[name].append(timed(ready[name], options.repeats))
    ready.clear()
    torch.compiler.reset()
    gc.collect()
    return found


@dataclass(frozen=True)
class Options:
    """The command line."""

    names: list[str]
    repeats: int
    rounds: int
    threads: int
    compile: bool
    json: Path | None


def read_options() -> Options:
    """The options given on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = list(tasks())
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"all if left out: {', '.join(known)}")
    parser.add_argument("--repeats", type=int, default=5, help="timed steps of each side in a round")
    parser.add_argument("--rounds", type=int, default=3)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser.add_argument("--threads", type=int, default=cores, help="of each side; all cores if left out")
    parser.add_argument("--compile", action="store_true", help="torch.compile as well: a minute for each network")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    given = parser.parse_args()
    unknown = [name for name in given.networks if name not in known]
    if unknown:
        parser.error(f"no network called {', '.join(unknown)}; there are {', '.join(known)}")
    if min(given.repeats, given.rounds, given.threads) < 1:
        parser.error("repeats, rounds and threads are 1 or more")
    return Options(
        given.networks or known, given.repeats, given.rounds, given.threads, given.compile, given.json
    )  # fmt: skip


def contests(options: Options) -> Iterator[Contest]:
    """Of all networks that are asked for."""
    known = tasks()
    for name in options.names:
        yield contest(known[name], options)


def row(found: Contest) -> str:
    """A line of the table."""
    times = "".join(f"{1e3 * found.median(side):>16.2f}" for side in found.seconds)
    spread = f"{min(found.ratios()):.2f}..{max(found.ratios()):.2f}"
    missed = "" if found.ratio >= found.task.goal else "  missed"
    name = f"{found.task.name:<17}{found.task.batch:>6}"
    return f"{name}{times}  {found.best_peer:<15}{found.ratio:>6.2f}  {spread:<12}{found.task.goal:>5.1f}{missed}"


def main() -> None:
    """Measure and print."""
    options = read_options()
    torch.set_num_threads(options.threads)
    machine = describe_machine(PACKAGES)
    conditions = (
        f"{options.threads} threads, float32, medians of {options.rounds} rounds of {options.repeats} steps; "
        f"load of the machine before: {os.getloadavg()[0]:.1f}"
    )
    names = [OURS, "channels first", "channels last", *(["torch.compile"] if options.compile else [])]
    print(machine, conditions, sep="\n")
    heads = "".join(f"{name:>16}" for name in names)
    print(f"{'milliseconds':<17}{'batch':>6}{heads}  {'best peer':<15} ratio  {'rounds':<12} goal")
    results: list[Contest] = []
    for found in contests(options):
        print(row(found), flush=True)
        results.append(found)
        if options.json is not None:  # after each, so that an interrupted run is not lost
            report = {"machine": machine, "conditions": conditions, "results": [r.as_json() for r in results]}
            options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    mean = math.exp(statistics.fmean(math.log(found.ratio) for found in results))
    print(f"geometric mean {mean:.2f}")


if __name__ == "__main__":
    main()
