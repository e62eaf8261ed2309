"""Deep images become 8 bits over a range that the format or the file states, each image of a set alike."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from fastgan.data import load_dataset
from fastgan.data.image import BrokenImageError, decode_image
from fastgan.data.levels import eight_bits
from fastgan.data.opening import open_store
from tests.data.making import flat, in_folder

PHOTOMETRIC, MAX_SAMPLE, S_MAX_SAMPLE = 262, 281, 341


def tiff(pixels: np.ndarray, **tags: tuple[int, float]) -> bytes:
    """A TIFF file; `tags`: (type of TIFF, value) by the names above."""
    fields = TiffImagePlugin.ImageFileDirectory_v2()
    for name, (kind, value) in tags.items():
        tag = globals()[name]
        fields.tagtype[tag] = kind
        fields[tag] = value
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "TIFF", tiffinfo=fields)
    return buffer.getvalue()


def grey(data: bytes) -> list[int]:
    return np.asarray(decode_image(data, "a.tif", channels=1)).ravel().tolist()


SHORT, LONG, FLOAT = 3, 4, 11


@pytest.mark.parametrize("byte_order", ["<u2", ">u2"])
def test_sixteen_bits_go_to_65535(byte_order):
    assert grey(tiff(np.array([[0, 257, 25700, 65535]]).astype(byte_order))) == [0, 1, 100, 255]


@pytest.mark.parametrize("tag", ["MAX_SAMPLE", "S_MAX_SAMPLE"])
def test_twelve_bits_in_sixteen_go_to_what_the_file_states(tag):
    pixels = np.array([[0, 1606, 4095]], np.uint16)
    assert grey(tiff(pixels)) == [0, 6, 15]  # of 65535
    assert grey(tiff(pixels, **{tag: (SHORT, 4095)})) == [0, 100, 255]


def test_the_largest_value_of_one_image_is_no_range():
    bright, dark = (tiff(np.array([[0, top]], np.uint16), S_MAX_SAMPLE=(SHORT, top)) for top in (51400, 25700))
    assert grey(bright) == [0, 200] and grey(dark) == [0, 100]


def test_a_stated_range_that_is_exceeded_is_an_error():
    data = tiff(np.array([[0, 5000]], np.uint16), S_MAX_SAMPLE=(SHORT, 4095))
    with pytest.raises(BrokenImageError, match="integers from 0 to 5000, of no known range; expected 0 to 4095"):
        grey(data)


def test_thirty_two_bits_need_a_stated_range(tmp_path):
    pixels = np.array([[0, 100, 255]], np.int32)
    with pytest.raises(BrokenImageError, match="integers from 0 to 255, of no known range; expected .*SMaxSampleValue"):
        grey(tiff(pixels))
    assert grey(tiff(pixels, S_MAX_SAMPLE=(LONG, 255))) == [0, 100, 255]
    with pytest.raises(BrokenImageError, match="integers from -1 to 255"):
        grey(tiff(pixels - np.array([[1, 0, 0]], np.int32), S_MAX_SAMPLE=(LONG, 255)))


def test_floats_from_0_to_1_are_read():
    assert grey(tiff(np.array([[0, 0.2, 0.5, 1]], np.float32))) == [0, 51, 127, 255]


@pytest.mark.parametrize("other", [255.0, -0.1, np.nan, np.inf, 1.001])
def test_other_floats_are_named_with_their_range(other):
    with pytest.raises(
        BrokenImageError, match=r"floating-point numbers from .* of no known range; expected numbers from"
    ):
        grey(tiff(np.array([[0.5, other]], np.float32)))


def test_floats_go_to_what_the_file_states():
    pixels = np.array([[0, 100.9, 255]], np.float32)
    assert grey(tiff(pixels, S_MAX_SAMPLE=(FLOAT, 255.0))) == [0, 100, 255]


def test_white_is_zero_is_turned_round():
    pixels = np.array([[0, 25700, 65535]], np.uint16)
    assert grey(tiff(pixels, PHOTOMETRIC=(SHORT, 0))) == [255, 155, 0]


def test_depth_of_other_formats():
    deep = Image.fromarray(np.array([[0, 25700, 65535]], np.uint16))
    assert np.asarray(eight_bits(deep, {})).tolist() == [[0, 100, 255]]
    assert grey(b"P5 3 1 4095\n" + np.array([0, 1606, 4095], ">u2").tobytes()) == [0, 100, 255]  # states its range
    assert grey(b"P5 3 1 65535\n" + np.array([0, 25700, 65535], ">u2").tobytes()) == [0, 100, 255]


def test_a_turned_deep_photograph_keeps_its_range():
    pixels = np.array([[0, 1606, 4095]], np.uint16)
    fields = TiffImagePlugin.ImageFileDirectory_v2()
    fields[0x0112], fields[S_MAX_SAMPLE] = 6, 4095
    fields.tagtype[S_MAX_SAMPLE] = SHORT
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "TIFF", tiffinfo=fields)
    image = decode_image(buffer.getvalue(), "a.tif", channels=1)
    assert image.size == (1, 3) and np.asarray(image).ravel().tolist() == [0, 100, 255]


def test_a_set_of_twelve_bits_in_sixteen_is_told_to_be_nearly_black(tmp_path):
    random = np.random.default_rng(0)
    in_folder(tmp_path, {f"{i}.tif": tiff(random.integers(0, 4096, (4, 4), np.uint16)) for i in range(40)})
    with open_store(tmp_path) as store:
        (note,) = store.notes
        assert note.startswith(
            f"{tmp_path}: the images are nearly black: the largest value of 14 is 15 of 255; 12 bits"
        )


def test_label_maps_are_told_to_be_nearly_black_and_a_dark_photograph_is_not(tmp_path):
    in_folder(tmp_path / "maps", {f"{i}.png": flat(i) for i in range(9)})
    in_folder(tmp_path / "night", {f"{i}.png": flat(2) for i in range(9)} | {"8.png": flat(40)})
    with open_store(tmp_path / "maps") as maps, open_store(tmp_path / "night") as night:
        assert "nearly black: the largest value of 9 is 8 of 255" in maps.notes[0] and night.notes == ()


def test_broken_images_do_not_count_as_black(tmp_path):
    in_folder(tmp_path, {"a.png": b"x", "b.png": b"y"})
    with open_store(tmp_path) as store:
        assert store.notes == ()
    with pytest.raises(ValueError, match="2 of 2 images cannot be used"):
        load_dataset(tmp_path)
