"""Columns of data find the inputs of a program, and are made to fit them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image

from majuscule.runtime.data import Dataset, Problems, match_inputs, open_dataset
from majuscule.runtime.errors import DataError
from majuscule.runtime.signature import TensorInfo

IMAGE = TensorInfo("image", ("batch", 4, 5, 1), "float32", True)
LABEL = TensorInfo("label", ("batch",), "int64", True)
PIXELS = numpy.random.default_rng(0).integers(0, 256, (6, 4, 5), "uint8")
LABELS = numpy.array([0, 1, 2, 0, 1, 2], "uint8")


def matched(arrays: dict[str, Any], inputs: list[TensorInfo], **options: Any) -> dict[str, numpy.ndarray]:
    dataset = match_inputs(Dataset.of_arrays(arrays), inputs, **options)
    return dataset.read(range(len(dataset)))[0]


@pytest.mark.parametrize("names", [("image", "label"), ("Image", "Label"), ("x", "y"), ("pixels", "digits")])
def test_by_name_or_else_by_kind_and_shape(names: tuple[str, str]) -> None:
    found = matched({names[1]: LABELS, names[0]: PIXELS}, [IMAGE, LABEL])
    assert found.keys() == {"image", "label"}
    assert found["image"].dtype == numpy.float32
    assert found["image"].shape == (6, 4, 5, 1)
    numpy.testing.assert_array_equal(found["image"][..., 0], (PIXELS / 255).astype("float32"))
    assert found["label"].dtype == numpy.int64
    assert (found["label"] == LABELS).all()


def test_floats_stay_as_they_are_and_bytes_stay_bytes_for_an_input_of_bytes() -> None:
    floats = PIXELS.astype("float64")
    assert (matched({"image": floats}, [IMAGE])["image"][..., 0] == floats.astype("float32")).all()
    raw = TensorInfo("image", ("batch", 4, 5), "uint8", True)
    assert (matched({"image": PIXELS[..., None]}, [raw])["image"] == PIXELS).all()


def test_a_column_of_labels_may_have_an_axis_of_one() -> None:
    assert (matched({"y": LABELS[:, None]}, [LABEL])["label"] == LABELS).all()


def test_arrays_are_scaled_as_pictures_are(tmp_path: Path) -> None:
    for number, label in enumerate("ab"):
        (tmp_path / label).mkdir()
        Image.fromarray(PIXELS[number]).save(tmp_path / label / "1.png")
    larger = TensorInfo("image", ("batch", 9, 11, 1), "float32", True)
    files = match_inputs(open_dataset(tmp_path), [larger], resize=True)
    arrays = matched({"image": PIXELS[:2]}, [larger], resize=True)
    numpy.testing.assert_array_equal(files.read([0, 1])[0]["image"], arrays["image"])
    expected = Image.fromarray(PIXELS[1]).resize((11, 9), Image.Resampling.BILINEAR)
    numpy.testing.assert_array_equal(arrays["image"][1, ..., 0], (numpy.asarray(expected) / 255).astype("float32"))


def test_colours_of_files_are_those_of_the_input(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.new("RGB", (5, 4), (255, 0, 0)).save(tmp_path / "a" / "1.png")
    grey = match_inputs(open_dataset(tmp_path), [IMAGE]).read([0])[0]["image"]
    numpy.testing.assert_allclose(grey, 76 / 255, rtol=1e-6)  # ITU-R 601: 0.299 of the red


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"image": PIXELS}, "nothing for the input label"),
        ({"label": LABELS}, "nothing for the input image"),
        ({"image": PIXELS[:, :3], "label": LABELS}, "scaled on request"),
        ({"image": numpy.zeros((6, 1, 4, 5)), "label": LABELS}, "channels come last"),
        ({"image": numpy.zeros((6, 4, 5, 3)), "label": LABELS}, "4×5×3"),
        ({"image": PIXELS, "label": LABELS / 2}, "whole numbers"),
        ({"image": PIXELS, "y": LABELS / 2}, "y does not fit"),
        ({"image": numpy.zeros((6, 4, 5), "complex64"), "label": LABELS}, "complex64"),
        ({"a": PIXELS, "b": PIXELS, "label": LABELS}, "a and b both fit"),
        ({"image": PIXELS, "label": LABELS + 1}, "from 1 to 3.*count from 0"),
    ],
)
def test_what_does_not_fit_is_told(arrays: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        matched(arrays, [IMAGE, LABEL], classes={"label": 3})


def test_single_impossible_labels_are_named_and_left_out_or_fatal_on_request() -> None:
    labels = numpy.tile(LABELS, 10)
    labels[17] = 9
    told: list[str] = []
    dataset = Dataset.of_arrays({"image": numpy.tile(PIXELS, (10, 1, 1)), "label": labels})
    loose = Dataset(dataset.name, dataset.columns, dataset.samples, (), Problems(report=told.append))
    assert len(match_inputs(loose, [IMAGE, LABEL], classes={"label": 3})) == 59
    assert len(told) == 1
    assert "sample 17 has the label 9" in told[0]
    strict = Dataset(dataset.name, dataset.columns, dataset.samples, (), Problems(strict=True))
    with pytest.raises(DataError, match="from 0 to 9"):
        match_inputs(strict, [IMAGE, LABEL], classes={"label": 3})
