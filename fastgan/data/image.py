"""Image files to pixels and back: decoding onto a background, cropping, resizing, lossless encoding."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import TypeVar

from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError

from fastgan.data.formats import HEAD, decoders, missing_decoder
from fastgan.data.levels import eight_bits
from fastgan.data.quiet import quietly

_T = TypeVar("_T")
WHITE = (255, 255, 255)
_PNG = b"\x89PNG\r\n\x1a\n"


class BrokenImageError(ValueError):
    """A file that cannot be read as an image; the message names it and says why."""


def decode_image(
    data: bytes, where: str, *, channels: int = 3, background: tuple[int, int, int] = WHITE
) -> Image.Image:
    """Decode one file to `RGB` or `L`: transparency over `background`, EXIF rotation applied, 16 bits to 8.

    Palette and CMYK images are converted; of an animation the first frame is taken. Colour profiles are not applied.
    `eight_bits` tells how 16 bits and other numbers become 8 bits.

    Args:
        data: the file's bytes; the format is seen from them.
        where: how errors name the file.
        channels: 3, or 1 for grey.
        background: RGB, 0 to 255, seen through transparent pixels.
    Raises:
        BrokenImageError: the file does not decode, or unpacks to more pixels than Pillow's bound on bombs.
    """
    return _unless_broken(data, where, lambda: _decoded(data, channels, background))


def decode_alpha(data: bytes, where: str) -> Image.Image | None:
    """How opaque each pixel of one file is, `L`, EXIF rotation applied; None where the image has no transparency.

    Raises:
        BrokenImageError: as `decode_image`.
    """

    def alpha() -> Image.Image | None:
        image = _upright(_opened(data))
        return image.convert("RGBA").getchannel("A") if image.has_transparency_data else None

    return _unless_broken(data, where, alpha)


def _unless_broken(data: bytes, where: str, decode: Callable[[], _T]) -> _T:
    try:
        return quietly(decode)
    except Exception as error:  # noqa: BLE001 - decoders of broken files raise nearly any type
        reason = str(error) or type(error).__name__
        if not data:
            reason = "it is empty"
        elif isinstance(error, UnidentifiedImageError):
            reason = missing_decoder(data[:HEAD], where) or "in no known image format"
        raise BrokenImageError(f"{where}: cannot be read as an image ({reason}); replace or remove the file") from error


def _decoded(data: bytes, channels: int, background: tuple[int, int, int]) -> Image.Image:
    return flat_image(_opened(data), channels, background)


def flat_image(image: Image.Image, channels: int = 3, background: tuple[int, int, int] = WHITE) -> Image.Image:
    """What `decode_image` makes of an image that Pillow has opened.

    Raises:
        ValueError: its pixels are numbers of no known range.
    """
    return _flatten(eight_bits(_upright(image), getattr(image, "tag_v2", {})), channels, background)


def _opened(data: bytes) -> Image.Image:
    formats = decoders(data[:HEAD])
    try:
        image = Image.open(io.BytesIO(data), formats=formats)
        image.load()
    except ValueError:  # a long text in a PNG, which Pillow would unpack
        if not data.startswith(_PNG):
            raise
        image = Image.open(io.BytesIO(_without_text(data)), formats=formats)
        image.load()
    return image


def _upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF data say; as it is where they are damaged."""
    try:
        return ImageOps.exif_transpose(image)
    except Warning:  # of Pillow, which `quietly` takes care of
        raise
    except Exception:  # noqa: BLE001 - as decoders
        return image


def _without_text(data: bytes) -> bytes:
    """A PNG without texts and colour profile."""
    kept, start = [_PNG], len(_PNG)
    while start + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 12 + length  # length, kind, the chunk, its checksum
        if kind not in (b"tEXt", b"zTXt", b"iTXt", b"iCCP"):
            kept.append(data[start:end])
        start = end
    return b"".join(kept)


def _flatten(image: Image.Image, channels: int, background: tuple[int, int, int]) -> Image.Image:
    if image.has_transparency_data:
        # Composing before any resize equals resizing with premultiplied alpha: no dark or light fringes.
        image = Image.alpha_composite(Image.new("RGBA", image.size, (*background, 255)), image.convert("RGBA"))
    return image.convert("L" if channels == 1 else "RGB")


def parse_color(text: str) -> tuple[int, int, int]:
    """RGB, 0 to 255, of a colour's name or `#rrggbb`.

    Raises:
        ValueError: no such colour.
    """
    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
    except ValueError:
        raise ValueError(f"background must be a colour like white, black or #ff8000, got {text!r}") from None
    return red, green, blue


def center_crop(image: Image.Image, resolution: tuple[int, int]) -> Image.Image:
    """The largest centred region with the aspect ratio of `resolution`, resized to it (Lanczos).

    Args:
        resolution: (H, W) in pixels.
    """
    height, width = resolution
    if image.size == (width, height):
        return image
    scale = min(image.width / width, image.height / height)
    dx, dy = (image.width - width * scale) / 2, (image.height - height * scale) / 2
    box = (dx, dy, image.width - dx, image.height - dy)
    return image.resize((width, height), Image.Resampling.LANCZOS, box=box)


def center_crop_wide(image: Image.Image, resolution: tuple[int, int]) -> Image.Image:
    """`center_crop` to a landscape (H, W), centred on a black square of side W.

    Args:
        resolution: (H, W) in pixels, H <= W.
    Raises:
        ValueError: H > W.
    """
    height, width = resolution
    if height > width:
        raise ValueError(f"center-crop-wide needs a resolution at least as wide as high, got {width}x{height} (WxH)")
    square = Image.new(image.mode, (width, width))
    square.paste(center_crop(image, resolution), (0, (width - height) // 2))
    return square


def encode_image(image: Image.Image, suffix: str) -> bytes:
    """The bytes of a lossless `.webp` or `.png` file without metadata."""
    buffer = io.BytesIO()
    if suffix == ".webp":
        image.convert("RGB").save(buffer, "WEBP", lossless=True, quality=75, method=6)
    elif suffix == ".png":
        image.save(buffer, "PNG", optimize=True)
    else:
        raise ValueError(f"suffix must be .webp or .png, got {suffix!r}")
    return buffer.getvalue()
