"""Grids of images as PNG files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fastgan.checkpoint import replacing
from fastgan.generate.quantise import to_uint8

_WHITE = 255


def arrange_grid(images: torch.Tensor, *, columns: int | None = None, padding: int = 2) -> torch.Tensor:
    """[N, C, H, W] -> one [C, rows·(H + padding) + padding, columns·(W + padding) + padding], row by row.

    Args:
        images: uint8, or floating point in [-1, 1].
        columns: images a row; None makes the grid about square in pixels.
        padding: white pixels between images and around them.

    Returns:
        uint8, on the CPU. Cells beyond N are white.

    Raises:
        ValueError: no images, another rank, or a column count or padding out of range.

    Example:
        >>> tuple(arrange_grid(torch.zeros(6, 3, 8, 8), columns=3, padding=1).shape)
        (3, 19, 28)
    """
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(f"images must be [N, C, H, W] with at least one image, got {list(images.shape)}")
    count, channels, height, width = images.shape
    if columns is None:
        columns = min(count, max(1, round(math.sqrt(count * height / width))))
    if columns < 1:
        raise ValueError(f"columns must be at least 1, got {columns}")
    if padding < 0:
        raise ValueError(f"padding must be at least 0, got {padding}")
    rows = math.ceil(count / columns)
    cells = torch.full((rows * columns, channels, height + padding, width + padding), _WHITE, dtype=torch.uint8)
    cells[:count, :, padding:, padding:] = to_uint8(images).cpu()
    sheet = cells.unflatten(0, (rows, columns)).permute(2, 0, 3, 1, 4)  # [C, rows, H, columns, W]
    sheet = sheet.reshape(channels, rows * (height + padding), columns * (width + padding))
    return torch.nn.functional.pad(sheet, (0, padding, 0, padding), value=_WHITE)


def save_image(image: torch.Tensor, path: str | Path) -> None:
    """path <- one image as PNG, whole or not at all.

    Args:
        image: [C, H, W], C = 1 (grey), 3 (RGB) or 4 (RGBA); uint8, or floating point in [-1, 1].
        path: the file; its folder must exist.

    Raises:
        ValueError: another shape.
        OSError: the file could not be written.
    """
    if image.ndim != 3 or image.shape[0] not in (1, 3, 4):
        raise ValueError(f"image must be [C, H, W] with C 1, 3 or 4, got {list(image.shape)}")
    pixels = np.ascontiguousarray(to_uint8(image).cpu().permute(1, 2, 0).numpy())
    with replacing(path) as partial:
        Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(partial, format="PNG")


def save_grid(images: torch.Tensor, path: str | Path, columns: int | None = None, padding: int = 2) -> None:
    """path <- the images side by side in one PNG, whole or not at all.

    Args:
        images: [N, C, H, W], C = 1, 3 or 4; uint8, or floating point in [-1, 1].
        path: the file; its folder must exist.
        columns: images a row; None makes the grid about square.
        padding: white pixels between images and around them.

    Raises:
        ValueError: no images, another shape, or a column count or padding out of range.
        OSError: the file could not be written.
    """
    save_image(arrange_grid(images, columns=columns, padding=padding), path)
