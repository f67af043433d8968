"""Modules that the compiler made: from a checked program to files, threads and processes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
import pytest
from small_program import expected, make_program, samples
from test_standalone import BATCHES, run_alone

import majuscule
from majuscule.compiler import random_numbers
from majuscule.dsl import CheckResult
from majuscule.runtime import errors


@pytest.fixture(scope="module")
def small() -> majuscule.Module:
    return majuscule.compile_program(make_program(), seed=4, sources={"small.maj": "by hand"})


def _close(actual: numpy.ndarray, wanted: numpy.ndarray) -> None:
    numpy.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch", BATCHES)
def test_any_batch_gives_what_the_equations_say(small: majuscule.Module, batch: int) -> None:
    images, label = samples(batch)
    outputs = small(images, label)
    wanted = expected(small.weights, images, label)
    _close(outputs.R, wanted[0])
    _close(outputs.picked, wanted[1])


def test_first_values_depend_on_the_seed_alone(small: majuscule.Module) -> None:
    wanted = random_numbers.uniform(3 * 3 * 3 * 8, seed=4, stream=0).reshape(3, 3, 3, 8)
    assert numpy.array_equal(small.weights["W"], wanted.astype(numpy.float32))


def test_random_numbers_depend_on_seed_and_step(small: majuscule.Module) -> None:
    images, label = samples(6)
    for seed, step in ((0, 0), (1, 0), (2**40 + 1, 7), (-1, 1)):
        wanted = random_numbers.uniform(30, seed=seed, step=step, stream=3).reshape(6, 5)
        assert numpy.array_equal(small(images, label, seed=seed, step=step).noise, wanted.astype(numpy.float32))


def test_given_weights_are_used(tmp_path: Path) -> None:
    generator = numpy.random.default_rng(1)
    weights = {"W": generator.normal(size=(3, 3, 3, 8)), "shift": generator.normal(size=8)}
    numpy.savez(tmp_path / "weights.npz", **weights)
    images, label = samples(3)
    for source in (weights, tmp_path / "weights.npz"):
        module = majuscule.compile_program(make_program(), weights=source)
        _close(module(images, label).R, expected(weights, images, label)[0])
    with pytest.raises(errors.WeightsError, match=r"w is not a weight of this program \(did you mean W\?\)"):
        majuscule.compile_program(make_program(), weights={"w": weights["W"], "shift": weights["shift"]})


def test_new_weights_change_the_answers(small: majuscule.Module) -> None:
    module = majuscule.Module(small._present())
    weights = {"W": -numpy.asarray(small.weights["W"]), "shift": numpy.ones(8)}
    module.load_weights(weights)
    images, label = samples(2)
    _close(module(images, label).R, expected(weights, images, label)[0])
    _close(small(images, label).R, expected(small.weights, images, label)[0])


def test_subscripts_out_of_range_are_reported(small: majuscule.Module) -> None:
    images, label = samples(4)
    for wrong in (8, -1, 2**31 - 1):
        label[2] = wrong
        with pytest.raises(errors.CheckError, match=r"not in 0\.\.7"):
            small(images, label)


@pytest.mark.usefixtures("all_cores")
def test_calls_from_many_threads_are_right(small: majuscule.Module) -> None:
    cases = [samples(batch, seed=batch) for batch in (1, 2, 3, 5, 8, 13, 21, 34)]
    wanted = [expected(small.weights, images, label)[0] for images, label in cases]

    def work(worker: int) -> None:
        for call in range(15):
            case = (worker + call) % len(cases)
            _close(small(*cases[case]).R, wanted[case])

    with ThreadPoolExecutor(8) as pool:
        for result in [pool.submit(work, worker) for worker in range(8)]:
            result.result()


@pytest.mark.usefixtures("all_cores")
def test_answers_do_not_depend_on_the_number_of_threads(small: majuscule.Module) -> None:
    images, label = samples(17)
    answers = []
    for threads in (1, 2, 3):
        with majuscule.Module(small._present(), threads) as module:
            answers.append(module(images, label).R)
    assert all(numpy.array_equal(answers[0], other) for other in answers[1:])


def test_saved_modules_run_without_the_compiler(small: majuscule.Module, tmp_path: Path) -> None:
    small.save(tmp_path / "small.mod")
    images, label = samples(64)
    outputs, _ = run_alone(tmp_path / "small.mod", {"L": images, "label": label})
    for batch in BATCHES:
        _close(outputs[str(batch)], expected(small.weights, images[:batch], label[:batch])[0])
        assert numpy.array_equal(outputs[str(batch)], small(images[:batch], label[:batch]).R)


def test_compile_takes_paths_and_texts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import majuscule.dsl as front_end

    seen = []

    def check_text(text: str, name: str, **options: object) -> CheckResult:
        seen.append((text, options["mode"]))
        return CheckResult(make_program(), (), {"/home/someone/small.maj": text, "/elsewhere/Small.maj": "library"})

    monkeypatch.setattr(front_end, "check_text", check_text)
    monkeypatch.setattr(front_end, "check_file", lambda path, **options: check_text(path.read_text(), "", **options))
    path = tmp_path / "small.maj"
    path.write_text("# one\n")
    module = majuscule.compile(path)
    assert majuscule.check("# two\nGiven\n").program is not None
    assert majuscule.check(str(path), mode="training").program is not None
    assert seen == [("# one\n", "inferring"), ("# two\nGiven\n", "inferring"), ("# one\n", "training")]
    assert module.source == "# one\n"
    assert dict(module.sources) == {"small.maj": "# one\n", "Small-2.maj": "library"}
    module.save(tmp_path / "small.mod")
    assert majuscule.load(tmp_path / "small.mod").sources == module.sources
