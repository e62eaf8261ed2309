"""Conversion between forms of a set: the same bytes whoever does it, and no work done twice."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fastgan.data import load_dataset
from fastgan.data.conversion import Conversion, Converted, convert
from tests.data.making import in_memory

SMALL = Conversion(resolution=(4, 6))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve 12x8 images of noise in two classes."""
    random = np.random.default_rng(0)
    for i in range(12):
        path = tmp_path / "photos" / ("cat", "dog")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (8, 12, 3), np.uint8)).save(path)
    (tmp_path / "photos" / "LICENSE.txt").write_text("mine")
    return tmp_path / "photos"


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("dest", "shards"), [("out", None), ("out.zip", None), ("out", 5)])
def test_same_bytes_whatever_the_workers(photos, tmp_path, dest, shards):
    results = []
    for workers in (1, 4):
        path = tmp_path / str(workers) / dest
        assert convert(photos, path, Conversion(resolution=(4, 6), shard_size=shards), workers=workers) == Converted(12)
        results.append(path.read_bytes() if path.is_file() else contents(path))
        assert sorted(each.name for each in path.parent.iterdir()) == [dest]
    assert results[0] == results[1]
    made, expected = load_dataset(path), load_dataset(photos, resolution=(4, 6))
    assert made.read(torch.arange(12)).equal(expected.read(torch.arange(12)))
    assert made.labels.tolist() == expected.labels.tolist() and made.class_names == ("cat", "dog")


def test_licences_go_along(photos, tmp_path):
    convert(photos, tmp_path / "out", SMALL)
    assert (tmp_path / "out" / "LICENSE.txt").read_text() == "mine"
    convert("emoji64", tmp_path / "emoji", Conversion(max_images=3))
    assert "Microsoft" in (tmp_path / "emoji" / "NOTICE.txt").read_text()


def stop_after(count: int):
    """A track that is interrupted after so many images."""

    def track(things, total):
        for i, each in enumerate(things):
            if i == count:
                raise KeyboardInterrupt
            yield each

    return track


def staged(work: Path) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in work.rglob("*.webp") if not path.name.startswith(".")}


