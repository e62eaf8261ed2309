"""What counts as an image: seen from content where the ending says nothing, and counted where it is passed over."""

from __future__ import annotations

import io
import os
import sys
import types
import zipfile

import numpy as np
import pytest
from PIL import Image, features

from fastgan.data import load_dataset
from fastgan.data.conversion import Conversion, convert
from fastgan.data.formats import HEAD, image_format
from fastgan.data.image import BrokenImageError, decode_image
from fastgan.data.opening import open_store
from tests.data.making import flat, in_folder, in_memory, in_tar, in_zip

FORMATS = {
    "PNG": "PNG", "JPEG": "JPEG", "GIF": "GIF", "WEBP": "WebP", "TIFF": "TIFF", "BMP": "BMP", "PPM": "PNM",
    "DDS": "DDS", "JPEG2000": "JPEG 2000", "AVIF": "AVIF", "QOI": "QOI",
}  # fmt: skip
BY_ENDING = {
    "a.jfif": "JPEG", "a.JPE": "JPEG", "a.JPG": "JPEG", "a.tga": "TGA", "a.ico": "ICO", "a.jp2": "JPEG2000",
    "a.avif": "AVIF", "a.qoi": "QOI", "a.pbm": "PPM", "noext": "PNG", "a.jpg?width=600": "JPEG", "a.123": "WEBP",
    "wrong.jpg": "PNG", "wrong.png": "JPEG", "wrong.heic": "PNG",
}  # fmt: skip
HEIC = b"\0\0\0\x18ftypheic" + bytes(50)
makers = pytest.mark.parametrize("make", [in_folder, in_zip, in_tar])


def can_write(kind: str) -> bool:
    Image.init()
    feature = {"AVIF": "avif", "JPEG2000": "jpg_2000"}.get(kind)
    return kind in Image.SAVE and (feature is None or bool(features.check(feature)))


def skip_unless_written(kind: str) -> None:
    if not can_write(kind):
        pytest.skip(f"this Pillow writes no {kind}")


@pytest.mark.parametrize("kind", FORMATS)
def test_a_format_is_known_by_its_first_bytes(kind):
    skip_unless_written(kind)
    data = flat(200, kind, size=(32, 32))
    assert image_format(data[:HEAD]) == FORMATS[kind]
    np.testing.assert_allclose(np.asarray(decode_image(data, "x")), 200, atol=2)


@pytest.mark.parametrize(
    "head", [b"BM of a text", b"P5 is a page", b"", b"%!PS-Adobe", b"\0" * 32, b"RIFF\0\0\0\0WAVE", b"hello" * 9]
)
def test_others_are_no_images(head):
    assert image_format(head) is None


@makers
@pytest.mark.parametrize("name", BY_ENDING)
def test_an_image_is_read_whatever_its_ending(tmp_path, make, name):
    skip_unless_written(BY_ENDING[name])
    path = make(tmp_path / "set", {name: flat(255, BY_ENDING[name], size=(16, 16)), "b.png": flat(255, size=(16, 16))})
    data = in_memory(path)
    assert len(data) == 2 and data.images.min() >= 253
    with open_store(path) as store:
        assert store.notes == ()


@makers
def test_what_is_no_image_is_counted_by_its_ending(tmp_path, make):
    files = {f"{i}.png": flat(100 + i) for i in range(2)} | {f"docs/{i}.txt": b"hello" for i in range(3)}
    files |= {"Thumbs.db": b"x", "README": b"read", ".DS_Store": b"x", "LICENSE": b"mine", "odd.xyz": b"P5 text"}
    path = make(tmp_path / "set", files)
    with open_store(path) as store:
        assert store.names == ("0.png", "1.png")
        assert store.notes == (
            f"{path}: passed over 6 files that are no images: 3 .txt, 1 without an ending, 1 .db, 1 .xyz",
            f"{path}: no image lies in docs",
        )


@makers
def test_a_class_that_cannot_be_decoded_stops_the_run(tmp_path, make, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    files = {"cat/0.png": flat(1), "dog/1.png": flat(2), "bird/2.heic": HEIC, "bird/3.HEIC": bytes(60), "bird/4": HEIC}
    path = make(tmp_path / "set", files)
    with pytest.raises(ValueError, match=r"3 of 5 images cannot be used.*bird/2\.heic: .*pip install pillow-heif"):
        load_dataset(path)
    data = in_memory(path, skip_broken=True)
    assert data.images[:, 0, 0, 0].tolist() == [1, 2] and len(data.broken) == 3


def test_a_decoder_that_was_installed_is_used(monkeypatch):
    """Stands for pillow-heif: a module that registers a decoder when it is imported."""

    class Decoder(Image.Image):
        def __init__(self, file: io.BytesIO, _: str) -> None:
            super().__init__()
            flat = Image.new("RGB", (2, 2), (len(file.read()), 0, 0))
            self.im, self._mode, self._size = flat.im, flat.mode, flat.size

    plugin = types.ModuleType("pillow_heif.HeifImagePlugin")
    monkeypatch.setitem(sys.modules, "pillow_heif", types.ModuleType("pillow_heif"))
    monkeypatch.setitem(sys.modules, "pillow_heif.HeifImagePlugin", None)
    with pytest.raises(BrokenImageError, match="pip install pillow-heif"):
        decode_image(HEIC, "a.heic")
    monkeypatch.setitem(sys.modules, "pillow_heif.HeifImagePlugin", plugin)
    monkeypatch.setitem(Image.OPEN, "HEIF", (Decoder, lambda prefix: prefix[4:8] == b"ftyp"))
    assert decode_image(HEIC, "a.heic").getpixel((0, 0)) == (len(HEIC), 0, 0)


def test_a_picture_that_would_run_a_program_is_not_read():
    with pytest.raises(BrokenImageError, match="in no known image format"):
        decode_image(flat(1, "EPS"), "a.png")


def test_files_that_cannot_be_looked_into_are_passed_over(tmp_path):
    in_folder(tmp_path, {"0.png": flat(100)})
    (tmp_path / "gone").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    with open_store(tmp_path) as store:
        assert store.notes == (f"{tmp_path}: passed over 2 files that are no images: 2 without an ending",)


def test_known_endings_are_not_looked_into(tmp_path, monkeypatch):
    names = [f"{i}{ending}" for i in range(9) for ending in (".png", ".JPG", ".txt", ".cls", ".json")]
    path = in_zip(tmp_path / "a.zip", dict.fromkeys(names, flat(100)))
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("a file was looked into"))
    with open_store(path) as store:
        assert len(store.names) == 18


def test_images_without_endings_are_converted(tmp_path):
    source = in_folder(tmp_path / "in", {"a/0": flat(10), "b/1": flat(20)})
    convert(source, tmp_path / "out.zip", Conversion(resolution=(4, 4)))
    data = in_memory(tmp_path / "out.zip")
    assert data.images[:, 0, 0, 0].tolist() == [10, 20] and data.class_names == ("a", "b")
    convert(source, tmp_path / "copy", Conversion())
    assert (tmp_path / "copy" / "a" / "0").read_bytes() == flat(10)
    assert load_dataset(tmp_path / "copy").labels.tolist() == [0, 1]
