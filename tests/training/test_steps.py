"""What a step does with losses, parameters and state: against PyTorch, in one or two steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest

import majuscule

torch = pytest.importorskip("torch")
from torch.nn import functional  # noqa: E402

GAN = """
layer Judge(x[b, i], Φ):
    h = relu(FC(x, units 8))
    s = FC(h, units 1)
    return[b] = s[b,0]

layer Forge(z[b, i], Φ):
    h = relu(FC(z, units 8))
    return FC(h, units 4)

Given real[4], noise[3]
fake = Forge(noise, Φ_G)
j = Judge(real, Φ_J)
k = Judge(fake, Φ_J)
loss judge = mean[b](log(1 + exp(-j[b]))) + mean[b](log(1 + exp(k[b]))) trains Φ_J
loss forger = mean[b](log(1 + exp(-k[b]))) trains Φ_G
output fake
"""


def normal(*shape: int, seed: int = 0) -> numpy.ndarray[Any, Any]:
    return numpy.random.default_rng(seed).normal(size=shape).astype("float32")


def torch_parameters(trainer: majuscule.Trainer, *names: str) -> dict[str, Any]:
    return {name: torch.tensor(trainer.tensors[name].copy(), requires_grad=True) for name in names}


def assert_same(trainer: majuscule.Trainer, expected: dict[str, Any]) -> None:
    for name, value in expected.items():
        numpy.testing.assert_allclose(trainer.tensors[name], value.detach().numpy(), rtol=1e-4, atol=1e-6, err_msg=name)


def test_several_losses_train_what_they_name() -> None:
    trainer = majuscule.Trainer(GAN, optimiser="SGD", rate=0.5)
    judges = [name for name in trainer.parameters if name.startswith("Φ_J")]
    forgers = [name for name in trainer.parameters if name.startswith("Φ_G")]
    p = torch_parameters(trainer, *judges, *forgers)
    assert len(judges) == len(forgers) == 4

    def two_layers(x: Any, names: list[str]) -> Any:
        W, B, V, C = (p[name] for name in names)
        return functional.relu(x @ W + B) @ V + C

    for step in range(2):
        batch = {"real": normal(5, 4, seed=step), "noise": normal(5, 3, seed=10 + step)}
        result = trainer.step(batch)

        real, noise = (torch.tensor(batch[name]) for name in ("real", "noise"))
        true, false = (two_layers(x, judges)[:, 0] for x in (real, two_layers(noise, forgers)))
        losses = {
            "judge": functional.softplus(-true).mean() + functional.softplus(false).mean(),
            "forger": functional.softplus(-false).mean(),
        }
        assert result.losses == pytest.approx({name: float(value.detach()) for name, value in losses.items()}, rel=1e-5)
        gradients: dict[str, Any] = {}
        for loss, names in (("judge", judges), ("forger", forgers)):
            found = torch.autograd.grad(losses[loss], [p[name] for name in names], retain_graph=True)
            gradients |= dict(zip(names, found, strict=True))
        p = {name: (value - 0.5 * gradients[name]).detach().requires_grad_() for name, value in p.items()}
        assert_same(trainer, p)


NET = """
Given x[6]
h[8] = BatchNorm(FC(x, Φ1), Φn)
y[2] = FC(relu(h), Φ2)
when training:
    Given t[2]
    loss J = MSE(y, t)
