"""Metrics by name; each is imported when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from fastgan.choices import METRICS, chosen


def compute(name: str, sampler: Callable[[int], torch.Tensor] | None, dataset: Any) -> dict[str, float]:
    """The figures of one metric.

    Args:
        name: a key of METRICS.
        sampler: n -> uint8 [n, C, H, W], the images to judge; None for what judges the data set alone.
        dataset: the real images, as `fastgan.data.ImageDataset`.

    Returns:
        values by figure; the first is the metric itself.

    Raises:
        ValueError: no metric has this name; the message lists those there are.
    """
    if name not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(sorted(METRICS))}; got {name!r}")
    return chosen(METRICS, name)(sampler, dataset)
