"""Metrics between generated and real images."""

from fastgan.metrics.diversity import diversity
from fastgan.metrics.equivariance import equivariance
from fastgan.metrics.evaluation import Evaluation, GeneratorMetric, Images, Metric
from fastgan.metrics.extraction import Features
from fastgan.metrics.moved_constant import MovedConstant
from fastgan.metrics.sliced_wasserstein import sliced_wasserstein_by_level, sliced_wasserstein_distance
from fastgan.metrics.synthetic_training import synthetic_training

__all__ = [
    "Evaluation",
    "Features",
    "GeneratorMetric",
    "Images",
    "Metric",
    "MovedConstant",
    "diversity",
    "equivariance",
    "sliced_wasserstein_by_level",
    "sliced_wasserstein_distance",
    "synthetic_training",
]
