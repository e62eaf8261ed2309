"""Streamed sets: the same batches as in memory, bounded work ahead, broken images named or passed over."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fastgan.data import Batches, BrokenImageError, load_dataset
from fastgan.data.streaming import StreamedDataset


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten 8x6 (WxH) images of two classes; image i is flat, of value 20 i."""
    for i in range(10):
        path = tmp_path / "set" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), (20 * i,) * 3).save(path)
    return tmp_path / "set"


def test_batches_equal_those_from_memory(folder):
    streamed, held = (load_dataset(folder, stream=stream) for stream in (True, False))
    assert isinstance(streamed, StreamedDataset)
    assert (len(streamed), streamed.resolution, streamed.channels) == (10, (6, 8), 3)
    assert streamed.class_names == held.class_names == ("a", "b")
    assert streamed.labels.tolist() == held.labels.tolist()
    options = {"batch_size": 4, "seed": 1, "mirror": True}
    sources = [Batches(each, **options) for each in (streamed, held)]
    for _ in range(8):
        one, two = (source.next() for source in sources)
        assert one["image"].equal(two["image"]) and one["label"].equal(two["label"])


def test_resume_in_the_middle_of_an_epoch(folder):
    source = Batches(load_dataset(folder, stream=True), 3, seed=5)
    source.next()
    state = source.state_dict()
    expected = [source.next()["image"] for _ in range(5)]
    other = Batches(load_dataset(folder, stream=True), 3, seed=5)
    other.load_state_dict(state)
    for images in expected:
        assert other.next()["image"].equal(images)


def test_images_in_wait_are_bounded(folder, monkeypatch):
    monkeypatch.setattr("fastgan.data.streaming._LOOKAHEAD", 3 * 8 * 6 * 3)  # three images
    data: Any = load_dataset(folder, stream=True)
    assert data.lookahead == 3
    source = Batches(data, 2, seed=0)
    for _ in range(20):
        source.next()
        assert len(data._coming) <= 3


def test_expected_images_are_decoded_once_by_other_threads(folder, monkeypatch):
    data: Any = load_dataset(folder, stream=True)
    seen: list[tuple[str, str]] = []
    pixels = type(data._decoder).pixels

    def noted(decoder, name):
        seen.append((name, threading.current_thread().name))
        return pixels(decoder, name)

    monkeypatch.setattr(type(data._decoder), "pixels", noted)
    data.expect(torch.tensor([1, 2]))
    data.read(torch.tensor([1, 2, 3, 1]))
    assert sorted(name for name, _ in seen) == sorted(data._names[i] for i in (1, 1, 2, 3))
    assert all(thread.startswith("decode") for _, thread in seen)


def test_broken_image_stops_or_the_next_stands_in(folder):
    first = load_dataset(folder, stream=True)
    (folder / "a" / "4.png").write_bytes(b"no image")
    Image.new("RGB", (9, 9)).save(folder / "a" / "6.png")
    with pytest.raises(BrokenImageError, match=r"a/4\.png: cannot be read as an image"):
        first.read(torch.arange(10))
    data: Any = load_dataset(folder, stream=True, skip_broken=True)
    assert data.broken == []
    values = data.read(torch.arange(10))[:, 0, 0, 0].tolist()
    assert values == [0, 40, 160, 160, 160, 20, 60, 100, 140, 180]  # a/0 2 4 6 8, b/1 3 5 7 9
    (folder / "a" / "8.png").write_bytes(b"no image")
    assert data.read(torch.tensor([3, 4]))[:, 0, 0, 0].tolist() == [
        0,
        0,
    ]  # not b/1: what stands in is of the same class
    assert len(data.broken) == 3 and "a/4.png: cannot be read" in data.broken[0] and "is 9x9" in data.broken[1]


def test_set_of_broken_images_alone_ends(tmp_path):
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(b"x")
    for resolution in (None, (4, 4)):
        with pytest.raises(ValueError, match="3 of 3 images cannot be used; none is left"):
            load_dataset(tmp_path, stream=False, skip_broken=True, resolution=resolution)
    data: Any = load_dataset(tmp_path, stream=True, skip_broken=True, resolution=(4, 4))
    with pytest.raises(BrokenImageError, match="none of its images can be read"):
        data.read(torch.tensor([0]))


def test_large_sets_are_streamed_unless_told_otherwise(folder, monkeypatch):
    monkeypatch.setattr("fastgan.data.loading.LARGEST_IN_MEMORY", 10 * 8 * 6 * 3 - 1)
    assert isinstance(load_dataset(folder), StreamedDataset)
    assert not isinstance(load_dataset(folder, stream=False), StreamedDataset)
    monkeypatch.setattr("fastgan.data.loading.LARGEST_IN_MEMORY", 10 * 8 * 6 * 3)
    assert not isinstance(load_dataset(folder), StreamedDataset)


def test_unlabelled_stream(folder):
    data: Any = load_dataset(folder, stream=True)
    bare = data.unlabelled()
    assert bare.labels is None and bare.num_classes == 0 and data.num_classes == 2
    assert bare.read(torch.tensor([3])).equal(data.read(torch.tensor([3])))


def test_conversions_apply_while_streaming(folder):
    grey = load_dataset(folder, stream=True, channels=1, resolution=(3, 4))
    assert grey.read(torch.tensor([9])).tolist() == np.full((1, 3, 4, 1), 180).tolist()
    wide = load_dataset(folder, stream=True, resolution=(2, 4), transform="center-crop-wide")
    held: Any = load_dataset(folder, stream=False, resolution=(2, 4), transform="center-crop-wide")
    assert wide.resolution == held.resolution == (4, 4)
    assert wide.read(torch.arange(10)).equal(held.images)


def test_close_drops_what_waits(folder, monkeypatch):
    data: Any = load_dataset(folder, stream=True)
    begun = threading.Event()
    go_on = threading.Event()

    def slow(decoder, name):
        begun.set()
        go_on.wait(10)
        return np.zeros((6, 8, 3), np.uint8)

    monkeypatch.setattr(type(data._decoder), "pixels", slow)
    data.expect(torch.arange(10))
    begun.wait(10)
    data.close()
    go_on.set()
    assert sum(future.cancelled() for future in data._coming.values()) >= 2
