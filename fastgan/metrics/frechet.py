"""Fréchet distance between normal distributions fitted to features. Source: Heusel et al. 2017 (FID), eq. 6."""

from __future__ import annotations

import torch
from torch import Tensor

from fastgan.metrics.evaluation import ALL, Metric
from fastgan.metrics.samples import Moments, Rows, Streamed, weighted_moments

_NEGATIVE = 1e-6  # of the largest eigenvalue: what rounding may leave of a covariance's zeros


def frechet_distance(a: Moments, b: Moments) -> float:
    """|μ_a - μ_b|² + tr Σ_a + tr Σ_b - 2·tr (Σ_a Σ_b)^½, in float64.

    tr (Σ_a Σ_b)^½ is the sum of the singular values of Σ_a^½ Σ_b^½: roots of symmetric matrices alone, also where a
    covariance has no full rank, as of fewer images than features.

    Args:
        a: moments of one side.
        b: of the other.

    Returns:
        the distance; rounding may leave a little less than 0 where both are alike.

    Raises:
        ValueError: sides of another length, or a matrix that is no covariance.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"b must have {len(a.mean)} features to match a, got {len(b.mean)}")
    shared = torch.linalg.svdvals(_root("a", a.covariance) @ _root("b", b.covariance)).sum()
    traces = a.covariance.trace() + b.covariance.trace()
    return float((a.mean - b.mean).square().sum() + traces - 2 * shared)


def _root(side: str, covariance: Tensor) -> Tensor:
    """The symmetric square root."""
    if not torch.isfinite(covariance).all():
        raise ValueError(f"{side} must have a finite covariance")
    values, vectors = torch.linalg.eigh(covariance)
    if values[0] < -_NEGATIVE * values[-1].abs():
        raise ValueError(f"{side} must have a covariance without negative eigenvalues, got {values[0].item():.3g}")
    return vectors * values.clamp_min(0).sqrt() @ vectors.t()


def of_samples(figure: str, extractor: str, reals: int = 10_000) -> Metric:
    """Of 1000 generated images and some thousand real ones, with an interval."""

    def resampled(real: Tensor, fake: Tensor, real_weights: Tensor, fake_weights: Tensor) -> dict[str, Tensor]:
        pairs = zip(real_weights, fake_weights, strict=True)
        found = [frechet_distance(weighted_moments(real, w), weighted_moments(fake, v)) for w, v in pairs]
        return {figure: torch.tensor(found, dtype=torch.float64)}

    return Metric(Rows, resampled=resampled, reals=reals, floor=True, extractor=extractor, resamples=20)


WAVELET = of_samples("fd_wavelet", "wavelet")
EFFNETLITE0 = of_samples("fd_effnetlite0", "effnetlite0", 2000)
# All real images, whatever their number: streamed, so without an interval.
FID50K_FULL = Metric(
    Streamed,
    lambda real, fake: {"fid50k_full": frechet_distance(real, fake)},
    images=50_000,
    reals=ALL,
    floor=True,
    extractor="inception",
)
