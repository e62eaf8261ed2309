"""How a run's files are numbered, and which of its checkpoints is the newest."""

from __future__ import annotations

import re
from pathlib import Path

_ENDINGS = {"checkpoint": ".safetensors", "grid": ".png"}
_NUMBERED = re.compile(r"(checkpoint|grid)-(\d{6,})(?:\.(\d{3}))?(\.safetensors|\.png)")


def numbered(images: int) -> str:
    """images in thousands, as names carry it: 42000 -> "000042", 42420 -> "000042.420".

    Example:
        >>> numbered(42000), numbered(42420)
        ('000042', '000042.420')
    """
    kimg, rest = divmod(images, 1000)
    return f"{kimg:06d}" + (f".{rest:03d}" if rest else "")


def images_of(path: Path, kind: str = "checkpoint") -> int | None:
    """Images seen at the file at `path`, from its name; None if that is not one of a run's.

    Args:
        path: a file of a run.
        kind: "checkpoint" or "grid".

    Returns:
        the number of images.
    """
    match = _NUMBERED.fullmatch(path.name)
    if match is None or (match[1], match[4]) != (kind, _ENDINGS[kind]):
        return None
    return int(match[2]) * 1000 + int(match[3] or 0)


def checkpoints(outdir: Path) -> list[Path]:
    """The checkpoints in a run's folder `outdir`, oldest first."""
    if not outdir.is_dir():
        return []
    found = [(images_of(path), path) for path in outdir.iterdir()]
    return [path for _, path in sorted((images, path) for images, path in found if images is not None)]


def latest_checkpoint(outdir: Path) -> Path | None:
    """The newest checkpoint in a run's folder `outdir`, None if there is none."""
    return next(reversed(checkpoints(outdir)), None)
