"""How much generated images differ from one another, beside real ones: what mode collapse takes away."""

from __future__ import annotations

import torch
from torch import Tensor

from fastgan.metrics.extractors import make_extractor

_ALIKE = 0.25  # of the distance that real images usually have to the nearest


def diversity(real: Tensor, fake: Tensor) -> dict[str, float]:
    """mean distance between two generated images / mean distance between two real ones, and the share of generated
    images that have a near twin.

    Distances are of features without learnt weights (the extractor "wavelet": a thumbnail, and how strong details are
    where). As many images of each side are compared as the smaller has, the first.

    Args:
        real: uint8 [N, C, H, W], spread over the set.
        fake: uint8 [M, C, H, W].

    Returns:
        as a run's statistics name them: "diversity/ratio", 1 where generated images differ as much as real ones do, 0
        where all are the same; "diversity/alike", the share of generated images whose nearest other one is less than a
        quarter as far as a real image's nearest usually (the median) is: it tells of several images made again and
        again, whose mean distance may be large.

    Raises:
        TypeError: images that are not uint8.
        ValueError: fewer than two images, or shapes that do not fit together.

    Example:
        >>> images = torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8)
        >>> diversity(images, images)
        {'diversity/ratio': 1.0, 'diversity/alike': 0.0}
        >>> diversity(images, images[:1].expand(16, 3, 32, 32))
        {'diversity/ratio': 0.0, 'diversity/alike': 1.0}
    """
    for name, images in (("real", real), ("fake", fake)):
        if images.dtype != torch.uint8:
            raise TypeError(f"{name} must be uint8 images, got {images.dtype}")
        if images.ndim != 4 or len(images) < 2 or 0 in images.shape:
            raise ValueError(f"{name} must be [N, C, H, W] with at least two images, got {list(images.shape)}")
    if real.shape[1:] != fake.shape[1:]:
        raise ValueError(
            f"fake must have images of shape {list(real.shape[1:])} to match real, got {list(fake.shape[1:])}"
        )
    count, features = min(len(real), len(fake)), make_extractor("wavelet")
    (real_mean, real_nearest), (fake_mean, fake_nearest) = (
        _distances(features(images[:count]).double()) for images in (real, fake)
    )
    return {
        "diversity/ratio": (fake_mean / real_mean.clamp_min(1e-6)).item(),
        "diversity/alike": (fake_nearest < _ALIKE * real_nearest.median()).double().mean().item(),
    }


def _distances(x: Tensor) -> tuple[Tensor, Tensor]:
    """The mean distance between two rows, and of each row [N] to the nearest other."""
    count = len(x)
    distances = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    mean = distances.sum() / (count * (count - 1))
    return mean, distances.fill_diagonal_(torch.inf).amin(1)
