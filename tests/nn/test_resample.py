from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from fastgan.nn import conv2d_resample
from fastgan.ops import setup_filter

DOUBLE = torch.float64


def explicit_resample(x, w, f, up, down, padding, flip_weight):
    """The definition, step by step: zero insertion, padding, FIR as a depthwise convolution, kernel, decimation."""
    n, c, h, width = x.shape
    fw = f.shape[0]
    p0, p1 = padding, padding
    if up > 1:
        p0, p1 = p0 + (fw + up - 1) // 2, p1 + (fw - up) // 2
    if down > 1:
        p0, p1 = p0 + (fw - down + 1) // 2, p1 + (fw - down) // 2
    z = x.new_zeros(n, c, h * up, width * up)
    z[:, :, ::up, ::up] = x
    z = F.pad(z, [p0, p1, p0, p1])
    taps = torch.outer(f, f).flip([0, 1])[None, None].repeat(c, 1, 1, 1) * up**2
    z = F.conv2d(z, taps, groups=c)
    z = F.conv2d(z, w if flip_weight else w.flip([2, 3]))
    return z[:, :, ::down, ::down]


@pytest.mark.parametrize("flip_weight", [True, False], ids=["correlation", "convolution"])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize(("up", "down"), [(2, 1), (1, 2), (3, 1), (1, 3)], ids=["up2", "down2", "up3", "down3"])
def test_matches_the_definition(up, down, kernel, flip_weight):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 9, dtype=DOUBLE)
    w = torch.randn(4, 3, kernel, kernel, dtype=DOUBLE)
    f = torch.tensor([0.1, 0.5, 0.3, 0.1], dtype=DOUBLE)  # asymmetric: a flipped filter shows
    y = conv2d_resample(x, w, f, up=up, down=down, padding=kernel // 2, flip_weight=flip_weight)
    assert y.shape == (2, 4, 6 * up // down, 9 * up // down)
    torch.testing.assert_close(
        y, explicit_resample(x, w, f, up, down, kernel // 2, flip_weight), rtol=1e-12, atol=1e-12
    )


def test_up_of_an_impulse_by_hand():
    # One pixel, a 1x1 kernel of 1 and f = [1, 3, 3, 1] / 8: with the gain of 4, [3, 3] / 4 per axis are left.
    y = conv2d_resample(
        torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1), setup_filter([1, 3, 3, 1], separable=True), up=2
    )
    torch.testing.assert_close(y, torch.full((1, 1, 2, 2), 9 / 16))


def test_down_keeps_a_constant():
    f = setup_filter([1, 3, 3, 1], separable=True)
    y = conv2d_resample(torch.ones(1, 1, 8, 8), torch.full((1, 1, 3, 3), 1 / 9), f, down=2, padding=1)
    torch.testing.assert_close(y[:, :, 1:-1, 1:-1], torch.ones(1, 1, 2, 2))


@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 1), (1, 2)])
def test_groups_are_independent_convolutions(up, down):
    x = torch.randn(2, 4, 6, 6, dtype=DOUBLE)
    w = torch.randn(6, 2, 3, 3, dtype=DOUBLE)
    f = setup_filter([1, 3, 3, 1], separable=True).double()
    y = conv2d_resample(x, w, f, up=up, down=down, padding=1, groups=2, flip_weight=False)
    halves = [
        conv2d_resample(
            x[:, 2 * g : 2 * g + 2], w[3 * g : 3 * g + 3], f, up=up, down=down, padding=1, flip_weight=False
        )
        for g in range(2)
    ]
    torch.testing.assert_close(y, torch.cat(halves, dim=1))


@pytest.mark.parametrize("padding", [2, [1, 3], [0, 1, 2, 0], [-1, 0, 0, -1]], ids=str)
def test_padding_forms_without_resampling(padding):
    x, w = torch.randn(1, 2, 5, 6, dtype=DOUBLE), torch.randn(3, 2, 3, 3, dtype=DOUBLE)
    p = [padding] * 4 if isinstance(padding, int) else padding
    p = [p[0], p[0], p[1], p[1]] if len(p) == 2 else p
    torch.testing.assert_close(conv2d_resample(x, w, padding=padding), F.conv2d(F.pad(x, p), w))


def test_no_filter_is_plain_zero_insertion():
    x, w = torch.randn(1, 2, 4, 5, dtype=DOUBLE), torch.randn(3, 2, 3, 3, dtype=DOUBLE)
    z = x.new_zeros(1, 2, 8, 10)
    z[:, :, ::2, ::2] = 4 * x
    torch.testing.assert_close(conv2d_resample(x, w, None, up=2, padding=1), F.conv2d(z, w, padding=1))
    torch.testing.assert_close(conv2d_resample(x, w, None, down=2, padding=1), F.conv2d(x, w, stride=2, padding=1))


@pytest.mark.parametrize(("up", "down", "flip"), [(2, 1, False), (1, 2, True)], ids=["up2", "down2"])
def test_second_gradient(up, down, flip):
    x = torch.randn(1, 2, 4, 4, dtype=DOUBLE, requires_grad=True)
    w = torch.randn(2, 2, 3, 3, dtype=DOUBLE, requires_grad=True)
    f = setup_filter([1, 3, 3, 1], separable=True).double()
    assert torch.autograd.gradgradcheck(
        lambda x, w: conv2d_resample(x, w, f, up=up, down=down, padding=1, flip_weight=flip), (x, w)
    )


def test_errors():
    x, w = torch.zeros(1, 2, 4, 4), torch.zeros(3, 5, 3, 3)
    with pytest.raises(ValueError, match=r"x must have shape \[N, 5, H, W\] to match w, got \[1, 2, 4, 4\]"):
        conv2d_resample(x, w)
    with pytest.raises(ValueError, match="x and w must be 4-dimensional"):
        conv2d_resample(x[0], w)
    with pytest.raises(ValueError, match="up and down must not both exceed 1, got 2 and 2"):
        conv2d_resample(x, w[:, :2], up=2, down=2)
    with pytest.raises(ValueError, match=r"padding must be an int, \[x, y\] or \[x0, x1, y0, y1\], got \[1, 2, 3\]"):
        conv2d_resample(x, w[:, :2], padding=[1, 2, 3])
