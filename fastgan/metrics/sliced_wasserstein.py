"""Sliced Wasserstein distance between the patches of two image sets, level by level of a Laplacian pyramid."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F

from fastgan.metrics.evaluation import Metric

PATCH = 7
_COARSEST = 16
_SCALE = 1e3
_PROJECTIONS, _PATCHES = 512, 16384


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


class Cut(NamedTuple):
    """Patches of the levels of a set of images, fine to coarse.

    Attributes:
        levels: height in pixels -> [patches, C·7·7], each channel to mean 0, deviation 1.
        directions: [C·7·7, S] unit vectors of each level.
        images: how many images they are of.
    """

    levels: dict[int, torch.Tensor]
    directions: list[torch.Tensor]
    images: int


class Patches:
    """Cuts patches from images that pass by: at random places of each level, spread evenly over the images.

    Args:
        images: how many will come.
        seed: of the places and the directions; sets of one seed are cut at the same places.
        projections: random directions.
        patches: of each level.

    Raises:
        ValueError: a count below 1.
    """

    def __init__(self, images: int, *, seed: int = 0, projections: int = _PROJECTIONS, patches: int = _PATCHES) -> None:
        if projections < 1 or patches < 1:
            raise ValueError(f"projections and patches must be at least 1, got {projections} and {patches}")
        self.images, self.seed, self.projections = images, seed, projections
        self._of = torch.arange(patches) * images // patches  # the image that each is of, ascending
        self._seen = 0
        self._heights: list[int] = []
        self._directions: list[torch.Tensor] = []
        self._places: list[tuple[torch.Tensor, torch.Tensor]] = []  # top, left
        self._cuts: list[torch.Tensor] = []  # [patches, C, 7, 7]

    def take(self, images: torch.Tensor) -> None:
        """Cut the next images, uint8 [n, C, H, W].

        Raises:
            ValueError: images below 7x7.
        """
        if min(images.shape[2:]) < PATCH:
            raise ValueError(f"images must be at least {PATCH}x{PATCH} pixels, got {list(images.shape[2:])}")
        levels = laplacian_pyramid(images.cpu().float())
        if not self._cuts:
            self._draw(levels)
        start, stop = torch.searchsorted(self._of, torch.tensor([self._seen, self._seen + len(images)])).tolist()
        image, offset = self._of[start:stop] - self._seen, torch.arange(PATCH)
        for level, (top, left), cut in zip(levels, self._places, self._cuts, strict=True):
            cut[start:stop] = level[
                image[:, None, None, None],
                torch.arange(level.shape[1])[:, None, None],
                (top[start:stop, None] + offset)[:, None, :, None],
                (left[start:stop, None] + offset)[:, None, None, :],
            ]
        self._seen += len(images)

    def _draw(self, levels: list[torch.Tensor]) -> None:
        """Directions and places of each level."""
        count = len(self._of)
        for index, level in enumerate(levels):
            _, channels, height, width = level.shape
            generator = torch.Generator().manual_seed(self.seed * 1000 + index)
            directions = torch.randn(channels * PATCH * PATCH, self.projections, generator=generator)
            directions /= directions.norm(dim=0, keepdim=True)
            top = torch.randint(0, height - PATCH + 1, (count,), generator=generator)
            left = torch.randint(0, width - PATCH + 1, (count,), generator=generator)
            self._heights.append(height)
            self._directions.append(directions)
            self._places.append((top, left))
            self._cuts.append(torch.empty(count, channels, PATCH, PATCH))

    def result(self) -> Cut:
        """The patches of all levels.

        Raises:
            ValueError: fewer images came than were to come.
        """
        if self._seen != self.images:
            raise ValueError(f"{self.images} images must be taken in, got {self._seen}")
        levels = {}
        for height, patches in zip(self._heights, self._cuts, strict=True):
            deviation, mean = torch.std_mean(patches, dim=(0, 2, 3), keepdim=True, correction=0)
            levels[height] = ((patches - mean) / deviation.clamp_min(1e-8)).flatten(1)
        return Cut(levels, self._directions, self.images)


def distances(a: Cut, b: Cut) -> dict[int, float]:
    """{height: 10³ · sliced distance} of each level, fine to coarse."""
    return {
        height: _SCALE * sliced_distance(a.levels[height], b.levels[height], directions)
        for height, directions in zip(a.levels, a.directions, strict=True)
    }


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


def _check(a: torch.Tensor, b: torch.Tensor) -> None:
    for name, images in (("a", a), ("b", b)):
        if images.dtype != torch.uint8:
            raise TypeError(f"{name} must be uint8 images, got {images.dtype}")
        if images.ndim != 4 or 0 in images.shape:
            raise ValueError(f"{name} must be [N, C, H, W] with at least one image, got {list(images.shape)}")
        if min(images.shape[2:]) < PATCH:
            raise ValueError(f"{name} must be at least {PATCH}x{PATCH} pixels, got {list(images.shape[2:])}")
    if a.shape[1:] != b.shape[1:]:
        raise ValueError(f"b must have images of shape {list(a.shape[1:])} to match a, got {list(b.shape[1:])}")


def sliced_wasserstein_by_level(
    a: torch.Tensor, b: torch.Tensor, *, seed: int = 0, projections: int = _PROJECTIONS, patches: int = _PATCHES
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
    _check(a, b)
    cuts = []
    for images in (a, b):
        cut = Patches(len(images), seed=seed, projections=projections, patches=patches)
        cut.take(images)
        cuts.append(cut.result())
    return distances(*cuts)


def sliced_wasserstein_distance(
    a: torch.Tensor, b: torch.Tensor, *, seed: int = 0, projections: int = _PROJECTIONS, patches: int = _PATCHES
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


def _measure(real: Cut, fake: Cut) -> dict[str, float]:
    """ "swd": the mean over levels, "swd_<height>": each level, "swd_images": images of each side."""
    levels = distances(real, fake)
    named = {f"swd_{height}": value for height, value in levels.items()}
    return {"swd": sum(levels.values()) / len(levels), **named, "swd_images": float(real.images)}


def _patches(images: int, extractor: None) -> Patches:
    return Patches(images)


SWD = Metric(_patches, _measure, images=1000, floor=True)
