"""What changes with progress: a tensor, and its value after so many images."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class Schedule(NamedTuple):
    """target ← at(images seen), before every step, in place: what reads the tensor may have been captured in a graph.

    It needs no state: a run that goes on sets the same value from how far it has come.

    Attributes:
        target: 0-dimensional, on the device of its reader.
        at: images seen before the step -> value.
    """

    target: Tensor
    at: Callable[[int], float]

    def set(self, images: int) -> None:
        """Set the target for the step that begins after `images`."""
        self.target.fill_(self.at(images))


def linear_decay(start: float, end: float) -> Callable[[int], float]:
    """images -> factor 1 up to `start` images, then in a straight line to 0 at `end`.

    Example:
        >>> [linear_decay(100, 200)(images) for images in (0, 100, 150, 200, 300)]
        [1.0, 1.0, 0.5, 0.0, 0.0]
    """
    return lambda images: 1.0 if images <= start else max(0.0, (end - images) / max(end - start, 1e-9))
