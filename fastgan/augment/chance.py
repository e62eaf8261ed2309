"""Random numbers of augmentations, each image's own: what a transform draws, or what leaves the image alone."""

from __future__ import annotations

import torch
from torch import Tensor


class Chance:
    """Draws for N images from torch's global generator.

    Args:
        n: images.
        p: probability that a transform is applied to an image, 0-dimensional, on the device of what is drawn; 1 and
            more: always.
    """

    def __init__(self, n: int, p: Tensor) -> None:
        self.n, self.p = n, p

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """[N, *shape] in [low, high)."""
        return torch.rand(self.n, *shape, device=self.p.device, dtype=torch.float32) * (high - low) + low

    def normal(self, deviation: float, *shape: int) -> Tensor:
        """[N, *shape] of mean 0."""
        return torch.randn(self.n, *shape, device=self.p.device, dtype=torch.float32) * deviation

    def integer(self, count: int) -> Tensor:
        """int64 [N] in [0, count)."""
        return torch.randint(count, (self.n,), device=self.p.device)

    def apply(self, drawn: Tensor, neutral: float, p: Tensor | None = None) -> Tensor:
        """drawn [N, ...] with the probability p, `self.p` where it is None; else neutral, for all of an image alike."""
        applied = self.uniform(0, 1) < (self.p if p is None else p)
        return torch.where(applied.view(-1, *[1] * (drawn.ndim - 1)), drawn, neutral)
