"""Exponential moving average of a network's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn

from fastgan.train.schedule import Schedule


class Ema:
    """θ_ema ← lerp(θ, θ_ema, β) over parameters; buffers are copied.

    β = 0.5^(images per step / half-life), and the half-life is at most `rampup` times the images seen so far, so that
    early averages forget the first random weights.

    Args:
        source: the network that is trained.
        half_life: images after which a weight has lost half its influence.
        rampup: 0 for none; 0.05 is Karras et al. 2020.

    Attributes:
        module: the averaged network, in evaluation mode.
        weight: 1 - β of the next update, float64 on the network's device.
    """

    def __init__(self, source: nn.Module, half_life: float, rampup: float = 0.05):
        if half_life <= 0:
            raise ValueError(f"half_life must be above 0 images, got {half_life}")
        self.source = source
        self.half_life = half_life
        self.rampup = rampup
        self.module = copy.deepcopy(source).eval().requires_grad_(False)
        self._pairs = [(m, s) for m, s in zip(self.module.parameters(), source.parameters(), strict=True)]
        self._buffers = [(m, s) for m, s in zip(self.module.buffers(), source.buffers(), strict=True)]
        device = self._pairs[0][0].device if self._pairs else None
        self.weight = torch.ones([], dtype=torch.float64, device=device)

    def schedule(self, images_per_step: int) -> Schedule:
        """The weight of each step, which counts among the images seen."""

        def at(images: int) -> float:
            seen = images + images_per_step
            half_life = min(self.half_life, seen * self.rampup) if self.rampup else self.half_life
            return 1 - 0.5 ** (images_per_step / max(half_life, 1e-8))

        return Schedule(self.weight, at)

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step, with the weight that the schedule has set."""
        weights = {mine.dtype: self.weight.to(mine.dtype) for mine, _ in self._pairs}
        for mine, theirs in self._pairs:
            mine.lerp_(theirs, weights[mine.dtype])
        for mine, theirs in self._buffers:
            mine.copy_(theirs)
