"""Losses that take turns, each with a trainer of its own, go as in PyTorch."""

from __future__ import annotations

from typing import Any

import numpy
import pytest

torch = pytest.importorskip("torch")
from torch.nn.functional import softplus  # noqa: E402
from trajectories import FLOOR, weights_of  # noqa: E402

import majuscule  # noqa: E402

PROGRAM = """
layer G(z[b,k], Φ):
    h = tanh(Linear(z, Φ1, units 16))
    return Linear(h, Φ2, units 2)

layer D(x[b,k], Φ):
    h = tanh(Linear(x, Φ1, units 16))
    return Linear(h, Φ2, units 1)

Given point[2], z[4]
drawn = G(z, Φ_G)

when training:
    real = D(point, Φ_D)
    forged = D(drawn, Φ_D)
    loss judge = mean[b](softplus(-real[b,0]) + softplus(forged[b,0])) trains Φ_D
    loss forger = mean[b](softplus(-forged[b,0])) trains Φ_G

output drawn
"""
TURNS = ("judge", "judge", "forger") * 30
RATES = {"judge": 0.1, "forger": 0.05}


def batches() -> list[dict[str, Any]]:
    numbers = numpy.random.default_rng(0)
    angles = 2 * numpy.pi * numbers.random((len(TURNS), 32))
    points = numpy.stack([numpy.cos(angles), numpy.sin(angles)], 2).astype("float32")
    return [{"point": p, "z": numbers.normal(size=(32, 4)).astype("float32")} for p in points]


def torch_losses(weights: dict[str, Any], dtype: Any) -> list[float]:
    """The loss of each turn in PyTorch."""
    p = {name: torch.tensor(value, dtype=dtype, requires_grad=True) for name, value in weights.items()}

    def net(x: Any, name: str) -> Any:
        h = (x @ p[f"{name}.Φ1.W"] + p[f"{name}.Φ1.B"]).tanh()
        return h @ p[f"{name}.Φ2.W"] + p[f"{name}.Φ2.B"]

    own = {"judge": "Φ_D", "forger": "Φ_G"}
    optimisers = {
        turn: torch.optim.SGD([p[n] for n in p if n.startswith(own[turn])], RATES[turn], momentum=0.9) for turn in own
    }
    found = []
    for turn, batch in zip(TURNS, batches(), strict=True):
        point, z = (torch.tensor(batch[name], dtype=dtype) for name in ("point", "z"))
        forged = net(net(z, "Φ_G"), "Φ_D")
        loss = (
            softplus(-forged).mean() if turn == "forger" else (softplus(-net(point, "Φ_D")) + softplus(forged)).mean()
        )
        for value in p.values():
            value.grad = None
        loss.backward()
        optimisers[turn].step()
        found.append(float(loss.detach()))
    return found


def test_two_losses_take_turns_as_in_pytorch() -> None:
    trainers = {turn: majuscule.Trainer(PROGRAM, losses=[turn], rate=rate) for turn, rate in RATES.items()}
    weights = weights_of(trainers["judge"])
    for trainer in trainers.values():
        trainer.load_weights(weights)
    ours = []
    for turn, batch in zip(TURNS, batches(), strict=True):
        one = trainers[turn]
        ours.append(one.step(batch).loss)
        for other in trainers.values():
            if other is not one:
                other.tensors.update({name: one.tensors[name] for name in one.compiled.slots})
    exact, single = (torch_losses(weights, dtype) for dtype in (torch.float64, torch.float32))
    error, allowed = numpy.abs(numpy.subtract(ours, exact)), 3 * numpy.abs(numpy.subtract(single, exact))
    assert (error <= numpy.maximum(allowed, FLOOR)).all()
    assert numpy.ptp(exact) > 0.01