def test_interrupted_conversion_goes_on(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("fastgan.data.loading._WINDOW", 4)
    whole = tmp_path / "whole"
    convert(photos, whole, SMALL)
    dest, work = tmp_path / "out", tmp_path / ".out.unfinished"
    with pytest.raises(KeyboardInterrupt):
        convert(photos, dest, SMALL, track=stop_after(5))
    assert not dest.exists()
    before = staged(work)
    assert 5 <= len(before) < 12
    half = next(work.rglob("0.webp"))
    half.write_bytes(half.read_bytes()[:20])  # as a system that lost power may leave it
    wrote = []
    write = os.replace
    monkeypatch.setattr("os.replace", lambda a, b: (wrote.append(Path(b).name), write(a, b)))
    convert(photos, dest, SMALL)
    assert contents(dest) == contents(whole)
    assert sorted(wrote) == sorted(["0.webp", *({f"{i}.webp" for i in range(12)} - set(before))])
    assert not work.exists()


@pytest.mark.parametrize("change", ["options", "image"])
def test_work_of_another_conversion_is_not_taken(photos, tmp_path, change):
    dest = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        convert(photos, dest, SMALL, track=stop_after(11))
    now = Conversion(resolution=(4, 4)) if change == "options" else SMALL
    if change == "image":
        Image.new("RGB", (12, 8), (1, 2, 3)).save(photos / "cat" / "0.png")
    convert(photos, dest, now)
    assert load_dataset(dest).read(torch.arange(12)).equal(in_memory(photos, resolution=now.resolution).images)


def test_repaired_image_lets_the_conversion_go_on(photos, tmp_path):
    whole = (photos / "dog" / "11.png").read_bytes()
    (photos / "dog" / "11.png").write_bytes(whole[:100])
    with pytest.raises(ValueError, match=r"1 of 12 images cannot be used; .*dog/11\.png"):
        convert(photos, tmp_path / "out", SMALL)
    before = staged(tmp_path / ".out.unfinished")
    assert len(before) == 11
    (photos / "dog" / "11.png").write_bytes(whole)
    convert(photos, tmp_path / "out", SMALL)
    after = staged(tmp_path / "out")
    assert before.items() <= after.items() and len(after) == 12  # the same files, linked


def test_class_folders(photos, tmp_path):
    convert(photos, tmp_path / "flat.zip", Conversion())
    convert("emoji64", tmp_path / "emoji", Conversion(max_images=9, class_folders=True))
    assert {path.name for path in (tmp_path / "emoji").iterdir() if path.is_dir()} <= {
        "smileys", "people", "animals", "food", "travel", "activities", "objects", "symbols", "flags",
    }  # fmt: skip
    assert load_dataset(tmp_path / "emoji").num_classes == 9
    for path in photos.rglob("*.png"):
        path.rename(photos / path.name)
    with pytest.raises(ValueError, match="has no class, so it cannot be put into a folder of its class"):
        convert(photos, tmp_path / "x", Conversion(class_folders=True))


def test_grey(photos, tmp_path):
    convert(photos, tmp_path / "out", Conversion(channels=1, format="png"))
    expected = in_memory(photos, channels=1)
    assert in_memory(tmp_path / "out", channels=1).images.equal(expected.images)
    with Image.open(next((tmp_path / "out").rglob("*.png"))) as image:
        assert image.mode == "L"


def test_class_names_that_are_no_folder_names(photos, tmp_path):
    labels = [[path.relative_to(photos).as_posix(), i % 4] for i, path in enumerate(sorted(photos.rglob("*.png")))]
    index = {"labels": labels, "classes": ["..", ".b", "a/c", "__MACOSX"]}
    (photos / "dataset.json").write_text(json.dumps(index))
    dest = tmp_path / "in" / "out"
    assert convert(photos, dest, Conversion(class_folders=True)).images == 12
    assert sorted(path.name for path in dest.iterdir() if path.is_dir()) == ["_..", "_.b", "___MACOSX", "a_c"]
    assert [path.name for path in dest.parent.iterdir()] == ["out"]
    assert len(load_dataset(dest)) == 12
    index["classes"] = ["a/b", "a_b", "x", "y"]
    (photos / "dataset.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="the classes 'a/b' and 'a_b' would share the folder 'a_b'"):
        convert(photos, tmp_path / "x", Conversion(class_folders=True))


def test_a_link_as_destination_stays_a_link(photos, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    for force in (False, True):
        convert(photos, tmp_path / "link", Conversion(max_images=2), force=force)
        assert (tmp_path / "link").is_symlink() and len(load_dataset(tmp_path / "disk")) == 2


def test_what_cannot_be_is_refused_before_any_work(photos, tmp_path):
    with pytest.raises(ValueError, match="shards go into a folder"):
        convert(photos, tmp_path / "x.zip", Conversion(shard_size=2))
    with pytest.raises(ValueError, match="shard size must be at least 1"):
        Conversion(shard_size=0)
    with pytest.raises(ValueError, match="at least as wide as high"):
        Conversion(resolution=(8, 4), transform="center-crop-wide")
    Image.new("RGB", (12, 8)).save(photos / "cat" / "0.jpg")
    with pytest.raises(ValueError, match=r"0\.png: would get the same name"):  # both labels would be cat/0.cls
        convert(photos, tmp_path / "x", Conversion(shard_size=2))
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_dangling_link_is_left_out_on_request(photos, tmp_path):
    (photos / "cat" / "gone.png").symlink_to("nowhere.png")
    made = convert(photos, tmp_path / "out", Conversion(resolution=(4, 6), skip_broken=True))
    assert made.images == 12 and len(made.broken) == 1 and "gone.png: cannot be read (No such file" in made.broken[0]
