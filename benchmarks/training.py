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

import copy
import gc
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy
import torch
from contests import OURS, Contest, Options, mean_ratio, options_parser, report, take_turns
from peer_families import vgg
from peers import EXAMPLES, NETWORKS, Array, Network, program_weights
from torch import nn

import majuscule

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
        _task(VGG_A, 4, 1.8),
        _task(NETWORKS["resnet18"], 8, 1.5),
        _task(NETWORKS["alexnet_pytorch"], 16, 1.4),
        _task(NETWORKS["mobilenet_v2"], 8, 1.4),
        _task(NETWORKS["lenet"], 64, 3.0),
    ]
    return {task.name: task for task in found}


VGG_A = Network("vgg11", partial(vgg, 224, ([3], [3], [3, 3], [3, 3], [3, 3])), (224, 224, 3), EXAMPLES / "networks")


def _task(network: Network, batch: int, goal: float) -> Task:
    text = network.text
    return Task(network.name, text if "loss " in text else text + _LOSS, network, batch, goal)


_LOSS = """
when training:
    Given label[]: int64
    loss cost = cross_entropy(scores, label)
"""


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
    found = Contest(task.name, task.batch, take_turns(ready, options), task.goal)
    ready.clear()
    torch.compiler.reset()
    gc.collect()
    return found


def main() -> None:
    """Measure and print."""
    known = tasks()
    parser = options_parser(__doc__.splitlines()[0], known, "steps", "a minute for each network")
    options = parser.parse_args(namespace=Options())
    torch.set_num_threads(options.threads)
    results = report((contest(known[name], options) for name in options.networks), options, "steps", PACKAGES)
    print(f"geometric mean {mean_ratio(results):.2f}")


if __name__ == "__main__":
    main()