output y
"""
TRAINED = ("Φ1.W", "Φ1.B", "Φn.γ", "Φn.β", "Φ2.W", "Φ2.B")


def net(p: dict[str, Any], mean: Any, variance: Any, x: Any) -> Any:
    h = functional.batch_norm(x @ p["Φ1.W"] + p["Φ1.B"], mean, variance, p["Φn.γ"], p["Φn.β"], True)
    return functional.relu(h) @ p["Φ2.W"] + p["Φ2.B"]


@pytest.mark.parametrize("parts", [1, 2])
def test_running_statistics_and_parts_of_a_batch(parts: int) -> None:
    trainer = majuscule.Trainer(NET, optimiser="Momentum", rate=0.1, accumulate=parts)
    p = torch_parameters(trainer, *TRAINED)
    mean, variance = torch.zeros(8), torch.ones(8)
    optimiser = torch.optim.SGD(p.values(), 0.1, momentum=0.9)
    for step in range(3):
        batch = {"x": normal(10, 6, seed=step), "t": normal(10, 2, seed=step + 9)}
        result = trainer.step(batch)
        optimiser.zero_grad()
        total = 0.0
        for part in range(parts):
            some = slice(part * 10 // parts, (part + 1) * 10 // parts)
            found = net(p, mean, variance, torch.tensor(batch["x"][some]))
            loss = functional.mse_loss(found, torch.tensor(batch["t"][some])) / parts
            loss.backward()
            total += float(loss.detach())
        optimiser.step()
        assert result.losses["J"] == pytest.approx(total, rel=1e-4)
        assert_same(trainer, {**p, "Φn.running_mean": mean, "Φn.running_var": variance})


def test_parts_are_as_the_whole_batch() -> None:
    text = NET.replace("BatchNorm(FC(x, Φ1), Φn)", "FC(x, Φ1)")
    found = []
    for parts in (1, 3, 10):
        trainer = majuscule.Trainer(text, optimiser="Adam", rate=0.01, accumulate=parts)
        results = [trainer.step({"x": normal(7, 6, seed=k), "t": normal(7, 2, seed=k + 9)}) for k in range(3)]
        found.append(([r.losses["J"] for r in results] + [r.norm for r in results], trainer))
    for numbers, trainer in found[1:]:
        assert numbers == pytest.approx(found[0][0], rel=1e-5)
        for name in trainer.parameters:
            numpy.testing.assert_allclose(trainer.tensors[name], found[0][1].tensors[name], rtol=1e-3, atol=1e-6)


def test_a_part_that_is_not_finite_spoils_nothing() -> None:
    trainer = majuscule.Trainer(NET, accumulate=2, skip_not_finite=True)
    before = {name: array.tobytes() for name, array in trainer.tensors.items() if "." in name}
    x, t = normal(8, 6), normal(8, 2)
    x[6] = numpy.inf
    assert not trainer.step({"x": x, "t": t}).taken
    kept = [n for n in before if not n.endswith((".pending", ".gradient"))]
    assert all(trainer.tensors[name].tobytes() == before[name] for name in kept)
    x[6] = 0
    other = majuscule.Trainer(NET, accumulate=2)
    assert trainer.step({"x": x, "t": t}) == other.step({"x": x, "t": t})
    assert all(trainer.tensors[name].tobytes() == other.tensors[name].tobytes() for name in kept)


def test_what_is_frozen_does_not_move_and_rates_are_by_parameter() -> None:
    batch = {"x": normal(9, 6), "t": normal(9, 2, seed=1)}
    whole = majuscule.Trainer(NET, optimiser="SGD", rate=0.1)
    trainer = majuscule.Trainer(NET, optimiser="SGD", rate=0.1, frozen=["Φ1"], rates={"Φ2.W": 0.5, "*.γ": 0})
    before = {name: array.copy() for name, array in trainer.tensors.items()}
    whole.step(batch)
    trainer.step(batch)
    for name in ("Φ1.W", "Φ1.B", "Φn.γ"):
        assert numpy.array_equal(trainer.tensors[name], before[name])
    for name in ("Φ2.B", "Φn.β", "Φn.running_mean"):
        numpy.testing.assert_allclose(trainer.tensors[name], whole.tensors[name], rtol=1e-6)
        assert not numpy.array_equal(trainer.tensors[name], before[name])
    moved = trainer.tensors["Φ2.W"] - before["Φ2.W"]
    numpy.testing.assert_allclose(2 * moved, whole.tensors["Φ2.W"] - before["Φ2.W"], rtol=1e-3, atol=1e-6)
    trainer.unfreeze()
    trainer.freeze("Φ2")
    after = {name: array.copy() for name, array in trainer.tensors.items()}
    trainer.step(batch)
    assert not numpy.array_equal(trainer.tensors["Φ1.W"], after["Φ1.W"])
    assert numpy.array_equal(trainer.tensors["Φ2.W"], after["Φ2.W"])
    with pytest.raises(ValueError, match="no trained parameter is called Φ3"):
        trainer.freeze("Φ3")


def test_frozen_weights_that_are_changed_are_prepared_again() -> None:
    text = "Given x[128]\ny[128] = FC(relu(FC(x, Φ1, units 128)), Φ2)\nloss J = mean[b,j](y[b,j]^2)\noutput y\n"
    batch = {"x": normal(4, 128)}
    trainer = majuscule.Trainer(text, optimiser="SGD", rate=0.0, frozen=["Φ1"])
    first = trainer.step(batch).loss
    trainer.tensors["Φ1.W"] = 2 * trainer.tensors["Φ1.W"]
    trainer.tensors["Φ2.B"] = 0 * trainer.tensors["Φ2.B"]
    assert trainer.step(batch).loss == pytest.approx(4 * first, rel=1e-4)


def test_dropout_keeps_its_share_and_the_mean() -> None:
    text = "Given x[1000]\nparam W[1000] = 1\nd = Dropout(x, rate 0.3)\ny[b] = mean[i](W[i] * d[b,i])\n"
    trainer = majuscule.Trainer(text + "loss J = mean[b](y[b])\n", optimiser="SGD", rate=0.0, outputs=["d"])
    batch = {"x": numpy.ones((50, 1000), "float32")}
    first, second = trainer.step(batch), trainer.step(batch)
    found = first.outputs["d"]
    assert set(numpy.unique(found)) == {0, numpy.float32(1 / 0.7)}
    assert (found == 0).mean() == pytest.approx(0.3, abs=5 * (0.21 / found.size) ** 0.5)
    assert first.loss == pytest.approx(found.mean(), rel=1e-5)
    assert not numpy.array_equal(found, second.outputs["d"])
    again = majuscule.Trainer(text + "loss J = mean[b](y[b])\n", optimiser="SGD", rate=0.0, outputs=["d"])
    assert numpy.array_equal(again.step(batch).outputs["d"], found)


def test_state_that_swaps_and_looks_back() -> None:
    text = """
