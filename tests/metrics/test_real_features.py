"""Features of reals on disk: found again, made anew where they are damaged, too few or of something else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fastgan.metrics import real_features
from fastgan.metrics.real_features import kept_on_disk

IMAGES = torch.arange(100, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2)
ORDER = torch.randperm(100, generator=torch.Generator().manual_seed(1))


class Counting:
    """Features that are the image's value, and how many images it has seen."""

    name, resize, identity = "counting", "none", "counting 1"

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        return images[:, 0].float().flatten(1)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real_features, "folder", lambda: tmp_path / "features")


def read(indices: Tensor) -> Iterator[Tensor]:
    for part in indices.split(7):
        yield IMAGES[part]


def rows(count: int, extractor: Counting, known_as: str = "images counting 1") -> Tensor:
    return kept_on_disk(known_as, ORDER, count, read, extractor)


def expected(count: int) -> Tensor:
    return ORDER[:count, None].float().expand(-1, 4)


def file() -> Path:
    (found,) = real_features.folder().glob("*.npy")
    return found


def test_they_are_made_once() -> None:
    first, second = Counting(), Counting()
    torch.testing.assert_close(rows(40, first), expected(40))
    assert first.seen == 64  # two batches of 32, the last filled up
    torch.testing.assert_close(rows(40, second), expected(40))
    torch.testing.assert_close(rows(9, second), expected(9))
    assert second.seen == 0
    rows(40, second, "others counting 1")
    assert second.seen == 64


def test_more_than_there_are_makes_all_anew() -> None:
    rows(40, Counting())
    again = Counting()
    torch.testing.assert_close(rows(70, again), expected(70))
    assert again.seen == 96
    torch.testing.assert_close(rows(40, Counting()), expected(40))


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "record", "pickle"])
def test_what_is_damaged_is_made_anew(damage: str) -> None:
    rows(40, Counting())
    data = bytearray(file().read_bytes())
    if damage == "flipped":
        data[-5] ^= 64
        file().write_bytes(data)
    elif damage == "cut":
        file().write_bytes(data[:-100])
    elif damage == "gone":
        file().unlink()
    elif damage == "record":
        file().with_suffix(".json").write_text(json.dumps({"of": "images counting 0", "sha256": ""}), encoding="utf-8")
    else:
        file().write_bytes(b"\x80\x04K\x01.")
    again = Counting()
    torch.testing.assert_close(rows(40, again), expected(40))
    assert again.seen == 64


def test_one_who_is_interrupted_leaves_nothing_that_counts() -> None:
    class Failing(Counting):
        def __call__(self, images: Tensor) -> Tensor:
            if self.seen:
                raise KeyboardInterrupt
            return super().__call__(images)

    with pytest.raises(KeyboardInterrupt):
        rows(40, Failing())
    assert not list(real_features.folder().glob("*.npy"))
    torch.testing.assert_close(rows(40, Counting()), expected(40))
