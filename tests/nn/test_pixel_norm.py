from __future__ import annotations

import math

import torch

from fastgan.nn import pixel_norm


def test_known_answer():
    x = torch.tensor([[3.0, 4.0], [0.0, 2.0]], dtype=torch.float64)
    s = math.sqrt(12.5)  # second moments 12.5 and 2
    expected = torch.tensor([[3 / s, 4 / s], [0.0, math.sqrt(2)]], dtype=torch.float64)
    torch.testing.assert_close(pixel_norm(x), expected, rtol=1e-7, atol=0)


def test_zero_stays_zero_and_feature_maps_are_normalised_over_channels():
    assert pixel_norm(torch.zeros(1, 4)).abs().max() == 0
    x = torch.randn(2, 6, 3, 5, dtype=torch.float64)
    torch.testing.assert_close(
        pixel_norm(x).square().mean(dim=1), torch.ones(2, 3, 5, dtype=torch.float64), rtol=1e-5, atol=0
    )
