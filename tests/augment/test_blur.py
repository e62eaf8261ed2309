"""The blur that fades: its kernel by hand, its shape always the same, its penalty."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fastgan.augment import Critic
from fastgan.augment.blur import FadingBlur
from fastgan.losses import r1
from fastgan.models import family
from fastgan.train.schedule import Schedule


def test_sigma_falls_to_nothing_over_200_kimg_of_batches_of_32() -> None:
    for batch, images in ((32, 200_000), (16, 100_000)):
        blur = FadingBlur(10**9, batch, "cpu")
        (scheduled,) = blur.schedules()
        assert scheduled[0] is blur.sigma
        schedule = Schedule(*scheduled)
        for seen, sigma in ((0, 10.0), (images // 4, 7.5), (images, 0.0), (2 * images, 0.0)):
            schedule.set(seen)
            assert blur.sigma.item() == pytest.approx(sigma)


def test_the_kernel_by_hand() -> None:
    """σ = 1: 2^-i² at -3 ... 3; one pixel spreads as their outer product."""
    blur, image = FadingBlur(1, 32, "cpu"), torch.zeros(1, 1, 9, 9)
    blur.sigma.fill_(1.0)
    image[0, 0, 4, 4] = 1
    k = torch.tensor([2.0**-9, 2.0**-4, 0.5, 1, 0.5, 2.0**-4, 2.0**-9])
    k = torch.nn.functional.pad(k / k.sum(), (1, 1))
    torch.testing.assert_close(blur(image)[0, 0], k[:, None] * k)


@pytest.mark.parametrize("sigma", [0.0, 0.3])
def test_below_a_third_of_a_pixel_nothing_changes(sigma: float) -> None:
    blur, images = FadingBlur(1, 32, "cpu"), torch.randn(2, 3, 16, 8)
    blur.sigma.fill_(sigma)
    torch.testing.assert_close(blur(images), images)


def test_at_the_start_only_the_coarse_is_left() -> None:
    """Standard deviation 10/√(2 ln 2) = 8.5 pixels: a wave of 16 pixels is gone, one of 128 stays in part."""
    blur, x = FadingBlur(1, 32, "cpu"), torch.arange(256.0)
    fine, coarse = (torch.sin(2 * torch.pi * x / length).expand(1, 1, 256, 256) for length in (16, 128))
    inside = (..., slice(64, -64), slice(64, -64))
    assert blur(fine)[inside].abs().max() < 0.01
    assert blur(coarse)[inside].abs().max().item() == pytest.approx(torch.exp(torch.tensor(-0.0868)).item(), rel=0.02)


def test_the_penalty_is_of_the_image_before_the_blur() -> None:
    """D sums the blurred image: far from the border its gradient is 1 a pixel; the kernel sums to 1."""
    blur, x = FadingBlur(1, 32, "cpu"), torch.randn(2, 1, 24, 24, dtype=torch.float64)
    blur.sigma.fill_(1.0)
    critic = Critic(lambda x, c: x[..., 6:-6, 6:-6].sum(dim=(1, 2, 3))[:, None], blur)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(critic(x).sum(), x)
    torch.testing.assert_close(gradient[..., 9:-9, 9:-9], torch.ones(2, 1, 6, 6, dtype=torch.float64))
    torch.testing.assert_close(r1(critic, x.detach()), gradient.square().sum(dim=(1, 2, 3)))


def test_configuration_r_alone_begins_with_it() -> None:
    options: dict[str, Any] = {name: family(name).options() for name in ("stylegan2", "stylegan3-t", "stylegan3-r")}
    assert [each.augment for each in options.values()] == ["none", "none", "blur"]
