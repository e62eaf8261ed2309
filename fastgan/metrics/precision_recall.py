"""How much of what is generated looks real, and how much of what is real is generated.

Improved precision and recall: Kynkäänniemi et al. 2019. Density and coverage: Naeem et al. 2020.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from fastgan.metrics.evaluation import Metric
from fastgan.metrics.resampling import Resampled
from fastgan.metrics.samples import Rows

_ROWS = 1024  # of a matrix of distances at once


def blocks(x: Tensor, y: Tensor) -> Iterator[Tensor]:
    """Squared distances of rows x [n, dim] to all of y [m, dim], float64 [at most 1024, m] after the other.

    Rows are moved by the mean of y first: distances stay, and less is lost of them in the products.
    """
    middle = y.double().mean(dim=0)
    y = y.double() - middle
    lengths = y.square().sum(dim=1)
    for part in x.split(_ROWS):
        part = part.double() - middle
        yield (part.square().sum(dim=1)[:, None] + lengths - 2 * part @ y.t()).clamp_min(0)


def radii(x: Tensor, k: int) -> Tensor:
    """Squared distance of each row to its k-th nearest other row, [n].

    Raises:
        ValueError: k rows or fewer.
    """
    if len(x) <= k:
        raise ValueError(f"the {k} nearest images take at least {k + 1}, got {len(x)}")
    # The row itself is among the k + 1 nearest, at 0 but for rounding.
    return torch.cat([each.kthvalue(k + 1, dim=1).values for each in blocks(x, x)])


class Reached(NamedTuple):
    """Balls around the rows of a set, as wide as its k-th nearest neighbours are far, and what lies in them.

    Attributes:
        counts: [m], in how many balls of the set each other row lies.
        hit: [n], bool: the balls in which another row lies.
    """

    counts: Tensor
    hit: Tensor


def reached(x: Tensor, others: Tensor, k: int) -> Reached:
    """What of `others` [m, dim] lies in the balls of x [n, dim]."""
    wide = radii(x, k)
    counts, hit = [], torch.zeros(len(x), dtype=torch.bool)
    for distances in blocks(others, x):
        inside = distances <= wide
        counts.append(inside.sum(dim=1))
        hit |= inside.any(dim=0)
    return Reached(torch.cat(counts), hit)


def precision_recall(real: Tensor, fake: Tensor, k: int = 3) -> tuple[Tensor, Tensor]:
    """Which fakes lie within a ball of the reals, bool [m], and which reals within one of the fakes, bool [n]."""
    return reached(real, fake, k).counts > 0, reached(fake, real, k).counts > 0


def density_coverage(real: Tensor, fake: Tensor, k: int = 5) -> tuple[Tensor, Tensor]:
    """In how many balls of the reals each fake lies, by k, [m], and in which balls of the reals a fake, bool [n]."""
    found = reached(real, fake, k)
    return found.counts / k, found.hit


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """[B]: of values [n], counted so many times as weights [B, n] say."""
    return weights.double() @ values.double() / weights.double().sum(dim=1)


def of_samples(suffix: str, extractor: str, images: int = 1000, reals: int = 10_000) -> tuple[Metric, Metric]:
    """Precision and recall, and density and coverage; balls stay what they are in resamples."""

    def pr(real: Tensor, fake: Tensor, real_weights: Tensor, fake_weights: Tensor) -> dict[str, Tensor]:
        precise, recalled = precision_recall(real, fake)
        figures = {"precision": _mean(precise, fake_weights), "recall": _mean(recalled, real_weights)}
        return {name + suffix: value for name, value in figures.items()}

    def dc(real: Tensor, fake: Tensor, real_weights: Tensor, fake_weights: Tensor) -> dict[str, Tensor]:
        dense, covered = density_coverage(real, fake)
        figures = {"density": _mean(dense, fake_weights), "coverage": _mean(covered, real_weights)}
        return {name + suffix: value for name, value in figures.items()}

    def metric(each: Resampled, *names: str) -> Metric:
        tells = tuple(name + suffix for name in names)
        return Metric(
            Rows, resampled=each, images=images, reals=reals, extractor=extractor, better="higher", tells=tells
        )

    return metric(pr, "precision", "recall"), metric(dc, "density", "coverage")


PR_WAVELET, DC_WAVELET = of_samples("_wavelet", "wavelet")
PR_EFFNETLITE0, DC_EFFNETLITE0 = of_samples("_effnetlite0", "effnetlite0", reals=2000)
PR50K3_FULL, DC50K5_FULL = of_samples("50k_full", "vgg16", 50_000, 50_000)
