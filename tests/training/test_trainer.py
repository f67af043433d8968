"""The trainer as its users hold it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image

import majuscule
from majuscule.fitting import Callback
from majuscule.runtime.data import Batches, match_inputs, open_dataset
from majuscule.runtime.training import StepResult

TEXT = """
Given x[6]
h[8] = tanh(FC(x, Φ1))
s[3] = FC(Dropout(h, rate 0.25), Φ2)
when training:
    Given label[]: int64
    loss cost = cross_entropy(s, label)
    metric right = accuracy(s, label)
output s
"""


PICTURES = """
Given image[4, 4, 1]
scores[3] = FC(image, Φ)
when training:
    Given label[]: int64
    loss cost = cross_entropy(scores, label)
output scores
"""


def batch(size: int = 12, seed: int = 0) -> dict[str, Any]:
    generator = numpy.random.default_rng(seed)
    label = generator.integers(0, 3, size)
    x = generator.normal(size=(size, 6)) + numpy.eye(3, 6)[label] * 3
    return {"x": x.astype("float32"), "label": label}


@pytest.fixture
def trainer() -> majuscule.Trainer:
    return majuscule.Trainer(TEXT, optimiser="Adam", rate=0.02)


def state(trainer: majuscule.Trainer) -> dict[str, bytes]:
    """Every tensor bit for bit."""
    return {name: array.tobytes() for name, array in trainer.tensors.items()}


def test_a_training_learns(trainer: majuscule.Trainer) -> None:
    reports = trainer.fit([batch(seed=k) for k in range(8)], 10, validation=[batch(60, 99)])
    assert [report.epoch for report in reports] == list(range(1, 11))
    assert reports[-1].training["cost"] < reports[0].training["cost"] / 2
    assert reports[-1].validation["right"] > 0.9
    assert trainer.evaluate([batch(60, 99)]) == reports[-1].validation


def test_a_training_goes_on_bit_for_bit(trainer: majuscule.Trainer, tmp_path: Path) -> None:
    batches = [batch(seed=k) for k in range(5)]
    whole = majuscule.Trainer(TEXT, optimiser="Adam", rate=0.02)
    whole.fit(batches, 2)
    for part in batches[:3]:
        trainer.step(part)
        trainer.batch += 1
    trainer.save(tmp_path / "now.safetensors")
    other = majuscule.Trainer(TEXT, optimiser="Adam", rate=0.02, seed=5, threads=2)
    other.load(tmp_path / "now.safetensors")
    other.fit(batches, 2)
    assert state(other) == state(whole)
    assert (other.steps, other.epoch) == (10, 2)


class Stop(Callback):
    """Ends a training in its middle, as a failure would."""

    def __init__(self, after: int) -> None:
        self.after = after

    def stepped(self, trainer: majuscule.Trainer, result: StepResult) -> None:
        if trainer.steps == self.after:
            raise KeyboardInterrupt


@pytest.mark.filterwarnings("ignore:.* is no picture that can be read")
def test_a_training_goes_on_where_it_was_when_batches_cannot_be_read(tmp_path: Path) -> None:
    for number, value in enumerate(numpy.random.default_rng(0).integers(0, 256, (12, 4, 4), "uint8")):
        folder = tmp_path / "pictures" / "abc"[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(value).save(folder / f"{number:02}.png")
        if number in (2, 3, 7):
            (folder / f"{number:02}.png").write_bytes(b"no picture")
    text = PICTURES
    inputs = majuscule.Trainer(text).compiled.inputs

    def batches() -> Batches:
        return Batches(match_inputs(open_dataset(tmp_path / "pictures"), inputs), 1)

    whole = majuscule.Trainer(text)
    whole.fit(batches(), 2)
    assert whole.steps == 18
    for stop in (3, 7, 12):
        with pytest.raises(KeyboardInterrupt):
            majuscule.Trainer(text).fit(batches(), 2, callbacks=[Stop(stop)], checkpoints=tmp_path / "run", every=1)
        again = majuscule.Trainer(text)
        again.load(tmp_path / "run" / "last.safetensors")
        assert again.steps == stop
        again.fit(batches(), 2, checkpoints=tmp_path / "run")
        assert (again.steps, again.epoch, again.batch) == (18, 2, 0)
        assert state(again) == state(whole)


@pytest.mark.usefixtures("all_cores")
def test_threads_do_not_matter() -> None:
    found = []
    for threads in (1, 2):
        trainer = majuscule.Trainer(TEXT, threads=threads)
        for seed in range(3):
            trainer.step(batch(40, seed))
        found.append(state(trainer))
    assert found[0] == found[1]


def test_the_module_has_the_weights_of_the_moment(trainer: majuscule.Trainer) -> None:
    given = batch()
    before = trainer.module()(given["x"])
    trainer.step(given)
    assert not numpy.array_equal(trainer.module()(given["x"]), before)


RISKY = """
Given x[4]
h[5] = FC(x, Φ1)
g = exp(h)
p[2] = FC(g, Φ2)
loss J = mean[b,j](log(p[b,j]^2))
output p
"""


def risky() -> majuscule.Trainer:
    return majuscule.Trainer(RISKY, optimiser="Momentum", rate=0.01)


def test_a_loss_that_is_not_finite_changes_nothing_and_names_the_first_tensor() -> None:
    trainer = risky()
    good = {"x": numpy.ones((3, 4), "float32")}
    trainer.step(good)
    before = state(trainer)
    huge = {"x": numpy.full((3, 4), 1e4, "float32") * numpy.sign(trainer.tensors["Φ1.W"][:, 0])}
    with pytest.raises(majuscule.ModuleError) as caught:
        trainer.step(huge)
    message = str(caught.value)
    assert "the loss J is" in message
    assert "in step 2" in message
    assert "R503" in message
    assert "the first tensor that goes wrong is g (line 4: `g = exp(h)`)" in message
    assert state(trainer) == before
    assert trainer.steps == 1
    trainer.step(good)
    assert trainer.steps == 2


def test_inputs_and_weights_that_are_not_finite_are_told() -> None:
    trainer = risky()
    with pytest.raises(majuscule.ModuleError, match="2 of the values given for x are not finite"):
        trainer.step({"x": numpy.array([[1, numpy.nan, numpy.inf, 0]], "float32")})
    trainer.tensors["Φ2.B"] = numpy.array([numpy.nan, 0])
    with pytest.raises(majuscule.ModuleError, match=r"1 of the values of Φ2\.B is not finite"):
        trainer.step({"x": numpy.ones((1, 4), "float32")})


def test_a_gradient_that_is_not_finite_is_told() -> None:
    text = "Given x[3]\nparam W[3] = 0\ny[b] = W[I] * x[b,I]\nloss J = mean[b](sqrt(y[b]))\noutput y\n"
    trainer = majuscule.Trainer(text, optimiser="SGD")
    with pytest.raises(majuscule.ModuleError, match=r"norm of the gradients is .*the gradient with respect to y"):
        trainer.step({"x": numpy.ones((2, 3), "float32")})
    quiet = majuscule.Trainer(text, optimiser="SGD", skip_not_finite=True)
    assert not quiet.step({"x": numpy.ones((2, 3), "float32")}).taken
    assert not quiet.tensors["W"].any()
