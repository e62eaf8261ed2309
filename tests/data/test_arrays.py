"""idx files (MNIST) and the binary form of CIFAR, from files made here byte by byte."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from fastgan.data import load_dataset
from fastgan.data.opening import open_store
from tests.data.making import in_memory

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (12, 5, 7), np.uint8)  # 12 images, 5 high, 7 wide
CLASSES = [3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2]


def idx(pixels: np.ndarray) -> bytes:
    return b"\0\0\x08" + bytes([pixels.ndim]) + struct.pack(f">{pixels.ndim}I", *pixels.shape) + pixels.tobytes()


@pytest.fixture(params=["plain", "gz"])
def mnist(request, tmp_path) -> Path:
    """The images' file, with its labels beside it."""
    folder = tmp_path / "garments"
    folder.mkdir()
    labels = np.array(CLASSES, np.uint8)
    for name, array in (("train-images-idx3-ubyte", GREY), ("train-labels-idx1-ubyte", labels)):
        if request.param == "gz":
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / name).write_bytes(idx(array))
    return next(folder.glob("*images*"))


def test_idx_images_and_labels(mnist):
    data = in_memory(mnist)
    np.testing.assert_array_equal(data.images.numpy(), GREY[..., None])
    assert data.labels.tolist() == CLASSES and data.class_names == ("0", "1", "2", "3")
    assert data.channels == 1 and data.name == "garments"
    rgb = in_memory(mnist, channels=3, classes=["3"])
    np.testing.assert_array_equal(rgb.images.numpy(), np.repeat(GREY[[0, 4, 8], ..., None], 3, axis=3))


def test_idx_without_labels_is_unlabelled(mnist):
    next(mnist.parent.glob("*labels*")).unlink()
    assert load_dataset(mnist).labels is None


def test_bare_pixels_are_read_as_png(mnist):
    from fastgan.data.image import decode_image

    with open_store(mnist) as store:
        image = decode_image(store.read("07.png"), "x", channels=1)
        np.testing.assert_array_equal(np.asarray(image), GREY[7])
        assert store.where("07.png") == f"{mnist} (image 7)"


def damaged(data: bytes, damage: str) -> bytes:
    return {
        "short": data[:-1],
        "long": data + b"\0",
        "header": data[:6],
        "foreign": b"\x89PNG" + data,
        "empty": b"",
        "huge": data[:4] + struct.pack(">III", 2**31, 2**31, 2**31) + data[16:],
    }[damage]


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        ("short", "is cut short: expected 420 bytes"),
        ("long", "has more data than its header says"),
        ("header", "not an idx file of images"),
        ("foreign", "not an idx file of images .* begins with 89 50 4e 47"),
        ("empty", "not an idx file of images .* begins with nothing"),
        ("huge", "is cut short"),
    ],
)
def test_damaged_idx_is_named(mnist, damage, complaint):
    if mnist.suffix == ".gz":
        mnist.write_bytes(gzip.compress(damaged(gzip.decompress(mnist.read_bytes()), damage)))
    else:
        mnist.write_bytes(damaged(mnist.read_bytes(), damage))
    with pytest.raises(ValueError, match=rf"{mnist.name}: {complaint}"):
        load_dataset(mnist)


def test_truncated_gzip_is_named(tmp_path):
    path = tmp_path / "x-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx(GREY))[:100])
    with pytest.raises(ValueError, match=r"ubyte\.gz: cannot be read .* download it again"):
        load_dataset(path)


def test_labels_of_another_number_of_images_are_named(mnist):
    labels = next(mnist.parent.glob("*labels*"))
    data = idx(np.zeros(11, np.uint8))
    labels.write_bytes(gzip.compress(data) if labels.suffix == ".gz" else data)
    with pytest.raises(ValueError, match=r"labels-idx1.*: has 11 labels, but .*images-idx3.* has 12 images"):
        load_dataset(mnist)


COLOUR = RANDOM.integers(0, 256, (6, 3, 32, 32), np.uint8)


def records(first: int, last: int, *labels: list[int]) -> bytes:
    return b"".join(bytes(each[i] for each in labels) + COLOUR[i].tobytes() for i in range(first, last))


def cifar10(folder: Path) -> Path:
    labels = [1, 0, 1, 0, 1, 1]
    folder.mkdir()
    (folder / "data_batch_1.bin").write_bytes(records(0, 3, labels))
    (folder / "data_batch_2.bin").write_bytes(records(3, 5, labels))
    (folder / "test_batch.bin").write_bytes(records(5, 6, labels))
    (folder / "batches.meta.txt").write_text("cat\ndog\n\n")
    return folder


def test_cifar10_reads_the_training_batches(tmp_path):
    folder = cifar10(tmp_path / "cifar-10-batches-bin")
    data = in_memory(folder)
    np.testing.assert_array_equal(data.images.numpy(), COLOUR[:5].transpose(0, 2, 3, 1))
    assert data.labels.tolist() == [1, 0, 1, 0, 1] and data.class_names == ("cat", "dog")
    assert data.name == "cifar-10-batches-bin" and data.channels == 3
    test = in_memory(folder / "test_batch.bin")
    np.testing.assert_array_equal(test.images.numpy(), COLOUR[5:].transpose(0, 2, 3, 1))
    assert test.class_names == ("cat", "dog")


def test_cifar100_has_fine_classes_and_coarse_selections(tmp_path):
    coarse, fine = [0, 0, 1, 1, 1, 0], [2, 1, 0, 0, 3, 2]
    (tmp_path / "train.bin").write_bytes(records(0, 6, coarse, fine))
    (tmp_path / "fine_label_names.txt").write_text("rose\noak\nshark\ntulip\n")
    (tmp_path / "coarse_label_names.txt").write_text("animals\nplants\n")
    data = in_memory(tmp_path)
    np.testing.assert_array_equal(data.images.numpy(), COLOUR.transpose(0, 2, 3, 1))
    assert data.labels.tolist() == fine and data.class_names == ("rose", "oak", "shark", "tulip")
    plants = in_memory(tmp_path, classes=["plants"])
    np.testing.assert_array_equal(plants.images.numpy(), COLOUR[2:5].transpose(0, 2, 3, 1))


def test_cifar_without_names_is_told_by_its_size(tmp_path):
    (tmp_path / "ten.bin").write_bytes(records(0, 2, [4, 1]))
    (tmp_path / "hundred.bin").write_bytes(records(0, 2, [9, 9], [0, 2]))
    assert load_dataset(tmp_path / "ten.bin").labels.tolist() == [4, 1]
    assert load_dataset(tmp_path / "hundred.bin").labels.tolist() == [0, 2]


def test_broken_cifar_is_named(tmp_path):
    folder = cifar10(tmp_path / "c")
    (folder / "data_batch_2.bin").write_bytes(records(3, 5, [0] * 6)[:-1])
    with pytest.raises(ValueError, match=r"data_batch_2\.bin: has 6,145 bytes, expected a whole number of records"):
        load_dataset(folder)
    (folder / "data_batch_2.bin").write_bytes(records(3, 5, [7] * 6))
    with pytest.raises(ValueError, match="holds label 7, but only 2 are named"):
        load_dataset(folder)


def test_pickled_cifar_is_refused(tmp_path):
    (tmp_path / "data_batch_1").write_bytes(b"\x80\x04")
    with pytest.raises(ValueError, match=r"data_batch_1: CIFAR as Python pickles.*download the binary version"):
        load_dataset(tmp_path)
