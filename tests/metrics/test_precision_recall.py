"""Precision, recall, density and coverage of sets made so that the answer is known."""

from __future__ import annotations

import pytest
import torch

from fastgan.metrics.precision_recall import (
    DC_WAVELET,
    PR50K3_FULL,
    PR_WAVELET,
    blocks,
    density_coverage,
    precision_recall,
    radii,
)


def line(*places: float) -> torch.Tensor:
    return torch.tensor(places)[:, None]


def test_known_answers_on_a_line() -> None:
    real = line(0, 1, 2, 3, 10)
    # With k = 1 the balls of 0 to 3 reach 1 either way, that of 10 reaches 7.
    assert radii(real, 1).tolist() == [1, 1, 1, 1, 49]
    fake = line(0.5, -0.9, -1.5, 17.5)
    precise, recalled = precision_recall(real, fake, k=1)
    assert precise.tolist() == [True, True, False, False]
    # Balls of the fakes: 0.5 reaches 1.4, -0.9 and -1.5 reach 0.6, 17.5 reaches 17.
    assert recalled.tolist() == [True, True, True, True, True]
    density, coverage = density_coverage(real, fake, k=1)
    assert density.tolist() == [2, 1, 0, 0]
    assert coverage.tolist() == [True, True, False, False, False]
    assert density_coverage(real, line(12, 13, 14), k=1)[1].tolist() == [False] * 4 + [True]


def test_dropped_modes_lower_recall_and_coverage_while_precision_stays() -> None:
    torch.manual_seed(0)
    middles = 100 * torch.cat([torch.eye(4), -torch.eye(4)]).repeat_interleave(60, 0)
    real, fake = (middles + torch.randn(480, 4) for _ in range(2))
    figures = {}
    for name, made in (("all", fake), ("half", fake[:240])):
        precise, recalled = precision_recall(real, made)
        figures[name] = [each.double().mean().item() for each in (precise, recalled, density_coverage(real, made)[1])]
    assert figures["all"][0] > 0.85 and figures["half"][0] > 0.85
    assert figures["all"][1] > 0.85 and figures["half"][1] == pytest.approx(figures["all"][1] / 2, abs=0.06)
    assert figures["all"][2] > 0.9 and figures["half"][2] == pytest.approx(figures["all"][2] / 2, abs=0.06)


def test_an_outlier_among_the_reals_deceives_precision_and_not_density() -> None:
    """Naeem et al. 2020, figure 2: fakes about a lone real image lie within its wide ball."""
    torch.manual_seed(0)
    real = torch.cat([torch.randn(300, 2), torch.full((1, 2), 30.0)])
    fake = torch.randn(200, 2) + 25
    assert precision_recall(real, fake)[0].double().mean() > 0.9
    assert density_coverage(real, fake)[0].mean() < 0.3


def test_distances_are_those_of_all_pairs_block_by_block_and_order_changes_nothing() -> None:
    x, y = torch.randn(2100, 3) + 50, torch.randn(700, 3) + 50
    expected = (x.double()[:, None] - y.double()[None]).square().sum(dim=2)
    torch.testing.assert_close(torch.cat([*blocks(x, y)]), expected, rtol=1e-9, atol=1e-11)
    order = torch.randperm(700)
    kept = [each.sum() for each in (*precision_recall(x, y), *density_coverage(x, y))]
    moved = [each.sum() for each in (*precision_recall(x, y[order]), *density_coverage(x, y[order]))]
    torch.testing.assert_close(moved, kept, rtol=1e-10, atol=0)


def test_figures_have_their_extractor_in_their_names_and_intervals() -> None:
    real, fake = torch.randn(60, 3), torch.randn(50, 3) + 1
    for metric, names in ((PR_WAVELET, ("precision", "recall")), (DC_WAVELET, ("density", "coverage"))):
        figures = metric.figures(real, fake, intervals=True)
        known = {f"{name}_wavelet{end}" for name in names for end in ("", "_low", "_high")}
        assert figures.keys() == known
        assert all(figures[f"{name}_wavelet_low"] < figures[f"{name}_wavelet_high"] for name in names)
    assert PR50K3_FULL.counts(70_000) == (50_000, 50_000) and PR50K3_FULL.extractor == "vgg16"


def test_too_few_images_are_told_of() -> None:
    with pytest.raises(ValueError, match="the 3 nearest images take at least 4, got 3"):
        precision_recall(torch.randn(3, 2), torch.randn(9, 2))
