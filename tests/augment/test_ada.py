"""ADA: the identity at p = 0, transforms by hand and as published, derivatives, p that holds its target."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from fastgan.augment import Critic, transforms
from fastgan.augment.ada import ADA
from fastgan.augment.bands import Bands, filter_bank
from fastgan.augment.chance import Chance
from fastgan.choices import AUGPIPES
from fastgan.config.options import AdversarialOptions
from fastgan.losses import r1
from fastgan.ops import affine_warp
from fastgan.train.games.adversarial import augmentation

DRAWS = 100_000
CPU = torch.device("cpu")


class Fixed(Chance):
    """Draws that a test has chosen, for one image, all of them applied."""

    def __init__(self, *values: Any) -> None:
        super().__init__(1, torch.ones([]))
        self.values = list(values)

    def _next(self, *shape: int) -> Tensor:
        return torch.tensor(self.values.pop(0), dtype=torch.float32).reshape(1, *shape)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return self._next(*shape)

    def normal(self, deviation: float, *shape: int) -> Tensor:
        return self._next(*shape)

    def integer(self, count: int) -> Tensor:
        return self._next().long()

    def apply(self, drawn: Tensor, neutral: float, p: Tensor | None = None) -> Tensor:
        return drawn


def moments(values: Tensor) -> tuple[float, float]:
    return values.mean().item(), values.std().item()


@pytest.mark.parametrize("pipe", list(AUGPIPES))
@pytest.mark.parametrize("channels", [(3,), (1,), (3, 3), (1, 3)], ids=str)
def test_at_p_0_images_stay_as_they_are_to_the_bit(pipe: str, channels: tuple[int, ...]) -> None:
    x = torch.randn(3, sum(channels), 9, 12)
    assert torch.equal(ADA(channels, pipe)(x), x)


@pytest.mark.parametrize("pipe", list(AUGPIPES))
def test_at_p_1_every_pipe_changes_images_and_none_another(pipe: str) -> None:
    torch.manual_seed(0)
    x, augment = torch.rand(16, 3, 16, 24), ADA(pipe=pipe, p=1.0)
    y = augment(x)
    assert y.shape == x.shape and y.isfinite().all()
    assert (y != x).flatten(1).any(1).sum() >= 15  # of flips, turns and shifts one may be none
    x[3] = torch.nan
    assert augment(x)[torch.arange(16) != 3].isfinite().all()


def test_quarter_turns_flips_and_shifts_by_hand() -> None:
    x, size = torch.randn(1, 2, 8, 8), (8, 8)
    for quarter in range(4):
        theta = transforms.blit(transforms.identity(1, CPU), Fixed(0, quarter, [0.0, 0.0]), size)
        assert torch.equal(affine_warp(x, theta), x.rot90(quarter, (2, 3)))
    theta = transforms.blit(transforms.identity(1, CPU), Fixed(1, 0, [0.0, 0.0]), size)
    assert torch.equal(affine_warp(x, theta), x.flip(3))
    theta = transforms.blit(transforms.identity(1, CPU), Fixed(0, 0, [0.125, 0.0]), size)
    assert torch.equal(affine_warp(x, theta)[..., 1:], x[..., :-1])  # to the right by one
    theta = transforms.blit(transforms.identity(1, CPU), Fixed(1, 1, [0.0, 0.125]), size)
    assert torch.equal(affine_warp(x, theta)[:, :, 1:], x.flip(3).rot90(1, (2, 3))[:, :, :-1])  # in this order


def test_geometry_by_hand() -> None:
    """Twice as large, again along x and half along y, then a quarter turn, and moved by an eighth of 16 columns."""
    draws = Fixed(1.0, 0.0, 1.0, math.pi / 2, [0.125, 0.0])
    theta = transforms.geometry(transforms.identity(1, CPU), draws, (8, 16))
    # A pixel (j, i) of the result shows (j - 2, i), turned back (-i, j - 2), before stretching (-i / 2, 2 (j - 2)).
    torch.testing.assert_close(theta, torch.tensor([[[0.0, -0.25, 0.0], [1.0, 0.0, -2.0]]]), atol=1e-6, rtol=0)


def test_what_blit_draws() -> None:
    torch.manual_seed(1)
    theta = transforms.blit(transforms.identity(DRAWS, CPU), Chance(DRAWS, torch.tensor(0.4)), (64, 32))
    turn = theta[:, :, :2]
    assert set(turn.unique().tolist()) == {-1.0, 0.0, 1.0}
    flipped = torch.linalg.det(turn) < 0
    assert flipped.float().mean().item() == pytest.approx(0.2, abs=0.01)  # half of those to which a flip is applied
    across = (turn[:, 0, 0] == 0).float().mean().item()
    assert across == pytest.approx(0.2, abs=0.01)  # two of four turns
    shift = (theta[:, 0].abs().sum(1) - 1 + theta[:, 1].abs().sum(1) - 1) != 0
    # applied, and not rounded to 0 both: of 9 (8 and two halves) and 5 places
    assert shift.float().mean().item() == pytest.approx(0.4 * (1 - (1 / 8) * (1 / 16)), abs=0.01)
    assert theta[:, :, 2].abs().max() <= 8 and torch.equal(theta, theta.round())


def test_what_geometry_draws() -> None:
    torch.manual_seed(2)
    p = 0.3
    theta = transforms.geometry(transforms.identity(DRAWS, CPU), Chance(DRAWS, torch.tensor(p)), (64, 64))
    same = (theta == torch.eye(2, 3)).all(2).all(1).float().mean().item()
    assert same == pytest.approx((1 - p) ** 4, abs=0.01)  # either rotation counts as one transform
    theta = transforms.geometry(transforms.identity(DRAWS, CPU), Chance(DRAWS, torch.ones([])), (64, 32))
    mean, deviation = moments(torch.linalg.det(theta[:, :, :2]).log2() / -2)
    assert mean == pytest.approx(0, abs=0.01) and deviation == pytest.approx(0.2, rel=0.02)
    singular = torch.linalg.svdvals(theta[:, :, :2])
    stretch = (singular[:, 0] / singular[:, 1]).log2() / 2
    assert stretch.square().mean().sqrt().item() == pytest.approx(0.2, rel=0.02)
    angle = torch.atan2(theta[:, 1, 0] - theta[:, 0, 1], theta[:, 0, 0] + theta[:, 1, 1])
    for wave in (1, 2, 4):  # uniform on the circle
        assert (wave * angle).cos().mean().abs() < 0.01 and (wave * angle).sin().mean().abs() < 0.01
    # The shift is the last: what the map takes to the image's centre is where the centre went.
    moved = torch.linalg.solve(theta[:, :, :2], -theta[:, :, 2])
    for axis, length in ((0, 32), (1, 64)):
        mean, deviation = moments(moved[:, axis])
        assert mean == pytest.approx(0, abs=0.1) and deviation == pytest.approx(length / 8, rel=0.02)


def test_what_colors_draw() -> None:
    torch.manual_seed(3)
    rgb, grey = transforms.recolored(Chance(DRAWS, torch.ones([])))
    matrix, offset = rgb[:, :, :3], rgb[:, :, 3]
    along = matrix.sum(2)  # what becomes of (1, 1, 1): grey
    torch.testing.assert_close(along, along[:, :1].expand(-1, 3), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(grey, torch.stack([along[:, 0], offset[:, 0]], 1)[:, None], atol=1e-4, rtol=1e-4)
    assert (along[:, 0] < 0).float().mean().item() == pytest.approx(0.5, abs=0.01)
    mean, deviation = moments(along[:, 0].abs().log2())
    assert mean == pytest.approx(0, abs=0.01) and deviation == pytest.approx(0.5, rel=0.02)
    mean, deviation = moments(offset[:, 0] / along[:, 0])
    assert mean == pytest.approx(0, abs=0.01) and deviation == pytest.approx(0.2, rel=0.02)
    u, v = torch.tensor([1.0, -1.0, 0.0]) / 2**0.5, torch.tensor([1.0, 1.0, -2.0]) / 6**0.5
    image = matrix @ u
    mean, deviation = moments((image.norm(dim=1) / along[:, 0].abs()).log2())
    assert mean == pytest.approx(0, abs=0.01) and deviation == pytest.approx(1.0, rel=0.02)
    hue = torch.atan2(image @ v, image @ u)
    assert hue.cos().mean().abs() < 0.01 and hue.sin().mean().abs() < 0.01 and (2 * hue).cos().mean().abs() < 0.01
    torch.testing.assert_close(image.sum(1), torch.zeros(DRAWS), atol=1e-4, rtol=0)  # hues stay hues


def test_colors_by_hand() -> None:
    """Brighter by 0.1, twice the contrast, luma flipped, red to green, as saturated as it was."""
    rgb, _ = transforms.recolored(Fixed(0.1, 1.0, 1, 2 * math.pi / 3, 0.0))
    shifted = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
    expected = 2 * (shifted - 2 / 3 * torch.ones(3, 3) + 0)  # the part along grey changes its sign
    torch.testing.assert_close(rgb[0, :, :3], expected)
    torch.testing.assert_close(rgb[0, :, 3], torch.full([3], -0.2))


def test_a_share_p_of_images_is_changed() -> None:
    torch.manual_seed(4)
    color, _ = transforms.recolored(Chance(DRAWS, torch.tensor(0.25)))
    brighter = (color[:, 0, 3] != 0).float().mean().item()
    assert brighter == pytest.approx(0.25, abs=0.01)
    same = (color == torch.eye(3, 4)).all(2).all(1).float().mean().item()
    assert same == pytest.approx(0.75**4 * 0.875, abs=0.01)  # of flips of luma half change nothing


def test_bands_are_octaves_that_sum_to_one() -> None:
    bank = filter_bank()
    impulse = torch.zeros(43, dtype=torch.float64)
    impulse[21] = 1
    torch.testing.assert_close(bank.sum(0), impulse)
    torch.testing.assert_close(bank, bank.flip(1))
    frequencies = torch.tensor([0.04, 3 / 16, 3 / 8, 3 / 4], dtype=torch.float64) * math.pi
    response = bank @ (frequencies * torch.arange(-21, 22)[:, None]).cos()  # zero phase: real
    torch.testing.assert_close(response, torch.eye(4, dtype=torch.float64), atol=0.3, rtol=0)  # the wavelet is short
    assert torch.equal(response.argmax(0), torch.arange(4))


def test_a_band_is_amplified_and_the_power_of_pictures_kept() -> None:
    """t = 4 at the lowest band alone: waves of high frequency shrink by √((10·16 + 3) / 13) at each application."""
    bands, j = Bands("cpu"), torch.arange(64.0)
    wave = (0.75 * math.pi * j).cos().expand(1, 1, 64, 64)
    draws = Fixed(2.0, 0.0, 0.0, 0.0)
    amplified = bands(wave, draws)[0, 0, 30, 20:40]
    norm = math.sqrt((10 * 16 + 3) / 13)
    # Along columns the wave is of high frequency, along rows it is constant, which is of the lowest band.
    torch.testing.assert_close(amplified, wave[0, 0, 30, 20:40] / norm * (4 / norm), atol=0.05, rtol=0)


def test_noise_and_cutout() -> None:
    torch.manual_seed(5)
    zeros, ones = torch.zeros(4000, 1, 8, 8), torch.ones(2000, 1, 32, 32)
    noise = ADA(pipe="noise", p=1.0)(zeros)
    assert noise.square().mean().sqrt().item() == pytest.approx(0.1, rel=0.05)
    spread = noise.flatten(1).std(1)
    assert spread.std().item() == pytest.approx(0.1 * math.sqrt(1 - 2 / math.pi), rel=0.1)  # of |N(0, 0.1²)|
    kept = ADA(pipe="cutout", p=1.0)(ones)
    assert set(kept.unique().tolist()) == {0.0, 1.0}
    # Along each side half is cut, less what lies outside: 1/2 - 2·∫₀^¼ (¼ - c) dc = 7/16.
    assert 1 - kept.mean().item() == pytest.approx((7 / 16) ** 2, rel=0.03)


def test_images_beside_each_other_are_transformed_alike() -> None:
    grey = torch.rand(4, 1, 16, 16)
    y = ADA((3, 1, 3), "bgcf", p=1.0)(grey.expand(-1, 7, -1, -1))
    torch.testing.assert_close(y, y[:, :1].expand(-1, 7, -1, -1), atol=1e-5, rtol=1e-5)


def augmented(augment: ADA, x: Tensor) -> Tensor:
    torch.manual_seed(7)
    return augment(x)


@pytest.mark.parametrize("pipe", ["bgc", "bgcfnc"])
def test_derivatives_to_the_second(pipe: str) -> None:
    x = torch.randn(2, 3, 6, 5, dtype=torch.float64, requires_grad=True)
    augment = ADA(pipe=pipe, p=0.9)
    assert torch.autograd.gradcheck(lambda x: augmented(augment, x), (x,), fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x: augmented(augment, x).sin(), (x,), fast_mode=True)


def test_its_gradient_is_its_adjoint() -> None:
    """<A x, y> = <x, Aᵀ y>, A the part that is linear."""
    augment = ADA(pipe="bgcf", p=0.9)
    x, y = (torch.randn(5, 3, 12, 20, dtype=torch.float64) for _ in range(2))
    x.requires_grad_()
    result = augmented(augment, x)
    (adjoint,) = torch.autograd.grad(result, x, y)
    linear = result.detach() - augmented(augment, torch.zeros_like(x))
    torch.testing.assert_close((linear * y).sum(), (x.detach() * adjoint).sum())


def test_r1_is_of_the_image_before_it() -> None:
    """D sums squares of what it sees: the gradient to the image is 2·Aᵀ A x, the augmentation's part included."""
    augment = ADA(p=0.8)
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(7)
    penalty = r1(Critic(lambda x, c: x.square().sum((1, 2, 3))[:, None], augment), x)
    seen = augmented(augment, x)
    (expected,) = torch.autograd.grad(seen, x, 2 * seen.detach())
    torch.testing.assert_close(penalty.detach(), expected.square().sum((1, 2, 3)))


