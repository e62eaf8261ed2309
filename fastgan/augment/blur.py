"""Blur of all images that D sees, which fades away."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fastgan.augment.critic import Scheduled
from fastgan.config.options import AdversarialOptions
from fastgan.ops import filter2d

_SIGMA = 10.0  # pixels, at the start
_RADII = 3  # of the kernel, in σ
_FADE = 200_000 / 32  # images over which it fades, for each of a step


class FadingBlur:
    """x ∗ k with k_i = 2^-(i/σ)² / sum for |i| ≤ ⌊3σ⌋ along both axes; outside of the image is zero.

    σ falls from 10 pixels to 0, where nothing is blurred, in a straight line over batch·200/32 kimg. The kernel always
    has the taps of the start, so that its shape does not change.

    Args:
        images: real images of the whole run.
        batch: those of a step.
        device: where images are.

    Source: Karras et al. 2021 (StyleGAN3), appendix C.3.
    """

    def __init__(self, images: int, batch: int, device: torch.device | str) -> None:
        self.fade = batch * _FADE
        self.sigma = torch.full([], _SIGMA, device=device)
        radius = math.floor(_RADII * _SIGMA)
        self.places = torch.arange(-radius, radius + 1, device=device, dtype=torch.float32)

    @classmethod
    def of(cls, options: AdversarialOptions, channels: Sequence[int], device: torch.device) -> FadingBlur:
        """Over the run that the options describe."""
        return cls(round(options.kimg * 1000), options.batch, device)

    def __call__(self, images: Tensor) -> Tensor:
        """images [N, C, H, W] -> the same, blurred."""
        k = torch.exp2(-(self.places / self.sigma.clamp_min(1e-3)).square())
        k = torch.where(self.places.abs() <= (_RADII * self.sigma).floor(), k, 0.0)
        return filter2d(images, k / k.sum())

    def adapt(self, real_logits: Tensor) -> None:
        """Nothing: σ follows progress alone."""

    def figures(self) -> dict[str, Tensor]:
        """σ."""
        return {"sigma": self.sigma}

    def schedules(self) -> tuple[Scheduled, ...]:
        """σ after so many images."""
        return ((self.sigma, lambda seen: _SIGMA * max(0.0, 1 - seen / self.fade)),)

    def state_dict(self) -> dict[str, Tensor]:
        """Nothing: σ is a function of progress."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Nothing."""
