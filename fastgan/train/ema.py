"""Exponential moving average of a network's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Ema:
    """θ_ema ← lerp(θ, θ_ema, β) over parameters; buffers are copied.

    β = 0.5^(images per step / half-life), and the half-life is at most `rampup` times the images seen so far, so that
    early averages forget the first random weights.

    Args:
        source: the network that is trained.
        half_life: images after which a weight has lost half its influence.
        rampup: 0 for none; 0.05 is Karras et al. 2020.
    """

    def __init__(self, source: nn.Module, half_life: float, rampup: float = 0.05):
        if half_life <= 0:
            raise ValueError(f"half_life must be above 0 images, got {half_life}")
        self.source = source
        self.half_life = half_life
        self.rampup = rampup
        self.module = copy.deepcopy(source).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, images_seen: int, images_per_step: int) -> None:
        """Take in the weights after a step; images_seen counts up to and including that step."""
        half_life = min(self.half_life, images_seen * self.rampup) if self.rampup else self.half_life
        beta = 0.5 ** (images_per_step / max(half_life, 1e-8))
        average = get_ema_multi_avg_fn(beta)  # one call for all parameters
        average(list(self.module.parameters()), list(self.source.parameters()), 0)
        for mine, theirs in zip(self.module.buffers(), self.source.buffers(), strict=True):
            mine.copy_(theirs)
