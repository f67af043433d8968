"""Losses that take turns, each with a trainer of its own, go as in PyTorch."""

from __future__ import annotations

from pathlib import Path
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


def test_one_trainer_takes_turns_as_two_do_and_goes_on_within_a_round(tmp_path: Path) -> None:
    options: Any = {"optimiser": "Adam", "rate": 0.01}
    two = {turn: majuscule.Trainer(PROGRAM, losses=[turn], **options) for turn in RATES}
    one, resumed = (majuscule.Trainer(PROGRAM, turns={"judge": 2, "forger": 1}, **options) for _ in range(2))
    weights = weights_of(one)
    for trainer in (*two.values(), one, resumed):
        trainer.load_weights(weights)
    for number, (turn, batch) in enumerate(zip(TURNS[:12], batches(), strict=False)):
        expected = two[turn].step(batch).losses
        for other in two.values():
            if other is not two[turn]:
                other.tensors.update({name: two[turn].tensors[name] for name in two[turn].compiled.slots})
        assert one.step(batch).losses == expected
        if number == 7:
            one.save(tmp_path / "a.safetensors")
            resumed.load(tmp_path / "a.safetensors")
        elif number > 7:
            assert resumed.step(batch).losses == expected
    assert all(resumed.tensors[name].tobytes() == array.tobytes() for name, array in one.tensors.items())
    for turn, trainer in two.items():
        slots = [slot for found in trainer.compiled.slots.values() for slot in found]
        assert slots, turn
        assert all(one.tensors[slot].tobytes() == trainer.tensors[slot].tobytes() for slot in slots)


def test_losses_that_train_the_same_cannot_take_turns() -> None:
    with pytest.raises(majuscule.ModuleError, match=r"judge and forger cannot take turns, for both train"):
        majuscule.Trainer(
            PROGRAM.replace(" trains Φ_D", "").replace(" trains Φ_G", ""), turns={"judge": 1, "forger": 1}
        )


def test_the_history_of_an_epoch_has_both_losses() -> None:
    trainer = majuscule.Trainer(PROGRAM, turns={"judge": 2, "forger": 1})
    report = trainer.fit(batches()[:7], epochs=1)[0]
    assert set(report.training) == {"judge", "forger"}
