"""Noise on all images that D sees, which fades away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fastgan.augment.critic import Scheduled
from fastgan.config.options import AdversarialOptions

_SIGMA = 0.1  # at the start, of images in [-1, 1]


class InstanceNoise:
    """x + σ·n, n ~ N(0, I); σ falls from 0.1 to 0 in a straight line over the run.

    Args:
        images: real images of the whole run.
        batch: those of a step, which change nothing here.
        device: where images are.

    Source: Sønderby et al. 2017, section 3.3; Arjovsky & Bottou 2017, section 3.
    """

    def __init__(self, images: int, batch: int, device: torch.device | str) -> None:
        self.images = images
        self.sigma = torch.full([], _SIGMA, device=device)

    @classmethod
    def of(cls, options: AdversarialOptions, channels: Sequence[int], device: torch.device) -> InstanceNoise:
        """Over the run that the options describe."""
        return cls(round(options.kimg * 1000), options.batch, device)

    def __call__(self, images: Tensor) -> Tensor:
        """images [N, C, H, W] -> the same with noise of their own."""
        return images + self.sigma.to(images.dtype) * torch.randn_like(images)

    def adapt(self, real_logits: Tensor) -> None:
        """Nothing: σ follows progress alone."""

    def figures(self) -> dict[str, Tensor]:
        """σ."""
        return {"sigma": self.sigma}

    def schedules(self) -> tuple[Scheduled, ...]:
        """σ after so many images."""
        return ((self.sigma, lambda seen: _SIGMA * max(0.0, 1 - seen / self.images)),)

    def state_dict(self) -> dict[str, Tensor]:
        """Nothing: σ is a function of progress."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Nothing."""
