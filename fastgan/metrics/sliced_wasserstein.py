"""Sliced Wasserstein distance between the patches of two image sets, level by level of a Laplacian pyramid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F

PATCH = 7
_COARSEST = 16
_SCALE = 1e3
# Images of each side that `measure` compares.
_IMAGES = 1000


class Images(Protocol):
    """What `measure` needs of a data set."""

    def __len__(self) -> int: ...

    def read(self, indices: torch.Tensor) -> torch.Tensor:
        """uint8 [N, H, W, C]."""
        ...


def _binomial(channels: int) -> torch.Tensor:
    taps = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    return torch.outer(taps, taps).expand(channels, 1, 5, 5).contiguous()


def _reduce(x: torch.Tensor) -> torch.Tensor:
    channels = x.shape[1]
    return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), _binomial(channels), stride=2, groups=channels)


def _expand(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """x up-sampled to `size`, which `_reduce` maps to the size of x."""
    n, channels, height, width = x.shape
    zeros = x.new_zeros(n, channels, 2 * height, 2 * width)
    zeros[:, :, ::2, ::2] = x
    zeros = zeros[:, :, : size[0], : size[1]]
    return F.conv2d(F.pad(zeros, (2, 2, 2, 2), mode="reflect"), 4 * _binomial(channels), groups=channels)


def laplacian_pyramid(x: torch.Tensor) -> list[torch.Tensor]:
    """L_i = G_i - expand(G_{i+1}), and the coarsest G itself last; G_{i+1} = reduce(G_i) halves the size.

    Args:
        x: [N, C, H, W], float32.

    Returns:
        levels from fine to coarse; the coarsest is the last whose smaller side is at least 16.

    Source: Burt & Adelson 1983.
    """
    levels = []
    while min((x.shape[2] + 1) // 2, (x.shape[3] + 1) // 2) >= _COARSEST:
        smaller = _reduce(x)
        levels.append(x - _expand(smaller, (x.shape[2], x.shape[3])))
        x = smaller
    return [*levels, x]


def _descriptors(level: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """[count, C·7·7]: patches at random places, spread evenly over the images, each channel to mean 0, deviation 1."""
    n, channels, height, width = level.shape
    image = torch.arange(count) * n // count
    top = torch.randint(0, height - PATCH + 1, (count,), generator=generator)
    left = torch.randint(0, width - PATCH + 1, (count,), generator=generator)
    offset = torch.arange(PATCH)
    patches = level[
        image[:, None, None, None],
        torch.arange(channels)[:, None, None],
        (top[:, None] + offset)[:, None, :, None],
        (left[:, None] + offset)[:, None, None, :],
    ]  # [count, C, 7, 7]
    deviation, mean = torch.std_mean(patches, dim=(0, 2, 3), keepdim=True, correction=0)
    return ((patches - mean) / deviation.clamp_min(1e-8)).flatten(1)


def sliced_distance(a: torch.Tensor, b: torch.Tensor, directions: torch.Tensor) -> float:
    """mean over θ and i of |sort(a·θ)_i - sort(b·θ)_i|: the 1-Wasserstein distance of the projections.

    Args:
        a: [P, K] points.
        b: [P, K] points, as many.
        directions: [K, S] unit vectors θ.

    Returns:
        the distance, at least 0.

    Source: Rabin et al. 2011.

    Example:
        >>> sliced_distance(torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0], [0.0]]), torch.ones(1, 1))
        1.0
    """
    one, two = directions.t() @ a.t(), directions.t() @ b.t()  # [S, P]
    for projected in (one, two):
        # In place; numpy sorts rows of floats with vector instructions, torch does not.
        projected.numpy().sort(axis=1)
    return float((one - two).abs_().mean(dtype=torch.float64))


def _check(a: torch.Tensor, b: torch.Tensor, projections: int, patches: int) -> None:
    for name, images in (("a", a), ("b", b)):
        if images.dtype != torch.uint8:
            raise TypeError(f"{name} must be uint8 images, got {images.dtype}")
        if images.ndim != 4 or 0 in images.shape:
            raise ValueError(f"{name} must be [N, C, H, W] with at least one image, got {list(images.shape)}")
        if min(images.shape[2:]) < PATCH:
            raise ValueError(f"{name} must be at least {PATCH}x{PATCH} pixels, got {list(images.shape[2:])}")
    if a.shape[1:] != b.shape[1:]:
        raise ValueError(f"b must have images of shape {list(a.shape[1:])} to match a, got {list(b.shape[1:])}")
    if projections < 1 or patches < 1:
        raise ValueError(f"projections and patches must be at least 1, got {projections} and {patches}")


def sliced_wasserstein_by_level(
    a: torch.Tensor, b: torch.Tensor, *, seed: int = 0, projections: int = 512, patches: int = 16384
) -> dict[int, float]:
    """{height: 10³ · sliced distance of the 7x7 patches} for each level of the Laplacian pyramid, fine to coarse.

    Both sides are cut at places drawn from the same seed: equal sets give exactly 0, and swapping sides changes
    nothing.

    Args:
        a: uint8 [N, C, H, W].
        b: uint8 [M, C, H, W].
        seed: of the places and the directions.
        projections: random directions.
        patches: patches of each side and level, spread evenly over its images.

    Returns:
        the distance by the height of the level in pixels. Patches are normalised by channel, each side by itself, so
        a change of overall colour or contrast does not show.

    Raises:
        TypeError: images that are not uint8.
        ValueError: shapes that do not fit together, images below 7x7, counts below 1.

    Source: Karras et al. 2018 (progressive growing), section 5.
    """
    _check(a, b, projections, patches)
    levels_a, levels_b = laplacian_pyramid(a.cpu().float()), laplacian_pyramid(b.cpu().float())
    result: dict[int, float] = {}
    for index, (level_a, level_b) in enumerate(zip(levels_a, levels_b, strict=True)):
        generator = torch.Generator().manual_seed(seed * 1000 + index)
        directions = torch.randn(a.shape[1] * PATCH * PATCH, projections, generator=generator)
        directions /= directions.norm(dim=0, keepdim=True)
        places = generator.get_state()
        cut_a = _descriptors(level_a, patches, generator)
        cut_b = _descriptors(level_b, patches, generator.set_state(places))
        result[level_a.shape[2]] = _SCALE * sliced_distance(cut_a, cut_b, directions)
    return result


def sliced_wasserstein_distance(
    a: torch.Tensor, b: torch.Tensor, *, seed: int = 0, projections: int = 512, patches: int = 16384
) -> float:
    """mean over levels of `sliced_wasserstein_by_level`, which documents arguments and errors.

    Args:
        a: uint8 [N, C, H, W].
        b: uint8 [M, C, H, W].
        seed: of the places and the directions.
        projections: random directions.
        patches: patches of each side and level.

    Returns:
        the distance, times 10³; smaller is nearer. Two halves of one set do not give 0: compare with that floor.

    Source: Karras et al. 2018 (progressive growing), section 5.

    Example:
        >>> a = torch.randint(0, 256, (10, 3, 32, 32), dtype=torch.uint8)
        >>> sliced_wasserstein_distance(a, a)
        0.0
    """
    levels = sliced_wasserstein_by_level(a, b, seed=seed, projections=projections, patches=patches)
    return sum(levels.values()) / len(levels)


def _real(dataset: Images, count: int, seed: int = 0) -> torch.Tensor:
    """uint8 [n, C, H, W], n = min(count, M) images drawn without repetition."""
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))
    return dataset.read(order[:count]).permute(0, 3, 1, 2)


def measure(sampler: Callable[[int], torch.Tensor], dataset: Images) -> dict[str, float]:
    """Sliced Wasserstein distance of generated images to a data set.

    Args:
        sampler: n -> uint8 [n, C, H, W].
        dataset: the real images, M of them.

    Returns:
        "swd": the mean over levels, "swd_<height>": each level, "swd_images": images of each side, at most 1000.
    """
    real = _real(dataset, _IMAGES)
    levels = sliced_wasserstein_by_level(sampler(len(real)), real)
    named = {f"swd_{height}": value for height, value in levels.items()}
    return {"swd": sum(levels.values()) / len(levels), **named, "swd_images": float(len(real))}


def measure_floor(sampler: Callable[[int], torch.Tensor] | None, dataset: Images) -> dict[str, float]:
    """The same distance between two disjoint halves of the data set: about what perfect images would score.

    Args:
        sampler: not called; None will do.
        dataset: the real images, M >= 2.

    Returns:
        "swd_floor": the mean over levels, "swd_floor_images": images of each half, at most 1000.

    Raises:
        ValueError: fewer than two images.
    """
    real = _real(dataset, 2 * _IMAGES)
    half = len(real) // 2
    if half < 1:
        raise ValueError(f"dataset must have at least 2 images to be halved, got {len(real)}")
    value = sliced_wasserstein_distance(real[:half], real[half : 2 * half])
    return {"swd_floor": value, "swd_floor_images": float(half)}
