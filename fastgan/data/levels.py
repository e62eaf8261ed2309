"""Grey of 12, 16 or 32 bits and floating-point numbers as 8 bits, over the range that the format or the file states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

# Tags of TIFF.
_BITS, _PHOTOMETRIC, _MAX_SAMPLE, _SAMPLE_FORMAT, _S_MAX_SAMPLE = 258, 262, 281, 339, 341
_WHITE_IS_ZERO, _SIGNED = 0, 2


def eight_bits(image: Image.Image, tags: Mapping[int, Any]) -> Image.Image:
    """v -> floor(255 v / top) of grey integers and floating-point numbers; other images as they are.

    top is a fact of the format or the file, never of the image's own pixels, which would stretch every image by another
    factor: 2**n - 1 of n bits, 1 of floating-point numbers. A TIFF's largest sample value counts where it is 2**n - 1,
    a number of bits; another is a statistic of this one image.

    Args:
        image: decoded.
        tags: of the TIFF it comes from; empty of other formats.
    Raises:
        ValueError: numbers of no known range, or outside it.
    """
    if image.mode != "F" and not image.mode.startswith("I"):
        return image
    pixels, top = np.asarray(image), _top(image.mode, tags)
    low, high = float(pixels.min()), float(pixels.max())  # NaN if there is one
    if top is None or not (low >= 0 and high <= top):
        kind = "floating-point numbers" if image.mode == "F" else "integers"
        expected = "numbers from 0 to 1, 8 or 16 bits" if top is None or top == 1 else f"0 to {top:g}"
        raise ValueError(
            f"its pixels are {kind} from {low:g} to {high:g}, of no known range; expected {expected}, or a TIFF that "
            "says which value is white (SMaxSampleValue of 2**n - 1)"
        )
    levels = pixels.astype(np.float64) * 255 // top if image.mode == "F" else pixels.astype(np.int64) * 255 // int(top)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        levels = 255 - levels
    return Image.fromarray(levels.astype(np.uint8))


def _top(mode: str, tags: Mapping[int, Any]) -> float | None:
    """The value that is white; None if nothing says so."""
    stated = _first(tags.get(_S_MAX_SAMPLE, tags.get(_MAX_SAMPLE, 0)))
    bits = int(_first(tags.get(_BITS, 16)))
    if mode == "F":
        return stated if _all_ones(stated) else 1.0
    if _all_ones(stated) and 255 <= stated < 2**bits:
        return stated
    return None if bits > 16 or _first(tags.get(_SAMPLE_FORMAT, 1)) == _SIGNED else 2.0**bits - 1


def _first(value: Any) -> float:
    return float(value[0] if isinstance(value, tuple) else value)


def _all_ones(value: float) -> bool:
    """Whether it is 1, or 2**n - 1 of n from 8 to 32 bits."""
    return value == 1 or (255 <= value < 2**32 and value.is_integer() and (int(value) & (int(value) + 1)) == 0)
