"""Whether generated images are copies of real ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from fastgan.metrics.evaluation import Images, Metric
from fastgan.metrics.extraction import Batcher
from fastgan.metrics.extractors import Extractor
from fastgan.metrics.precision_recall import blocks
from fastgan.metrics.samples import Rows

_SHARE = 1 / 3  # of the distance between a real image and the nearest other: what is nearer is its copy


class Neighbours(NamedTuple):
    """The nearest rows of a set to each of another.

    Attributes:
        distances: [M, k], from near to far.
        indices: int64 [M, k].
    """

    distances: Tensor
    indices: Tensor


def nearest(rows: Tensor, among: Tensor, k: int = 1) -> Neighbours:
    """The k nearest of `among` [n, dim] to each of rows [m, dim], by Euclidean distance.

    Raises:
        ValueError: fewer than k.
    """
    if len(among) < k:
        raise ValueError(f"the {k} nearest images take at least {k}, got {len(among)}")
    found = [each.topk(k, dim=1, largest=False) for each in blocks(rows, among)]
    return Neighbours(torch.cat([each.values for each in found]).sqrt(), torch.cat([each.indices for each in found]))


def copies(real: Tensor, fake: Tensor) -> Tensor:
    """Which fakes are copies, bool [m]: nearer to a real image than a third of what that is from its nearest other.

    Reals that are equal to each other count as one. The comparison with the reals' own distances is that of Alaa et al.
    2022 (authenticity), where half of all good images would be called copies; a third is far below what chance gives.

    Args:
        real: rows [n, dim], of at least two different images.
        fake: rows [m, dim].

    Raises:
        ValueError: fewer than two different reals.
    """
    other = []
    for distances in blocks(real, real):
        different = distances > 1e-6 * distances.max()
        if not different.any():
            raise ValueError(f"real must hold at least 2 different images, got {len(real)} alike")
        other.append(distances.masked_fill(~different, torch.inf).amin(dim=1))
    apart, near = torch.cat(other).sqrt(), nearest(fake, real)
    return near.distances[:, 0] < _SHARE * apart[near.indices[:, 0]]


def of_samples(figure: str, extractor: str, reals: int = 10_000) -> Metric:
    """The share of 1000 generated images that are copies of one of some thousand real ones."""

    def resampled(real: Tensor, fake: Tensor, real_weights: Tensor, fake_weights: Tensor) -> dict[str, Tensor]:
        weights = fake_weights.double()
        return {figure: weights @ copies(real, fake).double() / weights.sum(dim=1)}

    return Metric(Rows, resampled=resampled, reals=reals, floor=True, extractor=extractor)


WAVELET = of_samples("copies_wavelet", "wavelet")
PIXELS = of_samples("copies_pixels", "pixels")
EFFNETLITE0 = of_samples("copies_effnetlite0", "effnetlite0", 2000)


def neighbours_of(images: Tensor, dataset: Images, extractor: Extractor, k: int = 3) -> Tensor:
    """The nearest real images of generated ones: uint8 [M, k, C, H, W].

    Args:
        images: uint8 [M, C, H, W], the generated ones.
        dataset: real images, of which all are looked at.
        extractor: in whose features distances are taken.
        k: how many of each.

    Raises:
        ValueError: fewer than k real images.
    """
    order = torch.arange(len(dataset))
    reals = (dataset.read(part).permute(0, 3, 1, 2) for part in order.split(64))
    found = nearest(rows_of([images], extractor), rows_of(reals, extractor), k).indices
    return torch.stack([dataset.read(each).permute(0, 3, 1, 2) for each in found])


def rows_of(images: Iterable[Tensor], extractor: Extractor) -> Tensor:
    """Features [N, dim] of images that come in batches, uint8 [n, C, H, W]."""
    batcher = Batcher(extractor)
    rows = [part for batch in images for part in batcher.take(batch)]
    return torch.cat([*rows, *batcher.end()])
