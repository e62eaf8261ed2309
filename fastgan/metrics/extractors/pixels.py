"""Pixels themselves, for what must be alike to be called a copy."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

_SIDE = 32  # pixels of the longer side


class Pixels:
    """The pixels in [-1, 1] of an image whose longer side is brought to 32, by averaging; smaller ones stay."""

    name = "pixels"
    resize = f"averaged to at most {_SIDE} pixels"
    identity = None

    def __init__(self, device: torch.device, weights: Path | None = None) -> None:
        self.device = device

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """uint8 [n, C, H, W] -> float32 [n, C·h·w], on the CPU."""
        x = images.to(self.device).float().div(127.5).sub(1)
        longest = max(x.shape[2:])
        if longest > _SIDE:
            x = F.adaptive_avg_pool2d(x, [max(1, round(side * _SIDE / longest)) for side in x.shape[2:]])
        return x.flatten(1).cpu()
