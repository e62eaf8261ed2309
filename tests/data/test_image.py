"""Decoding, cropping and encoding of single images."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from fastgan.data.image import BrokenImageError, center_crop, center_crop_wide, decode_image, encode_image, parse_color


def encoded(pixels: np.ndarray, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(data: bytes, **options) -> np.ndarray:
    return np.asarray(decode_image(data, "x", **options))


def test_transparency_is_composed_on_the_background():
    pixels = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 51]]], np.uint8)  # opaque, clear, a fifth black
    np.testing.assert_array_equal(decoded(encoded(pixels)), [[[255, 0, 0], [255, 255, 255], [204, 204, 204]]])
    on_blue = decoded(encoded(pixels), background=(0, 0, 255))
    np.testing.assert_array_equal(on_blue, [[[255, 0, 0], [0, 0, 255], [0, 0, 204]]])


def test_palette_transparency_is_composed():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 0])
    image.putpixel((1, 0), 1)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=0)
    np.testing.assert_array_equal(decoded(buffer.getvalue()), [[[255, 255, 255], [200, 100, 0]]])


def test_grey_becomes_rgb_and_back():
    grey = np.array([[0, 100, 255]], np.uint8)
    np.testing.assert_array_equal(decoded(encoded(grey)), np.repeat(grey[..., None], 3, axis=2))
    np.testing.assert_array_equal(decoded(encoded(grey), channels=1), grey)
    green = np.array([[[0, 255, 0]]], np.uint8)
    assert decoded(encoded(green), channels=1).tolist() == [[150]]  # 0.587 * 255, ITU-R 601


def test_sixteen_bits_become_eight():
    deep = np.array([[0, 257 * 100, 65535]], np.uint16)
    np.testing.assert_array_equal(decoded(encoded(deep), channels=1), [[0, 100, 255]])


def test_sixteen_bit_rgb_and_transparent_png_become_eight():
    deep = struct.pack(">4H", 257 * 10, 257 * 200, 65535, 32768)
    for colour_type, expected in ((2, [10, 200, 255]), (6, [132, 227, 255])):  # RGB; RGBA, half over white
        raw = zlib.compress(b"\0" + deep[: 6 if colour_type == 2 else 8])
        chunks = ((b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, colour_type, 0, 0, 0)), (b"IDAT", raw), (b"IEND", b""))
        data = b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in chunks
        )
        np.testing.assert_allclose(decoded(data)[0, 0], expected, atol=1)


def test_cmyk_jpeg_becomes_rgb():
    flat = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # no cyan, all magenta and yellow: red
    buffer = io.BytesIO()
    flat.save(buffer, "JPEG", quality=95)
    np.testing.assert_allclose(decoded(buffer.getvalue())[4, 4], [255, 0, 0], atol=4)


def test_grey_with_transparency_is_composed():
    pixels = np.array([[[100, 255], [100, 0]]], np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    assert decoded(buffer.getvalue(), channels=1).tolist() == [[100, 255]]
    assert decoded(buffer.getvalue(), channels=1, background=(0, 0, 0)).tolist() == [[100, 0]]


@pytest.mark.parametrize("kind", ["BMP", "GIF", "TIFF", "PPM"])
def test_other_formats_are_read(kind):
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    np.testing.assert_array_equal(decoded(encoded(grey, kind), channels=1), grey)


def test_bomb_is_refused_before_it_unpacks():
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header
    data += struct.pack(">I", zlib.crc32(b"IHDR" + header)) + struct.pack(">I", 0) + b"IDAT" + b"\0" * 4
    with pytest.raises(BrokenImageError, match=r"big\.png: cannot be read as an image .*3600000000 pixels.*bomb"):
        decode_image(data, "big.png")


def test_colours_by_name_and_number():
    assert parse_color("white") == (255, 255, 255) and parse_color("#ff8000") == (255, 128, 0)
    with pytest.raises(ValueError, match="background must be a colour like .* got 'whiteish'"):
        parse_color("whiteish")


def test_exif_rotation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    assert decode_image(encoded(np.zeros((2, 5, 3), np.uint8), "JPEG", exif=exif), "x").size == (2, 5)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("damage", ["truncated", "noise", "empty"])
def test_broken_file_is_named(kind, damage):
    data = encoded(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8), kind)
    data = {"truncated": data[: len(data) // 2], "noise": b"no image at all", "empty": b""}[damage]
    with pytest.raises(ValueError, match=r"^set/broken\.img: cannot be read as an image .* replace or remove"):
        decode_image(data, "set/broken.img")


def test_crop_takes_the_centre():
    ramp = np.repeat(np.arange(0, 256, 4, dtype=np.uint8)[:, None], 32, axis=1)  # 64 rows of 32, value 4 * row
    same_scale = np.asarray(center_crop(Image.fromarray(ramp), (32, 32)))
    np.testing.assert_array_equal(same_scale, ramp[16:48])
    halved = np.asarray(center_crop(Image.fromarray(ramp), (16, 16))).astype(int)
    np.testing.assert_array_equal(halved[:, 0], 4 * np.arange(16, 48, 2) + 2)  # means of two rows
    wide = np.asarray(center_crop(Image.fromarray(ramp.T.copy()), (16, 16)))
    np.testing.assert_array_equal(wide, halved.T)


def test_downsampling_averages_and_keeps_constants():
    checks = np.indices((64, 64)).sum(axis=0) % 2 * 255
    small = np.asarray(center_crop(Image.fromarray(checks.astype(np.uint8)), (16, 16)))
    assert np.abs(small.astype(int) - 127).max() <= 2  # no aliasing: finest checks become grey
    flat = Image.new("RGB", (50, 30), (7, 130, 255))
    assert np.asarray(center_crop(flat, (12, 20))).reshape(-1, 3).tolist() == [[7, 130, 255]] * 240


def test_same_size_is_untouched():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    np.testing.assert_array_equal(np.asarray(center_crop(Image.fromarray(pixels), (5, 7))), pixels)


def test_wide_crop_lies_on_a_black_square():
    wide = np.asarray(center_crop_wide(Image.new("RGB", (40, 20), (9, 9, 9)), (4, 8)))
    assert wide.shape == (8, 8, 3)
    assert wide[..., 0].tolist() == [[0] * 8] * 2 + [[9] * 8] * 4 + [[0] * 8] * 2
    with pytest.raises(ValueError, match=r"at least as wide as high, got 4x8"):
        center_crop_wide(Image.new("RGB", (4, 8)), (8, 4))


@pytest.mark.parametrize("suffix", [".webp", ".png"])
def test_encoding_is_lossless(suffix):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 6, 3), np.uint8)
    np.testing.assert_array_equal(decoded(encode_image(Image.fromarray(pixels), suffix)), pixels)


def test_unknown_format_is_refused():
    with pytest.raises(ValueError, match=r"suffix must be \.webp or \.png, got '\.gif'"):
        encode_image(Image.new("RGB", (1, 1)), ".gif")