def test_labels_are_not_touched() -> None:
    seen = []
    c = torch.eye(3)
    Critic(lambda x, c: seen.append(c) or x, ADA(p=1.0))(torch.randn(3, 3, 8, 8), c)
    assert seen[0] is c


def test_p_goes_from_0_to_1_in_its_kimg_and_back() -> None:
    augment = ADA(batch=20, kimg=2)  # 100 updates of D, p moves every fourth
    for _ in range(101):
        augment.adapt(torch.ones(20, 1))
    assert augment.p.item() == pytest.approx(1.0) and augment.r_t.item() == 1
    for _ in range(43):
        augment.adapt(torch.tensor([1.0, 1.0, 1.0, -1.0]))  # mean sign 0.5, below 0.6, but for the first of four
    assert augment.p.item() == pytest.approx(1.04 - 0.36)
    for _ in range(400):
        augment.adapt(torch.full([4], -1.0))
    assert augment.p.item() == 0


def test_p_holds_what_keeps_r_t_at_its_target() -> None:
    """A D that is the less sure of reals the more they are augmented."""
    torch.manual_seed(8)
    augment = ADA(batch=64, kimg=20, target=0.5)
    course = []
    for _ in range(2000):
        augment.adapt(torch.randn(64) + 2 - 3 * augment.p)
        course.append(augment.p.item())
    # E sign N(m, 1) = erf(m / √2) = 0.5 at m = 0.674: p = 0.442.
    assert torch.tensor(course[-500:]).mean().item() == pytest.approx(0.442, abs=0.03)


