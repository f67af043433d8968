"""The networks learn: in training mode, dropout and batch statistics included, a few samples are learnt by heart.

The criterion: within so many steps of Adam on one small batch, the loss falls below a tenth of what it was at the
start.  It is the whole training step that is taken, forward, backward and update, as the interpreter means it, which
compiled steps are compared with elsewhere.  Networks are made smaller where their families allow, and where a program
has no loss, it gets the cross-entropy of its scores; Inception v3 learns without its auxiliary classifier, whose
windows want images of full size.

AlphaZero's loss cannot fall below the entropy of the probabilities that the search gives; of it, what is above that.
The programs with data of their own are in `training/test_trained_examples.py`: the autoencoder, the adding problem and
threshold logic by a loss that falls to a part of what it was, the variational autoencoder by its bound, which has an
entropy of the data for its floor, and what it draws, the adversarial networks, whose losses work against each other, by
what they draw.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import pytest
from levels import EXHAUSTIVE, SLOW

from majuscule.compiler.graph import Graph
from majuscule.compiler.interpreter import evaluate, initial_values
from majuscule.dsl import check_text
from majuscule.dsl.equations import Program
from majuscule.steps import write_step

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
Array = numpy.ndarray[Any, Any]
Batch = dict[str, Array]
LOSS = """
when training:
    Given label[{}]: int64
    loss cost = cross_entropy({}, label)
