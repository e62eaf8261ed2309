"""Image files with damaged headers: an image, or an error that names the file."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fastgan.data.formats import HEAD, image_format
from fastgan.data.image import BrokenImageError, decode_image
from tests.data.making import flat
from tests.fuzz.limits import bounded

exif = Image.Exif()
exif[0x0112], exif[0x010E] = 6, "a description"
IMAGES = [
    flat(100), flat(100, mode="P", transparency=0), flat(100, mode="RGBA"), flat(1000, mode="I;16"), flat(9, exif=exif),
    flat(100, "JPEG", exif=exif), flat(100, "JPEG", mode="CMYK"), flat(100, "GIF", mode="P"), flat(100, "BMP"),
    flat(100, "TIFF"), flat(1000, "TIFF", mode="I;16"), flat(1, "TIFF", mode="F"), flat(1, "TIFF", mode="LA"),
    flat(100, "WEBP", lossless=True), flat(100, "WEBP"), flat(100, "PPM"), flat(100, "TGA"), flat(1, "PPM", mode="1"),
    flat(100, "DDS"), flat(100, "JPEG2000", size=(16, 16)), flat(100, "ICO", size=(16, 16)),
]  # fmt: skip
# (byte of the header or, counted from behind, of the end; what to lay over it)
CHANGES = st.lists(
    st.tuples(st.integers(0, 120) | st.integers(-60, -1), st.binary(min_size=1, max_size=5)), min_size=1, max_size=4
)


def decodes_or_names(data: bytes) -> None:
    with bounded():
        assert image_format(data[:HEAD]) is None or len(data) > 1
        try:
            image = decode_image(data, "set/a.img")
        except BrokenImageError as error:
            assert str(error).startswith("set/a.img: cannot be read as an image (") and len(str(error)) < 1000
            return
        assert image.mode == "RGB" and np.asarray(image).shape == (image.height, image.width, 3)


@settings.get_profile("fuzz")
@given(data=st.sampled_from(IMAGES), changes=CHANGES, cut=st.sampled_from([1.0, 1.0, 1.0, 0.8, 0.3]))
def test_headers(data, changes, cut) -> None:
    changed = bytearray(data)
    for place, value in changes:
        place = max(place + len(data), 0) if place < 0 else place
        changed[place : place + len(value)] = value
    decodes_or_names(bytes(changed[: int(cut * len(changed))]))


CHUNKS = st.sampled_from(
    [
        b"IHDR",
        b"PLTE",
        b"tRNS",
        b"gAMA",
        b"sBIT",
        b"iCCP",
        b"zTXt",
        b"iTXt",
        b"tEXt",
        b"eXIf",
        b"acTL",
        b"fcTL",
        b"fdAT",
        b"IDAT",
    ]
)
BODIES = st.binary(max_size=40) | st.sampled_from(
    [
        zlib.compress(bytes(1 << 22)),
        b"p\0\0" + zlib.compress(bytes(1 << 22)),
        b"p\0\1\0\0\0" + zlib.compress(bytes(1 << 22)),
    ]
)


@settings.get_profile("fuzz")
@given(
    data=st.sampled_from(IMAGES[:5]),
    chunks=st.lists(st.tuples(CHUNKS, BODIES, st.sampled_from([33, -12])), min_size=1, max_size=3),
)
def test_chunks_of_png(data, chunks) -> None:
    """Chunks whose checksums are right, whatever they hold, behind the header or before the end."""
    for kind, body, place in chunks:
        chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        data = data[:place] + chunk + data[place:]
    decodes_or_names(data)


TAGS = st.tuples(
    st.sampled_from([256, 257, 258, 259, 262, 273, 277, 278, 279, 281, 284, 317, 322, 323, 338, 339, 341, 700, 274]),
    st.integers(0, 14),
    st.integers(0, 3) | st.sampled_from([255, 65535, 2**31, 2**32 - 1]),
    st.integers(0, 40) | st.sampled_from([255, 4095, 65535, 2**31, 2**32 - 1]),
)


@settings.get_profile("fuzz")
@given(
    data=st.sampled_from([image for image in IMAGES if image[:2] == b"II"]), tags=st.lists(TAGS, min_size=1, max_size=3)
)
def test_tags_of_tiff(data, tags) -> None:
    changed = bytearray(data)
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    for number, (tag, kind, many, value) in enumerate(tags):
        places = [start + 2 + 12 * i for i in range(count)]
        same = [place for place in places if struct.unpack_from("<H", data, place)[0] == tag]
        struct.pack_into("<HHII", changed, (same or places)[-1 - number if not same else 0], tag, kind, many, value)
    decodes_or_names(bytes(changed))
