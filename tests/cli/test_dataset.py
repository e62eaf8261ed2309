"""`fastgan dataset`: conversion between folders and zips, and the packaged set from its origins."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fastgan.cli.dataset import DatasetOptions, run
from fastgan.data import load_dataset
from tests.data.making import in_memory


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three 12x8 (WxH) images of noise in two classes, one of them a JPEG in a sub-folder."""
    root = tmp_path / "photos"
    random = np.random.default_rng(0)
    for name in ("a.png", "b.webp", "sub/c.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        options: dict[str, Any] = {"lossless": True} if name.endswith("webp") else {}
        Image.fromarray(random.integers(0, 256, (8, 12, 3), np.uint8)).save(root / name, **options)
    labels = [["a.png", 1], ["b.webp", 0], ["sub/c.jpg", 1]]
    (root / "dataset.json").write_text(json.dumps({"labels": labels, "classes": ["cat", "dog"]}))
    return root


def names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def test_copy_keeps_files_and_labels(photos, tmp_path):
    assert run(DatasetOptions(str(photos), tmp_path / "set.zip")) == 0
    assert names(tmp_path / "set.zip") == ["dataset.json", "a.png", "b.webp", "sub/c.jpg"]
    assert run(DatasetOptions(str(tmp_path / "set.zip"), tmp_path / "back")) == 0
    for name in ("a.png", "b.webp", "sub/c.jpg"):
        assert (tmp_path / "back" / name).read_bytes() == (photos / name).read_bytes()
    before, after = load_dataset(photos), load_dataset(tmp_path / "back")
    assert after.labels.tolist() == before.labels.tolist() == [1, 0, 1]
    assert after.class_names == ("cat", "dog")


@pytest.mark.parametrize("form", ["webp", "png"])
def test_resized_set_equals_resizing_at_load(photos, tmp_path, form):
    run(DatasetOptions(str(photos), tmp_path / "set.zip", resolution="6x4", format=form))
    assert names(tmp_path / "set.zip") == ["dataset.json", f"a.{form}", f"b.{form}", f"sub/c.{form}"]
    made, expected = in_memory(tmp_path / "set.zip"), in_memory(photos, resolution=(4, 6))
    assert made.images.equal(expected.images) and made.labels.tolist() == expected.labels.tolist()


def test_a_number_is_a_square_resolution(photos, tmp_path):
    run(DatasetOptions(str(photos), tmp_path / "out", resolution="16"))
    assert in_memory(tmp_path / "out").images.shape == (3, 16, 16, 3)


def test_wide_crop_is_square(photos, tmp_path):
    run(DatasetOptions(str(photos), tmp_path / "out", resolution="6x4", transform="center-crop-wide"))
    images = in_memory(tmp_path / "out").images
    assert images.shape == (3, 6, 6, 3)
    assert not images[:, [0, 5]].any() and images[:, 1:5].float().mean() > 64


def test_max_images_keeps_matching_labels(photos, tmp_path):
    run(DatasetOptions(str(photos), tmp_path / "out", max_images=2))
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["labels"] == [["a.png", 1], ["b.webp", 0]]


def test_packaged_set_can_be_a_source(tmp_path):
    run(DatasetOptions("emoji64", tmp_path / "small.zip", max_images=5, resolution="8x8"))
    data = in_memory(tmp_path / "small.zip")
    assert data.images.shape == (5, 8, 8, 3) and "smileys" in data.class_names


def test_unlabelled_set_stays_unlabelled(photos, tmp_path):
    (photos / "dataset.json").unlink()
    run(DatasetOptions(str(photos), tmp_path / "out"))
    assert load_dataset(tmp_path / "out").labels is None


def test_unequal_sizes_are_named(photos, tmp_path):
    Image.new("RGB", (9, 9)).save(photos / "d.png")
    with pytest.raises(ValueError, match=r"photos/d\.png: is 9x9 .*first image is 12x8; pass --resolution WxH"):
        run(DatasetOptions(str(photos), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_broken_file_stops_the_conversion(photos, tmp_path):
    (photos / "b.webp").write_bytes(b"RIFF")
    for resolution in (None, "4x4"):
        with pytest.raises(ValueError, match=r"photos/b\.webp: cannot be read"):
            run(DatasetOptions(str(photos), tmp_path / "out.zip", resolution=resolution))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.zip.unfinished", "photos"]


def test_broken_file_is_left_out_on_request(photos, tmp_path, capsys):
    (photos / "b.webp").write_bytes(b"RIFF")
    run(DatasetOptions(str(photos), tmp_path / "out.zip", skip_broken=True))
    printed = capsys.readouterr().out
    assert (
        "images that cannot be used and are left out: 1" in printed and "b.webp: cannot be read as an image" in printed
    )
    assert names(tmp_path / "out.zip") == ["dataset.json", "a.png", "sub/c.jpg"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.zip", "photos"]


def test_a_set_of_broken_images_is_reported(tmp_path, capsys):
    for name in ("a/[b].png", "c/2.png"):
        (tmp_path / "set" / name).parent.mkdir(parents=True)
        (tmp_path / "set" / name).write_bytes(b"x")
    assert run(DatasetOptions(str(tmp_path / "set"))) == 0
    printed = capsys.readouterr().out
    assert "images that cannot be read: 2" in printed and "a/[b].png: cannot be read" in printed


def test_what_is_passed_over_is_told(photos, tmp_path, capsys):
    (photos / "notes.txt").write_text("of mine")
    note = f"note: {photos}: passed over 1 file that is no image: 1 .txt"
    run(DatasetOptions(str(photos)))
    assert note in capsys.readouterr().out.splitlines()
    run(DatasetOptions(str(photos), tmp_path / "set.zip"))
    assert note in capsys.readouterr().out.splitlines()
    assert names(tmp_path / "set.zip") == ["dataset.json", "a.png", "b.webp", "sub/c.jpg"]


def test_report_and_preview(photos, tmp_path, capsys):
    (photos / "d.png").write_bytes((photos / "a.png").read_bytes())
    (photos / "e.png").write_bytes(b"x")
    Image.new("L", (3, 3), 7).save(photos / "f.png")
    assert run(DatasetOptions(str(photos), preview=tmp_path / "grid.png")) == 0
    printed = capsys.readouterr().out
    for text in ("photos: 5 images", "size 12x8", "80.0%", "size 3x3", "format jpg", "class dog", "no label"):
        assert text in printed
    assert "d.png is the same as a.png" in printed and "images that cannot be read: 1" in printed
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.size == (2 * 66 + 2, 3 * 66 + 2) or grid.size == (3 * 66 + 2, 2 * 66 + 2)


def test_names_that_would_collide_are_named(photos, tmp_path):
    Image.new("RGB", (12, 8)).save(photos / "a.jpg")
    with pytest.raises(ValueError, match=r"a\.png: would get the same name, a\.webp, as a\.jpg"):
        run(DatasetOptions(str(photos), tmp_path / "out", resolution="4x4"))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"resolution": "256px"}, "--resolution must be pixels, 64 for a square or WxH as in 640x480; got '256px'"),
        ({"groups": Path("x.tgz")}, "--groups goes with --preset emoji64 only"),
        ({"workers": 0}, "--workers must be at least 1, got 0"),
        ({"shard_size": 0}, "shard size must be at least 1 image, got 0"),
        ({"shard_size": 2, "dest": Path("x.zip")}, "shards go into a folder, not into a zip"),
        ({"background": "whiteish"}, "background must be a colour"),
        ({"preset": "emoji64"}, "--preset emoji64 needs --groups"),
        ({"preset": "emoji64", "groups": Path("x"), "max_images": 3}, "one fixed set"),
        ({"dest": Path("photos/inner")}, "must lie outside the source"),
        ({"dest": Path("photos.zip"), "source": "photos.zip", "force": True}, "must lie outside the source"),
        ({"dest": Path("taken")}, "exists and is not a data set of ours"),
        ({"dest": Path("done")}, "exists; choose another destination or pass --force"),
    ],
)
def test_options_that_do_not_go_together_are_named(photos, tmp_path, monkeypatch, options, complaint):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "letter.txt").write_text("dear")
    run(DatasetOptions("photos", Path("done")))
    run(DatasetOptions("photos", Path("photos.zip")))
    with pytest.raises(ValueError, match=complaint):
        run(DatasetOptions(**{"source": "photos", "dest": Path("new")} | options))
    assert not (tmp_path / "new").exists()


