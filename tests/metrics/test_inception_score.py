"""Inception Score: certain and even classes have the largest score, like ones the smallest."""

from __future__ import annotations

import pytest
import torch

from fastgan.metrics.inception_score import IS50K, Scores


class Table:
    def probabilities(self, features: torch.Tensor) -> torch.Tensor:
        return features


def scores(p: torch.Tensor, splits: int = 1, part: int = 7) -> torch.Tensor:
    kept = Scores(len(p), Table(), splits)
    for each in p.split(part):
        kept.take(each)
    return kept.result()


def test_known_answers() -> None:
    assert scores(torch.eye(5).repeat(4, 1)).tolist() == pytest.approx([5], rel=1e-12)
    assert scores(torch.full((20, 5), 0.2)).tolist() == pytest.approx([1], rel=1e-7)
    assert scores(torch.eye(2).repeat_interleave(10, 0), splits=2).tolist() == pytest.approx([1, 1], rel=1e-12)
    assert IS50K.figures(None, torch.tensor([1.0, 3.0])) == {"is50k": 2.0, "is50k_deviation": 1.0}
    assert IS50K.counts(100) == (0, 50_000)


def test_agrees_with_the_definition_whatever_the_batches() -> None:
    p = torch.randn(53, 6, dtype=torch.float64).mul(2).softmax(dim=1)
    expected = []
    for part in p.tensor_split(10):
        marginal = part.mean(dim=0, keepdim=True)
        expected.append((part * (part.log() - marginal.log())).sum(dim=1).mean().exp())
    for batch in (1, 7, 53):
        torch.testing.assert_close(scores(p, 10, batch), torch.stack(expected), rtol=1e-10, atol=0)


def test_images_that_are_missing_are_told_of() -> None:
    with pytest.raises(ValueError, match="at least 1 image, got 0"):
        Scores(0, Table())
    with pytest.raises(ValueError, match="3 images must be taken in, got 0"):
        Scores(3, Table()).result()
