"""Intervals of a difference: against SciPy, by hand, and by how often they hold what is true."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from scipy import stats

from fastgan.metrics.comparison import Interval, between, student_quantile, welch


@pytest.mark.parametrize("share", [0.6, 0.9, 0.975, 0.995])
@pytest.mark.parametrize("dof", [1, 1.02, 1.7, 2, 3.3, 9, 40, 1e4])
def test_quantiles_are_those_of_student(share: float, dof: float) -> None:
    assert student_quantile(share, dof) == pytest.approx(stats.t.ppf(share, dof), rel=1e-9)


def test_quantiles_by_hand() -> None:
    assert student_quantile(0.5, 7) == 0
    assert student_quantile(0.975, 1) == pytest.approx(math.tan(0.475 * math.pi), rel=1e-12)  # Cauchy's distribution
    assert student_quantile(0.75, 2) == pytest.approx(math.sqrt(2 / 3), rel=1e-12)  # P = ½ + t / (2 √(2 + t²))


@pytest.mark.parametrize("counts", [(2, 2), (3, 3), (2, 9), (6, 4)])
@pytest.mark.parametrize("deviation", [0.01, 1, 30])
def test_intervals_are_those_of_welch(counts: tuple[int, int], deviation: float) -> None:
    draw = random.Random(0)
    a = [draw.gauss(5, 1) for _ in range(counts[0])]
    b = [draw.gauss(6, deviation) for _ in range(counts[1])]
    found = welch(a, b)
    expected: Any = stats.ttest_ind(b, a, equal_var=False)
    ends = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high), rel=1e-9)
    assert found.value == pytest.approx(sum(b) / len(b) - sum(a) / len(a), rel=1e-12)
    assert found.shows == (expected.pvalue < 0.05)


@pytest.mark.parametrize("deviations", [(1, 1), (1, 5)])
@pytest.mark.parametrize("counts", [(3, 3), (4, 8)])
def test_95_of_100_intervals_hold_the_true_difference(counts: tuple[int, int], deviations: tuple[float, float]) -> None:
    draw, held, times = random.Random(1), 0, 1500
    for _ in range(times):
        a, b = ([draw.gauss(0, s) for _ in range(n)] for n, s in zip(counts, deviations, strict=True))
        found = welch(a, [2 + value for value in b])
        held += found.low <= 2 <= found.high
    assert 0.93 < held / times < 0.975


def test_figures_that_never_move() -> None:
    assert welch([2, 2], [2, 2]) == (0, 0, 0) and not welch([2, 2], [2, 2]).shows
    assert welch([2, 2, 2], [3, 3]) == (1, 1, 1) and welch([2, 2, 2], [3, 3]).shows
    tiny = welch([0, 1e-200], [0, 1e-200])  # whose squared variances are 0 in float64
    assert tiny.value == 0 and math.isfinite(tiny.high)


def test_a_difference_of_two_intervals_by_hand() -> None:
    assert between(Interval(10, 7, 14), Interval(20, 17, 24)) == pytest.approx((10, 5, 15))  # 3, 4, 5 either way
    lopsided = between(Interval(0, -12, 0), Interval(0, 0, 5))
    assert lopsided == pytest.approx((0, 0, 13))


def test_intervals_of_two_figures_hold_the_true_difference() -> None:
    draw, held, times = random.Random(2), 0, 2000
    for _ in range(times):
        a, b = draw.gauss(0, 1), draw.gauss(3, 2)
        found = between(Interval(a, a - 1.96, a + 1.96), Interval(b, b - 3.92, b + 3.92))
        held += found.low <= 3 <= found.high
    assert 0.935 < held / times < 0.965


@pytest.mark.parametrize(
    ("ends", "lower", "higher", "losses"),
    [
        ((-3, -5, -1), "better", "worse", (-1, 5)),
        ((3, 1, 5), "worse", "better", (5, -1)),
        ((1, -1, 3), "not shown", "not shown", (3, 1)),
        ((0, 0, 0), "not shown", "not shown", (0, 0)),
    ],
)
def test_what_a_difference_says_of_b(
    ends: tuple[float, float, float], lower: str, higher: str, losses: tuple[float, float]
) -> None:
    found = Interval(*ends)
    assert (found.verdict("lower"), found.verdict("higher")) == (lower, higher)
    assert (found.loss("lower"), found.loss("higher")) == losses


def test_errors() -> None:
    with pytest.raises(ValueError, match="b must have at least 2 figures, got 1"):
        welch([1, 2], [1])
    with pytest.raises(ValueError, match=r"share must lie in \[0.5, 1\), got 1"):
        student_quantile(1, 3)
    with pytest.raises(ValueError, match="dof must be at least 1, got 0.5"):
        student_quantile(0.9, 0.5)
