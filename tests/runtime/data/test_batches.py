"""Batches: every sample once, the same in every run, from any position on; threads that end; splits."""

from __future__ import annotations

import threading
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from majuscule.runtime.data import Batches, Crop, Dataset, Flip, Normalisation, Rotate, parse_augmentations, split
from majuscule.runtime.errors import DataError

PICTURES = numpy.random.default_rng(0).random((23, 6, 5, 2)).astype("float32")
NUMBERS = numpy.arange(23)
DATA = {"image": PICTURES, "label": NUMBERS}


def equal(left: list[dict[str, Any]], right: list[dict[str, Any]]) -> bool:
    return len(left) == len(right) and all(
        a.keys() == b.keys() and all(a[name].tobytes() == b[name].tobytes() for name in a)
        for a, b in zip(left, right, strict=True)
    )


@settings(deadline=None, max_examples=20)
@given(
    batch=st.integers(1, 30), seed=st.integers(0, 5), epoch=st.integers(0, 3), threads=st.integers(0, 3), data=st.data()
)
def test_an_epoch_has_every_sample_once_and_goes_on_from_any_batch_bit_for_bit(
    batch: int, seed: int, epoch: int, threads: int, data: st.DataObject
) -> None:
    augmentations = [Flip(), Crop(2), Rotate(20)]
    batches = Batches(DATA, batch, seed=seed, augmentations=augmentations, threads=threads)
    whole = list(batches.epoch(epoch))
    assert len(whole) == len(batches)
    assert sorted(numpy.concatenate([b["label"] for b in whole])) == NUMBERS.tolist()
    start = data.draw(st.integers(0, len(batches)))
    again = Batches(DATA, batch, seed=seed, augmentations=augmentations, threads=1)
    assert equal(list(again.epoch(epoch, start)), whole[start:])


def test_epochs_and_seeds_differ_and_what_is_not_shuffled_stays_in_order() -> None:
    def order(seed: int, epoch: int, **options: Any) -> list[int]:
        return [int(n) for b in Batches(DATA, 4, seed=seed, **options).epoch(epoch) for n in b["label"]]

    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4
    assert order(0, 0, shuffle=False) == list(range(23))
    assert len(order(0, 0, drop_last=True)) == 20


def test_what_becomes_of_a_sample_does_not_depend_on_its_batch() -> None:
    def pictures(batch: int) -> numpy.ndarray:
        found = list(Batches(DATA, batch, seed=3, augmentations=[Flip(), Crop(1), Rotate(9)]).epoch(5))
        order = numpy.argsort(numpy.concatenate([b["label"] for b in found]))
        return numpy.concatenate([b["image"] for b in found])[order]

    assert pictures(2).tobytes() == pictures(7).tobytes()


def test_errors_come_out_in_the_caller_and_no_thread_stays() -> None:
    before = threading.active_count()

    class Failing:
        shape, dtype = (9, 2), numpy.dtype("float32")

        def read(self, samples: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
            if 5 in samples:
                raise RuntimeError("sample 5 is cursed")
            return numpy.zeros((len(samples), 2), "float32"), numpy.ones(len(samples), bool)

    iterator = Batches(Dataset.of("cursed", {"x": Failing()}), 2, shuffle=False, threads=2).epoch(0)
    assert len([next(iterator), next(iterator)]) == 2
    with pytest.raises(RuntimeError, match="sample 5 is cursed"):
        next(iterator)
    assert threading.active_count() == before
    abandoned = Batches(DATA, 2, threads=2).epoch(0)
    next(abandoned)
    assert threading.active_count() > before
    del abandoned
    assert threading.active_count() == before


def test_flip_and_crop_do_to_each_sample_what_their_numbers_say() -> None:
    numbers = numpy.array([[0.2], [0.7]])
    flipped = Flip().apply(PICTURES[:2], numbers)
    assert (flipped[0] == PICTURES[0, :, ::-1]).all()
    assert (flipped[1] == PICTURES[1]).all()
    cropped = Crop(2).apply(PICTURES[:2], numpy.array([[0.0, 0.999], [0.5, 0.5]]))
    moved = numpy.zeros((6, 5, 2), "float32")
    moved[2:, :3] = PICTURES[0, :4, 2:]
    assert (cropped[0] == moved).all()
    assert (cropped[1] == PICTURES[1]).all()


def test_a_quarter_turn_moves_every_pixel_to_its_place() -> None:
    square = PICTURES[:1, :5, :5]
    turned = Rotate(90).apply(square, numpy.array([[1.0]]))
    numpy.testing.assert_allclose(turned[0], numpy.rot90(square[0]), atol=1e-6)
    assert (Rotate(90).apply(square, numpy.array([[0.5]])) == square).all()


@pytest.mark.parametrize("text", ["turn", "crop:x", "crop:0", "crop:1.5", "flip:2"])
def test_augmentations_that_do_not_exist(text: str) -> None:
    with pytest.raises(DataError):
        parse_augmentations(text)


def test_augmentations_by_name() -> None:
    assert parse_augmentations("flip, crop:3,rotate:7.5") == [Flip(), Crop(3), Rotate(7.5)]


def test_normalised_training_data_have_mean_0_and_deviation_1() -> None:
    dataset = Dataset.of_arrays({"image": numpy.tile(PICTURES, (20, 1, 1, 1)), "label": numpy.tile(NUMBERS, 20)})
    found = Normalisation.of(dataset)
    numpy.testing.assert_allclose(found.mean["image"], PICTURES.mean((0, 1, 2), "float64"), rtol=1e-9)
    numpy.testing.assert_allclose(found.deviation["image"], PICTURES.std((0, 1, 2), "float64"), rtol=1e-9)
    assert found.mean.keys() == {"image"}
    (batch,) = Batches(dataset, 500, normalisation=found)
    numpy.testing.assert_allclose(batch["image"].mean((0, 1, 2)), 0, atol=1e-4)
    numpy.testing.assert_allclose(batch["image"].std((0, 1, 2)), 1, atol=1e-4)
    assert batch["image"].dtype == numpy.float32
    assert Normalisation.from_json(found.to_json()) == found


@settings(deadline=None, max_examples=50)
@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, 3),
)
def test_splits_are_disjoint_complete_stratified_and_always_the_same(
    counts: list[int], fraction: float, seed: int
) -> None:
    labels = numpy.repeat(numpy.arange(len(counts)), counts)
    dataset = Dataset.of_arrays({"x": numpy.arange(len(labels)), "label": labels})
    if not 0 < round(float((numpy.array(counts) * fraction).sum())) < len(labels):
        return
    left, held_out = split(dataset, fraction, seed=seed)
    assert sorted([*left.samples, *held_out.samples]) == list(range(len(labels)))
    assert abs(len(held_out) - fraction * len(labels)) <= 0.51
    held = numpy.bincount(labels[held_out.samples], minlength=len(counts))
    assert (abs(held - fraction * numpy.array(counts)) < 1).all()
    assert (split(dataset, fraction, seed=seed)[1].samples == held_out.samples).all()


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1.0, 0.001])
def test_impossible_splits(fraction: float) -> None:
    with pytest.raises(DataError):
        split(Dataset.of_arrays(DATA), fraction)


def test_batches_that_cannot_be() -> None:
    with pytest.raises(DataError, match="at least 1"):
        Batches(DATA, 0)
    with pytest.raises(DataError, match="not enough"):
        Batches(DATA, 24, drop_last=True)
