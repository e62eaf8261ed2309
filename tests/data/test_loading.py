"""Sets of images by path: what is read, what is left out, and what is said of broken ones."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fastgan.data import load_dataset
from fastgan.data.loading import evenly_spaced
from tests.data.making import in_memory


def save(path: Path, value: int, size: tuple[int, int] = (6, 4), mode: str = "RGB") -> None:
    """A flat image of `size` (W, H)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    color = value if mode == "L" else (value,) * len(mode)
    Image.new(mode, size, color).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "shots"
    save(root / "b.png", 20)
    save(root / "a" / "deep" / "z.webp", 10)
    save(root / "c.PNG", 30, mode="L")
    save(root / ".hidden" / "x.png", 99)
    save(root / "._c.png", 99)
    (root / "notes.txt").write_text("no image")
    return root


def zipped(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
        archive.writestr("__MACOSX/b.png", b"resource fork")
    return path


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_tree_is_read_in_order(folder, kind):
    data = in_memory(folder if kind == "folder" else zipped(folder))
    assert data.images.shape == (3, 4, 6, 3) and data.images.dtype == torch.uint8
    assert data.images.is_contiguous()
    assert data.images[:, 0, 0, 0].tolist() == [10, 20, 30]  # a/deep/z, b, c
    assert (data.resolution, data.channels, data.num_classes, len(data)) == ((4, 6), 3, 0, 3)
    assert data.labels is None and data.name == "shots"
    assert data.broken == ()


def test_labels_and_class_names_come_from_the_index(folder):
    index = {"labels": [["c.PNG", 0], ["b.png", 1], ["a/deep/z.webp", 1]], "classes": ["dog", "cat"]}
    (folder / "dataset.json").write_text(json.dumps(index))
    for source in (folder, zipped(folder)):
        data = in_memory(source)
        assert data.labels.tolist() == [1, 1, 0] and data.class_names == ("dog", "cat")
        cats = load_dataset(source, classes=["Cat"])
        assert len(cats) == 2 and cats.labels.tolist() == [0, 0] and cats.class_names == ("Cat",)


def test_image_without_label_is_named(folder):
    (folder / "dataset.json").write_text('{"labels": [["b.png", 0]]}')
    with pytest.raises(ValueError, match=r"shots: 2 of 3 images have no label: a/deep/z\.webp, c\.PNG; every image"):
        load_dataset(folder, labelled=True)
    assert load_dataset(folder).labels is None
    assert len(load_dataset(folder, classes=["0"])) == 1


def test_grey_set(folder):
    data = in_memory(folder, channels=1)
    assert data.images.shape == (3, 4, 6, 1)
    assert data.images.flatten(1).unique(dim=1).tolist() == [[10], [20], [30]]


def test_sizes_that_differ_are_named_unless_resized(folder):
    save(folder / "d.jpg", 200, size=(9, 9))
    with pytest.raises(
        ValueError, match=r"shots/d\.jpg: is 9x9 \(WxH\), but the images before it are 6x4; give a resolution"
    ):
        load_dataset(folder)
    data = in_memory(folder, resolution=(3, 5))
    assert data.images.shape == (4, 3, 5, 3)
    assert data.images.flatten(1).float().mean(dim=1).round().tolist() == [10, 20, 30, 200]


def test_broken_image_is_named(folder):
    (folder / "bb.png").write_bytes((folder / "b.png").read_bytes()[:40])
    with pytest.raises(ValueError, match=r"shots/bb\.png: cannot be read as an image"):
        load_dataset(folder)


def test_broken_images_are_counted_or_left_out(folder):
    (folder / "bb.png").write_bytes(b"x")
    (folder / "bc.png").write_bytes(b"")
    save(folder / "d.png", 200, size=(9, 9))
    with pytest.raises(
        ValueError, match=r"3 of 6 images cannot be used; --skip-broken .*bb\.png.*bc\.png.*d\.png: is 9x9"
    ):
        load_dataset(folder)
    data = in_memory(folder, skip_broken=True)
    assert data.images[:, 0, 0, 0].tolist() == [10, 20, 30]
    assert (
        len(data.broken) == 3
        and "bb.png: cannot be read as an image (in no known image format)" in list(data.broken)[0]
    )


def test_reading_stops_after_ten_broken_images(folder):
    for i in range(30):
        (folder / f"e{i}.png").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"10 or more of 33 images cannot be used") as error:
        load_dataset(folder)
    assert str(error.value).count("cannot be read as an image") == 3 and str(error.value).endswith("| ...")