def test_force_replaces_a_set(photos, tmp_path):
    for count in (3, 1):
        run(DatasetOptions(str(photos), tmp_path / "out", max_images=count, force=True))
    assert len(load_dataset(tmp_path / "out")) == 1


def tarball(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_emoji_preset_from_small_tarballs_is_reproducible(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGBA", (256, 256), (255, 200, 0, 128)).save(buffer, "WEBP", lossless=True)
    images = {f"assets/{name}.webp": buffer.getvalue() for name in ("1f600", "1f44b", "1f44b-1f3fb", "1f3fb")}
    records = [
        {"unified": "1F600", "category": "Smileys & Emotion", "subcategory": "face-smiling"},
        {"unified": "1F44B", "category": "People & Body", "subcategory": "hand-fingers-open"},
    ]
    fluent = tarball(tmp_path / "fluent.tgz", images)
    noto = tarball(tmp_path / "noto.tgz", {"emoji.json": json.dumps(records).encode()})
    paths = [tmp_path / "one.zip", tmp_path / "two.zip"]
    for path in paths:
        assert run(DatasetOptions(str(fluent), path, preset="emoji64", groups=noto)) == 0
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert names(paths[0]) == ["NOTICE.txt", "dataset.json", "people/1f44b.webp", "smileys/1f600.webp"]
    data = in_memory(paths[0], classes=["smileys/faces", "people"])
    assert data.images.shape == (2, 64, 64, 3) and data.labels.tolist() == [1, 0]
    assert data.images.flatten(0, 2).unique(dim=0).tolist() == [[255, 227, 127]]  # half covered, on white
