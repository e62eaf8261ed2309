from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from fastgan.data import ImageDataset
from fastgan.metrics import Evaluation, sliced_wasserstein_by_level, sliced_wasserstein_distance
from fastgan.metrics.sliced_wasserstein import Patches, laplacian_pyramid, sliced_distance

# Of `test_figures_are_those_of_earlier_versions`, computed when sets were compared whole.
FIGURES = {
    "swd": 118.66842750227397, "swd_32": 200.06773426931107, "swd_16": 37.26912073523687, "swd_images": 80.0,
}  # fmt: skip
FLOOR = 42.07116258258152


def shapes(count: int, size: int = 32, seed: int = 0) -> torch.Tensor:
    """uint8 [count, 3, size, size]: a coloured disc of random place and radius on white."""
    g = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    centre = size * (0.3 + 0.4 * torch.rand(count, 2, 1, 1, generator=g))
    radius = size * (0.1 + 0.2 * torch.rand(count, 1, 1, generator=g))
    inside = (y - centre[:, 0]) ** 2 + (x - centre[:, 1]) ** 2 < radius**2
    colour = torch.randint(0, 200, (count, 3, 1, 1), generator=g)
    return torch.where(inside[:, None], colour, 255).to(torch.uint8)


def noisy(images: torch.Tensor, deviation: float) -> torch.Tensor:
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(5))
    return (images.float() + deviation * noise).clamp(0, 255).to(torch.uint8)


