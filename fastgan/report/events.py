"""The figures and grids of a run as events for TensorBoard (extra: tensorboard)."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fastgan.report.progress import flatten


def require_tensorboard() -> None:
    """Nothing, if the package tensorboard is installed.

    Raises:
        ValueError: it is not; the message says how to get it.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise ValueError("--tensorboard needs the package tensorboard: pip install 'fastgan[tensorboard]'")


class EventsWriter:
    """Appends events to a folder; the step of an event is the number of real images seen.

    Args:
        folder: made if absent.
        resume_images: what earlier processes wrote there for more images is void: a run that resumes from a
            checkpoint tells it again. None voids all.

    Raises:
        ValueError: the package tensorboard is missing.
    """

    def __init__(self, folder: Path, resume_images: int | None = None):
        require_tensorboard()
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder), purge_step=0 if resume_images is None else resume_images + 1)

    def write(self, images: int, figures: Mapping[str, Any]) -> None:
        """events <- every finite number among the figures, nested ones by flattened name.

        Args:
            images: real images seen.
            figures: as in a line of the stats file.
        """
        for name, value in flatten(figures):
            if isinstance(value, (int, float)) and math.isfinite(value):
                self._writer.add_scalar(name, value, images)
        self._writer.flush()

    def write_image(self, images: int, name: str, path: Path) -> None:
        """events <- the PNG at `path`, called `name`, at the step of `images` seen."""
        with Image.open(path) as picture:
            self._writer.add_image(name, np.asarray(picture.convert("RGB")), images, dataformats="HWC")
        self._writer.flush()

    def close(self) -> None:
        """Closes the file of events."""
        self._writer.close()
