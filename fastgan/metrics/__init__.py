"""Distances between generated and real images."""

from fastgan.metrics.registry import METRICS, compute
from fastgan.metrics.sliced_wasserstein import sliced_wasserstein_by_level, sliced_wasserstein_distance

__all__ = ["METRICS", "compute", "sliced_wasserstein_by_level", "sliced_wasserstein_distance"]
