"""What `--resolution` takes."""

from __future__ import annotations

import re

from fastgan.config.fields import as_resolution, shown


def parse_resolution(text: str) -> tuple[int, int]:
    """(H, W) of "64", a square, or of width and height, "640x480": in pixels, with x, X or ×, spaces or none.

    >>> parse_resolution("64"), parse_resolution("640 x 480")
    ((64, 64), (480, 640))

    Raises:
        ValueError: it is neither, or a side is not from 1 to 2^15 pixels.
    """
    match = re.fullmatch(r"\s*([0-9]{1,9})(?:\s*[xX×]\s*([0-9]{1,9}))?\s*", text)
    if match is None:
        raise ValueError(f"--resolution must be pixels, 64 for a square or WxH as in 640x480; got {shown(text)}")
    return as_resolution((int(match[2] or match[1]), int(match[1])))
