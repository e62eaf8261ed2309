"""Kernel distance: the definition pair by pair, an independent library, weights, no bias."""

from __future__ import annotations

import itertools

import pytest
import torch
from torchmetrics.image.kid import KernelInceptionDistance

from fastgan.metrics.kernel import KID50K_FULL, WAVELET, kernel, kernel_distance, of_subsets


def by_pairs(real: torch.Tensor, fake: torch.Tensor) -> float:
    """The unbiased estimate, a pair at a time."""

    def k(x: torch.Tensor, y: torch.Tensor) -> float:
        return float((sum(a * b for a, b in zip(x.tolist(), y.tolist(), strict=True)) / len(x) + 1) ** 3)

    def among(rows: torch.Tensor) -> float:
        pairs = list(itertools.permutations(range(len(rows)), 2))
        return sum(k(rows[i], rows[j]) for i, j in pairs) / len(pairs)

    mixed = [k(x, y) for x in real for y in fake]
    return among(real) + among(fake) - 2 * sum(mixed) / len(mixed)


def test_known_answer() -> None:
    """Points 0 and 1 against 2 and 2: k(0, 1) = 1, k(2, 2) = 125, k(0, 2) = 1, k(1, 2) = 27."""
    real, fake = torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [2.0]])
    assert kernel_distance(real, fake).tolist() == [1 + 125 - 2 * (1 + 27) / 2]


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save all extracted features")
def test_agrees_with_the_definition_and_an_independent_library() -> None:
    real, fake = torch.rand(13, 6), torch.rand(9, 6) + 0.2
    assert kernel_distance(real, fake).item() == pytest.approx(by_pairs(real, fake), rel=1e-6)

    class Passes(torch.nn.Module):
        num_features = 6

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1)

    other = KernelInceptionDistance(feature=Passes(), subsets=1, subset_size=13, normalize=False)
    fake = torch.rand(13, 6) + 0.2
    other.update(real[:, None, None], real=True)
    other.update(fake[:, None, None], real=False)
    assert kernel_distance(real, fake).item() == pytest.approx(other.compute()[0].item(), rel=1e-5)


def test_many_rows_are_taken_block_by_block() -> None:
    x, y = torch.randn(2500, 4), torch.randn(1100, 4)
    rr, ff, rf = (kernel(*pair) for pair in ((x, x), (y, y), (x, y)))
    among = [(each.sum() - each.trace()) / (len(each) * (len(each) - 1)) for each in (rr, ff)]
    expected = among[0] + among[1] - 2 * rf.mean()
    assert kernel_distance(x, y).item() == pytest.approx(expected.item(), rel=1e-9)
    shuffled = kernel_distance(x[torch.randperm(2500)], y[torch.randperm(1100)])
    assert shuffled.item() == pytest.approx(expected.item(), rel=1e-9)


def test_weights_count_rows_but_no_pair_of_a_row_and_itself() -> None:
    real, fake = torch.randn(5, 3), torch.randn(6, 3)
    w, v = torch.tensor([[2, 0, 1, 1, 1]]), torch.tensor([[1, 3, 0, 0, 1, 1]])

    def among(rows: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        pairs = torch.outer(weights, weights).double().fill_diagonal_(0)
        return (pairs * kernel(rows, rows)).sum() / pairs.sum()

    mixed = torch.outer(w[0], v[0]).double()
    expected = among(real, w[0]) + among(fake, v[0]) - 2 * (mixed * kernel(real, fake)).sum() / mixed.sum()
    both = kernel_distance(real, fake, torch.cat([torch.ones_like(w), w]), torch.cat([torch.ones_like(v), v]))
    torch.testing.assert_close(both, torch.stack([kernel_distance(real, fake)[0], expected]))


def test_samples_of_one_distribution_are_0_apart_in_the_mean() -> None:
    generator = torch.Generator().manual_seed(0)
    found = torch.cat([kernel_distance(*torch.randn(2, 30, 4, generator=generator)) for _ in range(400)])
    error = found.std() / 20  # of the mean
    assert found.mean().abs() < 3 * error and (found < 0).any()
    biased = torch.randn(30, 4, generator=generator)
    assert (kernel(biased, biased).mean() - kernel_distance(biased, biased + 9)).abs() > 3 * error  # it can fail


def test_intervals_grow_with_fewer_images() -> None:
    reach = []
    for count in (50, 800):
        figures = WAVELET.figures(torch.randn(count, 4), torch.randn(count, 4) + 1, intervals=True)
        assert figures["kid_wavelet_low"] < figures["kid_wavelet"] < figures["kid_wavelet_high"]
        reach.append(figures["kid_wavelet_high"] - figures["kid_wavelet_low"])
    assert reach[0] > 2 * reach[1]


def test_the_published_protocol_averages_subsets() -> None:
    real, fake = torch.randn(2000, 3), torch.randn(1500, 3) + 0.3
    subsets = of_subsets(real, fake)
    assert subsets.shape == (100,)
    assert KID50K_FULL.figures(real, fake)["kid50k_full"] == subsets.mean().item()
    assert subsets.mean().item() == pytest.approx(kernel_distance(real, fake).item(), rel=0.15)
    assert KID50K_FULL.counts(60_000) == (60_000, 50_000)


def test_one_image_is_too_few() -> None:
    with pytest.raises(ValueError, match="fake must have at least 2 images, got 1"):
        kernel_distance(torch.zeros(2, 3), torch.zeros(1, 3))
