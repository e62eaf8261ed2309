from __future__ import annotations

import pytest
import torch

from fastgan.models.transforms import placement


def seen_at(matrix: torch.Tensor, x: float, y: float) -> list[float]:
    return (matrix @ torch.tensor([x, y, 1.0]))[:2].tolist()


def test_a_picture_moves_right_and_down() -> None:
    assert torch.equal(placement((0.0, 0.0), 0.0), torch.eye(3))
    assert seen_at(placement((0.25, 0.5), 0.0), 0.25, 0.5) == [0, 0]
    assert seen_at(placement((0.25, 0.5), 0.0), 0.5, 0.0) == [0.25, -0.5]


def test_it_turns_counter_clockwise_about_the_centre_before_it_moves() -> None:
    # What was on the right is above, what was above on the left; then all goes 0.1 to the right.
    assert seen_at(placement((0.0, 0.0), 90.0), 0.0, -0.5) == pytest.approx([0.5, 0], abs=1e-6)
    assert seen_at(placement((0.0, 0.0), 90.0), -0.5, 0.0) == pytest.approx([0, -0.5], abs=1e-6)
    assert seen_at(placement((0.1, 0.0), 90.0), 0.1, -0.5) == pytest.approx([0.5, 0], abs=1e-6)
    assert seen_at(placement((0.1, -0.2), 30.0), 0.1, -0.2) == pytest.approx([0, 0], abs=1e-6)


def test_numbers_must_be_finite() -> None:
    with pytest.raises(ValueError, match="^translate and degrees must be finite numbers, got \\(nan, 0\\) and 0$"):
        placement((float("nan"), 0), 0)
