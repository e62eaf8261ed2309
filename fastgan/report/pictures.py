"""Image grids of a run as data URIs: few, small, and encoded once."""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from fastgan.checkpoint import images_of

_LONGEST = 1280  # pixels of a side
_QUALITY = 85


def grid_files(outdir: Path) -> list[tuple[int, Path]]:
    """(images seen, file) of every grid of a run, oldest first."""
    found = [(images_of(path, "grid"), path) for path in outdir.iterdir()]
    return sorted((images, path) for images, path in found if images is not None)


def choose(times: Sequence[int], count: int) -> list[int]:
    """Indices of at most `count` of the ascending times: the first and the last, evenly between.

    One time in each cell of the smallest power of two that gives few enough: as a run grows the choice halves now and
    then and otherwise stays, so that grids are encoded once.

    Example:
        >>> choose([0, 10, 20, 30, 40, 50], 4)
        [0, 2, 4, 5]
    """
    cell = 1
    while True:
        first = {time // cell: index for index, time in reversed(list(enumerate(times)))}
        kept = sorted({*first.values(), *range(len(times))[-1:]})
        if len(kept) <= max(count, 2):
            return kept
        cell *= 2


def data_uri(path: Path) -> str:
    """The image as a WebP (lossy, no side above 1280 pixels) in a data URI.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no readable image.
    """
    status = path.stat()
    try:
        return _encoded(path, status.st_mtime_ns, status.st_size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path.name} is no readable image: {error}") from error


@functools.lru_cache(maxsize=80)
def _encoded(path: Path, modified: int, size: int) -> str:
    with Image.open(path) as image:
        picture = image.convert("RGBA" if "A" in image.getbands() else "RGB")
    picture.thumbnail((_LONGEST, _LONGEST), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=_QUALITY, method=2)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