"""


@dataclass(frozen=True)
class Lesson:
    """How a program is made smaller, what it learns, and in how many steps at which rate.

    `changes` are texts and what stands in their place; `rows` the size of the images; `positions` the shape of a
    label, for a class each; `floor` what the loss cannot fall below.
    """

    changes: dict[str, str]
    rows: int = 0
    channels: int = 3
    samples: int = 4
    positions: tuple[int, ...] = ()
    batch: Callable[[], Batch] | None = None
    scores: str = "scores"
    loss: bool = True
    steps: int = 60
    rate: float = 0.003
    floor: Callable[[Batch], float] = lambda batch: 0.0


def images(name: str, rows: int, channels: int, samples: int, positions: tuple[int, ...]) -> Batch:
    """Noise of a colour for the input of this name; each image is of another class, or its two halves are."""
    numbers = numpy.random.default_rng(0)
    image = numbers.standard_normal((samples, rows, rows, channels), numpy.float32)
    label = numpy.arange(samples)
    if positions:
        halves = (label[:, None] + numpy.arange(2)) % 2  # left and right
        image += 4 * halves.repeat(rows // 2, 1)[:, None, :, None] - 2
        label = halves.repeat(positions[1] // 2 or 1, 1)[:, None, : positions[1]].repeat(positions[0], 1)
    else:
        image += 2 * numbers.standard_normal((samples, 1, 1, channels), numpy.float32)
    return {name: image, "label": label.astype(numpy.int64)}


def sentences() -> Batch:
    words = numpy.random.default_rng(0).integers(0, 12, (2, 9))
    return {"text": words[:, :-1], "next": words[:, 1:]}


def games(board: tuple[int, ...], moves: tuple[int, ...]) -> Batch:
    """Random boards, the probabilities that a search gave to two moves, and who won."""
    search = numpy.zeros((4, int(numpy.prod(moves))), numpy.float32)
    for sample in range(4):
        search[sample, [sample, sample + 7]] = 0.75, 0.25
    return {
        "board": numpy.random.default_rng(0).standard_normal((4, *board), numpy.float32),
        "search": search.reshape(4, *moves),
        "outcome": numpy.array([[1], [-1], [1], [-1]], numpy.float32),
    }


def entropy(batch: Batch) -> float:
    search = batch["search"][batch["search"] > 0].astype(float)
    return float(-(search * numpy.log(search)).sum() / len(batch["search"]))


def residual(old: str, wide: str, narrow: str) -> Lesson:
    return Lesson({f"blocks {old}": "blocks [1, 1, 1, 1], classes 10", wide: narrow}, rows=32)


SMALL_VGG = {"(image,": "(image, filters 8, units 256, classes 10,"}
LESSONS = {
    "linear_classifier": Lesson({}, rows=32),
    "mlp": Lesson({}, rows=28, channels=1),
    "cifar_convnet": Lesson({}, rows=32),
    "lenet": Lesson({}, rows=28, channels=1),
    "classifier_32": Lesson({}, rows=32, channels=1, loss=False, positions=(1, 1)),
    "alexnet": Lesson({"x96]": "x8]", "x256]": "x16]", "x384]": "x24]", "[4096]": "[64]"}, rows=227, scores="s"),
    "alexnet_pytorch": Lesson(
        {"x64]": "x8]", "x192]": "x16]", "x384]": "x24]", "x256]": "x16]", "[4096]": "[256]"}, rows=224, steps=60
    ),
    "zfnet": Lesson(
        {
            "[4096]": "[256]", "filters 96": "filters 8", "filters 256": "filters 16", "filters 512": "filters 16",
            "filters 1024": "filters 32",
        }, rows=96,
    ),
    "vgg11": Lesson(SMALL_VGG, rows=32, steps=150, rate=0.001),
    "vgg11_lrn": Lesson(SMALL_VGG, rows=32, steps=150, rate=0.001),
    "vgg16_c": Lesson(SMALL_VGG, rows=32, samples=2, steps=150, rate=0.001),
    "googlenet": Lesson({"[1000]": "[10]"}, rows=32),
    "googlenet_paper": Lesson(
        {"[1000]": "[10]", "N = 1000": "N = 10", "units 1024": "units 256"}, rows=80, samples=2, rate=0.001
    ),
    "inception_v3": Lesson({"[1000]": "[10]"}, rows=75, loss=False),
    "resnet34": residual("[3, 4, 6, 3]", "(image,", "(image, filters 8,"),
    "plain34": residual("[3, 4, 6, 3]", "(image,", "(image, filters 8,"),
    "resnet101": residual("[3, 4, 23, 3]", "filters 256", "filters 16"),
    "preactivation_resnet50": Lesson({"[3, 4, 6, 3]": "[2, 1, 1, 1], filters 16, classes 10"}, rows=32),
    "resnext101_32x8d": residual("[3, 4, 23, 3]", "filters 256", "filters 32"),
    "wide_resnet50_2": residual("[3, 4, 6, 3]", "filters 256", "filters 16"),
    "resnet32_cifar": Lesson({"blocks 5": "blocks 1"}, rows=32),
    "preactivation_resnet32_cifar": Lesson({"blocks 5": "blocks 2"}, rows=32),
    "densenet121": Lesson({"[6, 12, 24, 16]": "[1, 1, 1, 1], growth 8, classes 10"}, rows=32, rate=0.01),
    "squeezenet1_0": Lesson({}, rows=40, samples=2, steps=120, rate=0.001),
    "shufflenet_v2_x0_5": Lesson({"(image,": "(image, classes 10,"}, rows=32),
    "mobilenet_v2_0_35": Lesson({"0.35)": "0.2, classes 10)"}, rows=32),
    "mnasnet0_5": Lesson({"0.5)": "0.2, classes 10)"}, rows=32),
    "vit_b_16": Lesson({"length 768, blocks 12, heads 12": "length 48, blocks 2, heads 4, classes 10"}, rows=32),
    "alphago_zero": Lesson(
        {"blocks 19": "blocks 1, filters 8"}, batch=lambda: games((19, 19, 17), (362,)), floor=entropy
    ),
    "alphazero_chess": Lesson(
        {"blocks 19": "blocks 1, filters 8"}, batch=lambda: games((8, 8, 119), (8, 8, 73)), floor=entropy
    ),
    "fcn8s": Lesson({"stride 8": "stride 8, filters 4, units 64"}, rows=40, positions=(40, 40)),
    "segnet_camvid": Lesson({"(image)": "(image, filters 8)"}, rows=32, positions=(32, 32)),
    "unet": Lesson({"filters 64": "filters 4"}, rows=204, channels=1, samples=2, positions=(20, 20)),
    "hypercolumns": Lesson({"filters 64": "filters 8, units 64"}, rows=32, positions=(8, 8)),
    **{
        f"language_{cell}": Lesson({"words 128, units 256": "words 12, units 32"}, batch=sentences, rate=0.01)
        for cell in ("rnn", "lstm", "gru")
    },
}  # fmt: skip
QUICK = {"mlp", "cifar_convnet", "resnet32_cifar"}


def lesson_text(path: Path, lesson: Lesson) -> str:
    """The program made smaller, with a loss."""
    text = path.read_text(encoding="utf-8")
    for old, new in lesson.changes.items():
        assert old in text, old
        text = text.replace(old, new)
    size = f"{lesson.rows}, {lesson.rows},"
    if lesson.rows and size not in text:
        text = re.sub(r"^(Given image)\[\w+, \w+,", rf"\1[{size}", text, flags=re.MULTILINE)
        text = re.sub(r"^(\w+)\[\d+x\d+x\d+\]", r"\1", text, flags=re.MULTILINE)
    if "classes 10" in text:
        text = text.replace("scores[1000]", "scores")
    positions = ", ".join(map(str, lesson.positions))
    if lesson.positions:
        text = re.sub(r"Given label\[.*\]", f"Given label[{positions}]", text)
    if not lesson.loss:
        text = re.sub(r"^when training:\n(    .*\n)+", "", text, flags=re.MULTILINE)
    return text if "\n    loss " in text else text + LOSS.format(positions, lesson.scores)


def found_path(name: str) -> Path:
    return next(path for path in EXAMPLES.rglob(f"{name}.maj") if "\nGiven " in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "name",
    [
        *sorted(QUICK),
        *(
            pytest.param(name, marks=EXHAUSTIVE if n % 8 else SLOW)
            for n, name in enumerate(LESSONS)
            if name not in QUICK
        ),
    ],
)
def test_networks_learn_a_small_batch_by_heart(name: str) -> None:
    lesson, path = LESSONS[name], found_path(name)
    program = check_text(lesson_text(path, lesson), mode="training", folder=path.parent).require()
    shape = lesson.rows, lesson.channels, lesson.samples, lesson.positions
    batch = lesson.batch() if lesson.batch else images(program.inputs[0], *shape)
    losses = learn(program, path.parent, batch, lesson)
    assert losses[-1] < 0.1 * losses[0], losses


def learn(program: Program, folder: Path, batch: Batch, lesson: Lesson) -> list[float]:
    """The losses above the floor, step by step, until one is a tenth of the first."""
    step = write_step(program, "Adam", folder=folder)
    graph = Graph.from_program(step.program)
    (loss,) = step.about["losses"].values()
    values = dict(initial_values(step.program))
    losses: list[float] = []
    while len(losses) <= lesson.steps and not (losses and losses[-1] < 0.1 * losses[0]):
        number = len(losses) + 1
        given = {**batch, step.about["rate"]: numpy.float32(lesson.rate), step.about["step"]: numpy.int64(number)}
        stores = step.program.stores
        found = evaluate(graph, given, values, step=number, keep=[loss, *(store.source for store in stores)])
        losses.append(float(found[loss]) - lesson.floor(batch))
        values |= {store.target: found[store.source] for store in stores}
    return losses