def test_logits_that_are_no_numbers_leave_p_a_number() -> None:
    augment = ADA()
    for _ in range(9):
        augment.adapt(torch.full([4], torch.nan))
    assert augment.p.isfinite() and augment.r_t.isfinite()


def test_its_state_comes_back_and_a_wrong_one_is_refused() -> None:
    one, other = ADA(batch=8, kimg=1), ADA(batch=8, kimg=1)
    for _ in range(6):
        one.adapt(torch.ones(8))
    other.load_state_dict(one.state_dict())
    for _ in range(3):
        for each in (one, other):
            each.adapt(torch.ones(8))
    assert one.p.item() > 0 and all(torch.equal(one.state_dict()[k], v) for k, v in other.state_dict().items())
    with pytest.raises(ValueError, match="state must hold 0-dimensional tensors p, r_t, signs, updates, got"):
        one.load_state_dict({"p": torch.zeros([])})


def test_options_make_it() -> None:
    options = AdversarialOptions(augment="ada", augpipe="bg", ada_target=0.5, ada_kimg=10, batch=4)
    adaptive: Any = augmentation(options, (), CPU)
    assert (adaptive.groups, adaptive.target, adaptive.p.item()) == (["blit", "geometry"], 0.5, 0)
    assert adaptive.step == pytest.approx(4 * 4 / 10_000)
    fixed: Any = augmentation(AdversarialOptions(augment="fixed", augment_p=0.3), (), CPU)
    fixed.adapt(torch.ones(4))
    assert fixed.target is None and fixed.p.item() == pytest.approx(0.3)
    for loss in ("wasserstein", "lsgan"):
        with pytest.raises(ValueError, match=f"augment must not be ada beside loss={loss}: the signs"):
            augmentation(AdversarialOptions(augment="ada", loss=loss), (), CPU)
    refused: list[Any] = [
        ("augpipe", "bgx", "augpipe must be one of blit, geom"),
        ("augment_p", 1.5, r"augment_p must be a number in \[0, 1\], got 1.5"),
        ("ada_target", 2, r"ada_target must be a number in \[-1, 1\], got 2"),
        ("ada_kimg", 0, "ada_kimg must be a number of at least 0.001, got 0"),
        ("diffaug_policy", ("color", "cut"), "diffaug_policy must be one of color, translation, cutout, got 'cut'"),
    ]
    for name, value, message in refused:
        with pytest.raises(ValueError, match=message):
            AdversarialOptions(**{name: value})
    with pytest.raises(ValueError, match="pipe must be one of blit"):
        ADA(pipe="all")
