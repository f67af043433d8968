"""Files and folders of data: written here byte by byte, as their formats are described, and read back."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from pathlib import Path

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from majuscule.runtime.arrays import Array
from majuscule.runtime.data import Problems, open_dataset
from majuscule.runtime.data.columns import ArrayColumn
from majuscule.runtime.data.sources import Sources
from majuscule.runtime.errors import DataError

GENERATOR = numpy.random.default_rng(0)
IMAGES = GENERATOR.integers(0, 256, (7, 4, 5), "uint8")
LABELS = GENERATOR.integers(0, 3, 7, "uint8")


def idx(array: Array) -> bytes:
    code = {"uint8": 8, "int16": 11, "int32": 12, "float32": 13, "float64": 14}[array.dtype.name]
    header = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def everything(source: Sources, part: str = "train") -> dict[str, Array]:
    dataset = open_dataset(source, part)
    arrays, usable = dataset.read(range(len(dataset)))
    assert usable.all()
    return arrays


def test_an_npz_file_with_parts(tmp_path: Path) -> None:
    file = tmp_path / "digits.npz"
    numpy.savez_compressed(file, x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:2], y_test=LABELS[:2])
    assert everything(file).keys() == {"x", "y"}
    assert (everything(file)["x"] == IMAGES).all()
    assert (everything(file, "test")["y"] == LABELS[:2]).all()
    with pytest.raises(DataError, match=r"digits\.npz has no part 'validation'; it has train, test"):
        open_dataset(file, "validation")


def test_arrays_without_a_part_are_for_training_where_others_are_for_testing(tmp_path: Path) -> None:
    file = tmp_path / "digits.npz"
    numpy.savez(file, image=IMAGES, label=LABELS, image_test=IMAGES[:2], label_test=LABELS[:2])
    assert len(everything(file)["image"]) == 7
    assert len(everything(file, "test")["image"]) == 2


def test_names_of_classes_in_an_npz_file(tmp_path: Path) -> None:
    numpy.savez(tmp_path / "a.npz", image=IMAGES, label=LABELS, classes=["cat", "dog", "hen"])
    dataset = open_dataset(tmp_path / "a.npz")
    assert dataset.classes == ("cat", "dog", "hen")
    assert dataset.columns.keys() == {"image", "label"}
    assert "3 classes (cat, dog, hen)" in dataset.describe()


def test_npy_files_are_mapped_and_may_be_given_by_name_or_by_folder(tmp_path: Path) -> None:
    numpy.save(tmp_path / "images.npy", IMAGES)
    numpy.save(tmp_path / "labels.npy", LABELS)
    pair = [tmp_path / "images.npy", tmp_path / "labels.npy"]
    assert (everything(pair)["images"] == IMAGES).all()
    assert (everything(tmp_path)["labels"] == LABELS).all()
    named = everything([f"image={pair[0]}", f"label={pair[1]}"])
    assert named.keys() == {"image", "label"}
    column = open_dataset(pair).columns["images"]
    assert isinstance(column, ArrayColumn)
    assert isinstance(column.array.base, numpy.memmap)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("compressed", [False, True])
def test_idx_files_of_every_type(tmp_path: Path, dtype: str, compressed: bool) -> None:
    array = (GENERATOR.standard_normal((3, 2, 4)) * 50).astype(dtype)
    file = tmp_path / f"some-idx3-{'ubyte.gz' if compressed else 'ubyte'}"
    file.write_bytes(gzip.compress(idx(array)) if compressed else idx(array))
    (found,) = everything(file).values()
    assert (found == array).all()


def test_the_folder_of_mnist(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(IMAGES)))
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS)))
    (tmp_path / "t10k-images.idx3-ubyte").write_bytes(idx(IMAGES[:3]))
    (tmp_path / "t10k-labels.idx1-ubyte").write_bytes(idx(LABELS[:3]))
    assert (everything(tmp_path)["images"] == IMAGES).all()
    assert (everything(tmp_path, "test")["labels"] == LABELS[:3]).all()


def test_the_folder_of_cifar(tmp_path: Path) -> None:
    pictures = GENERATOR.integers(0, 256, (5, 32, 32, 3), "uint8")
    labels = numpy.array([3, 0, 9, 1, 1], "uint8")

    def records(chosen: slice) -> bytes:
        return b"".join(
            bytes([label]) + picture.transpose(2, 0, 1).tobytes()
            for label, picture in zip(labels[chosen], pictures[chosen], strict=True)
        )

    (tmp_path / "data_batch_1.bin").write_bytes(records(slice(0, 2)))
    (tmp_path / "data_batch_2.bin").write_bytes(records(slice(2, 4)))
    (tmp_path / "test_batch.bin").write_bytes(records(slice(4, 5)))
    assert (everything(tmp_path)["image"] == pictures[:4]).all()
    assert (everything(tmp_path)["label"] == labels[:4]).all()
    assert (everything(tmp_path, "test")["image"] == pictures[4:]).all()
    assert open_dataset(tmp_path).classes[3] == "cat"
    (tmp_path / "data_batch_2.bin").write_bytes(records(slice(2, 4))[:-1])
    with pytest.raises(DataError, match=r"data_batch_2\.bin is cut off"):
        open_dataset(tmp_path)


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    for part, count in (("train", 3), ("val", 1)):
        for name in ("rose", "daisy"):
            folder = tmp_path / "flowers" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(IMAGES[number]).save(folder / f"{number}.png")
    return tmp_path / "flowers"


def test_a_folder_of_pictures_by_class(flowers: Path) -> None:
    dataset = open_dataset(flowers)
    assert dataset.classes == ("daisy", "rose")
    arrays = everything(flowers)
    assert arrays["label"].tolist() == [0, 0, 0, 1, 1, 1]
    assert (arrays["image"] == numpy.stack([IMAGES[:3]] * 3, -1)[[0, 1, 2, 0, 1, 2]]).all()
    assert len(open_dataset(flowers, "validation")) == 2
    assert "2 classes (daisy, rose), 3 samples each" in dataset.describe()


def test_broken_pictures_are_named_and_left_out_or_fatal_on_request(flowers: Path) -> None:
    broken = flowers / "train" / "daisy" / "1.png"
    broken.write_bytes(broken.read_bytes()[:60])
    told: list[str] = []
    dataset = open_dataset(flowers, problems=Problems(report=told.append))
    for _ in range(2):
        arrays, usable = dataset.read(range(6))
        assert usable.tolist() == [True, False, True, True, True, True]
        assert len(arrays["image"]) == len(arrays["label"]) == 5
    assert len(told) == 1
    assert str(broken) in told[0]
    with pytest.raises(DataError, match=r"daisy/1\.png"):
        open_dataset(flowers, problems=Problems(strict=True)).read(range(6))


def npz_of(member: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("image.npy", member)
    return stream.getvalue()


def npy_header(shape: str, dtype: str = "|u1") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def pickled() -> bytes:
    stream = io.BytesIO()
    numpy.save(stream, numpy.array([{"a": 1}], object), allow_pickle=True)
    return stream.getvalue()


def npy() -> bytes:
    stream = io.BytesIO()
    numpy.save(stream, IMAGES)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.npz", b"", "cannot be read"),
        ("a.npz", b"nothing of use", "cannot be read"),
        ("a.npz", npz_of(pickled()), "Python objects"),
        ("a.npz", npz_of(npy_header("(1000, 1000)")), "cut off"),
        ("a.npz", npz_of(npy_header("(-1, -1)") + b"\0"), "cannot be read"),
        ("a.npz", npz_of(npy())[:200], "cannot be read"),
        ("a.npz", npz_of(npy_header("()", "<i8") + bytes(8)), "single number"),
        ("a.npy", b"", "cannot be read"),
        ("a.npy", npy()[:-1], "cut off"),
        ("a.npy", pickled(), "Python objects"),
        ("a-idx1-ubyte", b"\0\0\x08", "does not start as one"),
        ("a-idx1-ubyte", b"\0\0\x08\xff" + bytes(2000), "does not start as one"),
        ("a-idx3-ubyte", idx(IMAGES)[:14], "header is cut off"),
        ("a-idx3-ubyte", idx(IMAGES)[:-1], "cut off"),
        ("a-idx3-ubyte", idx(IMAGES) + b"\0", "something follows"),
        ("a-idx3-ubyte", b"\0\0\x08\x03" + b"\xff" * 12, "cut off"),
        ("a-idx3-ubyte.gz", gzip.compress(idx(IMAGES))[:-20], "cannot be read as an IDX file"),
        ("a-idx3-ubyte.gz", gzip.compress(idx(IMAGES)[:-1]), "cut off"),
        ("a-idx3-ubyte.gz", gzip.compress(idx(IMAGES) + b"\0"), "something follows"),
        ("a-idx3-ubyte.gz", gzip.compress(b"\0\0\x08\x03" + b"\xff" * 12), "cut off"),
        ("a.txt", b"1 2 3", "no data that can be read"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # archives hold the time: every worker has others
)
def test_what_is_cut_off_hostile_or_of_another_kind_is_refused(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words) as raised:
        open_dataset(tmp_path / name)
    assert name in str(raised.value)


def test_arrays_of_different_lengths_are_refused(tmp_path: Path) -> None:
    numpy.savez(tmp_path / "a.npz", image=IMAGES, label=LABELS[:-1])
    with pytest.raises(DataError, match="numbers of samples differ: image 7, label 6"):
        open_dataset(tmp_path / "a.npz")


def test_sources_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file or folder"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds no data"):
        open_dataset(tmp_path)
    (tmp_path / "class").mkdir()
    with pytest.raises(DataError, match="holds no pictures"):
        open_dataset(tmp_path)


def compressed_npz() -> bytes:
    stream = io.BytesIO()
    numpy.savez_compressed(stream, image=IMAGES, label=LABELS)
    return stream.getvalue()


WHOLE = {
    "a.npz": compressed_npz(),
    "b.npz": npz_of(npy()),
    "a.npy": npy(),
    "a-idx3-ubyte": idx(IMAGES),
    "a-idx3-ubyte.gz": gzip.compress(idx(IMAGES)),
}


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(sorted(WHOLE)), data=st.data())
def test_damage_anywhere_is_an_error_of_data_or_another_picture(tmp_path: Path, name: str, data: st.DataObject) -> None:
    content = bytearray(WHOLE[name])
    if data.draw(st.booleans(), label="cut"):
        del content[data.draw(st.integers(0, len(content) - 1), label="length") :]
    else:
        for _ in range(data.draw(st.integers(1, 3), label="changes")):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / name).write_bytes(content)
    try:
        dataset = open_dataset(tmp_path / name)
    except DataError as error:
        assert name in str(error)  # noqa: PT017
    else:
        dataset.read(range(len(dataset)))
        dataset.describe()
