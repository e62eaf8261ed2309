"""Inception Score. Source: Salimans et al. 2016, section 4."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from fastgan.metrics.evaluation import Metric

_SPLITS = 10


class Classifier(Protocol):
    """An extractor whose features tell classes."""

    def probabilities(self, features: Tensor) -> Tensor:
        """[n, dim] -> p(y|x), [n, classes]."""
        ...


class Scores:
    """exp(E KL(p(y|x) ‖ p(y))) of each of ten even parts, in the order in which images come.

    Sums of p and of p·log p are kept, whatever the number of images.

    Args:
        images: how many will come.
        extractor: what tells their classes.
        splits: parts, fewer where there are fewer images.

    Raises:
        ValueError: no images.
    """

    def __init__(self, images: int, extractor: Classifier, splits: int = _SPLITS) -> None:
        if images < 1:
            raise ValueError(f"an Inception Score takes at least 1 image, got {images}")
        self._sizes = [len(part) for part in torch.arange(images).tensor_split(min(splits, images))]
        self._part = torch.repeat_interleave(torch.arange(len(self._sizes)), torch.tensor(self._sizes))
        self._extractor, self._seen = extractor, 0
        self._p = torch.zeros(len(self._sizes), 1, dtype=torch.float64)
        self._p_log_p = torch.zeros(len(self._sizes), dtype=torch.float64)

    def take(self, features: Tensor) -> None:
        """The next images, [n, dim]."""
        p = self._extractor.probabilities(features).double()
        part = self._part[self._seen : self._seen + len(p)]
        self._p = self._p.expand(-1, p.shape[1]).index_add(0, part, p)
        self._p_log_p = self._p_log_p.index_add(0, part, torch.special.xlogy(p, p).sum(dim=1))
        self._seen += len(p)

    def result(self) -> Tensor:
        """float64 [splits], each between 1 and the number of classes.

        Raises:
            ValueError: another number of images came than was to come.
        """
        if self._seen != len(self._part):
            raise ValueError(f"{len(self._part)} images must be taken in, got {self._seen}")
        sizes = torch.tensor(self._sizes, dtype=torch.float64)
        marginal = self._p / sizes[:, None]
        return (self._p_log_p / sizes - torch.special.xlogy(marginal, marginal).sum(dim=1)).exp()


def _published(real: None, fake: Tensor) -> dict[str, float]:
    return {"is50k": fake.mean().item(), "is50k_deviation": fake.std(correction=0).item()}


IS50K = Metric(Scores, _published, images=50_000, reals=0, extractor="inception", better="higher")
