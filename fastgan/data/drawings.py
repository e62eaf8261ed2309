"""What is drawn of a picture, to be translated back into it: its greys, or the lines along its edges."""

from __future__ import annotations

import numpy as np
from PIL import Image

# Steps of a colour, of 255 a pixel after smoothing: where lines run on, and what they must reach somewhere.
_WEAK, _STRONG = 6.0, 16.0
_SMOOTH = np.array([1, 4, 6, 4, 1], np.float32) / 16
# Steps along the four directions of a pixel's neighbours, (dy, dx), by eighths of a turn.
_NEIGHBOURS = ((0, 1), (1, 1), (1, 0), (1, -1))


def grey(image: Image.Image) -> Image.Image:
    """The luma of each pixel, 0.299 R + 0.587 G + 0.114 B, mode L."""
    return image.convert("L")


def edges(image: Image.Image) -> Image.Image:
    """Black lines, one pixel wide, on white, where the colour changes most: mode L, values 0 and 255.

    The gradient g of the channel that changes most, of the image smoothed by [1, 4, 6, 4, 1]/16; lines are where |g| is
    largest along g, from pixels with |g| >= 16 as far as it stays >= 6 (levels of 255 a pixel). The thresholds are the
    same for all images.

    Source: Canny 1986; the pairs are those of Isola et al. 2017 (edges to photo).
    """
    pixels = np.asarray(image.convert("RGB"), np.float32)
    smooth = _along(_along(pixels, _SMOOTH, 0), _SMOOTH, 1)
    dy, dx = (_along(smooth, np.array([-0.5, 0, 0.5], np.float32), axis) for axis in (0, 1))
    channel = np.hypot(dy, dx).argmax(2)[..., None]
    dy, dx = (np.take_along_axis(each, channel, 2)[..., 0] for each in (dy, dx))
    steep = np.hypot(dy, dx)
    weak = _is_ridge(steep, np.arctan2(dy, dx)) & (steep >= _WEAK)
    lines = weak & (steep >= _STRONG)
    while True:
        grown = weak & _near(lines)
        if (grown == lines).all():
            return Image.fromarray(np.where(lines, 0, 255).astype(np.uint8))
        lines = grown


def _along(pixels: np.ndarray, taps: np.ndarray, axis: int) -> np.ndarray:
    """[H, W, C] correlated with taps along an axis; beyond the border, the border goes on."""
    reach = len(taps) // 2
    padded = np.pad(pixels, [(reach, reach) if i == axis else (0, 0) for i in range(3)], mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, len(taps), axis) @ taps


def _is_ridge(steep: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """bool [H, W]: no neighbour along the gradient is steeper; of two alike, the first is taken."""
    eighth = np.round(angle / (np.pi / 4)).astype(int) % 4
    found = np.zeros(steep.shape, bool)
    for number, (y, x) in enumerate(_NEIGHBOURS):
        found |= (eighth == number) & (steep > _shifted(steep, -y, -x)) & (steep >= _shifted(steep, y, x))
    return found


def _near(lines: np.ndarray) -> np.ndarray:
    """bool [H, W]: a pixel of the 3x3 around is set."""
    return np.any([_shifted(lines, y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)], axis=0)


def _shifted(values: np.ndarray, y: int, x: int) -> np.ndarray:
    """out[i, j] = values[i + y, j + x]; 0 beyond the border."""
    height, width = values.shape
    return np.pad(values, 1)[1 + y : 1 + y + height, 1 + x : 1 + x + width]
