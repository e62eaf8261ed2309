"""Fréchet distance: known normal distributions, two independent oracles, no full rank, intervals."""

from __future__ import annotations

from typing import Any

import pytest
import scipy.linalg
import torch
from torchmetrics.image.fid import FrechetInceptionDistance

from fastgan.metrics.frechet import FID50K_FULL, WAVELET, frechet_distance
from fastgan.metrics.samples import Moments, Streamed


def moments(rows: torch.Tensor) -> Moments:
    kept = Streamed(len(rows))
    kept.take(rows)
    return kept.result()


def normal(mean: list[float], covariance: torch.Tensor) -> Moments:
    return Moments(torch.tensor(mean, dtype=torch.float64), covariance.double(), 1000)


def test_of_known_normal_distributions() -> None:
    one = normal([0.0, 0.0, 0.0], torch.diag(torch.tensor([1.0, 4.0, 9.0])))
    two = normal([3.0, 0.0, 4.0], torch.diag(torch.tensor([4.0, 4.0, 1.0])))
    # 25 of the means; (1 - 2)² + 0 + (3 - 1)² of deviations along shared axes
    assert frechet_distance(one, two) == pytest.approx(30, rel=1e-8)
    angle = torch.tensor(0.7, dtype=torch.float64)
    turn = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]], dtype=torch.float64)
    # A turned ellipse against a round one: the axes may be any, deviations 1 and 5 against 2.
    ellipse = normal([0.0, 0.0], turn @ torch.diag(torch.tensor([1.0, 25.0], dtype=torch.float64)) @ turn.t())
    assert frechet_distance(ellipse, normal([0.0, 0.0], 4 * torch.eye(2))) == pytest.approx(1 + 9, rel=1e-8)
    assert frechet_distance(ellipse, ellipse) == pytest.approx(0, abs=1e-12)


def test_agrees_with_independent_oracles() -> None:
    real, fake = torch.randn(300, 24) @ torch.randn(24, 24), torch.randn(200, 24) @ torch.randn(24, 24) + 0.5
    a, b = moments(real), moments(fake)
    root: Any = scipy.linalg.sqrtm(a.covariance.numpy() @ b.covariance.numpy())
    means = (a.mean - b.mean).square().sum().item()
    oracle = means + (a.covariance.trace() + b.covariance.trace()).item() - 2 * root.real.trace()
    found = frechet_distance(a, b)
    assert found == pytest.approx(oracle, rel=1e-6)

    class Passes(torch.nn.Module):
        num_features = 24

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1)

    other = FrechetInceptionDistance(feature=Passes(), normalize=False, input_img_size=(1, 1, 24)).set_dtype(
        torch.float64
    )
    other.update(real.double()[:, None, None], real=True)
    other.update(fake.double()[:, None, None], real=False)
    assert found == pytest.approx(other.compute().item(), rel=1e-6)


def test_of_fewer_images_than_features() -> None:
    """Both of rank 9 in 40 dimensions; the product of the samples' matrices has the same roots."""
    real, fake = torch.randn(10, 40, dtype=torch.float64), torch.randn(10, 40, dtype=torch.float64)
    x, y = (rows - rows.mean(dim=0) for rows in (real, fake))
    shared = torch.linalg.matrix_norm(x @ y.t(), "nuc") / 9
    means = (real.mean(dim=0) - fake.mean(dim=0)).square().sum()
    expected = means + (x.square().sum() + y.square().sum()) / 9 - 2 * shared
    assert frechet_distance(moments(real), moments(fake)) == pytest.approx(expected.item(), rel=1e-6)


def test_what_is_no_covariance_is_told_of() -> None:
    good = normal([0.0, 0.0], torch.eye(2))
    with pytest.raises(ValueError, match="b must have 2 features to match a, got 1"):
        frechet_distance(good, normal([0.0], torch.eye(1)))
    with pytest.raises(ValueError, match=r"b must have a covariance without negative eigenvalues, got -0\.5"):
        frechet_distance(good, normal([0.0, 0.0], torch.diag(torch.tensor([1.0, -0.5]))))
    with pytest.raises(ValueError, match="a must have a finite covariance"):
        frechet_distance(normal([0.0, 0.0], torch.full((2, 2), torch.nan)), good)


def test_intervals_hold_what_other_samples_give() -> None:
    """In 40 repetitions the distance of fresh samples lies within the interval of the first in most."""
    torch.manual_seed(0)
    draw = lambda: (torch.randn(150, 4), torch.randn(150, 4) * 1.2 + 0.3)  # noqa: E731
    figures = WAVELET.figures(*draw(), intervals=True)
    assert figures["fd_wavelet_low"] < figures["fd_wavelet"] < figures["fd_wavelet_high"]
    reach = figures["fd_wavelet_high"] - figures["fd_wavelet"]
    others = torch.tensor([WAVELET.figures(*draw())["fd_wavelet"] for _ in range(40)])
    assert 0.5 < reach / (1.96 * others.std().item()) < 2
    assert WAVELET.figures(*draw()).keys() == {"fd_wavelet"}


def test_the_published_name_takes_all_reals_and_50_000_generated_images() -> None:
    assert FID50K_FULL.counts(70_000) == (70_000, 50_000)
    assert FID50K_FULL.extractor == "inception"
    a, b = moments(torch.randn(9, 3)), moments(torch.randn(9, 3))
    assert FID50K_FULL.figures(a, b) == {"fid50k_full": frechet_distance(a, b)}