def test_labels_of_broken_images_go_with_them(tmp_path):
    for name, value in (("a/1.png", 10), ("b/2.png", 20), ("b/3.png", 30)):
        save(tmp_path / name, value)
    (tmp_path / "a" / "0.png").write_bytes(b"x")
    data = in_memory(tmp_path, skip_broken=True)
    assert data.labels.tolist() == [0, 1, 1] and data.images[:, 0, 0, 0].tolist() == [10, 20, 30]


def test_links_in_a_circle_end(folder):
    (folder / "a" / "loop").symlink_to(folder)
    assert len(load_dataset(folder)) == 3


def test_what_is_no_file_is_named(folder):
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    os.mkfifo(folder / "pipe.png")
    with pytest.raises(ValueError, match=r"gone\.png: cannot be read \(No such file.*pipe\.png: .*no regular file"):
        load_dataset(folder)


def test_file_names_that_are_no_text_are_named(folder):
    with open(os.fsencode(folder) + b"/bad\xff.png", "wb") as file:
        file.write((folder / "b.png").read_bytes())
    with pytest.raises(ValueError, match=r"bad\\udcff\.png: the name is not valid UTF-8"):
        load_dataset(folder)


def test_max_images_are_spread_evenly(folder):
    assert in_memory(folder, max_images=2).images[:, 0, 0, 0].tolist() == [10, 20]
    assert evenly_spaced(10, 4) == [0, 2, 5, 7]
    assert evenly_spaced(3, 5) == [0, 1, 2]
    with pytest.raises(ValueError, match="max_images must be at least 1, got 0"):
        load_dataset(folder, max_images=0)


def test_background(folder):
    Image.fromarray(np.zeros((4, 6, 4), np.uint8)).save(folder / "0.png")
    assert in_memory(folder).images[0].unique().tolist() == [255]
    assert in_memory(folder, background=(1, 1, 1)).images[0].unique().tolist() == [1]


def test_packaged_set_resizes_and_selects():
    data = in_memory("emoji64", resolution=(16, 16), classes=["food", "activities"], max_images=20, channels=1)
    assert data.images.shape == (20, 16, 16, 1)
    assert data.class_names == ("food", "activities") and set(data.labels.tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"channels": 4}, "channels must be 3"),
        ({"resolution": (0, 4)}, r"resolution must be \(H, W\)"),
        ({"classes": []}, "classes must be a list"),
        ({"classes": "smileys"}, "classes must be a list"),
        ({"classes": ["dog"]}, "no class is named 'dog'"),
    ],
)
def test_unusable_options_are_named(folder, options, complaint):
    with pytest.raises(ValueError, match=complaint):
        load_dataset(folder, **options)


def test_unusable_sources_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere: no such file or folder.*emoji64"):
        load_dataset(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds no images and no other files; give the folder"):
        load_dataset(tmp_path)
    (tmp_path / "x.zip").write_text("no zip")
    with pytest.raises(ValueError, match=r"x\.zip: not a readable zip"):
        load_dataset(tmp_path / "x.zip")


def test_damaged_zip_entry_is_named(folder):
    path = zipped(folder)
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("b.png").header_offset + 30 + len("b.png")
    data = bytearray(path.read_bytes())
    data[start + 5 : start + 15] = b"\xff" * 10
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"shots\.zip/b\.png: cannot be read"):
        load_dataset(path)


def test_more_than_the_memory_is_named_before_anything_is_decoded() -> None:
    with pytest.raises(ValueError, match=r"emoji64.zip: \d+ images of 32768x32768 \(WxH\) exceed this"):
        load_dataset("emoji64", resolution=(2**15, 2**15))
