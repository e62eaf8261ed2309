"""How far a figure would move with other images of the same kind. Source: Efron 1979 (the bootstrap)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# (rows of reals, rows of fakes, [B, n] and [B, m]: how often each counts) -> {figure: float64 [B]}
Resampled = Callable[[Tensor, Tensor, Tensor, Tensor], dict[str, Tensor]]
_ENDS = {"low": 0.025, "high": 0.975}


def draws(count: int, resamples: int, generator: torch.Generator) -> Tensor:
    """[1 + resamples, count]: how often each image counts; once in the first row, in others as drawn."""
    drawn = torch.randint(count, (resamples, count), generator=generator)
    counts = torch.zeros(resamples, count, dtype=torch.float64).scatter_add_(1, drawn, torch.ones_like(drawn).double())
    return torch.cat([torch.ones(1, count, dtype=torch.float64), counts])


def with_intervals(resampled: Resampled, real: Tensor, fake: Tensor, resamples: int) -> dict[str, float]:
    """Each figure and, if there are resamples, "<figure>_low" and "<figure>_high", between which 95 % would lie.

    The resamples' quantiles, moved so that their mean falls on the figure: repeated images pull some figures one way.
    """
    generator = torch.Generator().manual_seed(0)
    weights = [draws(len(rows), resamples, generator) for rows in (real, fake)]
    figures: dict[str, float] = {}
    for name, values in resampled(real, fake, *weights).items():
        figures[name] = values[0].item()
        if resamples:
            bias = values[1:].mean() - values[0]
            for end, share in _ENDS.items():
                figures[f"{name}_{end}"] = (torch.quantile(values[1:], share) - bias).item()
    return figures