def blurred(images: torch.Tensor, width: int) -> torch.Tensor:
    return F.avg_pool2d(images.float(), width, stride=1, padding=width // 2).to(torch.uint8)


def test_one_dimension_by_hand() -> None:
    # Sorted: 0 1 5 against 1 2 9: (1 + 1 + 4) / 3. Along the other direction all points agree.
    a = torch.tensor([[5.0, 7.0], [0.0, 7.0], [1.0, 7.0]])
    b = torch.tensor([[2.0, 7.0], [9.0, 7.0], [1.0, 7.0]])
    assert sliced_distance(a, b, torch.tensor([[1.0], [0.0]])) == pytest.approx(2.0)
    assert sliced_distance(a, b, torch.tensor([[0.0], [1.0]])) == 0.0
    assert sliced_distance(a, b, torch.eye(2)) == pytest.approx(1.0)
    # At 45 degrees the first coordinate counts 1/sqrt(2).
    assert sliced_distance(a, b, torch.full((2, 1), math.sqrt(0.5))) == pytest.approx(math.sqrt(2.0))


def test_the_pyramid_by_hand() -> None:
    flat = torch.full((1, 2, 64, 33), 7.0)
    levels = laplacian_pyramid(flat)
    assert [tuple(level.shape[2:]) for level in levels] == [(64, 33), (32, 17)]
    assert levels[0][:, :, :-2, :-2].abs().max() < 1e-5
    assert torch.allclose(levels[1], torch.full_like(levels[1], 7.0))
    # An impulse at an even place: reduced to 6/16 · 6/16, so the centre of the fine level is 1 - 4 · (6/16)^4.
    impulse = torch.zeros(1, 1, 32, 32)
    impulse[0, 0, 16, 16] = 1.0
    fine, coarse = laplacian_pyramid(impulse)
    assert coarse[0, 0, 8, 8] == pytest.approx((6 / 16) ** 2)
    taps = torch.tensor([1.0, 6.0, 1.0]) / 16  # what the reduced row holds at 7, 8, 9
    up = float(2 * (taps * torch.tensor([1.0, 6.0, 1.0]) / 16).sum())
    assert fine[0, 0, 16, 16] == pytest.approx(1 - up**2)


@pytest.mark.parametrize("size", [7, 16, 31, 33])
def test_odd_and_small_sizes(size: int) -> None:
    a, b = shapes(20, size, 1), shapes(20, size, 2)
    levels = sliced_wasserstein_by_level(a, b, projections=16, patches=256)
    assert list(levels) == ([size, 17] if size == 33 else [31, 16] if size == 31 else [size])
    assert all(value > 0 for value in levels.values())


def test_equal_sets_are_at_zero() -> None:
    a = shapes(50)
    assert sliced_wasserstein_distance(a, a.clone()) == 0.0


def test_it_is_symmetric_and_deterministic() -> None:
    a, b = shapes(60, seed=1), noisy(shapes(45, seed=2), 10)
    torch.manual_seed(1)
    first = sliced_wasserstein_distance(a, b, seed=3)
    torch.manual_seed(2)
    assert sliced_wasserstein_distance(a, b, seed=3) == first
    assert sliced_wasserstein_distance(b, a, seed=3) == pytest.approx(first, rel=1e-6)
    assert sliced_wasserstein_distance(a, b, seed=4) != first


@pytest.mark.parametrize(
    "spoil", [lambda x, k: noisy(x, 10.0 * k), lambda x, k: blurred(x, 2 * k + 1)], ids=["noise", "blur"]
)
def test_it_grows_with_damage(spoil) -> None:
    real, other = shapes(300, seed=1), shapes(300, seed=2)
    values = [sliced_wasserstein_distance(real, spoil(other, k) if k else other, projections=64) for k in range(4)]
    assert values == sorted(values)
    assert values[1] > 1.5 * values[0]


def test_noise_shows_at_the_fine_level_first() -> None:
    real, other = shapes(300, seed=1), noisy(shapes(300, seed=2), 15)
    levels = sliced_wasserstein_by_level(real, other, projections=64)
    assert levels[32] > 2 * levels[16]


def test_sets_of_different_size_can_be_compared() -> None:
    few, many, other = shapes(40, seed=1), shapes(400, seed=2), noisy(shapes(40, seed=3), 30)
    assert sliced_wasserstein_distance(few, many) < 0.5 * sliced_wasserstein_distance(other, many)


def test_a_constant_set_gives_finite_numbers() -> None:
    black = torch.zeros(5, 3, 16, 16, dtype=torch.uint8)
    assert math.isfinite(sliced_wasserstein_distance(black, shapes(5, 16), patches=64))


@pytest.mark.parametrize(
    ("a", "b", "options", "error", "message"),
    [
        (torch.zeros(2, 3, 16, 16), shapes(2, 16), {}, TypeError, "a must be uint8 images, got torch.float32"),
        (shapes(2, 16), shapes(2, 16)[0], {}, ValueError, r"b must be \[N, C, H, W\] .* got \[3, 16, 16\]"),
        (
            shapes(2, 16),
            shapes(2, 32),
            {},
            ValueError,
            r"b must have images of shape \[3, 16, 16\] .* got \[3, 32, 32\]",
        ),
        (shapes(2, 6), shapes(2, 6), {}, ValueError, "a must be at least 7x7 pixels"),
        (shapes(2, 16), shapes(2, 16), {"projections": 0}, ValueError, "projections and patches must be at least 1"),
    ],
)
def test_bad_arguments_are_named(a, b, options: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        sliced_wasserstein_distance(a, b, **options)


@pytest.mark.parametrize("size", [33, 64])
def test_patches_of_images_that_come_in_batches_are_those_of_all_at_once(size: int) -> None:
    images = shapes(101, size)
    whole, streamed = Patches(101, patches=512), Patches(101, patches=512)
    whole.take(images)
    for batch in images.split([1, 40, 60]):
        streamed.take(batch)
    for one, other in zip(whole.result().levels.values(), streamed.result().levels.values(), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(ValueError, match="101 images must be taken in, got 0"):
        Patches(101).result()


def test_figures_are_those_of_earlier_versions() -> None:
    dataset = ImageDataset(shapes(80).permute(0, 2, 3, 1).contiguous())
    asked = []

    def sample(n: int) -> tuple[torch.Tensor, ...]:
        asked.append(n)
        return noisy(shapes(n, seed=9), 20).split(33)

    evaluation = Evaluation(["swd"], dataset)
    figures = evaluation.evaluate(sample)
    assert asked == [80]
    assert figures == pytest.approx(FIGURES, rel=1e-6)
    drawn = dataset.read(torch.randperm(80, generator=torch.Generator().manual_seed(0))).permute(0, 3, 1, 2)
    whole = sliced_wasserstein_by_level(torch.cat(sample(80)), drawn)
    assert whole == {32: figures["swd_32"], 16: figures["swd_16"]}  # to the bit
    assert evaluation.floors() == {"swd": pytest.approx(FLOOR, rel=1e-6)}
