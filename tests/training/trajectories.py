"""The same training in Majuscule and in PyTorch, from the same weights on the same batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy
import torch

import majuscule

Tensors = Mapping[str, Any]
Batch = dict[str, numpy.ndarray[Any, Any]]
Loss = Callable[[Tensors, Tensors], Any]
"""The loss in PyTorch, of parameters by name and a batch."""

CHANNELS_FIRST = (0, 3, 1, 2)
CHANNELS_LAST = (0, 2, 3, 1)
WEIGHT = (3, 2, 0, 1)
"""From [window, channels in, channels out] to [channels out, channels in, window]."""

FLOOR = 1e-5


def torch_losses(
    loss: Loss,
    weights: Mapping[str, numpy.ndarray[Any, Any]],
    batches: Iterable[Batch],
    optimiser: Callable[[Sequence[Any]], Any],
    dtype: Any,
) -> tuple[list[float], dict[str, Any]]:
    """The losses of PyTorch's steps in a dtype, and the parameters after them."""
    parameters = {name: torch.tensor(value, dtype=dtype, requires_grad=True) for name, value in weights.items()}
    steps = optimiser(list(parameters.values()))
    found = []
    for batch in batches:
        given = {name: torch.tensor(value) for name, value in batch.items()}
        given = {name: value.to(dtype) if value.is_floating_point() else value for name, value in given.items()}
        steps.zero_grad()
        value = loss(parameters, given)
        value.backward()
        steps.step()
        found.append(float(value.detach()))
    return found, {name: value.detach().numpy() for name, value in parameters.items()}


def weights_of(trainer: majuscule.Trainer, seed: int = 0) -> dict[str, numpy.ndarray[Any, Any]]:
    """First values as PyTorch's layers have them: uniform within 1 / sqrt(fan in)."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name in trainer.parameters:
        shape = trainer.tensors[name].shape
        if name.endswith((".γ", "running_var")):
            found[name] = numpy.ones(shape, "float32")
        elif name.endswith((".β", "running_mean")):
            found[name] = numpy.zeros(shape, "float32")
        else:
            bound = numpy.prod(shape[:-1] or shape) ** -0.5
            found[name] = ((torch.rand(shape, generator=generator) * 2 - 1) * bound).numpy()
    return found


def assert_as_close_as_torch(
    trainer: majuscule.Trainer, loss: Loss, batches: list[Batch], optimiser: Callable[[Sequence[Any]], Any]
) -> None:
    """At every step our loss is no further from PyTorch's in float64 than three times PyTorch's in float32 is."""
    weights = weights_of(trainer)
    trainer.load_weights(weights)
    trained = {n: w for n, w in weights.items() if not n.endswith(("running_mean", "running_var"))}
    exact, _ = torch_losses(loss, trained, batches, optimiser, torch.float64)
    single, _ = torch_losses(loss, trained, batches, optimiser, torch.float32)
    ours = [trainer.step(batch).loss for batch in batches]
    error, allowed = numpy.abs(numpy.subtract(ours, exact)), numpy.abs(numpy.subtract(single, exact))
    allowed = numpy.maximum(3 * allowed, FLOOR)
    worst = int(numpy.argmax(error / allowed))
    assert (error <= allowed).all(), (
        f"step {worst + 1}: {ours[worst]} is {error[worst]:.2e} from {exact[worst]}, allowed are {allowed[worst]:.2e}"
    )
