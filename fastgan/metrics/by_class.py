"""Classes of the real images: one by itself, and how often each is made."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from fastgan.data import Dataset
from fastgan.metrics.extractors import Extractor
from fastgan.metrics.memorisation import nearest, rows_of

_REALS = 10_000  # at most, drawn from the set


class OfClass:
    """The images of one class of a labelled set, as metrics need them.

    Args:
        dataset: with classes.
        number: of the class.

    Raises:
        ValueError: the set has no classes.
    """

    def __init__(self, dataset: Dataset, number: int) -> None:
        if not dataset.num_classes or dataset.labels is None:
            raise ValueError(f"{dataset.name} must have classes")
        self.dataset, self.indices = dataset, (dataset.labels == number).nonzero()[:, 0]

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, indices: Tensor) -> Tensor:
        """uint8 [N, H, W, C]."""
        return self.dataset.read(self.indices[indices])


class Shares(NamedTuple):
    """Of which class the nearest real image is: a histogram of classes without a classifier.

    Attributes:
        generated: float64 [classes], shares of the generated images.
        real: [classes], shares of the real ones, each beside the others.
        generated_images, real_images: how many.
    """

    generated: Tensor
    real: Tensor
    generated_images: int
    real_images: int


def class_shares(images: Iterable[Tensor], dataset: Dataset, extractor: Extractor) -> Shares:
    """How often the nearest real image of a generated one is of each class.

    Args:
        images: uint8 [n, C, H, W], the generated ones, in batches.
        dataset: real images with classes, at most 10,000 of which are looked at.
        extractor: in whose features distances are taken.

    Raises:
        ValueError: the set has no classes, or fewer than two images.
    """
    if not dataset.num_classes or dataset.labels is None:
        raise ValueError(f"{dataset.name} must have classes")
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))[:_REALS]
    real = rows_of((dataset.read(part).permute(0, 3, 1, 2) for part in order.split(64)), extractor)
    fake, labels = rows_of(images, extractor), dataset.labels[order]
    two = nearest(real, real, 2).indices
    other = torch.where(two[:, 0] == torch.arange(len(two)), two[:, 1], two[:, 0])  # a twin may come before itself
    made, there = (
        torch.bincount(labels[near], minlength=dataset.num_classes).double() / len(near)
        for near in (nearest(fake, real).indices[:, 0], other)
    )
    return Shares(made, there, len(fake), len(real))
