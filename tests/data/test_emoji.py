"""The packaged emoji: what it holds, and how it is chosen and drawn."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastgan.data.emoji import choose_emoji, emoji_index, read_emoji, render_emoji
from fastgan.data.opening import PACKAGED
from tests.data.making import in_memory

RECORDS = [
    {"unified": "1F600", "category": "Smileys & Emotion", "subcategory": "face-smiling"},
    {"unified": "1F620", "category": "Smileys & Emotion", "subcategory": "face-negative"},
    {"unified": "1F480", "category": "Smileys & Emotion", "subcategory": "face-negative"},
    {"unified": "1F44B", "category": "People & Body", "subcategory": "hand-fingers-open"},
    {"unified": "0039-FE0F-20E3", "category": "Symbols", "subcategory": "keycap"},
    {"unified": "1F3FB", "category": "Component", "subcategory": "skin-tone"},
]
IMAGES = [
    "1f600",
    "1f620",
    "1f480",
    "1f44b",
    "1f44b-1f3fb",
    "39-fe0f-20e3",
    "0039-fe0f-20e3",
    "1f3fb",
    "1f3f4-e0067_e0062",
]


def write_tarball(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def write_origins(folder: Path) -> tuple[Path, Path]:
    """Tarballs shaped like the two npm packages: 8-pixel images, transparent left half, red right half."""
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, 4:] = (255, 0, 0, 255)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", lossless=True)
    images = {f"assets/{name}.webp": buffer.getvalue() for name in IMAGES} | {"README.md": b"emoji"}
    groups = {"package.json": b"{}", "emoji.json": json.dumps(RECORDS).encode()}
    return write_tarball(folder / "fluent.tgz", images), write_tarball(folder / "noto.tgz", groups)


def test_emoji64_holds_every_grouped_emoji_once():
    data = in_memory("emoji64")
    assert data.name == "emoji64"
    assert data.images.shape == (1852, 64, 64, 3)
    assert data.labels is not None
    counts = dict(zip(data.class_names, np.bincount(data.labels.numpy()).tolist(), strict=True))
    assert counts == {
        "smileys": 166, "people": 361, "animals": 157, "food": 128, "travel": 218,
        "activities": 85, "objects": 261, "symbols": 223, "flags": 253,
    }  # fmt: skip
    corners = data.images[:, 0, 0].float()
    assert (corners == 255).all(dim=1).float().mean() > 0.98  # on white; square buttons may reach the corner
    assert data.mirror_hazards == ("symbols", "flags")


def test_faces_of_emoji64_are_round_and_yellow():
    faces = in_memory("emoji64", classes=["smileys/faces"])
    assert len(faces) == 97
    assert faces.class_names == ("smileys/faces",)
    # The rim left and right of the middle, where no face has eyes or a mouth, is yellow: red > green > blue.
    red, green, blue = faces.images[:, 38:44, 8:12].double().mean(dim=(0, 1, 2))
    assert red > 220 and 130 < green < 220 and blue < 120


def test_emoji64_is_stored_with_notice():
    with zipfile.ZipFile(PACKAGED["emoji64"]) as archive:
        infos = archive.infolist()
        notice = archive.read("NOTICE.txt").decode()
    assert {info.compress_type for info in infos} == {zipfile.ZIP_STORED}
    assert {info.date_time for info in infos} == {(1980, 1, 1, 0, 0, 0)}
    assert "Microsoft Corporation" in notice and "MIT License" in notice


def test_choice_drops_tones_second_spellings_and_the_groupless():
    chosen = choose_emoji([f"package/assets/{name}.webp" for name in IMAGES] + ["package/README.md"], RECORDS)
    assert [(each.path, each.member.rpartition("/")[2]) for each in chosen] == [
        ("people/1f44b.webp", "1f44b.webp"),
        ("smileys/1f480.webp", "1f480.webp"),
        ("smileys/1f600.webp", "1f600.webp"),
        ("smileys/1f620.webp", "1f620.webp"),
        ("symbols/0039-fe0f-20e3.webp", "0039-fe0f-20e3.webp"),
    ]
    index = emoji_index(chosen)
    assert index.selections["smileys/faces"] == ("smileys/1f600.webp", "smileys/1f620.webp")
    assert index.class_of("people/1f44b.webp") == "people"


def test_drawing_has_no_dark_fringe(tmp_path):
    images, groups = write_origins(tmp_path)
    drawn = dict(render_emoji(images, read_emoji(images, groups), size=4))
    pixels = np.asarray(Image.open(io.BytesIO(drawn["smileys/1f600.webp"])))
    assert pixels.shape == (4, 4, 3)
    # Transparent black beside red: between white and red green equals blue and red stays full.
    assert (pixels[..., 0] >= 253).all()
    np.testing.assert_array_equal(pixels[..., 1], pixels[..., 2])
    assert (pixels[:, 0, 1] > 245).all() and (pixels[:, 3, 1] < 10).all()


@pytest.mark.parametrize("broken", ["images", "groups"])
def test_wrong_tarball_is_named(tmp_path, broken):
    images, groups = write_origins(tmp_path)
    empty = write_tarball(tmp_path / "empty.tgz", {"package.json": b"{}"})
    with pytest.raises(ValueError, match=r"empty\.tgz: (no emoji found|holds no emoji\.json)"):
        read_emoji(*((empty, groups) if broken == "images" else (images, empty)))
    (tmp_path / "text.tgz").write_text("no tarball")
    with pytest.raises(ValueError, match=r"text\.tgz: cannot be read as a \.tgz"):
        read_emoji(tmp_path / "text.tgz", groups)
