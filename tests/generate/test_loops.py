"""Closed paths: worked out by hand, without kinks, and at the given points to the bit."""

from __future__ import annotations

import math

import pytest
import torch

from fastgan.generate.loops import arcs, lines, spline

H = 1e-4


def derivative(loop, k: int, t: float, order: int) -> torch.Tensor:
    """By differences to one side: forward from a point, or backward to the end of a stretch."""
    h = H if t + 3 * H < 1 else -H
    y = [loop(k, t + i * h) if t + i * h < 1 else loop(k + 1, 0.0) for i in range(4)]
    if order == 1:
        return (-11 * y[0] + 18 * y[1] - 9 * y[2] + 2 * y[3]) / (6 * h)
    return (2 * y[0] - 5 * y[1] + 4 * y[2] - y[3]) / h**2


def test_the_spline_of_a_square_is_known() -> None:
    # A wave of four points: M (4 + 2 cos(π/2)) = 6 (2 cos(π/2) - 2) y, so M = -3 y.
    loop = spline(torch.tensor([1.0, 0.0, -1.0, 0.0]))
    assert loop(0, 0.5).item() == pytest.approx(0.5 + (0.125 - 0.5) / 6 * -3)
    assert loop(3, 0.25).item() == pytest.approx(0.25 + (0.25**3 - 0.25) / 6 * -3)


def test_two_points_are_eased_between() -> None:
    # M_0 = -M_1 = 6·2(y_1 - y_0)/(4 - 2): from 0 to 1, t + ((s³-s) 6 - (t³-t) 6)/6 = 3t² - 2t³, the smooth step.
    loop = spline(torch.tensor([0.0, 1.0]))
    for t in (0.1, 0.25, 0.7):
        assert loop(0, t).item() == pytest.approx(3 * t**2 - 2 * t**3)
        assert loop(1, t).item() == pytest.approx(1 - 3 * t**2 + 2 * t**3)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_slope_and_curvature_go_on_over_every_point(count: int) -> None:
    points = torch.randn(count, 2, 5, generator=torch.Generator().manual_seed(count))
    loop = spline(points)
    for k in range(count):
        for order, tolerance in ((1, 1e-5), (2, 2e-2)):
            before, after = derivative(loop, k - 1, 1.0, order), derivative(loop, k, 0.0, order)
            torch.testing.assert_close(before, after, rtol=0, atol=tolerance)


@pytest.mark.parametrize("path", [spline, arcs, lines])
def test_every_point_is_met_to_the_bit(path) -> None:
    points = torch.randn(5, 3, 7, generator=torch.Generator().manual_seed(0))
    loop = path(points)
    for k in range(-1, 6):
        assert torch.equal(loop(k, 0.0).float(), points[k % 5])
        torch.testing.assert_close(loop(k - 1, 1 - 1e-9).float(), points[k % 5])


def test_arcs_turn_evenly() -> None:
    loop = arcs(torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0]]))
    third = math.radians(30)
    assert loop(0, 1 / 3).tolist() == pytest.approx([math.cos(third), 2 * math.sin(third)])
    angles = [math.atan2(*loop(1, t).div(torch.tensor([1.0, 2.0])).flip(0).tolist()) for t in (0.0, 0.25, 0.5, 0.75)]
    assert [b - a for a, b in zip(angles, angles[1:], strict=False)] == pytest.approx([math.pi / 8] * 3)
    # Opposite points have no arc of their own, nor has a point and itself: a straight line.
    assert loop(2, 0.5).tolist() == pytest.approx([0, 0])
    assert arcs(torch.tensor([[3.0, 4.0], [3.0, 4.0]]))(0, 0.3).tolist() == pytest.approx([3, 4])


def test_long_latents_keep_their_length() -> None:
    z = torch.randn(4, 512, generator=torch.Generator().manual_seed(1))
    halfway = torch.stack([arcs(z)(k, 0.5) for k in range(4)]).norm(dim=-1)
    assert halfway.min() > 20 and torch.stack([lines(z)(k, 0.5) for k in range(4)]).norm(dim=-1).max() < 18
