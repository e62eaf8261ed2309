"""Exponential moving average of a network's weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from fastgan.train.schedule import Schedule

_torch: Any = torch  # which does not export its multi-tensor functions


class Ema:
    """θ_ema ← lerp(θ, θ_ema, β) over parameters; buffers are copied.

    β = 0.5^(images per step / half-life), and the half-life is at most `rampup` times the images seen so far, so that
    early averages forget the first random weights.

    Args:
        source: the network that is trained.
        half_life: images after which a weight has lost half its influence, or images seen -> this number.
        rampup: 0 for none; 0.05 is Karras et al. 2020.

    Attributes:
        module: the averaged network, in evaluation mode.
        weight: 1 - β of the next update, float64 on the network's device.
    """

    def __init__(self, source: nn.Module, half_life: float | Callable[[int], float], rampup: float = 0.05):
        if not callable(half_life) and half_life <= 0:
            raise ValueError(f"half_life must be above 0 images, got {half_life}")
        self.source = source
        self.half_life = half_life if callable(half_life) else lambda images: half_life
        self.rampup = rampup
        self.module = copy.deepcopy(source).eval().requires_grad_(False)
        self._pairs = _by_dtype(self.module.parameters(), source.parameters())
        self._buffers = _by_dtype(self.module.buffers(), source.buffers())
        device = next((parameter.device for parameter in source.parameters()), None)
        self.weight = torch.ones([], dtype=torch.float64, device=device)

    def schedule(self, images_per_step: int) -> Schedule:
        """The weight of each step, which counts among the images seen."""

        def at(images: int) -> float:
            seen = images + images_per_step
            half_life = self.half_life(seen)
            half_life = min(half_life, seen * self.rampup) if self.rampup else half_life
            return 1 - 0.5 ** (images_per_step / max(half_life, 1e-8))

        return Schedule(self.weight, at)

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step, with the weight that the schedule has set."""
        lerp = _lerp_each if self.weight.device.type == "cpu" else _lerp_together
        for dtype, (averaged, source) in self._pairs.items():
            lerp(averaged, source, self.weight.to(dtype))
        for averaged, source in self._buffers.values():
            _torch._foreach_copy_(averaged, source)


def _lerp_each(averaged: list[Tensor], source: list[Tensor], weight: Tensor) -> None:
    """In one pass over memory."""
    for mine, theirs in zip(averaged, source, strict=True):
        mine.lerp_(theirs, weight)


def _lerp_together(averaged: list[Tensor], source: list[Tensor], weight: Tensor) -> None:
    """In a few launches for all: torch's multi-tensor lerp takes no weight that lies on the device."""
    change = _torch._foreach_sub(source, averaged)
    _torch._foreach_mul_(change, weight)
    _torch._foreach_add_(averaged, change)


def _by_dtype(averaged: Iterable[Tensor], source: Iterable[Tensor]) -> dict[torch.dtype, tuple[list, list]]:
    """Tensors of one dtype, which are updated together."""
    found: dict[torch.dtype, tuple[list, list]] = {}
    for mine, theirs in zip(averaged, source, strict=True):
        for tensors, tensor in zip(found.setdefault(mine.dtype, ([], [])), (mine, theirs), strict=True):
            tensors.append(tensor)
    return found
