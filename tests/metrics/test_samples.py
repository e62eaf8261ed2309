"""Moments lose nothing to order, parts, processes or a large mean."""

from __future__ import annotations

import pytest
import torch

from fastgan.metrics.samples import Rows, Streamed, weighted_moments


def streamed(rows: torch.Tensor, part: int) -> Streamed:
    kept = Streamed(len(rows))
    for each in rows.split(part):
        kept.take(each)
    return kept


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_moments_are_those_of_all_rows_at_once(offset: float) -> None:
    rows = torch.randn(1300, 7, dtype=torch.float64) + offset  # more than are taken in at once
    mean, covariance, count = streamed(rows, 31).result()
    assert count == 1300
    torch.testing.assert_close(mean, rows.mean(dim=0), rtol=1e-14, atol=0)
    torch.testing.assert_close(covariance, torch.cov(rows.t()), rtol=1e-9, atol=1e-9)


def test_order_parts_and_processes_change_nothing() -> None:
    rows = torch.randn(1257, 5) * 3 + 20
    known = streamed(rows, 1257).result()
    first, second, none = streamed(rows[:100], 7), streamed(rows[100:], 64), Streamed(0)
    for other in (none, second):
        first.join(other)
    for found in (streamed(rows.flip(0), 10).result(), first.result()):
        assert found.count == known.count
        torch.testing.assert_close(found.mean, known.mean, rtol=1e-12, atol=0)
        torch.testing.assert_close(found.covariance, known.covariance, rtol=1e-12, atol=1e-13)


def test_weights_count_rows_so_many_times() -> None:
    rows, weights = torch.randn(20, 3), torch.randint(0, 4, (20,))
    found = weighted_moments(rows, weights)
    repeated = rows.double().repeat_interleave(weights, dim=0)
    assert found.count == len(repeated)
    torch.testing.assert_close(found.mean, repeated.mean(dim=0))
    torch.testing.assert_close(found.covariance, torch.cov(repeated.t()))


@pytest.mark.parametrize("kind", [Rows, Streamed])
def test_too_few_images_are_told_of(kind: type[Rows] | type[Streamed]) -> None:
    kept = kind(4)
    kept.take(torch.zeros(3, 2))
    with pytest.raises(ValueError, match="4 images must be taken in, got 3"):
        kept.result()
    with pytest.raises(ValueError, match="1 images must be taken in, got 0|a covariance takes at least 2"):
        kind(1).result()
