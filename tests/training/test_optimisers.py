"""Every optimiser of the library with every option, against PyTorch's, compiled in float64; and the user's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest

import majuscule
from majuscule.dsl.diagnostics import SourceErrors

torch = pytest.importorskip("torch")

RATE, STEPS = 0.1, 6

CASES: dict[str, Callable[[list[Any]], Any]] = {
    "SGD": lambda p: torch.optim.SGD(p, RATE),
    "SGD(decay 0.1)": lambda p: torch.optim.SGD(p, RATE, weight_decay=0.1),
    "Momentum": lambda p: torch.optim.SGD(p, RATE, momentum=0.9),
    "Momentum(0.8, decay 0.1)": lambda p: torch.optim.SGD(p, RATE, momentum=0.8, weight_decay=0.1),
    "Momentum(dampening 0.3)": lambda p: torch.optim.SGD(p, RATE, momentum=0.9, dampening=0.3),
    "Momentum(nesterov true)": lambda p: torch.optim.SGD(p, RATE, momentum=0.9, nesterov=True),
    "Momentum(nesterov true, decay 0.1)": lambda p: torch.optim.SGD(
        p, RATE, momentum=0.9, nesterov=True, weight_decay=0.1
    ),
    "Adam": lambda p: torch.optim.Adam(p, RATE),
    "Adam(decay 0.1, beta1 0.7, beta2 0.9, epsilon 0.01)": lambda p: torch.optim.Adam(
        p, RATE, betas=(0.7, 0.9), eps=0.01, weight_decay=0.1
    ),
    "Adam(amsgrad true)": lambda p: torch.optim.Adam(p, RATE, amsgrad=True),
    "AdamW": lambda p: torch.optim.AdamW(p, RATE),
    "AdamW(decay 0.3, amsgrad true)": lambda p: torch.optim.AdamW(p, RATE, weight_decay=0.3, amsgrad=True),
    "RMSprop": lambda p: torch.optim.RMSprop(p, RATE),
    "RMSprop(decay 0.1, alpha 0.8, epsilon 0.1)": lambda p: torch.optim.RMSprop(
        p, RATE, alpha=0.8, eps=0.1, weight_decay=0.1
    ),
    "RMSprop(centered true, momentum 0.7)": lambda p: torch.optim.RMSprop(p, RATE, centered=True, momentum=0.7),
}

SHAPE = (5, 7)


def text(count: int) -> str:
    """A program with so many parameters, each with a term of the loss."""
    lines = ["Given x[5]: float64, y[7]: float64"]
    for k in range(count):
        lines.append(f"param P_{k}[5, 7]: float64 ~ uniform(-1, 1)")
        lines.append(f"e_{k}[b,j] = tanh(P_{k}[I,j] * x[b,I]) - y[b,j]")
    terms = " + ".join(f"mean[b,j](e_{k}[b,j]^2)" for k in range(count))
    return "\n".join([*lines, f"loss J = {terms}", "output e_0"]) + "\n"


def batches() -> list[dict[str, Any]]:
    generator = numpy.random.default_rng(0)
    return [{"x": generator.normal(size=(3, 5)), "y": generator.normal(size=(3, 7))} for _ in range(STEPS)]


def torch_loss(parameters: list[Any], batch: dict[str, Any]) -> Any:
    x, y = torch.tensor(batch["x"]), torch.tensor(batch["y"])
    return sum(((torch.tanh(x @ p) - y) ** 2).mean() for p in parameters)


def test_every_optimiser_is_as_in_pytorch() -> None:
    calls = {f"P_{k}": call for k, call in enumerate(CASES)}
    trainer = majuscule.Trainer(text(len(CASES)), optimiser=calls, rate=RATE)
    tensors = {name: torch.tensor(trainer.tensors[name].copy(), requires_grad=True) for name in calls}
    optimisers = [CASES[call]([tensors[name]]) for name, call in calls.items()]
    for batch in batches():
        trainer.step(batch)
        for optimiser in optimisers:
            optimiser.zero_grad()
        torch_loss(list(tensors.values()), batch).backward()
        for optimiser in optimisers:
            optimiser.step()
        for name, call in calls.items():
            expected = tensors[name].detach().numpy()
            numpy.testing.assert_allclose(trainer.tensors[name], expected, rtol=1e-10, err_msg=call)


@pytest.mark.parametrize("limit", ["norm", "value"])
def test_gradients_are_cut_as_in_pytorch(limit: str) -> None:
    bound = 0.2 if limit == "norm" else 0.02
    options: dict[str, Any] = {f"clip_{limit}": bound}
    trainer = majuscule.Trainer(text(2), optimiser="SGD", rate=RATE, **options)
    tensors = [torch.tensor(trainer.tensors[f"P_{k}"].copy(), requires_grad=True) for k in range(2)]
    optimiser = torch.optim.SGD(tensors, RATE)
    for batch in batches():
        result = trainer.step(batch)
        optimiser.zero_grad()
        torch_loss(tensors, batch).backward()
        norm = torch.nn.utils.clip_grad_norm_(tensors, bound if limit == "norm" else 1e9)
        if limit == "value":
            torch.nn.utils.clip_grad_value_(tensors, bound)
        optimiser.step()
        assert result.norm == pytest.approx(float(norm), rel=1e-10)
        assert float(norm) > 0.2, "nothing is cut"
        for k in range(2):
            numpy.testing.assert_allclose(trainer.tensors[f"P_{k}"], tensors[k].detach().numpy(), rtol=1e-10)


LION = """
layer Lion(W[...], G[...], rate η, step t, first β = 0.9, second γ = 0.99):
    state average[...] = 0
    update average[...] = γ * average[...] + (1 - γ) * G[...]
    return[...] = W[...] - η * sign(β * average[...] + (1 - β) * G[...])
"""


def test_an_optimiser_of_the_users_own() -> None:
    trainer = majuscule.Trainer(LION + text(1), optimiser="Lion(second 0.95)", rate=RATE)
    weight, average = trainer.tensors["P_0"].copy(), numpy.zeros(SHAPE)
    for batch in batches():
        trainer.step(batch)
        tensor = torch.tensor(weight, requires_grad=True)
        torch_loss([tensor], batch).backward()
        gradient = tensor.grad.numpy()
        weight = weight - RATE * numpy.sign(0.9 * average + (1 - 0.9) * gradient)
        average = 0.95 * average + (1 - 0.95) * gradient
    numpy.testing.assert_allclose(trainer.tensors["P_0"], weight, rtol=1e-10)
    numpy.testing.assert_allclose(trainer.tensors["P_0.average"], average, rtol=1e-10)


def test_wrong_calls_of_optimisers_are_told() -> None:
    with pytest.raises(SourceErrors, match="no layer or function named Momentun"):
        majuscule.Trainer(text(1), optimiser="Momentun")
    with pytest.raises(SourceErrors, match="no argument named"):
        majuscule.Trainer(text(1), optimiser="Adam(beta3 0.1)")
    with pytest.raises(ValueError, match="no optimiser is given for the parameter P_0"):
        majuscule.Trainer(text(1), optimiser={"Q": "SGD"})
