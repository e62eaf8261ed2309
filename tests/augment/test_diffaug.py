"""DiffAugment: each transform by hand, derivatives, what is beside each other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastgan.augment import Critic
from fastgan.augment.diffaug import DiffAugment
from fastgan.losses import r1


def augmented(augment: DiffAugment, x: Tensor) -> Tensor:
    torch.manual_seed(0)
    return augment(x)


def test_no_transform_is_the_identity() -> None:
    x = torch.randn(3, 3, 8, 10)
    assert torch.equal(DiffAugment(policy=())(x), x)


def test_shifted_images_have_zeros_where_nothing_is() -> None:
    """Every image is the original moved by at most an eighth, whose place the ramps along both axes tell."""
    torch.manual_seed(1)
    columns = torch.arange(1.0, 33).expand(2000, 1, 16, 32)
    rows = torch.arange(1.0, 17)[:, None].expand(2000, 1, 16, 32)
    augment = DiffAugment(policy=["translation"])
    x, y = torch.cat([columns, rows], dim=1), None
    y = augment(x)
    middle = y[:, :, 8, 16]
    right, down = 17 - middle[:, 0], 9 - middle[:, 1]
    assert set(right.tolist()) == set(range(-4, 5)) and set(down.tolist()) == set(range(-2, 3))
    for n in range(50):
        r, d = int(right[n]), int(down[n])
        expected = torch.zeros(2, 16, 32)
        shown = x[n, :, max(0, -d) : 16 - max(0, d), max(0, -r) : 32 - max(0, r)]
        expected[:, max(0, d) : 16 + min(0, d), max(0, r) : 32 + min(0, r)] = shown
        assert torch.equal(y[n], expected)


def test_holes_are_half_of_each_side() -> None:
    torch.manual_seed(2)
    y = DiffAugment(policy=["cutout"])(torch.ones(3000, 1, 16, 32))
    assert set(y.unique().tolist()) == {0.0, 1.0}
    rows, columns = (y == 0).any(3).sum(2), (y == 0).any(2).sum(2)
    assert rows.max() == 8 and columns.max() == 16 and rows.min() == 4 and columns.min() == 8
    assert torch.equal((y == 0).sum((1, 2, 3)), (rows * columns)[:, 0])  # rectangles


def test_colors_as_written() -> None:
    """Of an image of two colours everything that was drawn can be told."""
    torch.manual_seed(3)
    x = torch.zeros(4000, 3, 1, 2)
    x[:, :, 0, 0] = torch.tensor([0.5, 0.2, -0.1])  # its mean 0.2
    x[:, :, 0, 1] = -0.4  # grey; the mean of the image is -0.1
    y = DiffAugment(policy=["color"])(x)
    grey = y.mean(1)[:, 0]
    contrast = (grey[:, 0] - grey[:, 1]) / 0.6
    brightness = (grey[:, 0] + grey[:, 1]) / 2 + 0.1
    saturation = (y[:, 0, 0, 0] - grey[:, 0]) / 0.3 / contrast
    for values, low, high in ((contrast, 0.5, 1.5), (brightness, -0.5, 0.5), (saturation, 0, 2)):
        assert low - 1e-4 <= values.min() and values.max() <= high + 1e-4
        assert values.mean().item() == pytest.approx((low + high) / 2, abs=0.03)
        assert values.std().item() == pytest.approx((high - low) / 12**0.5, rel=0.03)
    drawn = torch.stack([contrast, brightness, saturation])
    assert (torch.corrcoef(drawn) - torch.eye(3)).abs().max() < 0.05


@pytest.mark.parametrize("shape", [(2, 3, 6, 5), (2, 1, 7, 8)], ids=str)
def test_derivatives_to_the_second(shape: tuple[int, ...]) -> None:
    x, augment = torch.randn(shape, dtype=torch.float64, requires_grad=True), DiffAugment()
    assert torch.autograd.gradcheck(lambda x: augmented(augment, x), (x,), fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x: augmented(augment, x).sin(), (x,), fast_mode=True)


def test_r1_is_of_the_image_before_it() -> None:
    augment, x = DiffAugment(), torch.randn(4, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(0)
    penalty = r1(Critic(lambda x, c: x.square().sum((1, 2, 3))[:, None], augment), x)
    seen = augmented(augment, x)
    (expected,) = torch.autograd.grad(seen, x, 2 * seen.detach())
    torch.testing.assert_close(penalty.detach(), expected.square().sum((1, 2, 3)))


def test_images_beside_each_other_are_transformed_alike() -> None:
    x = torch.randn(4, 3, 16, 16)
    y = DiffAugment((3, 3))(torch.cat([x, x], dim=1))
    assert torch.equal(y[:, :3], y[:, 3:])


def test_a_transform_that_there_is_not() -> None:
    with pytest.raises(ValueError, match="policy must be one of color, translation, cutout, got 'colour'"):
        DiffAugment(policy=["colour"])
