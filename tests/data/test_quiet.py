"""Pixels are read whatever texts and EXIF data are like, and Pillow's warnings neither show nor stop anything."""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from fastgan.data.image import BrokenImageError, decode_image
from fastgan.data.quiet import quietly
from tests.data.making import flat


def warn_as_pillow() -> None:
    warnings.warn_explicit("large", Image.DecompressionBombWarning, "Image.py", 1, module="PIL.Image")


def large() -> bytes:
    """A PNG of one bit a pixel, larger than what Pillow warns of."""
    side = int(Image.MAX_IMAGE_PIXELS**0.5) + 2  # type: ignore[operator]
    buffer = io.BytesIO()
    Image.new("1", (side, side), 1).save(buffer, "PNG")
    return buffer.getvalue()


def damaged_exif() -> bytes:
    """A JPEG whose EXIF data point out of the file."""
    exif = Image.Exif()
    exif[0x010E] = "a description of an image, longer than four bytes"
    data = bytearray(flat(100, "JPEG", exif=exif))
    place = data.index(b"\x01\x0e\x00\x02") if b"\x01\x0e\x00\x02" in data else data.index(b"\x0e\x01\x02\x00")
    data[place + 4 : place + 8] = b"\xff\xff\xff\x0f"
    return bytes(data)


def animation_of_nothing() -> bytes:
    """A PNG that says it is an animation of no images."""
    return png_with((b"acTL", bytes(8)))


def png_with(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG with chunks before its pixels."""
    data = flat(100)
    added = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return data[:33] + added + data[33:]  # behind the signature and IHDR


@pytest.mark.parametrize("make", [damaged_exif, animation_of_nothing])
@pytest.mark.parametrize("action", ["error", "always"])
def test_odd_images_are_read_without_a_word(make, action):
    data = make()
    with warnings.catch_warnings(record=action == "always") as seen:
        warnings.simplefilter(action)
        np.testing.assert_allclose(np.asarray(decode_image(data, "x")), 100, atol=1)
    assert not seen


def test_a_large_image_is_read_without_a_word(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode_image(large(), "x").size == (46, 46)


def test_warnings_of_the_callers_own_use_of_pillow_stay(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    data = large()
    decode_image(data, "x")
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(io.BytesIO(data))


def test_other_warnings_inside_stay():
    with pytest.warns(UserWarning, match="mine"):
        quietly(lambda: warnings.warn("mine", stacklevel=1))


def test_threads_decode_in_silence_while_others_change_the_filters():
    stop, data = threading.Event(), animation_of_nothing()

    def change() -> None:
        while not stop.is_set():
            with warnings.catch_warnings():
                warnings.simplefilter("error")

    def decode(_: int) -> bytes:
        quietly(warn_as_pillow)
        return decode_image(data, "x").tobytes()

    before = [each for each in warnings.filters if each[1] is not None]
    changer = threading.Thread(target=change)
    changer.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(decode, range(200)))) == 1
    finally:
        stop.set()
        changer.join()
    assert [each for each in warnings.filters if each[1] is not None] == before


LONG = zlib.compress(bytes(1 << 22))


@pytest.mark.parametrize(
    "chunk",
    [
        (b"zTXt", b"prompt\0\0" + LONG),
        (b"iTXt", b"prompt\0\1\0\0\0" + LONG),
        (b"iCCP", b"profile\0\0" + LONG),
        (b"zTXt", b"prompt\0\0" + LONG[:100]),
    ],
    ids=["text", "unicode", "profile", "cut"],
)
def test_a_png_with_a_long_text_is_read(chunk):
    np.testing.assert_array_equal(np.asarray(decode_image(png_with(chunk), "x")), 100)


def test_many_texts_are_read():
    text = (b"tEXt", b"prompt\0" + b"x" * (1 << 20))
    np.testing.assert_array_equal(np.asarray(decode_image(png_with(*[text] * 65), "x")), 100)


def test_a_long_text_does_not_hide_damage():
    data = png_with((b"zTXt", b"prompt\0\0" + LONG))
    with pytest.raises(BrokenImageError, match="x: cannot be read as an image"):
        decode_image(data[:-30], "x")


def test_orientation_is_kept_beside_a_text():
    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", "a cat")
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_image(flat(1, pnginfo=info, exif=exif), "x").size == (4, 6)
    assert decode_image(png_with((b"zTXt", b"p\0\0" + LONG), (b"eXIf", exif.tobytes()[6:])), "x").size == (4, 6)
