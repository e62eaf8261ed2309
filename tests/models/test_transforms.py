"""Directions and units of movements."""

from __future__ import annotations

import math

import pytest
import torch

from fastgan.models.transforms import placement

RIGHT, TOP, MIDDLE = [0.5, 0.0, 1.0], [0.0, -0.5, 1.0], [0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("translate", "degrees", "now", "before"),
    [
        ((0, 0), 0, RIGHT, RIGHT),
        ((0.5, 0), 0, RIGHT, MIDDLE),  # to the right
        ((0, -0.5), 0, TOP, MIDDLE),  # up
        ((0, 0), 90, TOP, RIGHT),  # counter-clockwise
        ((0, 0), -90, RIGHT, TOP),
        ((0.5, 0), 90, [0.5, -0.5, 1.0], RIGHT),  # turned first, then moved
        ((0.1, 0.2), 30, [0.1, 0.2, 1.0], MIDDLE),
    ],
)
def test_where_the_picture_comes_from(translate: tuple, degrees: float, now: list, before: list) -> None:
    torch.testing.assert_close(placement(translate, degrees) @ torch.tensor(now), torch.tensor(before))


def test_it_is_the_inverse_of_a_turn_and_a_shift() -> None:
    angle = math.radians(20)
    turn = torch.tensor([[math.cos(angle), math.sin(angle), 0], [-math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    shift = torch.tensor([[1, 0, 0.3], [0, 1, -0.2], [0, 0, 1]])
    torch.testing.assert_close(placement((0.3, -0.2), 20) @ shift @ turn, torch.eye(3))
