"""Where a generator that is `Movable` puts its picture."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def placement(translate: tuple[float, float] = (0.0, 0.0), degrees: float = 0.0) -> Tensor:
    """p ↦ R⁻¹ (p − t): which point of the picture is seen at the point p of the image.

    Points are (x, y, 1), x to the right and y down, from the image's centre; 1 is the whole image's width.

    Args:
        translate: (x, y) by which the picture moves to the right and down, after it has been turned.
        degrees: by which it turns about the centre, counter-clockwise as seen.

    Returns:
        [3, 3], float32, on the CPU.

    Raises:
        ValueError: a number is not finite.

    >>> placement((0.25, 0.0)) @ torch.tensor([0.25, 0.0, 1.0])
    tensor([0., 0., 1.])
    """
    x, y = translate
    if not all(map(math.isfinite, (x, y, degrees))):
        raise ValueError(f"translate and degrees must be finite numbers, got {(x, y)} and {degrees}")
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    rows = [[c, -s, s * y - c * x], [s, c, -s * x - c * y], [0.0, 0.0, 1.0]]
    return torch.tensor(rows, dtype=torch.float32, device="cpu")
