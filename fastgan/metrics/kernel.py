"""Kernel distance (KID): the squared maximum mean discrepancy of features. Source: Bińkowski et al. 2018, section 4."""

from __future__ import annotations

import torch
from torch import Tensor

from fastgan.metrics.evaluation import ALL, Metric
from fastgan.metrics.samples import Rows

_ROWS = 1024  # of a kernel matrix at once
_SUBSETS, _SUBSET = 100, 1000  # of the published protocol


def kernel(x: Tensor, y: Tensor) -> Tensor:
    """(x·y/dim + 1)³ of rows x [n, dim] and y [m, dim], float64 [n, m]."""
    return (x.double() @ y.double().t() / x.shape[1] + 1) ** 3


def kernel_distance(
    real: Tensor, fake: Tensor, real_weights: Tensor | None = None, fake_weights: Tensor | None = None
) -> Tensor:
    """Mean of k over pairs of two reals, plus that over pairs of two fakes, less twice that over mixed pairs.

    Without bias: pairs of a row and itself do not count, so that the distance of two samples of one distribution is 0
    in the mean, and may be negative.

    Args:
        real: rows [n, dim], n at least 2.
        fake: rows [m, dim], m at least 2.
        real_weights: [B, n], how often each row counts in B resamples; None: each once.
        fake_weights: [B, m], likewise.

    Returns:
        float64 [B], of [1] without weights.

    Raises:
        ValueError: fewer than two rows.
    """
    for name, rows in (("real", real), ("fake", fake)):
        if len(rows) < 2:
            raise ValueError(f"{name} must have at least 2 images, got {len(rows)}")
    w = torch.ones(1, len(real), dtype=torch.float64) if real_weights is None else real_weights.double()
    v = torch.ones(1, len(fake), dtype=torch.float64) if fake_weights is None else fake_weights.double()
    within = _among(real, w) + _among(fake, v)
    return within - 2 * _sums(real, fake, w, v) / (w.sum(dim=1) * v.sum(dim=1))


def _among(x: Tensor, weights: Tensor) -> Tensor:
    """[B]: the mean of k over pairs of different rows."""
    itself = (x.double().square().sum(dim=1) / x.shape[1] + 1) ** 3
    squares = weights.square()
    pairs = weights.sum(dim=1).square() - squares.sum(dim=1)
    return (_sums(x, x, weights, weights) - squares @ itself) / pairs


def _sums(x: Tensor, y: Tensor, w: Tensor, v: Tensor) -> Tensor:
    """[B]: Σ_ij w_i v_j k(x_i, y_j)."""
    parts = zip(x.split(_ROWS), w.split(_ROWS, dim=1), strict=True)
    return torch.stack([((part @ kernel(rows, y)) * v).sum(dim=1) for rows, part in parts]).sum(dim=0)


def of_subsets(real: Tensor, fake: Tensor) -> Tensor:
    """The distance between 100 pairs of subsets of at most 1000 rows, float64 [100], as published figures average."""
    generator = torch.Generator().manual_seed(0)
    size = min(_SUBSET, len(real), len(fake))
    pairs = []
    for _ in range(_SUBSETS):
        chosen = [rows[torch.randperm(len(rows), generator=generator)[:size]] for rows in (real, fake)]
        pairs.append(kernel_distance(*chosen))
    return torch.cat(pairs)


def _published(real: Tensor, fake: Tensor) -> dict[str, float]:
    found = of_subsets(real, fake)
    return {"kid50k_full": found.mean().item(), "kid50k_full_deviation": found.std().item()}


def of_samples(figure: str, extractor: str, reals: int = 10_000) -> Metric:
    """Of 1000 generated images and some thousand real ones, with an interval."""

    def resampled(real: Tensor, fake: Tensor, real_weights: Tensor, fake_weights: Tensor) -> dict[str, Tensor]:
        return {figure: kernel_distance(real, fake, real_weights, fake_weights)}

    return Metric(Rows, resampled=resampled, reals=reals, floor=True, extractor=extractor)


WAVELET = of_samples("kid_wavelet", "wavelet")
EFFNETLITE0 = of_samples("kid_effnetlite0", "effnetlite0", 2000)
KID50K_FULL = Metric(Rows, _published, images=50_000, reals=ALL, floor=True, extractor="inception")
