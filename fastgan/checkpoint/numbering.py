"""How a run's files are numbered, and which of its checkpoints is the newest."""

from __future__ import annotations

import re
from pathlib import Path

_CHECKPOINT = re.compile(r"checkpoint-(\d{6,})(?:\.(\d{3}))?\.safetensors")


def numbered(images: int) -> str:
    """images in thousands, as names carry it: 42000 -> "000042", 42420 -> "000042.420".

    Example:
        >>> numbered(42000), numbered(42420)
        ('000042', '000042.420')
    """
    kimg, rest = divmod(images, 1000)
    return f"{kimg:06d}" + (f".{rest:03d}" if rest else "")


def images_of(path: Path) -> int | None:
    """Images seen at the checkpoint at `path`, from its name; None if that is not one of a run's checkpoints."""
    match = _CHECKPOINT.fullmatch(path.name)
    return int(match[1]) * 1000 + int(match[2] or 0) if match else None


def checkpoints(outdir: Path) -> list[Path]:
    """The checkpoints in a run's folder `outdir`, oldest first."""
    if not outdir.is_dir():
        return []
    found = [(images_of(path), path) for path in outdir.iterdir()]
    return [path for _, path in sorted((images, path) for images, path in found if images is not None)]


def latest_checkpoint(outdir: Path) -> Path | None:
    """The newest checkpoint in a run's folder `outdir`, None if there is none."""
    return next(reversed(checkpoints(outdir)), None)
