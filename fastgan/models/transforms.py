"""Movements of the picture of a `Movable` generator."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def placement(translate: tuple[float, float] = (0.0, 0.0), degrees: float = 0.0) -> Tensor:
    """The transform that turns the picture about its middle, and then moves it: M = (T·R)⁻¹ = R⁻¹·T⁻¹.

    Args:
        translate: (x, y) in sides of the image, the larger one where they differ: x > 0 moves the picture right,
            y > 0 down.
        degrees: angle, counter-clockwise as one sees it.

    Returns:
        [3, 3], float32 on the CPU, as `Movable.forward` takes it.

    >>> placement((0.25, 0)) @ torch.tensor([0.25, 0, 1])  # what is at x = 0.25 then was in the middle
    tensor([0., 0., 1.])
    >>> x, y, _ = placement(degrees=90) @ torch.tensor([0, -0.5, 1])  # what is on top then was at the right
    >>> round(x.item(), 6), abs(round(y.item(), 6))
    (0.5, 0.0)
    """
    (x, y), angle = translate, math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    # With y running down, the counter-clockwise rotation is [[cos, sin], [-sin, cos]]; this is its inverse.
    rows = [[cos, -sin, sin * y - cos * x], [sin, cos, -sin * x - cos * y], [0.0, 0.0, 1.0]]
    return torch.tensor(rows, dtype=torch.float32, device="cpu")
