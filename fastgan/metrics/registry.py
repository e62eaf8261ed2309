"""Metrics by name; each is imported when it is first asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch

# name -> "module:function", function(sampler, dataset) -> {figure: value}
METRICS: dict[str, str] = {
    "swd": "fastgan.metrics.sliced_wasserstein:measure",
    "swd_floor": "fastgan.metrics.sliced_wasserstein:measure_floor",
}


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
    module, function = METRICS[name].split(":")
    return getattr(importlib.import_module(module), function)(sampler, dataset)
