from __future__ import annotations

import math

import pytest
import torch

from fastgan.nn import minibatch_stddev
from fastgan.nn.minibatch_stddev import stddev_group_size


@pytest.mark.parametrize(
    ("batch", "group", "expected"),
    [(8, 4, 4), (4, 4, 4), (6, 4, 3), (10, 4, 2), (7, 4, 1), (3, 4, 3), (2, 8, 2), (9, 8, 3), (1, 4, 1), (0, 4, 1)],
)
def test_group_size_is_the_largest_divisor(batch, group, expected):
    assert stddev_group_size(batch, group) == expected


def test_groups_are_strided():
    # N = 8, groups of 4: samples 0 2 4 6 and 1 3 5 7. Even samples differ, odd ones are equal.
    values = torch.tensor([1.0, 9.0, 3.0, 9.0, 5.0, 9.0, 7.0, 9.0], dtype=torch.float64)
    y = minibatch_stddev(values[:, None, None, None], group=4)
    even = math.sqrt(5 + 1e-8)  # biased variance of 1 3 5 7
    expected = torch.tensor([even, 1e-4] * 4, dtype=torch.float64)
    torch.testing.assert_close(y[:, 1, 0, 0], expected, rtol=1e-12, atol=0)
    assert torch.equal(y[:, 0, 0, 0], values)


def test_mean_is_over_channels_and_pixels():
    # Two samples; per element |a - b| / 2 is the deviation: 0.5, 1, 1.5, 2 on a 2-channel 1x2 image.
    a = torch.zeros(1, 2, 1, 2, dtype=torch.float64)
    b = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]], dtype=torch.float64)
    y = minibatch_stddev(torch.cat([a, b]), group=4)
    assert y.shape == (2, 3, 1, 2)
    torch.testing.assert_close(y[:, 2], torch.full((2, 1, 2), 1.25, dtype=torch.float64), rtol=1e-7, atol=0)


def test_batch_that_four_does_not_divide():
    # N = 6 makes groups of 3: samples 0 2 4 and 1 3 5.
    values = torch.tensor([0.0, 1.0, 3.0, 1.0, 6.0, 4.0], dtype=torch.float64)
    y = minibatch_stddev(values[:, None, None, None], group=4)[:, 1, 0, 0]
    first, second = math.sqrt(6), math.sqrt(2)
    torch.testing.assert_close(y, torch.tensor([first, second] * 3, dtype=torch.float64), rtol=1e-7, atol=0)


def test_empty_batch_and_second_gradient():
    assert minibatch_stddev(torch.zeros(0, 3, 2, 2)).shape == (0, 4, 2, 2)
    x = torch.randn(4, 2, 2, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda t: minibatch_stddev(t, 2), x)


def test_errors():
    with pytest.raises(ValueError, match=r"x must have shape \[N, C, H, W\], got \[2, 3\]"):
        minibatch_stddev(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="group must be an int of at least 1, got 0"):
        minibatch_stddev(torch.zeros(2, 3, 1, 1), group=0)