Given x[3]
param W[3] = 1
state old[3] = 1
state now[3] = 2
state far[3] = 3
when training:
    μ[j] = mean[b](x[b,j])
    update now[j] = μ[j]
    update old[j] = now[j]
    update far[j] = old[j] + W[j]
y[b] = W[J] * x[b,J]
loss J = mean[b](y[b]^2)
output y
"""
    trainer = majuscule.Trainer(text, optimiser="SGD", rate=0.1)
    x = normal(4, 3)
    trainer.step({"x": x})
    assert trainer.tensors["old"].tolist() == [2, 2, 2]
    assert trainer.tensors["far"].tolist() == [2, 2, 2]
    numpy.testing.assert_allclose(trainer.tensors["now"], x.mean(0), rtol=1e-6)
    trainer.step({"x": x})
    numpy.testing.assert_allclose(trainer.tensors["old"], x.mean(0), rtol=1e-6)


def test_winograds_algorithm_takes_the_weights_of_the_moment() -> None:
    text = """
Given L[12, 12, 32]
M = relu(Conv(L, Φ1, filters 32, width 3, pad 1))
N = Conv(M, Φ2, filters 32, width 3, pad 1)
loss J = mean[...](N[...]^2)
output N
"""
    options: dict[str, Any] = {"optimiser": "SGD", "rate": 0.5, "frozen": ["Φ2"]}
    exact = majuscule.Trainer(text, road="direct", **options)
    fast = majuscule.Trainer(text, road="winograd", **options)
    profile = fast.compiled.module.profile(*fast.compiled.module.random_inputs(2).values(), rounds=1)
    fast.load_weights({name: exact.tensors[name] for name in exact.parameters})  # the profile took steps
    roads = [step.road for step in profile.steps]
    assert sum(road.startswith("winograd") for road in roads) >= 3
    for seed in range(3):
        batch = {"L": normal(2, 12, 12, 32, seed=seed)}
        assert fast.step(batch).loss == pytest.approx(exact.step(batch).loss, rel=1e-4)
        for name in exact.parameters:
            numpy.testing.assert_allclose(fast.tensors[name], exact.tensors[name], rtol=1e-3, atol=1e-5)


def test_a_saved_step_is_not_taken_for_a_module(tmp_path: Path) -> None:
    text = "Given x[3]\nscores = FC(x, units 2)\nwhen training:\n    Given label[]: int64\n"
    trainer = majuscule.Trainer(text + "    loss cost = cross_entropy(scores, label)\n")
    trainer.compiled.save(tmp_path / "step.mod")
    with pytest.raises(majuscule.ModuleError, match=r"is a training step.*`TrainingStep\.load`"):
        majuscule.load(tmp_path / "step.mod")
