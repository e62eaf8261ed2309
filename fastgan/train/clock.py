"""How fast a run is, and what memory it takes."""

from __future__ import annotations

import resource
import time

import torch


class Clock:
    """Speed between ticks; time spent on grids, metrics and checkpoints does not count."""

    def __init__(self, images: int):
        self.images = images
        self.restart()

    def restart(self) -> None:
        self.time = time.monotonic()

    def tick(self, images: int) -> dict[str, float]:
        now = time.monotonic()
        speed = (images - self.images) / max(now - self.time, 1e-9)
        self.images, self.time = images, now
        figures = {"images_per_second": speed, "seconds_per_kimg": 1000 / max(speed, 1e-9)}
        return figures | {"memory_gib": _peak_memory()}


def _peak_memory() -> float:
    """Peak memory in GiB: of the device where there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
